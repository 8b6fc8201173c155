//! The truth about a claim's volume: how large it is, how much is written, what its driver is doing. Fill is a straight
//! line between two events, so that nothing has to happen while nothing changes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, Count, Modifications};
use orlop_operator::kubelets::Measured;
use orlop_planner::{
    Capacity, LoadReading, LoadWatch, Quiet, Rates, Watch,
    forecast::{FillHistory, Sample},
};

use crate::{
    fact::Resource,
    io::{Io, KEPT, Level, WINDOW},
    process::later,
    scenario,
};

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
    pub(crate) attributes: Attributes,
    pub(crate) io: Io,
    /// When the driver took modifications.
    pub(crate) modified: Vec<Duration>,
    /// The workload's present stretch, counted from 0.
    pub(crate) stretch: u64,
    pub(crate) full: bool,
    pub(crate) agent: AgentView,
    /// What the kubelet of the pod's node last measured.
    pub(crate) summary: Option<Measured>,
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

/// What the driver has made of the claim's VolumeAttributesClass.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) current: Option<String>,
    pub(crate) change: Change,
}

/// What the driver's controller does about the class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Change {
    #[default]
    Idle,
    /// It gives the volume this class.
    Running { to: String },
    /// It has failed so many times, and tries again later.
    Failed { times: u32 },
    /// It has refused this class for good, and is asked for it again only then.
    Refused { class: String, again: Duration },
}

impl Attributes {
    pub(crate) const fn is_changing(&self) -> bool {
        matches!(self.change, Change::Running { .. })
    }
}

/// What the agent of the volume's node knows and has said.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentView {
    pub(crate) history: FillHistory,
    pub(crate) sampled: Option<Duration>,
    pub(crate) reported: Option<Reported>,
    pub(crate) crossed: Option<Timestamp>,
    /// When the next report is planned for.
    pub(crate) planned_at: Option<Duration>,
    /// Since when it has counted what the volume's device does.
    counting: Duration,
    /// Since when it remembers the most that was done.
    peak_since: Duration,
    /// What it was last asked of the load, and has said.
    told: Option<(Arc<LoadWatch>, Option<Level>)>,
    /// Since when the volume has done little.
    quiet: Option<QuietFor>,
}

/// Since when a volume has done little, by which watch, and the most that it has done since.
#[derive(Debug, Clone)]
struct QuietFor {
    watch: Arc<LoadWatch>,
    since: Duration,
    peak: Rates,
}

impl AgentView {
    /// One that has just begun to look at the volume.
    pub(crate) fn new(now: Duration) -> Self {
        let mut view = Self::default();
        view.count_from(now);
        view
    }

