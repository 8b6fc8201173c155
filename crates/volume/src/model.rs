//! What a pool holds, and what is said about it.

use std::{fmt, num::NonZeroU64, str::FromStr, time::SystemTime};

use orlop_api::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Filesystem, GroupId, SIZE_INCREMENT, SnapshotId, VolumeId};

/// What a volume is to its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Files, in a filesystem that is mounted.
    Filesystem(Filesystem),
    /// A raw block device, of which the driver never reads or writes a byte.
    Block,
}

impl Content {
    /// The smallest volume of this kind.
    pub const fn minimum(self) -> Bytes {
        match self {
            Self::Filesystem(filesystem) => filesystem.minimum(),
            Self::Block => SIZE_INCREMENT,
        }
    }
}

/// `xfs`, `ext4`, `btrfs` or `block`.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filesystem(filesystem) => filesystem.fmt(f),
            Self::Block => "block".fmt(f),
        }
    }
}

/// When a volume's bytes are taken from the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provisioning {
    /// As they are written. What is deleted in the volume goes back to the pool when it is trimmed.
    #[default]
    Thin,
    /// All at once, when the volume is made: they are there, whatever else fills the pool. Nothing is ever trimmed.
    Thick,
}

impl fmt::Display for Provisioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thin => "thin",
            Self::Thick => "thick",
        }
        .fmt(f)
    }
}

impl FromStr for Provisioning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Thin, Self::Thick]
            .into_iter()
            .find(|provisioning| provisioning.to_string() == text)
            .ok_or_else(|| format!("provisioning `{text}` is unknown: use thin or thick"))
    }
}

/// How much a volume may do each second. `None` is without a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Reads a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_iops: Option<NonZeroU64>,
    /// Writes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_iops: Option<NonZeroU64>,
    /// Bytes read a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bandwidth: Option<NonZeroU64>,
    /// Bytes written a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_bandwidth: Option<NonZeroU64>,
}

/// What a new volume starts with. Both are done in constant time, and share their bytes with the new volume until either
/// is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// What a snapshot holds.
    Snapshot(SnapshotId),
    /// What another volume holds at this moment, also while it is in use.
    Volume(VolumeId),
}

/// A volume to be made.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// The name that the volume is asked for by. The same name always means the same volume.
    pub name: String,
    /// The least size it may have, and the size that it gets, rounded up to [`SIZE_INCREMENT`].
    pub at_least: Bytes,
    /// The largest size that a volume of this name may already have.
    pub at_most: Option<Bytes>,
    /// What it is to its user. With a source, the source must be the same.
    pub content: Content,
    /// When its bytes are taken.
    pub provisioning: Provisioning,
    /// What it starts with; empty without.
    pub source: Option<Source>,
    /// What it may do each second.
    pub limits: Limits,
}

impl NewVolume {
    /// The size that a new volume gets.
    pub fn size(&self) -> Bytes {
        self.at_least.round_up(SIZE_INCREMENT)
    }

    /// Is `volume`, which has the same name, what is asked for here? Its limits may have been changed since.
    pub(crate) fn accepts(&self, volume: &Volume) -> bool {
        volume.content == self.content
            && volume.provisioning == self.provisioning
            && volume.source == self.source
            && volume.size >= self.at_least
            && self.at_most.is_none_or(|limit| volume.size <= limit)
    }

    pub(crate) fn conflict(&self, with: &Volume) -> crate::Error {
        let described = |provisioning: Provisioning, content: Content, source: &Option<Source>| {
            let from = match source {
                Some(Source::Snapshot(id)) => format!(" from {id}"),
                Some(Source::Volume(id)) => format!(" from {id}"),
                None => String::new(),
            };
            format!("{provisioning} {content}{from}")
        };
        let sizes = match self.at_most {
            Some(limit) => format!("{} to {limit}", self.at_least),
            None => format!("at least {}", self.at_least),
        };
        crate::Error::Conflict {
            name: self.name.clone(),
            present: format!(
                "a volume of {} of {}",
                described(with.provisioning, with.content, &with.source),
                with.size
            ),
            asked: format!("{} of {sizes}", described(self.provisioning, self.content, &self.source)),
        }
    }
}

