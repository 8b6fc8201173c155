//! What I/O a volume does, and since when it has done much or little. A source of measurements reports what is asked for by
//! a [`LoadWatch`]; whoever keeps the view remembers by [`Load::sampled`] since when a bound has held, because a source
//! that starts anew does not.

use std::array;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Dimension, Limits};

use super::{
    excess::{Exceeded, Excess},
    pressure::Pressure,
};

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
    /// What the volume's class gives: what its pod's waiting is held against.
    pub gives: Limits,
}

impl LoadWatch {
    /// Does the volume do much?
    pub fn is_busy(&self, rates: &Rates) -> bool {
        rates.reaches(&self.busy)
    }

    /// Does its pod wait for a volume that does a good part of what it may?
    pub fn is_strained(&self, rates: &Rates, pressure: Option<Pressure>) -> bool {
        pressure.is_some_and(|pressure| pressure.strains(&self.gives, rates))
    }

    /// Has the volume done little, and has its pod not waited for it? `peak` is the most that was done.
    pub fn is_quiet(&self, peak: &Rates, pressure: Option<Pressure>) -> bool {
        self.quiet.as_ref().is_some_and(|bounds| !peak.reaches(bounds))
            && !pressure.is_some_and(|pressure| pressure.may_be_of(&self.gives, peak))
    }
}

/// What an agent says of a volume's I/O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReading {
    /// When it was measured.
    pub at: Timestamp,
    /// What is done.
    pub rates: Rates,
    /// The most of each that was done since this was last said.
    pub peak: Rates,
    /// How much the volume's pod waits for I/O; none where that is not known.
    pub pressure: Option<Pressure>,
    /// The most that it has waited since this was last said.
    pub peak_pressure: Option<Pressure>,
    /// Since when the agent has seen the volume do little, without a break.
    pub quiet: Option<Quiet>,
    /// By which watch the agent judges; none where it does not say.
    pub watch: Option<LoadWatch>,
}

/// A volume's I/O, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// When it was first asked for, in this way.
    pub asked: Timestamp,
    /// The latest measurement; none where there is none yet.
    pub sample: Option<LoadSample>,
    /// For how long more was asked of it than its limits allow, where its driver counts that and it is known.
    pub excess: Option<Excess>,
}

/// A measurement of a volume's I/O, with what those before it have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadSample {
    /// When it was measured, or was last confirmed to be as it was.
    pub at: Timestamp,
    /// What is done.
    pub rates: Rates,
    /// How much the volume's pod waits for I/O; none where that is not known.
    pub pressure: Option<Pressure>,
    /// Since when it has done much.
    pub busy: Option<Timestamp>,
    /// Since when its pod waits for it while it does a good part of what it may.
    pub strained: Option<Timestamp>,
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

impl Quiet {
    /// The same, seen by two.
    fn with(self, other: &Self) -> Self {
        Self { since: self.since.min(other.since), peak: self.peak.max(other.peak) }
    }
}

impl Load {
    /// One that has just been asked for.
    pub const fn asked(at: Timestamp) -> Self {
        Self { asked: at, sample: None, excess: None }
    }

    /// Takes in a measurement that answers the watch. Of the time for which the volume has been quiet the longer counts of what
    /// was seen here and what the agent has seen, which goes on while nobody listens to it.
    pub fn sampled(&mut self, watch: &LoadWatch, reading: &LoadReading) {
        let &LoadReading { at, rates, peak, pressure, peak_pressure, .. } = reading;
        // One that was overtaken on its way tells of what was.
        if self.sample.as_ref().is_some_and(|before| at < before.at && before.at.duration_since(at) < UNBROKEN_FOR) {
            return;
        }
        let before = self.sample.take().filter(|before| at.duration_since(before.at).abs() <= UNBROKEN_FOR);
        let (busy, strained, quiet) =
            before.map_or((None, None, None), |before| (before.busy, before.strained, before.quiet));
        let peak = peak.max(rates);
        let pressed = Pressure::most(pressure, peak_pressure);
        self.sample = Some(LoadSample {
            at,
            rates,
            pressure,
            busy: watch.is_busy(&rates).then(|| busy.unwrap_or(at)),
            strained: watch.is_strained(&rates, pressure).then(|| strained.unwrap_or(at)),
            quiet: watch.is_quiet(&peak, pressed).then(|| {
                let seen = Quiet { since: at, peak };
                let told = reading.quiet.as_ref().filter(|_| reading.watch.as_ref() == Some(watch));
                [quiet.as_ref(), told].into_iter().flatten().fold(seen, Quiet::with)
            }),
        });
    }

    /// Takes in what the driver had counted when it was read, for the time since it was read before.
    pub fn exceeded(&mut self, at: Timestamp, shares: Exceeded) {
        self.excess = Some(Excess::after(self.excess.take(), at, shares));
    }