    /// What was counted before is of no use.
    pub(crate) fn count_from(&mut self, now: Duration) {
        (self.counting, self.peak_since) = (now, now);
        self.quiet = None;
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported {
    pub(crate) at: Duration,
    pub(crate) available: Bytes,
    pub(crate) total: Bytes,
    pub(crate) free_inodes: Option<Count>,
}

/// A rate that ended so long ago may still be seen: a kubelet that does not answer is asked again after ten minutes, and what
/// it then says is a mean over them.
const PEAKS_FOR: Duration = Duration::from_mins(15);

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
            attributes: Attributes { current: spec.attributes_class.clone(), change: Change::Idle },
            io: Io::default(),
            modified: Vec::new(),
            stretch: 0,
            full: false,
            agent: AgentView::default(),
            summary: None,
            epoch: 0,
            spec,
        }
    }

    /// How much is written.
    pub fn used(&self, now: Duration) -> Bytes {
        let millis = u64::try_from(now.saturating_sub(self.since).as_millis()).unwrap_or(u64::MAX);
        let since = u128::from(self.rate.0) * u128::from(millis) / 1000;
        let used = u64::try_from(u128::from(self.written.0) + since).unwrap_or(u64::MAX);
        Bytes(used.min(self.room().0))
    }

    /// How much can be written in all, until the bytes or the inodes are used up.
    fn room(&self) -> Bytes {
        let by_inodes = |it: &scenario::Inodes| self.inodes_in_all(it).saturating_mul(it.file_size.0.max(1));
        Bytes(self.spec.inodes.as_ref().map_or(self.filesystem.0, by_inodes).min(self.filesystem.0))
    }

    fn inodes_in_all(&self, inodes: &scenario::Inodes) -> u64 {
        self.filesystem.0 / inodes.bytes_each.0.max(1)
    }

    /// How many inodes there are, and how many of them are free; none where the filesystem does not count them.
    pub fn inodes(&self, now: Duration) -> Option<Capacity<Count>> {
        let inodes = self.spec.inodes.as_ref()?;
        let total = self.inodes_in_all(inodes);
        let used = self.used(now).0.div_ceil(inodes.file_size.0.max(1));
        Some(Capacity { total: Count(total), free: Count(total.saturating_sub(used)) })
    }

    /// What keeps anything more from being written; none where something can be.
    pub(crate) fn lacks(&self, now: Duration) -> Option<Resource> {
        let (used, room) = (self.used(now), self.room());
        let of = if room < self.filesystem { Resource::Inodes } else { Resource::Bytes };
        (used >= room).then_some(of)
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

    /// How fast is written now, bytes a second.
    pub const fn rate(&self) -> Bytes {
        self.rate
    }

    /// The fastest rate within so long before: what a window over it may show. At most a quarter of an hour.
    pub(crate) fn peak(&self, within: Duration, now: Duration) -> Bytes {
        let ended = self.peaks.iter().filter(|(until, _)| now.saturating_sub(*until) < within).map(|(_, rate)| *rate);
        ended.fold(self.rate, Bytes::max)
    }

    /// From now on this is written, after something was deleted.
    pub(crate) fn write(&mut self, rate: Bytes, freed: Bytes, now: Duration) {
        self.settle(now);
        self.peaks.retain(|(until, _)| now.saturating_sub(*until) < PEAKS_FOR);
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

    /// When nothing more can be written; none where that never comes at the present rate.
    pub(crate) fn until_full(&self, now: Duration) -> Option<Duration> {
        self.until_used(self.room().0, now)
    }

    /// When so much will be left at the latest.
    fn until_available(&self, left: u64, now: Duration) -> Option<Duration> {
        self.until_used(self.filesystem.0.saturating_sub(left), now)
    }

    /// When so many inodes will be left at the latest.
    fn until_free_inodes(&self, left: u64, now: Duration) -> Option<Duration> {
        let inodes = self.spec.inodes.as_ref()?;
        // A file takes its inode with its first byte.
        let full = self.inodes_in_all(inodes).saturating_sub(left).checked_sub(1);
        full.map_or(Some(Duration::ZERO), |full| {
            self.until_used(full.saturating_mul(inodes.file_size.0).saturating_add(1), now)
        })
    }

    /// When so much will be used; none where that never comes at the present rate and size, zero where it is so now.
    fn until_used(&self, wanted: u64, now: Duration) -> Option<Duration> {
        let used = self.used(now).0;
        if wanted <= used {
            return Some(Duration::ZERO);
        }
        if wanted > self.room().0 {
            return None;
        }
        let millis = (u128::from(wanted - used) * 1000).checked_div(u128::from(self.rate.0))?;
        u64::try_from(millis).ok().map(|millis| Duration::from_millis(millis + 1))
    }

    /// The agent has taken a sample at this time, since which or since the last sample nothing has changed. `at` is that time
    /// as a true one: that a clock is set does not count here, since the agent begins anew then.
    pub(crate) fn sample(&mut self, when: Duration, at: Timestamp) {
        if when < self.since || self.agent.sampled.is_some_and(|sampled| when <= sampled) {
            return;
        }
        self.agent.sampled = Some(when);
        let sample = Sample { at, total: self.filesystem, available: self.available(when) };
        self.agent.history.push(sample);
    }

    /// When the agent has something to report, if nothing changes until then: how long from now.
    pub(crate) fn until_report(&self, watch: Option<&Watch>, now: Duration) -> Duration {
        const AT_LEAST_EVERY: Duration = Duration::from_mins(1);
        let Some(reported) = self.agent.reported else { return Duration::ZERO };
        if reported.total != self.filesystem {
            return Duration::ZERO;
        }
        let regular = AT_LEAST_EVERY.saturating_sub(now.saturating_sub(reported.at));
        let events = [
            self.until_moved(&reported, now),
            watch.and_then(|watch| self.until_crossing(watch, now)),
            watch.and_then(|watch| self.until_load(watch.load.as_ref()?, now)),
        ];
        events.into_iter().flatten().fold(regular, Duration::min)
    }

    /// When a hundredth of the bytes or of the inodes will have come or gone since a report.
    fn until_moved(&self, reported: &Reported, now: Duration) -> Option<Duration> {
        let part = (self.filesystem.0 / 100).max(1);
        if self.available(now).0 >= reported.available.0.saturating_add(part) {
            return Some(Duration::ZERO);
        }
        let bytes = reported.available.0.checked_sub(part).and_then(|left| self.until_available(left, now));
        let inodes = reported.free_inodes.zip(self.inodes(now)).and_then(|(then, is)| {
            let part = (is.total.0 / 100).max(1);
            if is.free.0 >= then.0.saturating_add(part) {
                return Some(Duration::ZERO);
            }
            then.0.checked_sub(part).and_then(|left| self.until_free_inodes(left, now))
        });
        bytes.into_iter().chain(inodes).min()
    }

    /// When the volume will be beyond its watch; none where it is so already.
    fn until_crossing(&self, watch: &Watch, now: Duration) -> Option<Duration> {
        if self.agent.crossed.is_some() {
            return None;
        }
        let soon = self.rate.0.saturating_mul(watch.seconds_to_full_below);
        let bytes = self.until_available(watch.available_below.0.max(soon).saturating_sub(1), now);
        let inodes = watch.free_inodes_below.0.checked_sub(1).and_then(|left| self.until_free_inodes(left, now));
        bytes.into_iter().chain(inodes).min()
    }

    /// What is done a second by the agent's counters; none before they have been read for as long as rates are taken.
    fn rates(&self, now: Duration) -> Option<Rates> {
        (now >= self.agent.counting + WINDOW).then(|| self.rates_of(self.io.mean(now)))
    }

    /// The most that was done since this was last said.
    fn peak_rates(&self, now: Duration) -> Rates {
        let from = self.agent.peak_since.max(self.agent.counting + WINDOW);
        self.rates_of(self.io.peak(from, now.max(from)))
    }

    /// What so many operations a second are in every respect.
    pub(crate) fn rates_of(&self, operations: u64) -> Rates {
        self.spec.demand.as_ref().map_or_else(Rates::default, |demand| demand.rates(operations))
    }

    fn level(&self, watch: &LoadWatch, now: Duration) -> Option<Level> {
        Some(Level::of(&self.rates(now)?, &self.peak_rates(now), watch))
    }

    /// When how much the volume does may be news: the agent looks once a second while that changes.
    fn until_load(&self, watch: &Arc<LoadWatch>, now: Duration) -> Option<Duration> {
        let told = self.agent.told.as_ref().filter(|(of, _)| of == watch).and_then(|(_, level)| *level);
        if told != self.level(watch, now) {
            return Some(Duration::ZERO);
        }
        let steady_from = self.io.steady_from().max(self.agent.counting + WINDOW);
        (now <= steady_from).then_some(Duration::from_secs(1))
    }

    /// What the agent says of the load with its report, where it was asked for and is known. `at` is the time by its clock.
    pub(crate) fn tell_load(
        &mut self,
        watch: Option<&Arc<LoadWatch>>,
        now: Duration,
        at: Timestamp,
    ) -> Option<LoadReading> {
        // Without a new question it goes by the last.
        if let Some(watch) = watch.cloned().or_else(|| self.agent.quiet.as_ref().map(|quiet| quiet.watch.clone())) {
            self.note_quiet(watch, now);
        }
        let level = watch.and_then(|watch| self.level(watch, now));
        let (rates, peak) = (self.rates(now), self.peak_rates(now));
        self.agent.told = watch.map(|watch| (watch.clone(), level));
        self.agent.peak_since = now;
        let watch = watch.filter(|_| level.is_some())?;
        let quiet = self.agent.quiet.as_ref().map(|QuietFor { since, peak, .. }| {
            let long = SignedDuration::try_from(now.saturating_sub(*since)).unwrap_or_default();
            Quiet { since: later(at, -long), peak: *peak }
        });
        let rates = rates?;
        Some(LoadReading { at, rates, peak, pressure: None, peak_pressure: None, quiet, watch: Some(**watch) })
    }

    /// Takes note of whether the volume has done little since the last report.
    fn note_quiet(&mut self, watch: Arc<LoadWatch>, now: Duration) {
        let peak = self.peak_rates(now);
        let is_known = self.rates(now).is_some() && now.saturating_sub(self.agent.peak_since) < KEPT;
        let before = self.agent.quiet.take().filter(|before| before.watch == watch);
        let begins = self.agent.peak_since.max(self.agent.counting + WINDOW);
        self.agent.quiet = (is_known && watch.is_quiet(&peak, None)).then(|| match before {
            Some(before) => QuietFor { peak: before.peak.max(peak), ..before },
            None => QuietFor { watch, since: begins, peak },
        });
    }
}