/// A volume that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its identity, made from the node's name and its own.
    pub id: VolumeId,
    /// The name that it was asked for by.
    pub name: String,
    /// What is promised to its user. The filesystem may still be smaller, when a growth was interrupted.
    pub size: Bytes,
    /// What it is to its user.
    pub content: Content,
    /// When its bytes are taken.
    pub provisioning: Provisioning,
    /// What it started with.
    pub source: Option<Source>,
    /// What it may do each second.
    pub limits: Limits,
}

/// A snapshot that is there: what a volume held at one moment, as after a loss of power at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identity, made from the node's name and its own.
    pub id: SnapshotId,
    /// The name that it was asked for by.
    pub name: String,
    /// The volume that it was taken of, which may be gone by now.
    pub volume: VolumeId,
    /// The volume's size at that moment, and the least size of a volume that starts with it.
    pub size: Bytes,
    /// What the volume is to its user.
    pub content: Content,
    /// When it was taken.
    pub taken: SystemTime,
    /// The group that it was taken with.
    pub group: Option<GroupId>,
}

/// Snapshots of several volumes that were taken at one moment: nothing was written to any of them between the first and
/// the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its identity, made from the node's name and its own.
    pub id: GroupId,
    /// The name that it was asked for by.
    pub name: String,
    /// One of each volume, in the order of the volumes' ids.
    pub snapshots: Vec<Snapshot>,
    /// When it was taken.
    pub taken: SystemTime,
}

/// How full a volume's filesystem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The filesystem's size.
    pub total: Bytes,
    /// What an unprivileged writer may still write.
    pub available: Bytes,
    /// What is in use.
    pub used: Bytes,
    /// The number of inodes, in use and free. 0 where the filesystem has no fixed number of them, as btrfs.
    pub total_inodes: u64,
    /// The number of free inodes.
    pub free_inodes: u64,
}

/// A range of a volume, in bytes. Neither is negative, and `offset + length` is at most the volume's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts.
    pub offset: u64,
    /// How long it is; never 0.
    pub length: u64,
}

/// What a volume's device has done since it was attached (`Documentation/block/stat.rst` of the kernel).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Reads completed.
    pub reads: u64,
    /// Writes completed.
    pub writes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Milliseconds that reads took, together.
    pub read_ms: u64,
    /// Milliseconds that writes took, together.
    pub write_ms: u64,
}

/// What is wrong with a volume or with the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ailment {
    /// How bad it is.
    pub severity: Severity,
    /// A CamelCase word for machines, such as `PoolLow`.
    pub reason: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// How bad an ailment is, in the words of CSI 1.13.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, and soon may not.
    Degraded,
    /// It does not work, and its data is there.
    Inaccessible,
    /// Data is lost, or may be.
    DataLoss,
}

/// How a pool stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolState {
    /// The size of its filesystem.
    pub total: Bytes,
    /// What is free in its filesystem at this moment, the ballast not counted.
    pub free: Bytes,
    /// The sizes of all volumes.
    pub promised: Bytes,
    /// What volumes may yet take: bytes never written, and bytes shared with a snapshot or a clone, which take room when
    /// they are overwritten.
    pub outstanding: Bytes,
    /// What is allocated to images of volumes, shared bytes counted with each.
    pub allocated: Bytes,
    /// What is allocated to images of volumes and shared with others.
    pub shared: Bytes,
    /// What is kept back for an emergency. 0 once it has been given up.
    pub ballast: Bytes,
    /// How much may be promised to one more thin volume.
    pub available_thin: Bytes,
    /// How much may be promised to one more thick volume.
    pub available_thick: Bytes,
    /// What is wrong with it; nothing, if it is well.
    pub ailments: Vec<Ailment>,
    /// Are the writers of volumes that may take more held up, because the pool is all but full?
    pub paused: bool,
}
