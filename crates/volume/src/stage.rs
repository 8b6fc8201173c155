//! Mounting volumes of a real pool, and unmounting them.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use orlop_api::Bytes;
use rustix::{fs::statvfs, mount::MountFlags};

use crate::{
    Content, Error, LocalVolumes, MountOptions, Result, Step, Usage, VolumeId, block, loops,
    loops::Device,
    mounts::{self, Table},
};

impl LocalVolumes {
    pub(crate) fn mount(&self, id: &VolumeId, at: &Path, options: &MountOptions) -> Result<()> {
        let (mut record, size) = self.load(id)?;
        let at = fs::canonicalize(at).map_err(Error::io("find the staging directory", at.display()))?;
        let image = self.pool.image(id);
        let device = match (record.content, loops::find(&image)?) {
            (Content::Block, _) => block::attach(id, &image)?,
            (Content::Filesystem(_), Some(device)) => device,
            (Content::Filesystem(_), None) => loops::attach(&image, loops::Detach::WhenUnused)?,
        };
        self.prepare(id, (&record, size), &device, options)?;
        self.reached(Step::StageAttached);
        let table = Table::read()?;
        // No volume is mounted over another one, of either kind.
        match table.at(&at).or_else(|| table.at(&block::node(&at))) {
            Some(mount) if mount.is_of(&device) => {}
            Some(_) => return Err(Error::Occupied { id: id.clone(), path: at }),
            None => match record.content {
                Content::Filesystem(filesystem) => {
                    if table.of(&device).next().is_none() {
                        self.grow_unmounted(id, &mut record, size, &device)?;
                    }
                    mounts::mount(&device, &at, filesystem, options)?;
                }
                Content::Block => mounts::bind(&device.path, &block::make_file(&block::node(&at))?)?,
            },
        }
        self.bound_cache_of(id, &record, &device)?;
        self.reached(Step::StageMounted);
        if record.content == Content::Block {
            if options.flags.contains(MountFlags::RDONLY) {
                restrict(id, &block::node(&at))?;
            }
            block::follow_flags(&device)?;
        }
        match self.grow_mounted(id, &mut record, size, &device) {
            // The volume is usable as it is, and whoever asked for the growth is told when they ask again.
            Err(error @ Error::GrowsWhenStaged(_)) => {
                tracing::warn!(%id, %error, "staged with its growth incomplete");
                Ok(())
            }
            result => result,
        }
    }

    pub(crate) fn bind(&self, id: &VolumeId, staged: &Path, target: &Path, read_only: bool) -> Result<()> {
        let not_staged = || Error::NotStaged { id: id.clone(), path: staged.to_owned() };
        let (record, _) = self.load(id)?;
        let device = loops::find(&self.pool.image(id))?.ok_or_else(not_staged)?;
        let staged = canonical(staged)?.ok_or_else(not_staged)?;
        let (seen, bound) = match record.content {
            Content::Filesystem(_) => (staged.clone(), staged.as_path()),
            Content::Block => (block::node(&staged), device.path.as_path()),
        };
        if Table::read()?.at(&seen).is_none_or(|mount| !mount.is_of(&device)) {
            return Err(not_staged());
        }
        let target = match record.content {
            Content::Filesystem(_) => make_directory(target)?,
            Content::Block => block::make_file(target)?,
        };
        match Table::read()?.at(&target) {
            None => mounts::bind(bound, &target)?,
            Some(mount) if mount.is_of(&device) => {}
            Some(_) => return Err(Error::Occupied { id: id.clone(), path: target }),
        }
        self.reached(Step::PublishBound);
        if read_only {
            restrict(id, &target)?;
        }
        if record.content == Content::Block { block::follow_flags(&device) } else { Ok(()) }
    }

    /// Unmounts the volume from `path`, however often it is mounted there. What else may be there is left alone.
    pub(crate) fn unmount(&self, id: &VolumeId, path: &Path) -> Result<()> {
        /// Nobody mounts a volume on itself that often; a loop that does not end would be worse than an error.
        const LAYERS: u32 = 16;
        let Some(path) = canonical(path)? else { return Ok(()) };
        let device = self.device(id)?;
        for _ in 0..LAYERS {
            let table = Table::read()?;
            let Some(mount) = table.at(&path) else { return Ok(()) };
            if device.as_ref().is_none_or(|device| !mount.is_of(device)) {
                return Err(Error::Occupied { id: id.clone(), path });
            }
            self.let_go(id, mount);
            mounts::unmount(&path)?;
        }
        Err(Error::Occupied { id: id.clone(), path })
    }

    pub(crate) fn measure(&self, id: &VolumeId, at: &Path) -> Result<Usage> {
        self.load(id)?;
        let not_mounted = || Error::NotMounted { id: id.clone(), path: at.to_owned() };
        let path = canonical(at)?.ok_or_else(not_mounted)?;
        let device = self.device(id)?.ok_or_else(not_mounted)?;
        if Table::read()?.at(&path).is_none_or(|mount| mount.is_node() || !mount.is_of(&device)) {
            return Err(not_mounted());
        }
        let stat = statvfs(&path).map_err(Error::io("measure", path.display()))?;
        let bytes = |blocks: u64| Bytes(blocks.saturating_mul(stat.f_frsize));
        Ok(Usage {
            total: bytes(stat.f_blocks),
            available: bytes(stat.f_bavail),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            total_inodes: stat.f_files,
            free_inodes: stat.f_ffree,
        })
    }

    /// The device that the volume is attached to, if any.
    pub(crate) fn device(&self, id: &VolumeId) -> Result<Option<Device>> {
        let image = self.pool.image(id);
        if image.try_exists().map_err(Error::io("look for", image.display()))? { loops::find(&image) } else { Ok(None) }
    }
}

/// The path as the mount table has it, or `None` if nothing is there.
fn canonical(path: &Path) -> Result<Option<PathBuf>> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("find", path.display())(error)),
    }
}

/// Makes a directory, not its parents, and returns its path as the mount table has it.
fn make_directory(path: &Path) -> Result<PathBuf> {
    match fs::DirBuilder::new().mode(0o750).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("make the directory", path.display())(error))
        }
        _ => fs::canonicalize(path).map_err(Error::io("find", path.display())),
    }
}

/// Removes what was made for a volume to be mounted at: a directory, or a file that a block device was bound to. What is
/// not there is no error.
pub(crate) fn remove_mount_point(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path.display())(error)),
        _ => Ok(()),
    }
}

/// Makes the mount of the volume at `path` read-only. A volume that is read-only where it is staged is so everywhere.
fn restrict(id: &VolumeId, path: &Path) -> Result<()> {
    match Table::read()?.at(path) {
        Some(mount) if mount.is_read_only() => Ok(()),
        Some(mount) => mounts::set_read_only(mount, true),
        None => Err(Error::NotMounted { id: id.clone(), path: path.to_owned() }),
    }
}
