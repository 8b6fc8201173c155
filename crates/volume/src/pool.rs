//! The pool: a directory on a reflink filesystem, in which each volume has a directory of its own, and the account of
//! what may still be promised.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use orlop_api::Bytes;
use rustix::{
    fs::{FlockOperation, flock, ioctl_ficlone, statvfs},
    io::Errno,
};

use crate::{
    Error, Filesystem, MountOptions, Provisioning, Result, VolumeId, durable, loops,
    mounts::{self, Table},
    tool,
};

/// Held back from what is promised, in percent: the pool's filesystem needs room for its own records.
const RESERVED_PERCENT: u64 = 2;

/// How much may be promised, in percent of what is there; 100 by default, so that whatever is promised can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit(u32);

impl Default for Overcommit {
    fn default() -> Self {
        Self(100)
    }
}

/// Not a ratio such as `1.0`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an overcommit ratio: write a number from 1 (promise what is there) to 100, such as 1.5")]
pub struct InvalidOvercommit(String);

impl FromStr for Overcommit {
    type Err = InvalidOvercommit;

    fn from_str(text: &str) -> Result<Self, InvalidOvercommit> {
        match text.parse::<f64>() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
            Ok(ratio @ 1.0..=100.0) => Ok(Self((ratio * 100.0).round() as u32)),
            _ => Err(InvalidOvercommit(text.to_owned())),
        }
    }
}

/// The ratio, such as `1.5`.
impl fmt::Display for Overcommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f64::from(self.0) / 100.0).fmt(f)
    }
}

/// A pool that is open. Only one process at a time has it open.
#[derive(Debug)]
pub struct Pool {
    volumes: PathBuf,
    overcommit: Overcommit,
    /// Held while something is added to what is promised.
    promises: Mutex<()>,
    /// Its lock is given up when the process ends, however it ends.
    _exclusive: File,
}

impl Pool {
    const IMAGE: &str = "image";
    const RECORD: &str = "volume.json";
    const CREATING: &str = ".creating-";
    const DELETING: &str = ".deleting-";

