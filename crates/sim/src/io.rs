//! The operations of a volume: how many its pod would do, how many are done, and what an agent's counters show of that. Both
//! stay the same between two events.

use std::{collections::VecDeque, fmt, time::Duration};

use fastrand::Rng;
use orlop_api::{Bytes, Dimension, Limits, Period};
use orlop_planner::{LoadWatch, Rates};
use serde::{Deserialize, Serialize};

use crate::workload::around;

/// Over how long an agent takes rates, as the real one does.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// For how long it is known what was done. An agent that nobody has listened to for longer begins anew.
pub(crate) const KEPT: Duration = Duration::from_mins(30);

/// How many operations a second a pod would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// When how many.
    #[serde(flatten)]
    pub pattern: Pattern,
    /// How many bytes each reads or writes: half of them read, half of them write.
    #[serde(default = "a_page")]
    pub bytes_each: Bytes,
}

/// How many operations a second over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pattern {
    /// The same all the time.
    Steady {
        /// How many.
        iops: u64,
    },
    /// More by day than by night: between nothing and twice the mean.
    Daily {
        /// The mean.
        iops: u64,
    },
    /// A burst every now and then, and nothing in between.
    Bursts {
        /// How many in a burst.
        iops: u64,
        /// How long a burst lasts.
        lasting: Period,
        /// How long from one to the next, on average.
        every: Period,
    },
}

const fn a_page() -> Bytes {
    Bytes(16 << 10)
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Pattern::Steady { iops } => write!(f, "{iops} operations a second"),
            Pattern::Daily { iops } => write!(f, "{iops} operations a second on average, most of them at noon"),
            Pattern::Bursts { iops, lasting, every } => {
                write!(f, "{iops} operations a second for {lasting}, about every {every}")
            }
        }
    }
}

impl Demand {
    /// How many operations a second from `now` on, the `index`th stretch of it, and for how long; without end where it says
    /// none.
    pub(crate) fn stretch(&self, index: u64, now: Duration, rng: &mut Rng) -> (u64, Option<Duration>) {
        match self.pattern {
            Pattern::Steady { iops } => (iops, None),
            Pattern::Daily { iops } => {
                let hour = now.as_secs() / 3600 % 24;
                (iops * 2 * hour.min(24 - hour) / 12, Some(Duration::from_hours(1)))
            }
            Pattern::Bursts { every, .. } if index.is_multiple_of(2) => (0, Some(around(every, rng))),
            Pattern::Bursts { iops, lasting, .. } => (iops, Some(lasting.into())),
        }
    }

    /// How many operations a second these limits allow.
    pub(crate) fn allowed_by(&self, limits: &Limits) -> u64 {
        let bytes = self.bytes_each.0.max(1);
        let operations = limits.iter().map(|(dimension, limit)| match dimension {
            Dimension::Iops => limit,
            Dimension::ReadIops | Dimension::WriteIops => limit.saturating_mul(2),
            Dimension::Throughput => limit / bytes,
            Dimension::ReadThroughput | Dimension::WriteThroughput => limit.saturating_mul(2) / bytes,
        });
        operations.min().unwrap_or(u64::MAX)
    }

    /// What so many operations a second are in every respect.
    pub(crate) const fn rates(&self, operations: u64) -> Rates {
        let reads = operations / 2;
        let writes = operations - reads;
        Rates::new(reads, writes, reads.saturating_mul(self.bytes_each.0), writes.saturating_mul(self.bytes_each.0))
    }
}

/// What is done on a volume.
#[derive(Debug, Clone, Default)]
pub(crate) struct Io {
    /// How many operations a second the pod would do.
    pub(crate) wanted: u64,
    /// Since when.
    pub(crate) wanted_since: Duration,
    /// Does the pod do fewer than it would?
    pub(crate) held_back: bool,
    /// From when on how many operations a second were done, the latest last.
    done: VecDeque<(Duration, u64)>,
    /// The demand's present stretch, counted from 0.
    pub(crate) stretch: u64,
    /// Events that were planned for an earlier demand count for nothing.
    pub(crate) epoch: u64,
}

