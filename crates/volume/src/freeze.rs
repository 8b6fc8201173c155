//! Holding up the writers of filesystems.

use std::{ffi::c_int, os::fd::AsFd};

use rustix::{
    io::Errno,
    ioctl::{self, NoArg, Opcode, opcode},
};

/// Stops all writes to a filesystem, and writes back what is dirty; from `linux/fs.h`.
const FIFREEZE: Opcode = opcode::read_write::<c_int>(b'X', 119);
/// Lets writes go on.
const FITHAW: Opcode = opcode::read_write::<c_int>(b'X', 120);

/// Freezes the filesystem of which `directory` is. `EBUSY` if it is frozen already.
#[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
pub(crate) fn freeze(directory: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: FIFREEZE ignores its argument and touches no memory of this process.
    unsafe { ioctl::ioctl(directory, NoArg::<FIFREEZE>::new()) }
}

/// Thaws the filesystem of which `directory` is. Was it frozen?
#[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
pub(crate) fn thaw(directory: impl AsFd) -> rustix::io::Result<bool> {
    // SAFETY: FITHAW ignores its argument and touches no memory of this process.
    match unsafe { ioctl::ioctl(directory, NoArg::<FITHAW>::new()) } {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error),
    }
}
