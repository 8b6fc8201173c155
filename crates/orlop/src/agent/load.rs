//! How much a volume does, and how much its pod waits for I/O, over the last ten seconds; and since when that is little. It is
//! judged by what the operator last asked to be told, also while no operator listens, so that a volume that has been idle for
//! hours still has when another operator takes over.

use std::sync::Arc;

use jiff::Timestamp;
use orlop_planner::{LoadWatch, Pressure, Quiet, Rates};

use super::{
    counters::Counters,
    pressure::Stalls,
    window::{Taken, Window},
};
use crate::rpc::agent_v1;

/// How much a volume does, by its watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Quiet,
    Ordinary,
    Strained,
    Busy,
}

/// What a volume does.
#[derive(Debug, Default)]
pub(super) struct History {
    counted: Window<Counters>,
    waited: Window<Stalls>,
    latest: Timestamp,
    /// As soon as the window is full.
    rates: Option<Rates>,
    pressure: Option<Pressure>,
    /// The most of each since [`History::report`].
    peak: Rates,
    peak_pressure: Option<Pressure>,
    watch: Option<Arc<LoadWatch>>,
    /// Since when the volume has done little, without a break.
    quiet: Option<Quiet>,
}

impl History {
    /// Judges by this watch from now on. By another one, a volume has not done little for any time.
    pub(super) fn watch(&mut self, watch: Option<Arc<LoadWatch>>) {
        if self.watch != watch {
            self.watch = watch;
            self.quiet = None;
            self.judge();
        }
    }