    /// What was measured last still held at that time. Where that is long after it was measured, a clock was set or nobody has
    /// looked in between, and what is to have held all the time begins anew.
    pub fn confirmed(&mut self, at: Timestamp) {
        let Some(sample) = &mut self.sample else { return };
        if at.duration_since(sample.at) > UNBROKEN_FOR {
            sample.busy = sample.busy.map(|_| at);
            sample.strained = sample.strained.map(|_| at);
            sample.quiet = sample.quiet.take().map(|quiet| Quiet { since: at, ..quiet });
        }
        sample.at = sample.at.max(at);
    }

    /// The clock by which it is dated was set forward by so much, or back.
    pub fn date_anew(&mut self, set_by: SignedDuration) {
        let anew = |at: &mut Timestamp| *at = at.saturating_add(set_by).unwrap_or(*at);
        anew(&mut self.asked);
        if let Some(excess) = &mut self.excess {
            excess.date_anew(anew);
        }
        if let Some(LoadSample { at, busy, strained, quiet, .. }) = &mut self.sample {
            let quiet = quiet.as_mut().map(|quiet| &mut quiet.since);
            [Some(at), busy.as_mut(), strained.as_mut(), quiet].into_iter().flatten().for_each(anew);
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
        LoadWatch { busy: bounds(90), quiet: Some(bounds(20)), gives: bounds(100) }
    }

    fn reading(second: i64, rate: u64, peak: u64) -> LoadReading {
        LoadReading {
            at: at(second),
            rates: writes(rate),
            peak: writes(peak),
            pressure: None,
            peak_pressure: None,
            quiet: None,
            watch: None,
        }
    }

    /// A load after these measurements, each a second, what is done, and the most since the one before.
    fn after(samples: &[(i64, u64, u64)]) -> LoadSample {
        let mut load = Load::asked(at(0));
        for (second, rate, peak) in samples {
            load.sampled(&watch(), &reading(*second, *rate, *peak));
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
    fn a_volume_is_quiet_for_as_long_as_its_agent_has_seen_where_that_is_longer() {
        let told = |since: i64, peak: u64, watch: LoadWatch| {
            let quiet = Some(Quiet { since: at(since), peak: writes(peak) });
            LoadReading { quiet, watch: Some(watch), ..reading(10_000, 5, 5) }
        };
        let after = |readings: &[LoadReading]| {
            let mut load = Load::asked(at(0));
            for reading in readings {
                load.sampled(&watch(), reading);
            }
            load.sample.unwrap().quiet.map(|it| (it.since, it.peak.get(Dimension::WriteIops)))
        };
        assert_eq!(after(&[told(100, 19, watch())]), Some((at(100), 19)), "this operator has just been started");
        let known = reading(9_990, 7, 7);
        assert_eq!(after(&[known.clone(), told(9_995, 6, watch())]), Some((at(9_990), 7)), "its agent has");
        let of_another = LoadWatch { quiet: Some(bounds(80)), ..watch() };
        assert_eq!(after(&[told(100, 60, of_another)]), Some((at(10_000), 5)), "that answers another question");
        let burst = LoadReading { peak: writes(50), ..told(9_999, 5, watch()) };
        assert_eq!(after(&[known, burst]), None, "something was done in between");
    }

    #[test]
    fn a_volume_whose_pod_waits_for_it_is_strained_and_not_quiet() {
        let pressed = |rate: u64, full: u8| {
            let pressure = Some(Pressure { some: full, full });
            let mut load = Load::asked(at(0));
            load.sampled(&watch(), &LoadReading { pressure, peak_pressure: pressure, ..reading(10, rate, rate) });
            let sample = load.sample.unwrap();
            (sample.strained.is_some(), sample.quiet.is_some())
        };
        assert_eq!(pressed(70, 20), (true, false));
        assert_eq!(pressed(70, 19), (false, false), "it hardly waits");
        assert_eq!(pressed(69, 99), (false, false), "the volume has room");
        assert_eq!(pressed(19, 20), (false, false), "bursts may be what it waits for");
        assert_eq!(pressed(19, 38), (false, false));
        assert_eq!(pressed(19, 39), (false, true), "most of its waiting has another reason");
        assert_eq!(pressed(0, 100), (false, true));
    }

    #[test]
    fn a_measurement_that_was_overtaken_is_passed_over() {
        assert_eq!(after(&[(60, 95, 95), (50, 5, 5)]).rates, writes(95));
        assert_eq!(after(&[(1_000, 95, 95), (50, 5, 5)]).rates, writes(5), "its clock was set back");
    }

    #[test]
    fn what_nobody_confirms_is_soon_too_old_to_decide_by() {
        let mut load = Load::asked(at(0));
        load.sampled(&watch(), &reading(0, 5, 5));
        assert!(load.current(at(29)).is_some() && load.current(at(30)).is_none());
        load.confirmed(at(20));
        assert!(load.current(at(49)).is_some() && load.current(at(50)).is_none());
    }

    #[test]
    fn a_confirmation_long_after_the_measurement_says_nothing_of_the_time_between() {
        let after = |rate: u64, confirmed: i64| {
            let mut load = Load::asked(at(0));
            load.sampled(&watch(), &reading(0, rate, rate));
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
