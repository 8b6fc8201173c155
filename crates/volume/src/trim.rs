//! Giving back what was deleted in a volume.

use std::{fs::File, path::Path};

use rustix::{
    io::Errno,
    ioctl::{self, Opcode, Updater, opcode},
};

use crate::{Error, Result};

/// `struct fstrim_range` of `linux/fs.h`, in bytes.
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    shortest: u64,
}

/// Discards what is free in the filesystem that is mounted at a path. Nothing, where its device cannot discard. XFS only
/// sends the discards and does not wait for them (`xfs_discard_extents` of its `xfs_discard.c`), so that they may not be
/// done yet when this returns.
#[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
pub(crate) fn trim(mounted: &Path) -> Result<()> {
    const FITRIM: Opcode = opcode::read_write::<Range>(b'X', 121);
    let directory = File::open(mounted).map_err(Error::io("open", mounted.display()))?;
    let mut range = Range { start: 0, length: u64::MAX, shortest: 0 };
    // SAFETY: FITRIM reads and writes an `fstrim_range`, which outlives the call.
    match unsafe { ioctl::ioctl(&directory, Updater::<FITRIM, Range>::new(&mut range)) } {
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(Error::io("trim", mounted.display())(error)),
    }
}
