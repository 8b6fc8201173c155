//! Everything that can go wrong with a volume, as its user reads it.

use std::{fmt, io, path::PathBuf};

use orlop_api::Bytes;

use crate::{GroupId, SnapshotId, VolumeId};

/// A failure, with the object that it concerns and what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such volume in this pool.
    #[error("volume {0} is not on this node")]
    NotFound(VolumeId),
    /// No such snapshot in this pool.
    #[error("snapshot {0} is not on this node")]
    NoSnapshot(SnapshotId),
    /// No such group in this pool.
    #[error("group {0} is not on this node")]
    NoGroup(GroupId),
    /// What a volume is to start with is not there.
    #[error("the new volume's source is missing: {0}")]
    SourceMissing(String),
    /// What a volume is to start with is something else.
    #[error(
        "{source_id} holds {present}, and a volume of {asked} is asked for: use a class and a volume mode that fit it"
    )]
    SourceDiffers {
        /// The snapshot or volume.
        source_id: String,
        /// What it holds.
        present: String,
        /// What was asked for.
        asked: String,
    },
    /// A snapshot of a group cannot go alone.
    #[error("snapshot {id} is part of {group}: delete the group")]
    InGroup {
        /// The snapshot.
        id: SnapshotId,
        /// Its group.
        group: GroupId,
    },
    /// Two snapshots that cannot be compared.
    #[error("{0} and {1} are not snapshots of one volume")]
    Unrelated(SnapshotId, SnapshotId),
    /// Writers that cannot be held up.
    #[error("raw block volume {0} is in use, and nobody can hold up its writers for a group: stop its pods first")]
    CannotFreeze(VolumeId),
    /// The volume was thawed before the snapshot was complete, which is no snapshot then.
    #[error("volume {0} was thawed before its snapshot was complete, so that there is none: try again")]
    ThawedEarly(VolumeId),
    /// Nobody would thaw a volume if this process died.
    #[error("no volume is frozen without a watchdog that would thaw it: {0}")]
    NoWatchdog(String),
    /// The name is taken by something else of its kind.
    #[error("the name `{name}` is taken by {present}, and {asked} is asked for: use another name")]
    Conflict {
        /// The name asked for.
        name: String,
        /// What is there.
        present: String,
        /// What was asked for.
        asked: String,
    },
    /// Smaller than its content can be.
    #[error("{asked} is too small for {content}: ask for {minimum} or more")]
    TooSmall {
        /// The size asked for.
        asked: Bytes,
        /// What it would hold: a filesystem, or what its source holds.
        content: String,
        /// The smallest size possible.
        minimum: Bytes,
    },
    /// The pool cannot promise that much.
    #[error("the pool has room for {} more, and {} is asked for: use another node, or enlarge the pool", .available.human(), .asked.human())]
    NoRoom {
        /// What was asked for, beyond what the volume already has.
        asked: Bytes,
        /// What can still be promised.
        available: Bytes,
    },
    /// The volume is mounted or attached.
    #[error("volume {id} is in use: {by}")]
    InUse {
        /// The volume.
        id: VolumeId,
        /// Where it is in use.
        by: String,
    },
    /// Another call for the same volume, snapshot or group is under way.
    #[error("another operation on {0} is under way: try again")]
    Busy(String),
    /// The volume is not mounted where it is said to be staged.
    #[error("volume {id} is not staged at {}: stage it first", .path.display())]
    NotStaged {
        /// The volume.
        id: VolumeId,
        /// Where it should be staged.
        path: PathBuf,
    },
    /// The volume is not mounted at that path.
    #[error("volume {id} is not mounted at {}", .path.display())]
    NotMounted {
        /// The volume.
        id: VolumeId,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something else is mounted there, and is left alone.
    #[error("something other than volume {id} is mounted at {}: unmount it first", .path.display())]
    Occupied {
        /// The volume.
        id: VolumeId,
        /// The path.
        path: PathBuf,
    },
    /// A mount option that cannot be used.
    #[error("mount option `{0}` is not allowed: {1}")]
    MountOption(String, &'static str),
    /// The volume cannot grow while it is mounted.
    #[error(
        "volume {0} has its new size, and its ext4 filesystem cannot grow while it is mounted, because this process \
         lacks CAP_SYS_RESOURCE: it grows when the volume is next staged, so restart the pods that use it"
    )]
    GrowsWhenStaged(VolumeId),
    /// The pool cannot be used.
    #[error("the pool {} cannot be used: {reason}", .path.display())]
    Pool {
        /// The pool's directory or file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The record beside an image cannot be read.
    #[error("the record {} is damaged: {reason}", .path.display())]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A loop device does not do direct I/O.
    #[error("{device} does not do direct I/O on {image}: the pool's filesystem must support it")]
    Buffered {
        /// The loop device.
        device: String,
        /// The image.
        image: String,
    },
    /// A filesystem tool failed.
    #[error("{tool} failed on {object}: {detail}")]
    Tool {
        /// The tool's name.
        tool: &'static str,
        /// What it worked on.
        object: String,
        /// What it said.
        detail: String,
    },
    /// The kernel refused an operation.
    #[error("cannot {action} {object}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: an I/O failure of `action` on `object`.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, object: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, object: object.to_string(), source: source.into() }
    }
}
