//! What was recorded: samples of how full the filesystem of a claim was.

use jiff::Timestamp;
use orlop_api::{Bytes, Count};
use orlop_planner::Capacity;

/// How full a filesystem was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When, in milliseconds since the beginning of 1970 in UTC.
    pub at_ms: i64,
    /// All bytes of the filesystem.
    pub capacity: Bytes,
    /// The bytes that are used: what the workload wants to hold, whatever the size of its volume.
    pub used: Bytes,
    /// The bytes that can still be written. With those used they may be fewer than all: some filesystems hold a part back.
    pub available: Bytes,
    /// The inodes, where they were recorded.
    pub inodes: Option<Capacity<Count>>,
}

impl Sample {
    /// What can be held at all.
    pub(crate) fn usable(&self) -> u64 {
        self.used.0.saturating_add(self.available.0)
    }

    /// The inodes that are used, or zero where they were not recorded.
    pub(crate) fn inodes_used(&self) -> u64 {
        self.inodes.map_or(0, |inodes| inodes.total.0.saturating_sub(inodes.free.0))
    }

    /// Why it cannot be a sample of a filesystem, if it cannot.
    pub fn contradiction(&self) -> Option<&'static str> {
        if self.capacity.0 == 0 {
            return Some("the filesystem has no bytes at all");
        }
        if self.available > self.capacity {
            return Some("more bytes are available than there are");
        }
        if self.used > self.capacity {
            return Some("more bytes are used than there are");
        }
        if self.inodes.is_some_and(|inodes| inodes.free > inodes.total) {
            return Some("more inodes are free than there are");
        }
        time(self.at_ms).is_none().then_some("the time is beyond the years that a clock knows")
    }
}

/// A moment as the planner has it.
pub(crate) fn time(at_ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(at_ms).ok()
}
