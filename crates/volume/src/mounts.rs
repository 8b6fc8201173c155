//! The mount table of this process's namespace, and mounting.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{self, MountFlags, UnmountFlags},
};

use crate::{Error, Filesystem, MountOptions, Result, loops::Device, options};

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The number of the filesystem's device.
    pub device: (u32, u32),
    pub path: PathBuf,
    pub flags: MountFlags,
    /// What was mounted, for most filesystems the path of a device.
    pub source: PathBuf,
    /// The filesystem refuses writes that this mount would allow: it has met an error.
    pub has_failed: bool,
}

impl Mount {
    pub(crate) fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }

    pub(crate) fn open(&self) -> Result<fs::File> {
        fs::File::open(&self.path).map_err(Error::io("open", self.path.display()))
    }
}

/// The mount table, oldest first.
#[derive(Debug)]
pub(crate) struct Table(Vec<Mount>);

impl Table {
    pub(crate) fn read() -> Result<Self> {
        const PATH: &str = "/proc/self/mountinfo";
        let text = fs::read(PATH).map_err(Error::io("read", PATH))?;
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| parse(line).ok_or_else(|| Error::io("read", PATH)(io::Error::from(Errno::INVAL))))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// What is seen at `path`: the latest of the mounts there.
    pub(crate) fn at(&self, path: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.path == path)
    }

    /// Where the device is mounted.
    pub(crate) fn of<'a>(&'a self, device: &Device) -> impl Iterator<Item = &'a Mount> {
        let number = device.number;
        self.0.iter().filter(move |mount| mount.device == number)
    }
}

/// Reads a line of `/proc/self/mountinfo`, as `proc_pid_mountinfo(5)` describes it.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = number.split_once(':')?;
    let path = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let flags = options::flags_of(std::str::from_utf8(fields.next()?).ok()?);
    // Optional fields end with a dash; then come the type, the source, and the options of the filesystem itself.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(2);
    let source = PathBuf::from(OsString::from_vec(unescape(rest.next()?)));
    let options = String::from_utf8_lossy(rest.next()?);
    let shared = options::flags_of(&options) & MountFlags::RDONLY;
    // btrfs goes read-only by itself, and ext4 has words of its own for that.
    let has_failed = shared.difference(flags).contains(MountFlags::RDONLY)
        || options.split(',').any(|option| ["emergency_ro", "shutdown"].contains(&option));
    Some(Mount { device: (major.parse().ok()?, minor.parse().ok()?), path, flags: flags | shared, source, has_failed })
}

/// Undoes the kernel's escapes: a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = &tail[3..];
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

/// Mounts a device.
pub(crate) fn mount(device: &Device, at: &Path, filesystem: Filesystem, options: &MountOptions) -> Result<()> {
    mount::mount(&device.path, at, filesystem.name(), options.flags, options.data.as_c_str())
        .map_err(Error::io("mount", format!("{} as {filesystem} at {}", device.path.display(), at.display())))
}

/// Makes the filesystem that is mounted at `from` appear at `to` too.
pub(crate) fn bind(from: &Path, to: &Path) -> Result<()> {
    mount::mount_bind(from, to).map_err(Error::io("bind", format!("{} to {}", from.display(), to.display())))
}

/// Makes one mount of a filesystem read-only or writable, whatever its others are. Its other flags stay.
pub(crate) fn set_read_only(mount: &Mount, read_only: bool) -> Result<()> {
    let mut flags = mount.flags | MountFlags::BIND;
    flags.set(MountFlags::RDONLY, read_only);
    mount::mount_remount(&mount.path, flags, c"").map_err(Error::io("remount", mount.path.display()))
}

/// Unmounts the latest mount at `path`.
pub(crate) fn unmount(path: &Path) -> Result<()> {
    mount::unmount(path, UnmountFlags::NOFOLLOW).map_err(Error::io("unmount", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read_with_its_escapes() {
        let line =
            br"36 35 7:12 / /var/lib/a\040b\134c ro,nosuid,relatime master:1 shared:2 - xfs /dev/loop12 rw,attr2";
        let mount = parse(line).unwrap();
        assert_eq!(mount.device, (7, 12));
        assert_eq!(mount.path, Path::new(r"/var/lib/a b\c"));
        assert_eq!(mount.flags, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::RELATIME);
    }

    #[test]
    fn a_filesystem_that_is_read_only_is_so_at_each_of_its_mounts() {
        let mount = parse(b"36 35 7:12 / /mnt rw,relatime - xfs /dev/loop12 ro,attr2").unwrap();
        assert!(mount.is_read_only());
    }

    #[test]
    fn the_mount_table_of_this_machine_is_read_whole() {
        let lines = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
        let table = Table::read().unwrap();
        assert_eq!(table.0.len(), lines);
        assert!(table.at(Path::new("/proc")).is_some());
    }
}
