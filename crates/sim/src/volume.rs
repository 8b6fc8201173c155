//! The truth about a claim's volume: how large it is, how much is written, what its driver is doing. Fill is a straight
//! line between two events, so that nothing has to happen while nothing changes.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use orlop_api::{Bytes, Modifications};
use orlop_planner::{Watch, forecast::FillHistory};

use crate::scenario;

/// A volume.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The claim's name.
    pub(crate) claim: String,
    /// The claim as the scenario has it.
    pub(crate) spec: scenario::Claim,
    /// What the driver has made the volume.
    pub(crate) size: Bytes,
    /// What the filesystem has in all.
    pub(crate) filesystem: Bytes,
    /// How much was written by `since`.
    written: Bytes,
    since: Duration,
    /// How fast is written since, bytes a second.
    rate: Bytes,
    /// Until when it was written at which rates, lately.
    peaks: Vec<(Duration, Bytes)>,
    /// The nodes whose agents have reported it.
    pub(crate) seen_on: BTreeSet<usize>,
    /// The node of the pod that runs; none while none runs.
    pub(crate) node: Option<usize>,
    /// How many pods the claim has had, and how many claims of this name there have been.
    pub(crate) pods: u64,
    pub(crate) lives: u64,
    pub(crate) expansion: Expansion,
    /// When the driver took modifications.
    pub(crate) modified: Vec<Duration>,
    /// The workload's present stretch, counted from 0.
    pub(crate) stretch: u64,
    pub(crate) full: bool,
    pub(crate) agent: AgentView,
    /// Events that were planned for an earlier state of the volume count for nothing.
    pub(crate) epoch: u64,
}

/// What the driver's controller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expansion {
    Idle,
    /// It expands the volume.
    Running {
        to: Bytes,
    },
    /// It has failed so many times, and tries again later.
    Failed {
        times: u32,
    },
    /// It has refused this size for good, and is asked for it again only then.
    Refused {
        to: Bytes,
        again: Duration,
    },
}

/// What the agent of the volume's node knows and has said.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentView {
    pub(crate) history: FillHistory,
    pub(crate) sampled: Option<Duration>,
    pub(crate) reported: Option<Reported>,
    pub(crate) crossed: Option<Timestamp>,
    /// Counts reports that are planned: only the last counts.
    pub(crate) planned: u64,
    pub(crate) planned_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported {
    pub(crate) at: Duration,
    pub(crate) available: Bytes,
    pub(crate) total: Bytes,
}

/// A filesystem takes a fiftieth of its volume for itself.
pub(crate) fn filesystem(size: Bytes) -> Bytes {
    Bytes(size.0 - size.0 / 50)
}

impl Volume {
    pub(crate) fn new(claim: &str, spec: scenario::Claim, now: Duration) -> Self {
        Self {
            claim: claim.to_owned(),
            size: spec.size,
            filesystem: filesystem(spec.size),
            written: spec.used,
            since: now,
            rate: Bytes(0),
            peaks: Vec::new(),
            seen_on: BTreeSet::new(),
            node: None,
            pods: 0,
            lives: 0,
            expansion: Expansion::Idle,
            modified: Vec::new(),
            stretch: 0,
            full: false,
            agent: AgentView::default(),
            epoch: 0,
            spec,
        }
    }

    /// How much is written.
    pub fn used(&self, now: Duration) -> Bytes {
        let millis = u64::try_from(now.saturating_sub(self.since).as_millis()).unwrap_or(u64::MAX);
        let since = u128::from(self.rate.0) * u128::from(millis) / 1000;
        let used = u64::try_from(u128::from(self.written.0) + since).unwrap_or(u64::MAX);
        Bytes(used.min(self.filesystem.0))
    }

    /// When the driver takes the next modification, by its own count.
    pub(crate) fn next_slot(&self, rule: &Modifications) -> Option<Duration> {
        let free = self.modified.len().checked_sub(usize::try_from(rule.count).unwrap_or(usize::MAX));
        let by_slot = free.map(|index| self.modified[index] + Duration::from(rule.window));
        let by_cooldown =
            self.modified.last().zip(rule.cooldown).map(|(last, cooldown)| *last + Duration::from(cooldown));
        by_slot.max(by_cooldown)
    }

    /// How much can still be written.
    pub fn available(&self, now: Duration) -> Bytes {
        Bytes(self.filesystem.0 - self.used(now).0)
    }

    /// What the driver has made the volume.
    pub const fn size(&self) -> Bytes {
        self.size
    }

    /// When the present stretch of writing began.
    pub(crate) const fn since(&self) -> Duration {
        self.since
    }

    /// How fast is written now, bytes a second.
    pub const fn rate(&self) -> Bytes {
        self.rate
    }

    /// The fastest rate of the last minutes: what a window over them may show.
    pub(crate) fn peak(&self, now: Duration) -> Bytes {
        const WINDOW: Duration = Duration::from_mins(2);
        let ended = self.peaks.iter().filter(|(until, _)| now.saturating_sub(*until) < WINDOW).map(|(_, rate)| *rate);
        ended.fold(self.rate, Bytes::max)
    }

    /// From now on this is written, after something was deleted.
    pub(crate) fn write(&mut self, rate: Bytes, freed: Bytes, now: Duration) {
        self.settle(now);
        self.peaks.retain(|(until, _)| now.saturating_sub(*until) < Duration::from_mins(2));
        self.peaks.push((now, self.rate));
        self.written = Bytes(self.written.0.saturating_sub(freed.0));
        self.rate = rate;
    }

    /// The filesystem takes the volume's size.
    pub(crate) fn grow_filesystem(&mut self, now: Duration) {
        self.settle(now);
        self.filesystem = filesystem(self.size);
    }

    fn settle(&mut self, now: Duration) {
        self.written = self.used(now);
        self.since = now;
    }

    /// When so much will be left at the latest; none where that never comes at the present rate, zero where it is so now.
    pub(crate) fn until_available(&self, left: Bytes, now: Duration) -> Option<Duration> {
        let available = self.available(now).0;
        if available <= left.0 {
            return Some(Duration::ZERO);
        }
        let millis = (u128::from(available - left.0) * 1000).checked_div(u128::from(self.rate.0))?;
        u64::try_from(millis).ok().map(|millis| Duration::from_millis(millis + 1))
    }

    /// When the agent has something to report, if nothing changes until then: how long from now.
    pub(crate) fn until_report(&self, watch: Option<&Watch>, now: Duration) -> Duration {
        const AT_LEAST_EVERY: Duration = Duration::from_mins(1);
        let Some(reported) = self.agent.reported else { return Duration::ZERO };
        if reported.total != self.filesystem {
            return Duration::ZERO;
        }
        let part = (self.filesystem.0 / 100).max(1);
        let regular = AT_LEAST_EVERY.saturating_sub(now.saturating_sub(reported.at));
        let moved = if self.available(now).0 >= reported.available.0.saturating_add(part) {
            Some(Duration::ZERO)
        } else {
            reported.available.0.checked_sub(part).and_then(|left| self.until_available(Bytes(left), now))
        };
        let crossing = watch.filter(|_| self.agent.crossed.is_none()).and_then(|watch| {
            let soon = Bytes(self.rate.0.saturating_mul(watch.seconds_to_full_below));
            let below = Bytes(watch.available_below.0.max(soon.0).saturating_sub(1));
            self.until_available(below, now)
        });
        [moved, crossing].into_iter().flatten().fold(regular, Duration::min)
    }
}
