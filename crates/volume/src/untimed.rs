//! Opening an image so that what is written to it leaves the file's times as they are.
//!
//! XFS notes the time of a write in the inode, which goes through the pool's journal, and a guest's flush then waits for
//! that journal, although the guest has overwritten nothing but data. Nobody reads the time of an image: it is written
//! to whenever its guest likes. XFS leaves the times alone for a file that was opened by its handle ("invisible I/O", see
//! xfsctl(3)), which helps fdatasync above all (`docs/performance.md`).

use std::{
    ffi::{c_int, c_void},
    fs::{File, OpenOptions},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    ptr,
};

use rustix::{
    fs::OFlags,
    io::Errno,
    ioctl::{self, Ioctl, IoctlOutput, Opcode, Updater, opcode},
};

use crate::{Error, Result};

/// Opens an image for reading and writing: by its handle where its filesystem has that, and by its name elsewhere.
pub(crate) fn open(image: &Path) -> Result<File> {
    let named =
        OpenOptions::new().read(true).write(true).open(image).map_err(Error::io("open the image", image.display()))?;
    // The kernel wants a directory to find the filesystem by.
    let folder = image.parent().unwrap_or(Path::new("/"));
    let folder = File::open(folder).map_err(Error::io("open", folder.display()))?;
    match by_handle(&named, &folder) {
        Ok(file) => Ok(file),
        // Not XFS.
        Err(Errno::NOTTY) => Ok(named),
        Err(error) => {
            tracing::warn!(image = %image.display(), %error, "flushes of this volume are slower than they could be");
            Ok(named)
        }
    }
}

/// `XFS_IOC_FD_TO_HANDLE` of xfsprogs' `xfs/xfs_fs.h`.
const FD_TO_HANDLE: Opcode = opcode::read_write::<Request>(b'X', 106);
/// `XFS_IOC_OPEN_BY_HANDLE` of the same.
const OPEN_BY_HANDLE: Opcode = opcode::read_write::<Request>(b'X', 107);

/// `struct xfs_handle`, of 24 bytes, which nobody but the kernel looks into.
type Handle = [u64; 3];

/// `struct xfs_fsop_handlereq`.
#[repr(C)]
struct Request {
    /// The file of which the handle is wanted.
    file: c_int,
    path: *const c_void,
    open_flags: u32,
    /// The handle that is to be opened.
    handle: *const c_void,
    handle_length: u32,
    /// Where the handle that is wanted is put, and its length.
    found: *mut Handle,
    found_length: *mut u32,
}

impl Request {
    const NONE: Self = Self {
        file: -1,
        path: ptr::null(),
        open_flags: 0,
        handle: ptr::null(),
        handle_length: 0,
        found: ptr::null_mut(),
        found_length: ptr::null_mut(),
    };
}

/// Opens a file, which is on the filesystem of `folder`, anew by its handle. The name that the kernel shows for it is that
/// of `file`, which it knows already.
#[expect(unsafe_code, reason = "ioctls that rustix has no functions for")]
fn by_handle(file: &File, folder: &File) -> rustix::io::Result<File> {
    let (mut handle, mut length) = (Handle::default(), 0);
    let mut request =
        Request { file: file.as_raw_fd(), found: &raw mut handle, found_length: &raw mut length, ..Request::NONE };
    // SAFETY: XFS_IOC_FD_TO_HANDLE reads a `xfs_fsop_handlereq` and fills a `xfs_handle` and its length, which all outlive
    // the call.
    unsafe { ioctl::ioctl(file, Updater::<FD_TO_HANDLE, _>::new(&mut request)) }?;
    let request = Request {
        open_flags: (OFlags::RDWR | OFlags::CLOEXEC).bits(),
        handle: (&raw const handle).cast(),
        handle_length: length,
        ..Request::NONE
    };
    // SAFETY: XFS_IOC_OPEN_BY_HANDLE reads a `xfs_fsop_handlereq` and the handle that it points to, which outlive the call.
    unsafe { ioctl::ioctl(folder, Open(request)) }
}

struct Open(Request);

// SAFETY: the opcode takes a `xfs_fsop_handlereq`, which it only reads, and returns a file descriptor that is the caller's.
#[expect(unsafe_code, reason = "an ioctl that rustix has no pattern for")]
unsafe impl Ioctl for Open {
    type Output = File;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPEN_BY_HANDLE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<File> {
        // SAFETY: a call that has not failed returns a descriptor that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(output) }.into())
    }
}
