//! What I/O a volume does, and since when it has done much or little. A source of measurements reports what is asked for by
//! a [`LoadWatch`]; whoever keeps the view remembers by [`Load::sampled`] since when a bound has held, because a source
//! that starts anew does not.

use std::array;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Dimension, Limits};

/// An agent reports at least once a minute. After a longer pause something may have been missed, and what is to have held
/// all the time begins anew.
const UNBROKEN_FOR: SignedDuration = SignedDuration::from_secs(150);

/// Agents confirm every few seconds that what they have reported still holds; after this long one is gone.
const STALE_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// How much of each is done a second, over some seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates([u64; 6]);

impl Rates {
    /// So many operations and bytes a second of each kind.
    pub const fn new(reads: u64, writes: u64, read_bytes: u64, written_bytes: u64) -> Self {
        let (operations, bytes) = (reads.saturating_add(writes), read_bytes.saturating_add(written_bytes));
        Self([operations, reads, writes, bytes, read_bytes, written_bytes])
    }

    /// In the order of [`Dimension::ALL`].
    pub const fn from_array(rates: [u64; 6]) -> Self {
        Self(rates)
    }

    /// In the order of [`Dimension::ALL`].
    pub const fn to_array(self) -> [u64; 6] {
        self.0
    }

    /// The rate in one dimension.
    pub const fn get(&self, dimension: Dimension) -> u64 {
        self.0[dimension as usize]
    }

    /// The higher of both in each dimension: not of one moment, but what was reached.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self(array::from_fn(|index| self.0[index].max(other.0[index])))
    }

    /// The dimensions in which it is at a bound or beyond.
    pub fn at_bounds<'a>(&'a self, bounds: &'a Limits) -> impl Iterator<Item = Dimension> + 'a {
        bounds.iter().filter(|(dimension, bound)| self.get(*dimension) >= *bound).map(|(dimension, _)| dimension)
    }

    /// Is it at a bound or beyond in any dimension?
    pub fn reaches(&self, bounds: &Limits) -> bool {
        self.at_bounds(bounds).next().is_some()
    }
}

/// What of a volume's I/O is to be reported at once when it is crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadWatch {
    /// The volume does much when it reaches one of these.
    pub busy: Limits,
    /// The volume does little while it reaches none of these; none where that means nothing.
    pub quiet: Option<Limits>,
}

/// A volume's I/O, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// When it was first asked for, in this way.
    pub asked: Timestamp,
    /// The latest measurement; none where there is none yet.
    pub sample: Option<LoadSample>,
}

/// A measurement of a volume's I/O, with what those before it have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadSample {
    /// When it was measured, or was last confirmed to be as it was.
    pub at: Timestamp,
    /// What is done.
    pub rates: Rates,
    /// Since when it has done much.
    pub busy: Option<Timestamp>,
    /// Since when it has done little.
    pub quiet: Option<Quiet>,
}

/// A volume that does little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// Since when.
    pub since: Timestamp,
    /// The most that it has done since.
    pub peak: Rates,
}

impl Load {
    /// One that has just been asked for.
    pub const fn asked(at: Timestamp) -> Self {
        Self { asked: at, sample: None }
    }

    /// Takes in a measurement of `at`: what is done, and the most that was done since the one before it.
    pub fn sampled(&mut self, watch: &LoadWatch, at: Timestamp, rates: Rates, peak: Rates) {
        // One that was overtaken on its way tells of what was.
        if self.sample.as_ref().is_some_and(|before| at < before.at && before.at.duration_since(at) < UNBROKEN_FOR) {
            return;
        }
        let before = self.sample.take().filter(|before| at.duration_since(before.at).abs() <= UNBROKEN_FOR);
        let (busy, quiet) = before.map_or((None, None), |before| (before.busy, before.quiet));
        let peak = peak.max(rates);
        self.sample = Some(LoadSample {
            at,
            rates,
            busy: rates.reaches(&watch.busy).then(|| busy.unwrap_or(at)),
            quiet: watch.quiet.as_ref().filter(|bounds| !peak.reaches(bounds)).map(|_| match quiet {
                Some(Quiet { since, peak: before }) => Quiet { since, peak: before.max(peak) },
                None => Quiet { since: at, peak },
            }),
        });
    }

    /// What was measured last still held at that time. Where that is long after it was measured, a clock was set or nobody has
    /// looked in between, and what is to have held all the time begins anew.
    pub fn confirmed(&mut self, at: Timestamp) {
        let Some(sample) = &mut self.sample else { return };
        if at.duration_since(sample.at) > UNBROKEN_FOR {
            sample.busy = sample.busy.map(|_| at);
            sample.quiet = sample.quiet.take().map(|quiet| Quiet { since: at, ..quiet });
        }
        sample.at = sample.at.max(at);
    }