    /// Opens the pool in `root`, which must be on a filesystem with reflinks. Waits a moment for another process that
    /// has it open, and then fails.
    pub fn open(root: &Path, overcommit: Overcommit) -> Result<Self> {
        let root = fs::canonicalize(root).map_err(Error::io("find the pool", root.display()))?;
        let exclusive = lock(&root)?;
        require_reflinks(&root)?;
        let volumes = root.join("volumes");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&volumes)
            .and_then(|()| durable::sync_directory(&root))
            .map_err(Error::io("make the directory", volumes.display()))?;
        Ok(Self { volumes, overcommit, promises: Mutex::default(), _exclusive: exclusive })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.volumes
    }

    pub(crate) fn image(&self, id: &VolumeId) -> PathBuf {
        self.folder(id).join(Self::IMAGE)
    }

    pub(crate) fn record(&self, id: &VolumeId) -> PathBuf {
        self.folder(id).join(Self::RECORD)
    }

    pub(crate) fn folder(&self, id: &VolumeId) -> PathBuf {
        self.volumes.join(id.as_str())
    }

    /// Makes a volume's directory under a temporary name, with an empty image in it.
    pub(crate) fn begin(&self, id: &VolumeId) -> Result<NewFolder> {
        let folder = self.volumes.join(format!("{}{id}", Self::CREATING));
        let new = NewFolder { image: folder.join(Self::IMAGE), record: folder.join(Self::RECORD), folder };
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&new.folder)
            .and_then(|()| File::create_new(&new.image))
            .map_err(Error::io("make", new.image.display()))?;
        Ok(new)
    }

    /// Gives a complete directory its name, whereby the volume is there.
    pub(crate) fn complete(&self, new: &NewFolder, id: &VolumeId) -> Result<()> {
        File::open(&new.image)
            .and_then(|image| image.sync_all())
            .and_then(|()| durable::sync_directory(&new.folder))
            .and_then(|()| fs::rename(&new.folder, self.folder(id)))
            .and_then(|()| durable::sync_directory(&self.volumes))
            .map_err(Error::io("complete", new.folder.display()))
    }

    /// Takes a volume's name away, whereby it is no longer there. Returns the directory that is left to be removed.
    pub(crate) fn abandon(&self, id: &VolumeId) -> Result<PathBuf> {
        let left = self.volumes.join(format!("{}{id}", Self::DELETING));
        remove(&left)?;
        fs::rename(self.folder(id), &left)
            .and_then(|()| durable::sync_directory(&self.volumes))
            .map_err(Error::io("rename", self.folder(id).display()))?;
        Ok(left)
    }

    /// Removes what interrupted calls left behind.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in self.entries()? {
            if name.starts_with(Self::CREATING) || name.starts_with(Self::DELETING) {
                tracing::info!(name, "removing what an interrupted operation left");
                remove(&self.volumes.join(name))?;
            }
        }
        Ok(())
    }

    /// The volumes, in the order of their ids.
    pub(crate) fn ids(&self) -> Result<Vec<VolumeId>> {
        let mut ids: Vec<_> = self.entries()?.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    fn entries(&self) -> Result<Vec<String>> {
        let fail = || Error::io("list", self.volumes.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.volumes).map_err(fail())? {
            names.extend(entry.map_err(fail())?.file_name().into_string());
        }
        Ok(names)
    }

    /// How much more may be promised: what volumes hold and what is free, less a reserve, times the overcommit ratio,
    /// less what is promised. What else fills the pool's filesystem thus counts too.
    pub(crate) fn available(&self) -> Result<Bytes> {
        let mut promised = 0_u64;
        let mut held = 0_u64;
        for name in self.entries()? {
            match fs::metadata(self.volumes.join(name).join(Self::IMAGE)) {
                Ok(image) => {
                    promised = promised.saturating_add(image.len());
                    held = held.saturating_add(image.blocks().saturating_mul(512));
                }
                // Removed a moment ago, or not there yet.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at the images in", self.volumes.display())(error)),
            }
        }
        let pool = statvfs(&self.volumes).map_err(Error::io("measure", self.volumes.display()))?;
        let free = pool.f_bavail.saturating_mul(pool.f_frsize);
        let reserved = pool.f_blocks.saturating_mul(pool.f_frsize) / 100 * RESERVED_PERCENT;
        let usable = u128::from(free.saturating_add(held).saturating_sub(reserved));
        let promisable = usable * u128::from(self.overcommit.0) / 100;
        Ok(Bytes(u64::try_from(promisable).unwrap_or(u64::MAX).saturating_sub(promised)))
    }

    /// Does `take`, which promises `asked` more, if there is room for that. Such calls wait for each other, so that no
    /// room is promised twice.
    pub(crate) fn promise<T>(
        &self,
        asked: Bytes,
        _provisioning: Provisioning,
        take: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let _one_at_a_time = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        let available = self.available()?;
        if asked > available {
            return Err(Error::NoRoom { asked, available });
        }
        take()
    }

    pub(crate) fn promise_copies<T>(
        &self,
        _of: &[VolumeId],
        asked: Bytes,
        provisioning: Provisioning,
        take: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.promise(asked, provisioning, take)
    }

    pub(crate) fn allocate(&self, image: &File, size: Bytes, provisioning: Provisioning) -> Result<()> {
        if provisioning == Provisioning::Thin {
            return Ok(());
        }
        rustix::fs::fallocate(image, rustix::fs::FallocateFlags::empty(), 0, size.0)
            .map_err(Error::io("allocate an image in", self.volumes.display()))
    }
}

/// A volume's directory while it is being made. If it does not get that far it is removed, with the room that it holds.
pub(crate) struct NewFolder {
    folder: PathBuf,
    pub image: PathBuf,
    pub record: PathBuf,
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // One that is complete has another name by now.
        if let Err(error) = remove(&self.folder) {
            tracing::error!(%error, "what is left of a creation stays until the driver is started again");
        }
    }
}

