//! The mount table of this process's namespace, and mounting.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::ffi::OsStringExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, StatxFlags, statx},
    io::Errno,
    mount::{self, FsOpenFlags, MountFlags, UnmountFlags},
};

use crate::{
    Error, Filesystem, MountOptions, Result,
    loops::{Device, DeviceNumber},
    options,
};

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Tells it from all other mounts, as statx(2) does.
    pub id: u64,
    /// The number of the filesystem's device.
    pub device: DeviceNumber,
    /// What of the filesystem is mounted: `/`, or the directory or file that was bound.
    root: PathBuf,
    pub path: PathBuf,
    pub flags: MountFlags,
    filesystem: String,
    /// What was mounted, for most filesystems the path of a device.
    pub source: PathBuf,
    /// The filesystem refuses writes that this mount would allow: it has met an error.
    pub has_failed: bool,
}

impl Mount {
    /// The filesystem of the devices' nodes.
    const NODES: &str = "devtmpfs";

    /// Is it the filesystem on that device, or the node of the device itself?
    pub(crate) fn is_of(&self, device: &Device) -> bool {
        match self.filesystem.as_str() {
            // A btrfs has a number of its own here, because it could be on several devices.
            "btrfs" => self.source == device.path,
            Self::NODES => {
                self.root.parent() == Some(Path::new("/")) && self.root.file_name() == device.path.file_name()
            }
            _ => self.device == device.number,
        }
    }

    /// Is it a device's node rather than a filesystem?
    pub(crate) fn is_node(&self) -> bool {
        self.filesystem == Self::NODES
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }

    /// Opens the directory that is mounted. What is found at the path must be this very mount: something else may be
    /// mounted over it, and to freeze that would stop somebody else.
    pub(crate) fn open(&self) -> Result<File> {
        let directory = File::open(&self.path).map_err(Error::io("open", self.path.display()))?;
        let found = statx(&directory, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
            .map_err(Error::io("look at", self.path.display()))?;
        if found.stx_mnt_id != self.id {
            let hidden = io::Error::other("another mount hides it: unmount that first");
            return Err(Error::io("reach what is mounted at", self.path.display())(hidden));
        }
        Ok(directory)
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

    /// Where the device's filesystem is mounted, or the device itself bound.
    pub(crate) fn of<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(|mount| mount.is_of(device))
    }

    /// Where the device's filesystem is mounted for writing.
    pub(crate) fn writable<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = &'a Mount> {
        self.of(device).filter(|mount| !mount.is_node() && !mount.is_read_only())
    }
}

/// Reads a line of `/proc/self/mountinfo`, as `proc_pid_mountinfo(5)` describes it.
fn parse(line: &[u8]) -> Option<Mount> {
    let text = |field| std::str::from_utf8(field).ok();
    let path = |field| PathBuf::from(OsString::from_vec(unescape(field)));
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?)?.parse().ok()?;
    let (major, minor) = text(fields.nth(1)?)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let (root, at) = (path(fields.next()?), path(fields.next()?));
    let flags = options::flags_of(text(fields.next()?)?);
    // Optional fields end with a dash; then come the type, the source, and the options of the filesystem itself.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let (filesystem, source) = (text(rest.next()?)?.to_owned(), path(rest.next()?));
    let options = String::from_utf8_lossy(rest.next()?);
    let shared = options::flags_of(&options) & MountFlags::RDONLY;
    // btrfs goes read-only by itself, and ext4 has words of its own for that.
    let has_failed = shared.difference(flags).contains(MountFlags::RDONLY)
        || options.split(',').any(|option| ["emergency_ro", "shutdown"].contains(&option));
    Some(Mount { id, device, root, path: at, flags: flags | shared, filesystem, source, has_failed })
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
    mount::mount(&device.path, at, filesystem.name(), options.flags, options.data_for(filesystem).as_c_str())
        .map_err(Error::io("mount", format!("{} as {filesystem} at {}", device.path.display(), at.display())))
}

/// Replays the journal of the filesystem on a device, by having the kernel mount it without showing it anywhere: nothing
/// is left of that, whatever becomes of this process.
pub(crate) fn replay(device: &Device, filesystem: Filesystem) -> Result<()> {
    let context = mount::fsopen(filesystem.name(), FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(Error::io("replay the journal of", device.path.display()))?;
    mount::fsconfig_set_string(context.as_fd(), "source", &device.path)
        .and_then(|()| match filesystem {
            // It may be a copy of what is mounted elsewhere, which has the same identity.
            Filesystem::Xfs => mount::fsconfig_set_flag(context.as_fd(), "nouuid"),
            Filesystem::Ext4 | Filesystem::Btrfs => Ok(()),
        })
        .and_then(|()| mount::fsconfig_create(context.as_fd()))
        .map_err(Error::io("replay the journal of", format!("the {filesystem} on {}", device.path.display())))
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

/// Unmounts the latest mount at `path`. A process that was just started, to run a tool, has copies of all files that are
/// open in this one until it runs the tool: so this waits a moment for a mount that is in use.
pub(crate) fn unmount(path: &Path) -> Result<()> {
    const POLLS: u32 = 20;
    const INTERVAL: Duration = Duration::from_millis(25);
    let mut result = mount::unmount(path, UnmountFlags::NOFOLLOW);
    for _ in 0..POLLS {
        if result != Err(Errno::BUSY) {
            break;
        }
        thread::sleep(INTERVAL);
        result = mount::unmount(path, UnmountFlags::NOFOLLOW);
    }
    result.map_err(Error::io("unmount", path.display()))
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
