//! A pool on a block device of its own.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use orlop_api::Bytes;
use rustix::{
    fs::{major, minor},
    mount::{MountFlags, mount},
};

use crate::{Error, Result, grow::grow_xfs, loops::DeviceNumber, mounts::Table, tool};

/// A pool on a block device: a disk, a partition, a RAID array. It is formatted as XFS if it holds nothing at all.
#[derive(Debug, Clone)]
pub struct PoolDevice {
    /// The device, best by a name that stays, such as one in `/dev/disk/by-id`.
    pub path: PathBuf,
}

/// What a device holds, as `blkid(8)` of util-linux finds it.
#[derive(Debug, PartialEq, Eq)]
enum Holds {
    /// No filesystem, partition table or member of anything that it knows.
    NothingKnown,
    /// A filesystem of that type.
    Filesystem(String),
    /// Anything else, in words.
    Other(String),
}

impl PoolDevice {
    /// Mounts the device at `root` if it is not mounted, and enlarges its XFS if the device has been enlarged. Formats
    /// it only if nothing is known about what it holds and its ends read as zeros; whatever else it may hold is an
    /// error.
    pub fn mount(&self, root: &Path) -> Result<()> {
        let fail = || Error::io("make the pool", root.display());
        fs::create_dir_all(root).map_err(fail())?;
        let root = fs::canonicalize(root).map_err(fail())?;
        let number = self.number()?;
        let filesystem = match self.probe()? {
            Holds::Filesystem(filesystem) if filesystem == "xfs" || filesystem == "btrfs" => filesystem,
            Holds::Filesystem(other) | Holds::Other(other) => return Err(self.refuse(&format!("holds {other}"))),
            Holds::NothingKnown if self.is_blank()? => {
                tracing::info!(device = %self.path.display(), "formatting a blank device as a pool");
                // A disk that can discard is discarded first, which is what mkfs does: nothing is on it.
                tool::run("mkfs.xfs", &["-q", "-mreflink=1"], &self.path, 0)?;
                "xfs".to_owned()
            }
            Holds::NothingKnown => return Err(self.refuse("holds something that is not known")),
        };
        // A btrfs has a number of its own in the mount table, and there its device is only named.
        let mounted = Table::read()?.at(&root).is_some_and(|mount| mount.device == number || mount.source == self.path);
        if !mounted {
            mount(&self.path, &root, filesystem.as_str(), MountFlags::NOATIME, c"").map_err(Error::io(
                "mount",
                format!("{} as {filesystem} at {}", self.path.display(), root.display()),
            ))?;
        }
        if filesystem == "xfs" { grow_xfs(&self.path) } else { Ok(()) }
    }

    fn number(&self) -> Result<DeviceNumber> {
        let metadata = fs::metadata(&self.path).map_err(Error::io("find the pool's device", self.path.display()))?;
        if !metadata.file_type().is_block_device() {
            return Err(self.error("it is not a block device".to_owned()));
        }
        Ok((major(metadata.rdev()), minor(metadata.rdev())))
    }

    /// Asks what is on the device itself, not in a cache, and also for partition tables.
    fn probe(&self) -> Result<Holds> {
        let failure = |detail| Error::Tool { tool: "blkid", object: self.path.display().to_string(), detail };
        let output = Command::new("blkid")
            .args(["--probe", "--output", "export"])
            .arg(&self.path)
            .env("LC_ALL", "C")
            .output()
            .map_err(|error| failure(format!("cannot start it: {error}")))?;
        holds(output.status.code(), &String::from_utf8_lossy(&output.stdout)).map_err(failure)
    }

    /// Do the first and the last MiB read as zeros? What no tool knows may still be somebody's data.
    fn is_blank(&self) -> Result<bool> {
        let read = || -> std::io::Result<bool> {
            let mut device = File::open(&self.path)?;
            let size = device.seek(SeekFrom::End(0))?;
            let mut part = Vec::new();
            for start in [0, size.saturating_sub(Bytes::MIB.0)] {
                device.seek(SeekFrom::Start(start))?;
                (&device).take(Bytes::MIB.0).read_to_end(&mut part)?;
            }
            Ok(!part.is_empty() && part.iter().all(|byte| *byte == 0))
        };
        read().map_err(Error::io("read", self.path.display()))
    }

    fn refuse(&self, what: &str) -> Error {
        let path = self.path.display();
        self.error(format!(
            "{path} {what}, and only a blank device is formatted: name another, or, if nothing on it is needed, wipe it \
             yourself (wipefs --all {path}; blkdiscard -f {path}, or zeros over its first and last MiB)"
        ))
    }

    fn error(&self, reason: String) -> Error {
        Error::Pool { path: self.path.clone(), reason }
    }
}

/// Reads what `blkid --probe` has said: 0 with `NAME=value` lines, 2 if it knows nothing of what is there, and 8 if
/// that is ambiguous (`blkid(8)`, "EXIT STATUS").
fn holds(code: Option<i32>, output: &str) -> Result<Holds, String> {
    let value = |name: &str| output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match code {
        Some(0) => Ok(match (value("USAGE"), value("TYPE"), value("PTTYPE")) {
            (Some("filesystem"), Some(filesystem), _) => Holds::Filesystem(filesystem.to_owned()),
            (_, Some(other), _) => Holds::Other(other.to_owned()),
            (_, None, Some(table)) => Holds::Other(format!("a partition table ({table})")),
            _ => Holds::Other("something that blkid knows".to_owned()),
        }),
        Some(2) => Ok(Holds::NothingKnown),
        Some(8) => Ok(Holds::Other("several things at once".to_owned())),
        code => Err(format!("it ended with {code:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_blkid_knows_nothing_of_may_be_blank() {
        let xfs = "DEVNAME=/dev/x\nUUID=1\nTYPE=xfs\nUSAGE=filesystem\n";
        assert_eq!(holds(Some(0), xfs), Ok(Holds::Filesystem("xfs".into())));
        let member = "TYPE=LVM2_member\nUSAGE=raid\n";
        assert_eq!(holds(Some(0), member), Ok(Holds::Other("LVM2_member".into())));
        assert_eq!(holds(Some(0), "PTTYPE=gpt\n"), Ok(Holds::Other("a partition table (gpt)".into())));
        assert_eq!(holds(Some(0), ""), Ok(Holds::Other("something that blkid knows".into())));
        assert_eq!(holds(Some(2), ""), Ok(Holds::NothingKnown));
        assert!(matches!(holds(Some(8), ""), Ok(Holds::Other(_))));
        assert!(holds(Some(4), "").is_err() && holds(None, "").is_err());
    }
}