/// Removes a directory with what is in it; one that is not there is no error.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder.display())(error)),
        _ => Ok(()),
    }
}

/// Takes the lock that lets one process at a time have the pool open. The last one may be on its way out, so this waits
/// for a moment.
fn lock(root: &Path) -> Result<File> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let path = root.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", path.display()))?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(100)),
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Pool {
                    path: root.to_owned(),
                    reason: "another driver has it open: give each driver a pool of its own".into(),
                });
            }
            Err(error) => return Err(Error::io("lock", path.display())(error)),
        }
    }
}

/// Clones a block, because that is the one sure test: XFS has reflinks or has not, by how it was made.
fn require_reflinks(root: &Path) -> Result<()> {
    let [from, to] = [".reflink-from", ".reflink-to"].map(|name| root.join(name));
    let result = fs::write(&from, [0; 4096])
        .and_then(|()| Ok((File::open(&from)?, File::create(&to)?)))
        .map_err(Error::io("write in the pool", root.display()))
        .and_then(|(source, target)| {
            ioctl_ficlone(&target, &source).map_err(|error| Error::Pool {
                path: root.to_owned(),
                reason: format!("its filesystem has no reflinks ({error}): use XFS (made with reflink=1) or btrfs"),
            })
        });
    for file in [from, to] {
        // A leftover is harmless, and overwritten the next time.
        let _ = fs::remove_file(file);
    }
    result
}

/// A pool in a file, for machines that have no disk to spare: an XFS filesystem, attached as a loop device.
#[derive(Debug, Clone)]
pub struct PoolFile {
    /// The file. Its filesystem must support direct I/O.
    pub path: PathBuf,
    /// Its size, if it is not there yet.
    pub size: Bytes,
}

impl PoolFile {
    /// Makes the file if it is not there, and mounts it at `root` if it is not mounted. A file that is there is never
    /// formatted.
    pub fn mount(&self, root: &Path) -> Result<()> {
        let fail = || Error::io("make the pool", root.display());
        fs::create_dir_all(root).map_err(fail())?;
        let root = fs::canonicalize(root).map_err(fail())?;
        self.make()?;
        let device = match loops::find(&self.path)? {
            Some(device) => device,
            None => loops::attach(&self.path, loops::Detach::WhenUnused)?,
        };
        match Table::read()?.at(&root) {
            Some(mount) if mount.device == device.number => Ok(()),
            // The directory may have been mounted on itself, so that what is mounted in it is seen outside a container.
            _ => mounts::mount(&device, &root, Filesystem::Xfs, &MountOptions::parse(&["noatime"])?),
        }
    }

    /// The file gets its name when it is complete, so that one that has its name is never formatted again.
    fn make(&self) -> Result<()> {
        let fail = || Error::io("make the pool file", self.path.display());
        if self.path.try_exists().map_err(fail())? {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let file = File::create(&new).map_err(fail())?;
        file.set_len(self.size.round_up(crate::SIZE_INCREMENT).0).map_err(fail())?;
        let sector = format!("-ssize={}", loops::BLOCK_SIZE);
        tool::run("mkfs.xfs", &["-K", "-q", "-f", "-mreflink=1", &sector], &new, 0)?;
        file.sync_all()
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| durable::sync_directory(self.path.parent().unwrap_or(Path::new("/"))))
            .map_err(fail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overcommit_ratio_is_one_at_least() {
        assert_eq!("1".parse::<Overcommit>().unwrap(), Overcommit::default());
        assert_eq!("1.5".parse::<Overcommit>().unwrap().to_string(), "1.5");
        for text in ["0.9", "-1", "101", "NaN", "two"] {
            assert!(text.parse::<Overcommit>().is_err(), "{text}");
        }
    }
}
