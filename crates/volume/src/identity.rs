//! A clone's own identity. A filesystem that was copied has the UUID of its source, by which the kernel and the tools of
//! the host tell filesystems apart: XFS refuses a second mount of it, and btrfs takes it for another device of the first.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use crate::{Error, Filesystem, Result, loops, mounts, tool};

/// Gives the filesystem in an image a UUID of its own, in constant time. The image is not attached anywhere.
pub(crate) fn renew(filesystem: Filesystem, image: &Path) -> Result<()> {
    match filesystem {
        Filesystem::Xfs => {
            /// `sb_uuid` of the superblock, which `xfs_admin` changes.
            const UUID: u64 = 32;
            // The journal names the UUID, so that it must be empty. Also a frozen XFS has something in it.
            replay(filesystem, image)?;
            let former: [u8; 16] = at(image, UUID)?;
            tool::run("xfs_admin", &["-f", "-U", "generate"], image, 0)?;
            // It exits with 0 also when it could not.
            if at(image, UUID)? == former {
                let (object, detail) = (image.display().to_string(), "it did not change the UUID".to_owned());
                return Err(Error::Tool { tool: "xfs_admin", object, detail });
            }
            Ok(())
        }
        Filesystem::Ext4 => {
            // Exit code 1 means that something was repaired, which replaying a journal is.
            tool::run("e2fsck", &["-p"], image, 1)?;
            tool::run("tune2fs", &["-U", "random"], image, 0)
        }
        Filesystem::Btrfs => {
            /// `log_root` of the superblock, which is at 64 KiB.
            const LOG_ROOT: u64 = (64 << 10) + 0x60;
            // `btrfstune` damages a filesystem that has a log. One that was unmounted or frozen has none, and only what was
            // copied after an abrupt stop is mounted here beside its source, which the kernel does since 6.7, and refuses
            // before.
            if at(image, LOG_ROOT)? != [0; 8] {
                replay(filesystem, image)?;
            }
            tool::run("btrfstune", &["-f", "-m"], image, 0)
        }
    }
}

/// Replays the journal of the filesystem in an image.
fn replay(filesystem: Filesystem, image: &Path) -> Result<()> {
    mounts::replay(&loops::attach(image, loops::Detach::WhenUnused)?, filesystem)?;
    if loops::is_released(image)? { Ok(()) } else { Err(Error::io("detach", image.display())(rustix::io::Errno::BUSY)) }
}

/// The bytes of an image at an offset.
fn at<const LENGTH: usize>(image: &Path, offset: u64) -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    File::open(image)
        .and_then(|image| image.read_exact_at(&mut bytes, offset))
        .map_err(Error::io("read", image.display()))?;
    Ok(bytes)
}