impl Io {
    /// The pod would do so many operations a second from now on.
    pub(crate) fn want(&mut self, operations: u64, now: Duration) {
        if self.wanted != operations {
            (self.wanted, self.wanted_since) = (operations, now);
        }
    }

    /// From now on this many operations a second are done.
    pub(crate) fn does(&mut self, operations: u64, now: Duration) {
        if self.at_present() == operations {
            return;
        }
        self.done.push_back((now, operations));
        while self.done.get(1).is_some_and(|(since, _)| now.saturating_sub(*since) > KEPT) {
            self.done.pop_front();
        }
    }

    /// The pod has ended.
    pub(crate) fn end(&mut self, now: Duration) {
        self.epoch += 1;
        self.held_back = false;
        self.want(0, now);
        self.does(0, now);
    }

    /// How many operations a second are done.
    pub(crate) fn at_present(&self) -> u64 {
        self.done.back().map_or(0, |(_, operations)| *operations)
    }

    /// From when on the mean over the window stays what it is, if nothing else happens.
    pub(crate) fn steady_from(&self) -> Duration {
        self.done.back().map_or(Duration::ZERO, |(since, _)| *since + WINDOW)
    }

    /// How many operations a second were done in the window before a time.
    pub(crate) fn mean(&self, at: Duration) -> u64 {
        let begins = at.saturating_sub(WINDOW);
        let ends = self.done.iter().skip(1).map(|(since, _)| *since).chain([Duration::MAX]);
        let parts = self.done.iter().zip(ends).map(|((since, operations), until)| {
            let long = until.min(at).saturating_sub((*since).max(begins));
            u128::from(*operations) * long.as_millis()
        });
        u64::try_from(parts.sum::<u128>() / WINDOW.as_millis()).unwrap_or(u64::MAX)
    }

    /// The highest mean between two times: it is a straight line between what begins and ends in its window.
    pub(crate) fn peak(&self, from: Duration, to: Duration) -> u64 {
        let turns = self.done.iter().flat_map(|(since, _)| [*since, *since + WINDOW]);
        let within = turns.filter(|at| from < *at && *at < to);
        within.chain([from, to]).map(|at| self.mean(at)).max().unwrap_or(0)
    }
}

/// How much a volume does, by its watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Quiet,
    Ordinary,
    Busy,
}

impl Level {
    /// Of what is done, and the most that was since the last report.
    pub(crate) fn of(rates: &Rates, peak: &Rates, watch: &LoadWatch) -> Self {
        if watch.is_busy(rates) {
            Self::Busy
        } else if watch.is_quiet(peak, None) {
            Self::Quiet
        } else {
            Self::Ordinary
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_mean_follows_what_is_done_within_its_window_and_a_peak_is_not_missed() {
        let mut io = Io::default();
        io.does(100, s(100));
        io.does(0, s(105));
        assert_eq!([99, 100, 102, 105, 110, 115].map(|at| io.mean(s(at))), [0, 0, 20, 50, 50, 0]);
        assert_eq!(io.peak(s(60), s(120)), 50);
        assert_eq!(io.peak(s(112), s(120)), 30, "it is on its way down");
        assert_eq!(io.steady_from(), s(115));
    }

    #[test]
    fn the_tightest_limit_holds() {
        let demand = Demand { pattern: Pattern::Steady { iops: 1 }, bytes_each: Bytes(1 << 20) };
        let mut limits = Limits::default();
        assert_eq!(demand.allowed_by(&limits), u64::MAX);
        limits.set(Dimension::Iops, 1_000);
        limits.set(Dimension::Throughput, 50 << 20);
        assert_eq!(demand.allowed_by(&limits), 50);
        limits.set(Dimension::WriteIops, 20);
        assert_eq!(demand.allowed_by(&limits), 40, "half of the operations write");
    }
}
