//! Mounts below a directory: found in the kernel's own table, never remembered.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};

use super::{Error, error::OnPath as _};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: PathBuf,
    pub(super) filesystem: String,
    /// The options of the filesystem itself, which for a cgroup hierarchy name its controllers.
    pub(super) super_options: Vec<String>,
}

/// All mounts of this process's namespace, oldest first.
pub(super) fn all() -> Result<Vec<Mount>, Error> {
    Ok(parse(&fs::read_to_string(MOUNTINFO).on("read", MOUNTINFO)?))
}

/// Reads the format that proc(5) describes for `/proc/pid/mountinfo`: a line that it does not explain is left out.
fn parse(mountinfo: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let filesystem = right.next()?.to_owned();
        let super_options = right.nth(1)?.split(',').map(str::to_owned).collect();
        Some(Mount { point: unescape(left.split(' ').nth(4)?).into(), filesystem, super_options })
    };
    mountinfo.lines().filter_map(line).collect()
}

/// Undoes the kernel's escapes of white space and backslashes: a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes `path` a mount of its own whose mounts below propagate to and from containers, unless it is one already. A
/// pod with Bidirectional mount propagation, which every CSI node plugin is, starts only on a shared mount, and the
/// machine's root mount may be private.
pub(super) fn share(path: &Path) -> Result<(), Error> {
    if !all()?.iter().any(|mount| mount.point == path) {
        mount_bind(path, path).on("bind-mount", path)?;
    }
    mount_change(path, MountPropagationFlags::SHARED | MountPropagationFlags::REC).on("share the mounts of", path)
}

/// The mount points at and below `directory`, newest first.
pub(super) fn below(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mounts = all()?.into_iter().rev();
    Ok(mounts.map(|mount| mount.point).filter(|point| point.starts_with(directory)).collect())
}

/// Unmounts what is at and below `directory` and not in use. What is in use stays.
pub(super) fn unmount_unused_below(directory: &Path) -> Result<(), Error> {
    for point in below(directory)? {
        // What cannot be unmounted now is dealt with when there is no other way.
        let _ = unmount(&point, UnmountFlags::NOFOLLOW);
    }
    Ok(())
}

/// Detaches everything that is mounted at and below `directory`: the kernel unmounts it with its last user.
pub(super) fn detach_below(directory: &Path) -> Result<(), Error> {
    for point in below(directory)? {
        match unmount(&point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
            // Shared mounts go together: this one went with one before it.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error).on("unmount", &point),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:1 - cgroup cgroup rw,memory
41 31 0:38 / /with\\040space\\134and rw - tmpfs tmpfs rw
this line is nothing";

    #[test]
    fn mountinfo_is_read_with_and_without_optional_fields() {
        let mounts = parse(SAMPLE);
        let points: Vec<_> = mounts.iter().map(|mount| mount.point.to_str().expect("text")).collect();
        assert_eq!(points, ["/", "/sys/fs/cgroup/memory", "/with space\\and"]);
        assert_eq!(mounts[1].filesystem, "cgroup");
        assert_eq!(mounts[1].super_options, ["rw", "memory"]);
    }
}
