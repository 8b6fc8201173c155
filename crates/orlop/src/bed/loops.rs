//! Loop devices whose data lies below a directory: found by what they are backed by, never remembered. A driver in a
//! container attaches a file by a path of its own, so the kernel's path tells little, and the file's inode tells all.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Error, mounts, process};

/// The program that lists and detaches loop devices.
pub(super) const LOSETUP: &str = "/usr/sbin/losetup";

/// How long the kernel may take to let go of a detached device: its last writes come first.
const DETACH_DEADLINE: Duration = Duration::from_secs(20);

/// A device as the kernel numbers it: major and minor.
type DeviceNumber = (u32, u32);

/// A loop device with what it is backed by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LoopDevice {
    path: PathBuf,
    number: DeviceNumber,
    backing_device: DeviceNumber,
    backing_inode: u64,
    backing_file: PathBuf,
}

impl LoopDevice {
    /// Whether both are one attachment. The file's path says nothing, for it changes when the file is deleted.
    fn same(&self, other: &Self) -> bool {
        let identity = |device: &Self| (device.number, device.backing_device, device.backing_inode);
        identity(self) == identity(other)
    }
}

/// Unmounts everything below `directory` and detaches the loop devices whose data lies there. Returns those that stay
/// attached.
pub(super) async fn unmount_and_detach_below(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let devices = below(&attached().await?, &files(directory), directory);
    mounts::unmount_unused_below(directory)?;
    for device in &devices {
        // One that is still mounted is detached by the kernel when that ends; one that is gone is fine. Which it was
        // shows below.
        let _ = process::run(Path::new(LOSETUP), &["--detach", &device.path.to_string_lossy()]).await;
    }
    mounts::detach_below(directory)?;
    let begun = Instant::now();
    loop {
        let now = attached().await?;
        let still = |device: &&LoopDevice| now.iter().any(|other| other.same(device));
        let left: Vec<PathBuf> = devices.iter().filter(still).map(|device| device.path.clone()).collect();
        if left.is_empty() || begun.elapsed() > DETACH_DEADLINE {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn attached() -> Result<Vec<LoopDevice>, Error> {
    let columns = "NAME,MAJ:MIN,BACK-MAJ:MIN,BACK-INO,BACK-FILE";
    let list = process::run(Path::new(LOSETUP), &["--list", "--noheadings", "--output", columns]).await?;
    Ok(list.lines().filter_map(parse).collect())
}

/// Reads a line of losetup's list: columns padded with spaces, the file last, for its name may hold spaces itself.
fn parse(line: &str) -> Option<LoopDevice> {
    let mut rest = line;
    let mut column = || {
        let (word, after) = rest.trim_start().split_once(' ')?;
        rest = after;
        Some(word)
    };
    let device = |word: &str| {
        let (major, minor) = word.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    Some(LoopDevice {
        path: column()?.into(),
        number: device(column()?)?,
        backing_device: device(column()?)?,
        backing_inode: column()?.parse().ok()?,
        backing_file: rest.trim().into(),
    })
}

/// The devices that are backed by one of `files`, by a path below `directory`, or by a filesystem on a device that is:
/// the last also finds images that were deleted while attached.
fn below(devices: &[LoopDevice], files: &BTreeSet<(DeviceNumber, u64)>, directory: &Path) -> Vec<LoopDevice> {
    let mut found: Vec<LoopDevice> = Vec::new();
    loop {
        let next = devices.iter().find(|device| {
            !found.contains(device)
                && (files.contains(&(device.backing_device, device.backing_inode))
                    || device.backing_file.starts_with(directory)
                    || found.iter().any(|below| below.number == device.backing_device))
        });
        match next {
            // The newest first: a pool's device comes after those of its volumes, which keep it busy.
            Some(device) => found.insert(0, device.clone()),
            None => return found,
        }
    }
}

/// The files of all nodes' pools and of whatever else lies in their directories, by device and inode. What containerd
/// keeps is left out: it backs no device, and is many.
fn files(directory: &Path) -> BTreeSet<(DeviceNumber, u64)> {
    let mut found = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok) {
            let Ok(metadata) = entry.metadata() else { continue };
            let device = metadata.dev();
            if metadata.is_file() {
                found.insert(((rustix::fs::major(device), rustix::fs::minor(device)), metadata.ino()));
            } else if metadata.is_dir() && entry.file_name() != "containerd" && entry.file_name() != "state" {
                directories.push(entry.path());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Vec<LoopDevice> {
        let lines = [
            "/dev/loop0   7:0    254:0         11 /elsewhere/other bed.img",
            "/dev/loop1 7:1 254:0 12 /pool.img",
            "/dev/loop2 7:2 7:1 13 /pool/volumes/a/image (deleted)",
            "/dev/loop3 7:3 254:0 14 /var/lib/orlop/a/node-1/x (deleted)",
        ];
        lines.iter().map(|line| parse(line).expect("a line of losetup")).collect()
    }

    #[test]
    fn devices_are_found_by_inode_by_path_and_by_the_device_below_and_no_others() {
        let files = BTreeSet::from([((254, 0), 12)]);
        let found = below(&devices(), &files, Path::new("/var/lib/orlop/a"));
        let paths: Vec<_> = found.iter().map(|device| device.path.to_str().expect("text")).collect();
        assert_eq!(paths, ["/dev/loop3", "/dev/loop2", "/dev/loop1"]);
    }

    #[test]
    fn a_file_name_with_spaces_is_read_whole() {
        assert_eq!(devices()[0].backing_file, Path::new("/elsewhere/other bed.img"));
    }
}