    /// The clock by which it is dated was set forward by so much, or back.
    pub fn date_anew(&mut self, set_by: SignedDuration) {
        let anew = |at: &mut Timestamp| *at = at.saturating_add(set_by).unwrap_or(*at);
        anew(&mut self.asked);
        if let Some(LoadSample { at, busy, quiet, .. }) = &mut self.sample {
            anew(at);
            if let Some(busy) = busy {
                anew(busy);
            }
            if let Some(quiet) = quiet {
                anew(&mut quiet.since);
            }
        }
    }

    /// The latest measurement, where it is recent enough to decide by.
    pub fn current(&self, now: Timestamp) -> Option<&LoadSample> {
        self.sample.as_ref().filter(|sample| now.duration_since(sample.at) < STALE_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::at;

    fn bounds(writes: u64) -> Limits {
        let mut bounds = Limits::default();
        bounds.set(Dimension::WriteIops, writes);
        bounds
    }

    fn writes(number: u64) -> Rates {
        Rates::new(0, number, 0, number * 4096)
    }

    /// Busy from 90 writes a second on, quiet below 20.
    fn watch() -> LoadWatch {
        LoadWatch { busy: bounds(90), quiet: Some(bounds(20)) }
    }

    /// A load after these measurements, each a second, what is done, and the most since the one before.
    fn after(samples: &[(i64, u64, u64)]) -> LoadSample {
        let mut load = Load::asked(at(0));
        for (second, rate, peak) in samples {
            load.sampled(&watch(), at(*second), writes(*rate), writes(*peak));
        }
        load.sample.unwrap()
    }

    #[test]
    fn a_volume_is_busy_since_the_first_of_an_unbroken_row_of_measurements() {
        assert_eq!(after(&[(0, 50, 50), (10, 90, 90), (70, 95, 95)]).busy, Some(at(10)));
        assert_eq!(after(&[(0, 95, 95), (10, 89, 95), (20, 95, 95)]).busy, Some(at(20)));
        assert_eq!(after(&[(0, 95, 95), (200, 95, 95)]).busy, Some(at(200)), "in between nobody has looked");
    }

    #[test]
    fn a_volume_is_quiet_while_also_its_peaks_are_low() {
        let quiet =
            |samples: &[(i64, u64, u64)]| after(samples).quiet.map(|it| (it.since, it.peak.get(Dimension::WriteIops)));
        assert_eq!(quiet(&[(0, 5, 10), (60, 5, 19), (120, 1, 1)]), Some((at(0), 19)));
        assert_eq!(quiet(&[(0, 5, 10), (60, 5, 20)]), None, "between two measurements it has done more");
        assert_eq!(quiet(&[(0, 5, 10), (60, 5, 20), (120, 5, 5)]), Some((at(120), 5)));
        assert_eq!(quiet(&[(0, 5, 10), (300, 5, 5)]), Some((at(300), 5)), "in between nobody has looked");
    }

    #[test]
    fn a_measurement_that_was_overtaken_is_passed_over() {
        assert_eq!(after(&[(60, 95, 95), (50, 5, 5)]).rates, writes(95));
        assert_eq!(after(&[(1_000, 95, 95), (50, 5, 5)]).rates, writes(5), "its clock was set back");
    }

    #[test]
    fn what_nobody_confirms_is_soon_too_old_to_decide_by() {
        let mut load = Load::asked(at(0));
        load.sampled(&watch(), at(0), writes(5), writes(5));
        assert!(load.current(at(29)).is_some() && load.current(at(30)).is_none());
        load.confirmed(at(20));
        assert!(load.current(at(49)).is_some() && load.current(at(50)).is_none());
    }

    #[test]
    fn a_confirmation_long_after_the_measurement_says_nothing_of_the_time_between() {
        let after = |rate: u64, confirmed: i64| {
            let mut load = Load::asked(at(0));
            load.sampled(&watch(), at(0), writes(rate), writes(rate));
            load.confirmed(at(confirmed));
            let sample = load.sample.unwrap();
            (sample.busy, sample.quiet.map(|quiet| quiet.since))
        };
        assert_eq!(after(5, 150), (None, Some(at(0))));
        assert_eq!(after(5, 7_200), (None, Some(at(7_200))), "a clock was set back, and then right");
        assert_eq!(after(95, 150), (Some(at(0)), None));
        assert_eq!(after(95, 7_200), (Some(at(7_200)), None));
    }
}
