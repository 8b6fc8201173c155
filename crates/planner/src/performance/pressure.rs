//! How much a pod waits for I/O, as the kernel's pressure stall information has it, and what that says about the limits of its
//! volume. By itself it says nothing: a pod waits for any of its disks, and for a disk that has no limit, too. It counts only
//! together with what the volume does.
//!
//! `full` is the share of time in which all tasks that were not idle waited for I/O at the same time, so that nothing was done
//! in the pod; `some` that in which at least one did (`Documentation/accounting/psi.rst` of Linux).

use orlop_api::Limits;

use super::load::Rates;

/// From this share of time on a pod counts as one that waits, in percent. What is read and written without a hurry, and each
/// start of a program, makes a pod wait for a moment; who waits for two seconds in ten does not get on.
const STALLED_PERCENT: u8 = 20;

/// A volume counts as one that holds its pod back only if it does this share of what its class gives, in percent. Over ten
/// seconds it comes to less than the whole where the pod's work comes in bursts, and where the service counts a large
/// operation as several and the device as one.
pub(super) const STRAINED_FROM_PERCENT: u8 = 70;

/// For which share of time, in percent, the tasks of a pod have waited for I/O, over some seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// At least one of them.
    pub some: u8,
    /// All that were not idle.
    pub full: u8,
}

impl Pressure {
    /// The higher of both in each, where they are known.
    pub fn most(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let most = |one: Self, other: Self| Self { some: one.some.max(other.some), full: one.full.max(other.full) };
        [one, other].into_iter().flatten().reduce(most)
    }

    const fn stalls(self) -> bool {
        self.full >= STALLED_PERCENT
    }

    /// Does the pod wait for a volume that is near its limits?
    pub(super) fn strains(self, gives: &Limits, rates: &Rates) -> bool {
        self.stalls() && rates.reaches(&gives.share(STRAINED_FROM_PERCENT))
    }

    /// Can half of the waiting or more be due to the volume's limits? A volume that is at its limit for some share of the time
    /// does at least that share of what its class gives. Where it does less, the pod waits for something else: for another
    /// disk, or for each of its writes in turn, which no class makes faster.
    pub(super) fn may_be_of(self, gives: &Limits, peak: &Rates) -> bool {
        self.stalls() && peak.reaches(&gives.share(self.full.min(100).div_ceil(2)))
    }
}
