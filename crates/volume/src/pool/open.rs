//! What a directory must be to be a pool, and that one process at a time has it open.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, IFlags, flock, ioctl_ficlone, ioctl_getflags, ioctl_setflags},
    io::Errno,
};

use crate::{Error, Result};

/// Takes the lock that lets one process at a time have the pool open. The last one may be on its way out, so this waits
/// for a moment.
pub(super) fn lock(root: &Path) -> Result<File> {
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
pub(super) fn require_reflinks(root: &Path) -> Result<()> {
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

/// Has new images overwritten in place where nobody shares their bytes. XFS does; btrfs does with copy-on-write turned
/// off, and then a thick volume keeps its room, and direct I/O is direct, which it is not with checksums. New files and
/// directories have it from their directory.
pub(super) fn overwrite_in_place(root: &Path) -> Result<()> {
    let filesystem = rustix::fs::statfs(root).map_err(Error::io("measure", root.display()))?;
    if u64::try_from(filesystem.f_type).ok() != Some(linux_raw_sys::general::BTRFS_SUPER_MAGIC.into()) {
        return Ok(());
    }
    let directory = File::open(root).map_err(Error::io("open", root.display()))?;
    ioctl_getflags(&directory)
        .and_then(|flags| ioctl_setflags(&directory, flags | IFlags::NOCOW))
        .map_err(Error::io("turn off copy-on-write in", root.display()))
}
