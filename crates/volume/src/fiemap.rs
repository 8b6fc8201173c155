//! The map of a file's extents, as the kernel tells it (`Documentation/filesystems/fiemap.rst`).

use std::{
    collections::VecDeque,
    fs::File,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    ioctl::{self, Opcode, Updater},
};

use crate::{Error, Result};

/// The request's number, which the kernel's headers do not have for every architecture under one name:
/// `_IOWR('f', 11, struct fiemap)`.
const FS_IOC_FIEMAP: Opcode = ioctl::opcode::read_write::<Head>(b'f', 11);

/// Write back what is cached, so that everything has a place.
const FLAG_SYNC: u32 = 0x0001;

const EXTENT_LAST: u32 = 0x0001;
/// The flags of an extent whose bytes are not simply at its physical address: its place is unknown or yet to be found
/// (`UNKNOWN`, `DELALLOC`), or it is compressed, encrypted, among other data or not aligned.
const EXTENT_ELUSIVE: u32 = 0x0002 | 0x0004 | 0x0008 | 0x0080 | 0x0100 | 0x0200 | 0x0400;
const EXTENT_UNWRITTEN: u32 = 0x0800;
const EXTENT_SHARED: u32 = 0x2000;

/// How many extents are asked for at a time: 56 bytes each.
const PAGE: usize = 256;

/// `struct fiemap` without its array.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Head {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct RawExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Request {
    head: Head,
    extents: [RawExtent; PAGE],
}

/// Bytes of a file that are one after the other on the disk too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Where they are in the file.
    pub offset: u64,
    /// How many they are; never 0.
    pub length: u64,
    /// Where they are on the disk, or `None` if that cannot be said.
    pub place: Option<u64>,
    /// Allocated, but never written: they read as zeros.
    pub unwritten: bool,
    /// Some of them may belong to another file as well.
    pub shared: bool,
}

/// The extents of a file from an offset on, in their order, fetched as they are asked for.
pub(crate) struct Extents {
    file: File,
    path: PathBuf,
    flags: u32,
    page: VecDeque<Mapped>,
    /// Where the next page starts; `None` after the last.
    next: Option<u64>,
}

impl Extents {
    /// Those of a file that nobody writes to, such as a snapshot. What is cached of it is written back first.
    pub(crate) fn settled(path: &Path, from: u64) -> Result<Self> {
        Self::new(path, from, FLAG_SYNC)
    }

    /// Those of a file at this moment. Images are written with direct I/O, so that little of them is ever cached.
    pub(crate) fn current(path: &Path) -> Result<Self> {
        Self::new(path, 0, 0)
    }

    fn new(path: &Path, from: u64, flags: u32) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path.display()))?;
        Ok(Self { file, path: path.to_owned(), flags, page: VecDeque::new(), next: Some(from) })
    }

    #[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
    fn fetch(&mut self, start: u64) -> Result<()> {
        const NONE: RawExtent =
            RawExtent { logical: 0, physical: 0, length: 0, reserved64: [0; 2], flags: 0, reserved: [0; 3] };
        let mut request = Box::new(Request {
            head: Head {
                start,
                length: u64::MAX - start,
                flags: self.flags,
                mapped_extents: 0,
                extent_count: u32::try_from(PAGE).unwrap_or(u32::MAX),
                reserved: 0,
            },
            extents: [NONE; PAGE],
        });
        // SAFETY: FS_IOC_FIEMAP reads the head, and writes it and at most `extent_count` extents after it, which is
        // what `Request` has room for; any bytes are valid for its integers.
        unsafe { ioctl::ioctl(&self.file, Updater::<{ FS_IOC_FIEMAP }, Request>::new(&mut request)) }
            .map_err(Error::io("map the extents of", self.path.display()))?;
        let count = usize::try_from(request.head.mapped_extents).unwrap_or(PAGE).min(PAGE);
        let mapped = &request.extents[..count];
        self.next = match mapped.last() {
            Some(last) if last.flags & EXTENT_LAST == 0 => Some(last.logical.saturating_add(last.length)),
            _ => None,
        };
        if self.next.is_some_and(|next| next <= start) {
            // A page that does not lead on would be asked for for ever; and one that is left out could hide a change.
            return Err(Error::io("go on with the extents of", self.path.display())(Errno::INVAL));
        }
        self.page.extend(mapped.iter().filter(|extent| extent.length > 0).map(|extent| Mapped {
            offset: extent.logical,
            length: extent.length,
            place: (extent.flags & EXTENT_ELUSIVE == 0).then_some(extent.physical),
            unwritten: extent.flags & EXTENT_UNWRITTEN != 0,
            shared: extent.flags & EXTENT_SHARED != 0,
        }));
        Ok(())
    }
}

impl Iterator for Extents {
    type Item = Result<Mapped>;

    fn next(&mut self) -> Option<Result<Mapped>> {
        if self.page.is_empty()
            && let Some(start) = self.next
            && let Err(error) = self.fetch(start)
        {
            self.next = None;
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}