    /// Is there anything to judge by?
    pub(super) const fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        *self = Self { watch: self.watch.take(), ..Self::default() };
    }

    /// Takes in what was read. Counters that are smaller than before are those of another device or pod, and begin anew, as they
    /// do where a clock was set.
    pub(super) fn push(&mut self, at: Timestamp, counters: Option<Counters>, stalls: Option<Stalls>) {
        let Some(counters) = counters else {
            self.forget();
            return;
        };
        match self.counted.push(at, counters, Counters::go_on) {
            Taken::In => {}
            Taken::Not => return,
            Taken::Anew => {
                (self.peak, self.peak_pressure, self.quiet) = (Rates::default(), None, None);
            }
        }
        match stalls {
            Some(stalls) => _ = self.waited.push(at, stalls, Stalls::go_on),
            None => self.waited = Window::default(),
        }
        self.latest = at;
        self.rates = self.counted.span().map(|(over, then, now)| then.rates(over, now));
        self.pressure = self.waited.span().map(|(over, then, now)| then.pressure(over, now));
        self.peak = self.peak.max(self.rates.unwrap_or_default());
        self.peak_pressure = Pressure::most(self.peak_pressure, self.pressure);
        self.judge();
    }

    fn judge(&mut self) {
        let Some((watch, rates)) = self.watch.as_ref().zip(self.rates) else {
            self.quiet = None;
            return;
        };
        let before = self.quiet.take();
        self.quiet = watch.is_quiet(&rates, self.pressure).then(|| match before {
            Some(Quiet { since, peak }) => Quiet { since, peak: peak.max(rates) },
            None => Quiet { since: self.latest, peak: rates },
        });
    }

    /// How much that is; none while no rate is known, or nobody has asked.
    pub(super) fn level(&self) -> Option<Level> {
        let (watch, rates) = self.watch.as_ref().zip(self.rates)?;
        Some(if watch.is_busy(&rates) {
            Level::Busy
        } else if watch.is_strained(&rates, self.pressure) {
            Level::Strained
        } else if watch.is_quiet(&self.peak, self.peak_pressure) {
            Level::Quiet
        } else {
            Level::Ordinary
        })
    }

    /// What the operator is told of it, where there is anything.
    pub(super) fn report(&mut self) -> Option<agent_v1::Load> {
        let told = self.watch.as_deref().zip(self.rates).map(|(watch, rates)| agent_v1::Load {
            rates: Some(rates.into()),
            peak: Some(self.peak.into()),
            pressure: self.pressure.map(Into::into),
            peak_pressure: self.peak_pressure.map(Into::into),
            quiet: self.quiet.as_ref().map(|quiet| agent_v1::Quiet {
                for_ms: u64::try_from(self.latest.duration_since(quiet.since).as_millis()).unwrap_or(0),
                peak: Some(quiet.peak.into()),
            }),
            watch: Some(watch.into()),
        });
        self.peak = self.rates.unwrap_or_default();
        self.peak_pressure = self.pressure;
        told
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::{Dimension, Limits};

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn writes(writes: u64) -> Option<Counters> {
        Some(Counters { writes, written_bytes: writes * 4096, ..Counters::default() })
    }

    fn bounds(writes: u64) -> Limits {
        let mut bounds = Limits::default();
        bounds.set(Dimension::WriteIops, writes);
        bounds
    }

    fn watch() -> Option<Arc<LoadWatch>> {
        Some(Arc::new(LoadWatch { busy: bounds(90), quiet: Some(bounds(20)), gives: bounds(100) }))
    }

    /// A volume that does so many writes a second, and whose pod waits for so many milliseconds of each, from one second to
    /// another.
    fn goes_on(history: &mut History, seconds: std::ops::RangeInclusive<i64>, rate: u64, waits_ms: u64) {
        let (counted, waited) = history.counted.span().map_or((0, 0), |(_, _, now)| (now.writes, 0));
        let waited = history.waited.span().map_or(waited, |(_, _, now)| now.full);
        for (number, second) in (1..).zip(seconds) {
            let stalls = Stalls { some: waited + number * waits_ms * 1_000, full: waited + number * waits_ms * 1_000 };
            history.push(at(second * 1_000), writes(counted + number * rate), Some(stalls));
        }
    }

    #[test]
    fn rates_are_those_of_the_last_ten_seconds() {
        let mut history = History::default();
        for second in 0..10 {
            history.push(at(second * 1_000), writes(0), None);
            assert_eq!(history.rates, None, "the window is not full");
        }
        history.push(at(10_000), writes(1_000), None);
        assert_eq!(history.rates, Some(Rates::new(0, 100, 0, 409_600)));
        for second in 11..=20 {
            history.push(at(second * 1_000), writes(1_000), None);
        }
        assert_eq!(history.rates, Some(Rates::default()), "what was done before them is forgotten");
        assert_eq!(history.peak.get(Dimension::WriteIops), 100, "but not that it was done");
        history.report();
        assert_eq!(history.peak, Rates::default());
    }

    #[test]
    fn another_device_and_a_clock_that_was_set_begin_anew() {
        let full = || {
            let mut history = History::default();
            history.watch(watch());
            (0..=10).for_each(|second| history.push(at(second * 1_000), writes(1_000), None));
            assert!(history.rates.is_some() && history.quiet.is_some());
            history
        };
        for (milliseconds, counters) in
            [(11_000, writes(5)), (5_000, writes(1_000)), (60_000, writes(1_000)), (11_000, None)]
        {
            let mut history = full();
            history.push(at(milliseconds), counters, None);
            assert_eq!((history.rates, history.quiet), (None, None));
        }
    }

    #[test]
    fn a_volume_is_quiet_only_while_no_peak_has_been_high() {
        let mut history = History::default();
        history.watch(watch());
        assert_eq!(history.level(), None);
        (0..=10).for_each(|second| history.push(at(second * 1_000), writes(0), None));
        assert_eq!(history.level(), Some(Level::Quiet));
        history.push(at(11_000), writes(1_000), None);
        assert_eq!(history.level(), Some(Level::Busy));
        (12..=30).for_each(|second| history.push(at(second * 1_000), writes(1_000), None));
        assert_eq!(history.level(), Some(Level::Ordinary));
        history.report();
        assert_eq!(history.level(), Some(Level::Quiet));
    }

    #[test]
    fn a_volume_for_which_its_pod_waits_is_strained_only_where_it_does_a_good_part_of_what_it_may() {
        for (rate, waits_ms, level) in [
            (80, 500, Level::Strained),
            (80, 100, Level::Ordinary),
            (50, 500, Level::Ordinary),
            (10, 500, Level::Quiet),
            (10, 200, Level::Ordinary),
        ] {
            let mut history = History::default();
            history.watch(watch());
            goes_on(&mut history, 0..=12, rate, waits_ms);
            assert_eq!(history.level(), Some(level), "{rate} writes, {waits_ms} ms");
        }
    }

    #[test]
    fn for_how_long_a_volume_has_been_quiet_is_known_until_it_is_not_or_something_else_is_asked() {
        let quiet_for = |history: &mut History| history.report().unwrap().quiet.map(|quiet| quiet.for_ms / 1_000);
        let mut history = History::default();
        history.watch(watch());
        goes_on(&mut history, 0..=100, 5, 0);
        assert_eq!(quiet_for(&mut history), Some(90), "since the first rate was known");
        history.watch(watch());
        assert_eq!(quiet_for(&mut history), Some(90), "another operator asks the same");
        goes_on(&mut history, 101..=110, 30, 0);
        assert_eq!(quiet_for(&mut history), None);
        goes_on(&mut history, 111..=130, 5, 0);
        let begun = quiet_for(&mut history).unwrap();
        assert!((10..20).contains(&begun), "it begins anew: {begun}");
        let other = LoadWatch { quiet: Some(bounds(15)), ..**watch().as_ref().unwrap() };
        history.watch(Some(Arc::new(other)));
        assert_eq!(quiet_for(&mut history), Some(0));
        history.watch(None);
        assert_eq!(history.report(), None);
    }
}
