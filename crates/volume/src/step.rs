//! The steps of each operation between which a process can die. An observer is told of each: tests use that to kill the
//! process there, and see that a repeated call completes the work.

use std::{fmt, str::FromStr};

/// Something was just done that another step follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The image is there, in a directory under a temporary name.
    CreateReserved,
    /// The volume from which a clone is made is frozen.
    CloneFrozen,
    /// The source's image is copied; its volume is still frozen, if it is a volume in use.
    CloneCopied,
    /// The clone has its own identity.
    CloneIdentified,
    /// The image is formatted.
    CreateFormatted,
    /// The record is beside the image.
    CreateRecorded,
    /// The volume has its name.
    CreateNamed,
    /// The image is attached to a loop device.
    StageAttached,
    /// The filesystem is mounted, or the block device bound.
    StageMounted,
    /// The volume is unmounted from where it was staged.
    UnstageUnmounted,
    /// The block volume is detached.
    UnstageDetached,
    /// The volume is bound to the target, and not yet made read-only there.
    PublishBound,
    /// The volume is unmounted from the target, of which the directory or file is still there.
    UnpublishUnmounted,
    /// The image has its new size.
    GrowImage,
    /// The loop device has its new size.
    GrowDevice,
    /// The filesystem has its new size.
    GrowFilesystem,
    /// The record says so.
    GrowRecorded,
    /// The volume's directory has a temporary name.
    DeleteRenamed,
    /// The volume's directory is gone.
    DeleteRemoved,
    /// The snapshot's directory is there under a temporary name, with its record.
    SnapshotIntended,
    /// The volume is frozen.
    SnapshotFrozen,
    /// The volume's image is copied, and the volume is still frozen.
    SnapshotCloned,
    /// The volume is thawed.
    SnapshotThawed,
    /// The copy is durable.
    SnapshotSynced,
    /// The snapshot has its name.
    SnapshotNamed,
    /// The snapshot's directory has a temporary name.
    SnapshotDeleteRenamed,
    /// The snapshot's directory is gone.
    SnapshotDeleteRemoved,
    /// The group's directory is there under a temporary name, with all records.
    GroupIntended,
    /// All its volumes are frozen.
    GroupFrozen,
    /// All images are copied, and the volumes are still frozen.
    GroupCloned,
    /// All volumes are thawed.
    GroupThawed,
    /// All copies are durable.
    GroupSynced,
    /// The group has its name, and all its snapshots are there.
    GroupNamed,
    /// The group's directory has a temporary name, and none of its snapshots is there.
    GroupDeleteRenamed,
    /// The group's directory is gone.
    GroupDeleteRemoved,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 35] = [
        Self::CreateReserved,
        Self::CloneFrozen,
        Self::CloneCopied,
        Self::CloneIdentified,
        Self::CreateFormatted,
        Self::CreateRecorded,
        Self::CreateNamed,
        Self::StageAttached,
        Self::StageMounted,
        Self::UnstageUnmounted,
        Self::UnstageDetached,
        Self::PublishBound,
        Self::UnpublishUnmounted,
        Self::GrowImage,
        Self::GrowDevice,
        Self::GrowFilesystem,
        Self::GrowRecorded,
        Self::DeleteRenamed,
        Self::DeleteRemoved,
        Self::SnapshotIntended,
        Self::SnapshotFrozen,
        Self::SnapshotCloned,
        Self::SnapshotThawed,
        Self::SnapshotSynced,
        Self::SnapshotNamed,
        Self::SnapshotDeleteRenamed,
        Self::SnapshotDeleteRemoved,
        Self::GroupIntended,
        Self::GroupFrozen,
        Self::GroupCloned,
        Self::GroupThawed,
        Self::GroupSynced,
        Self::GroupNamed,
        Self::GroupDeleteRenamed,
        Self::GroupDeleteRemoved,
    ];
}

/// The name as it is written in a setting: `CreateReserved`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Not the name of a step.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a step; steps are {list}", list = Step::ALL.map(|step| step.to_string()).join(", "))]
pub struct UnknownStep(String);

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, UnknownStep> {
        Self::ALL.into_iter().find(|step| step.to_string() == text).ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

/// Is told of each step. It need not return.
pub type Observer = Box<dyn Fn(Step) + Send + Sync>;

/// The observer for production, which does nothing.
pub fn unobserved() -> Observer {
    Box::new(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_step_reads_back() {
        for step in Step::ALL {
            assert_eq!(step.to_string().parse::<Step>().unwrap(), step);
        }
        assert!("create".parse::<Step>().unwrap_err().to_string().contains("CreateReserved, "));
    }
}
