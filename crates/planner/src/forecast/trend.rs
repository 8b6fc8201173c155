//! How a volume fills over days, for what is planned ahead. What counts is the peak of each day: within a day a workload
//! may fill and empty as it likes, and the volume must hold its peak. How much the peak rises from one day to the next is
//! taken at every hour of the last two weeks, and of all these the median and the outer tenths say how fast it fills
//! and how sure that is: one bulk load, one clean-up or one restart from nothing is among the outer ones and changes
//! little.

use std::collections::VecDeque;

use jiff::Timestamp;
use orlop_api::Bytes;

use super::{Forecast, Outlook, PerDay};

const HOUR_S: i64 = 3600;
const DAY_H: usize = 24;

/// So many hours are kept: two weeks, in which what happens once a week happens twice.
const HOURS_MAX: usize = 14 * DAY_H;

/// From so many comparisons of a day with the one before on something can be said: a day of them, so that no hour of the
/// day counts more than another.
const COMPARISONS_MIN: usize = DAY_H;

/// So often, in hours, a new forecast is made: what is planned for days does not change within a few hours.
const ANEW_EVERY_H: i64 = 6;

/// A measurement dated so many hours before the latest one, or fewer, is passed over: sources have clocks of their own, and
/// one that is behind is no reason to forget two weeks.
const BEHIND_MAX_H: i64 = 24;

/// Stands for an hour in which nothing was measured.
const UNMEASURED: u16 = u16::MAX;

/// The hourly peaks of the last two weeks, less than a KiB: a large cluster has many of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trend {
    /// The latest hour, since the beginning of 1970.
    hour: Option<i64>,
    /// The peaks are in steps of two to this power, in bytes: the smallest with which the largest of them fits.
    scale: u8,
    /// The most that was used in each hour in whole steps, the latest last, or [`UNMEASURED`]. Rounded down, so that what has
    /// not changed is the same in every scale.
    peaks: VecDeque<u16>,
}

impl Trend {
    /// Adds a measurement. One that is dated long before the latest begins anew, as after a clock was set. Returns whether a
    /// new forecast is to be made: a few times a day.
    pub fn push(&mut self, at: Timestamp, used: Bytes) -> bool {
        self.push_hour(hour_of(at), used.0)
    }

    fn push_hour(&mut self, hour: i64, used: u64) -> bool {
        let latest = self.hour;
        match latest.map(|latest| hour - latest) {
            Some(0) => {
                let used = self.in_steps(used);
                if let Some(peak) = self.peaks.back_mut() {
                    *peak = used.max(*peak);
                }
                return false;
            }
            Some(passed @ 1..) => {
                let unmeasured = usize::try_from(passed - 1).unwrap_or(usize::MAX).min(HOURS_MAX);
                (0..unmeasured).for_each(|_| self.append(UNMEASURED));
            }
            Some(passed) if passed >= -BEHIND_MAX_H => return false,
            _ => *self = Self::default(),
        }
        let used = self.in_steps(used);
        self.append(used);
        self.hour = Some(hour);
        latest.is_none_or(|latest| latest.div_euclid(ANEW_EVERY_H) != hour.div_euclid(ANEW_EVERY_H))
    }

    fn append(&mut self, peak: u16) {
        if self.peaks.len() == HOURS_MAX {
            self.peaks.pop_front();
        } else if self.peaks.len() == self.peaks.capacity() {
            self.peaks.reserve_exact(DAY_H);
        }
        self.peaks.push_back(peak);
    }

    /// The size in steps, which are made larger where that many do not fit.
    fn in_steps(&mut self, used: u64) -> u16 {
        loop {
            match u16::try_from(used >> self.scale) {
                Ok(steps) if steps < UNMEASURED => return steps,
                _ => {
                    self.scale += 1;
                    self.peaks.iter_mut().filter(|peak| **peak < UNMEASURED).for_each(|peak| *peak >>= 1);
                }
            }
        }
    }

    fn in_bytes(&self, steps: u16) -> u64 {
        u64::from(steps) << self.scale
    }

    /// Puts what somebody else has measured before the first own measurement: the most that was used in the hour of each time,
    /// the earliest first.
    pub fn precede(&mut self, earlier: impl IntoIterator<Item = (Timestamp, Bytes)>) {
        let own = std::mem::take(self);
        let first = own.first_hour();
        for (at, used) in earlier.into_iter().filter(|(at, _)| first.is_none_or(|first| hour_of(*at) <= first)) {
            self.push(at, used);
        }
        for (hour, peak) in (first.unwrap_or(0)..).zip(&own.peaks).filter(|(_, peak)| **peak < UNMEASURED) {
            self.push_hour(hour, own.in_bytes(*peak));
        }
    }

    fn first_hour(&self) -> Option<i64> {
        Some(self.hour? + 1 - i64::try_from(self.peaks.len()).ok()?)
    }

    /// How the volume will fill, or when that will be known. None where nothing was measured.
    pub fn outlook(&self) -> Option<Outlook> {
        Some(self.forecast().map_or(Outlook::From(self.known_from()?), Outlook::Known))
    }

    /// How the volume will fill; none where too little was measured.
    pub fn forecast(&self) -> Option<Forecast> {
        let days = self.daily_peaks();
        let mut rises: Vec<i64> = days
            .iter()
            .zip(days.iter().skip(DAY_H))
            .filter_map(|(before, after)| Some(i64::from((*after)?) - i64::from((*before)?)))
            .collect();
        if rises.len() < COMPARISONS_MIN {
            return None;
        }
        rises.sort_unstable();
        let quantile = |tenths: usize| rises[(rises.len() - 1) * tenths / 10].saturating_mul(1_i64 << self.scale);
        let peak = self.peaks.iter().rev().take(DAY_H).filter(|peak| **peak < UNMEASURED).max()?;
        let per_day = PerDay { low: quantile(1), median: quantile(5), high: quantile(9) };
        Some(Forecast { per_day, peak: Bytes(self.in_bytes(*peak)) })
    }

    /// At each hour that has a day before it, the most that was used in the day that ends then; none where nothing was
    /// measured in that hour, so that what was not measured is not taken for what did not rise.
    fn daily_peaks(&self) -> Vec<Option<u16>> {
        let hours: Vec<_> = self.peaks.iter().map(|peak| Some(*peak).filter(|peak| *peak < UNMEASURED)).collect();
        let peak = |day: &[Option<u16>]| day.last()?.and_then(|_| day.iter().flatten().max().copied());
        hours.windows(DAY_H).map(peak).collect()
    }

    /// When there is a forecast, if from now on something is measured in every hour.
    fn known_from(&self) -> Option<Timestamp> {
        let first = self.first_hour()?;
        let day = i64::try_from(DAY_H).ok()?;
        let has_day = |hour: i64| {
            let is_measured = usize::try_from(hour - first).ok().and_then(|index| self.peaks.get(index));
            hour - first >= day - 1 && is_measured.is_none_or(|peak| *peak < UNMEASURED)
        };
        let compares = |hour: &i64| has_day(*hour) && has_day(hour - day);
        let hour = (first..).filter(compares).nth(COMPARISONS_MIN - 1)?;
        // It counts from when the next forecast is made.
        let made = (hour + ANEW_EVERY_H - 1).div_euclid(ANEW_EVERY_H) * ANEW_EVERY_H;
        Timestamp::from_second(made.checked_mul(HOUR_S)?).ok()
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(HOUR_S)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::forecast::TimeToFull;

    const GIB: u64 = 1 << 30;

    /// The trend of what is used at each hour.
    fn trend(hours: impl IntoIterator<Item = u64>) -> Trend {
        let mut trend = Trend::default();
        for (hour, used) in (0..).zip(hours) {
            trend.push(Timestamp::from_second(hour * HOUR_S).unwrap(), Bytes(used));
        }
        trend
    }

    fn per_day(trend: &Trend) -> Option<PerDay> {
        trend.forecast().map(|forecast| forecast.per_day)
    }

    fn full(trend: &Trend, gib: u64) -> TimeToFull {
        trend.forecast().unwrap().time_to_full(Bytes(gib * GIB))
    }

    fn days(duration: Option<SignedDuration>) -> Option<i64> {
        duration.map(|duration| duration.as_hours() / 24)
    }

    #[test]
    fn a_steady_writer_is_full_when_it_will_be() {
        let steady = trend((0..240).map(|hour| hour * GIB / 24));
        assert_eq!(
            per_day(&steady),
            Some(PerDay { low: GIB.cast_signed(), median: GIB.cast_signed(), high: GIB.cast_signed() })
        );
        let full = full(&steady, 20);
        assert_eq!((days(full.earliest), days(full.latest)), (Some(10), Some(10)));
    }

    #[test]
    fn a_daily_rhythm_alone_fills_nothing_and_its_peak_counts() {
        let rhythm = |growth_per_day: u64| {
            trend(
                (0..240)
                    .map(move |hour| (50 + [0, 20][usize::from(hour % 24 == 13)]) * GIB + hour / 24 * growth_per_day),
            )
        };
        assert_eq!(full(&rhythm(0), 100), TimeToFull { earliest: None, median: None, latest: None });
        assert_eq!(days(full(&rhythm(GIB), 100).median), Some(21), "from 79 GiB, the peak of the last day, to 100 GiB");
    }

    #[test]
    fn a_peak_that_comes_at_another_time_each_day_is_no_growth() {
        let peak_begins = |day: u64| if day.is_multiple_of(2) { 8 } else { 12 };
        let is_peak = |hour: u64| (0..8).contains(&(hour % 24).wrapping_sub(peak_begins(hour / 24)));
        let used = (0..240).map(|hour| if is_peak(hour) { 70 * GIB } else { 50 * GIB });
        assert_eq!(per_day(&trend(used)), Some(PerDay { low: 0, median: 0, high: 0 }));
    }

    #[test]
    fn one_bulk_load_and_one_reset_change_little() {
        let median = |change: fn(u64) -> i64| {
            let used = (0..336).map(move |hour| (100 * GIB + hour * GIB / 24).saturating_add_signed(change(hour)));
            per_day(&trend(used)).unwrap().median
        };
        let steady = median(|_| 0);
        assert_eq!(median(|hour| if hour > 200 { 60 << 30 } else { 0 }), steady);
        assert_eq!(median(|hour| if hour > 200 { -(90 << 30) } else { 0 }), steady);
    }

    #[test]
    fn what_varies_from_day_to_day_has_wide_bounds() {
        let days_of = [1, 3, 1, 2, 5, 1, 2, 1, 4, 2];
        let used = days_of.iter().scan(0, |sum, day| {
            let before = *sum;
            *sum += day * GIB;
            Some((0..24).map(move |hour| before + day * GIB * hour / 24))
        });
        let full = full(&trend(used.flatten()), 42);
        assert!(full.earliest < full.median && full.median < full.latest, "{full:?}");
    }

    #[test]
    fn less_than_three_days_say_nothing_and_hours_without_measurements_say_nothing_either() {
        assert_eq!(trend(0..70).forecast(), None);
        assert!(trend(0..71).forecast().is_some());
        let mut gap = trend((0..120).map(|hour| hour * GIB / 24));
        let later = Timestamp::from_second(300 * HOUR_S).unwrap();
        gap.push(later, Bytes(5 * GIB));
        assert_eq!(
            per_day(&gap).map(|it| it.median),
            Some(GIB.cast_signed()),
            "the five days before the gap are within the two weeks"
        );
        gap.push(later - SignedDuration::from_hours(24), Bytes(GIB));
        assert!(gap.forecast().is_some(), "a source whose clock is behind is passed over");
        gap.push(Timestamp::from_second(100).unwrap(), Bytes(GIB));
        assert_eq!(gap.forecast(), None, "a clock that was set back begins anew");
    }

    proptest! {
        #[test]
        fn the_bounds_are_in_order_and_the_memory_is_bounded(
            samples in prop::collection::vec((0_i64..20_000, 0_u64..1 << 50), 0..600),
        ) {
            let mut trend = Trend::default();
            let mut at = 0;
            for (seconds, used) in samples {
                at += seconds;
                trend.push(Timestamp::from_second(at).unwrap(), Bytes(used));
                prop_assert!(trend.peaks.len() <= HOURS_MAX);
            }
            if let Some(PerDay { low, median, high }) = per_day(&trend) {
                prop_assert!(low <= median && median <= high);
            }
        }

        /// Whatever the volume's size, an hour's peak is kept to within a thirty-thousandth of the largest.
        #[test]
        fn a_steady_rise_is_known_well_however_large_the_volume(bits in 0_u32..50, permille in 0_u64..20, days in 3_u64..14) {
            let size = 1_u64 << bits;
            let rise = size / 1000 * permille;
            let steady = trend((0..24 * days).map(|hour| size + rise * hour / 24));
            let expected = i64::try_from(rise).unwrap();
            let off = i64::try_from((size + rise * days) / 30_000 + 1).unwrap();
            let known = per_day(&steady).unwrap();
            for rise in [known.low, known.median, known.high] {
                prop_assert!((rise - expected).abs() <= off, "{} for {}", rise, expected);
            }
        }

        /// What others have measured before is as good as what was measured here.
        #[test]
        fn a_history_that_is_put_before_is_as_if_it_had_been_measured_here(
            hours in prop::collection::vec(prop::option::of(0_u64..1 << 50), 0..330),
            split in 0_usize..330,
        ) {
            let at = |hour: usize| Timestamp::from_second(i64::try_from(hour).unwrap() * HOUR_S).unwrap();
            let measured: Vec<_> =
                hours.iter().enumerate().filter_map(|(hour, used)| Some((at(hour), Bytes((*used)?)))).collect();
            let (earlier, own) = measured.split_at(split.min(measured.len()));
            let (mut whole, mut late) = (Trend::default(), Trend::default());
            for (at, used) in &measured { whole.push(*at, *used); }
            for (at, used) in own { late.push(*at, *used); }
            late.precede(earlier.iter().copied());
            // What was rounded once may fit into smaller steps than what was measured.
            let scale = late.scale.max(whole.scale);
            let peaks = |trend: &Trend| -> Vec<_> {
                let known = |peak: &u16| (*peak < UNMEASURED).then(|| trend.in_bytes(*peak) >> scale);
                trend.peaks.iter().map(known).collect()
            };
            prop_assert_eq!((late.hour, peaks(&late)), (whole.hour, peaks(&whole)));
        }

        /// What is said of when something will be known comes true.
        #[test]
        fn a_forecast_is_there_when_it_was_promised(hours in prop::collection::vec(any::<bool>(), 1..100)) {
            let mut trend = Trend::default();
            let mut hour = 0;
            let mut measure = |trend: &mut Trend, is_measured: bool| {
                hour += 1;
                let at = Timestamp::from_second(hour * HOUR_S).unwrap();
                (is_measured && trend.push(at, Bytes(GIB))).then_some(at)
            };
            for is_measured in hours {
                measure(&mut trend, is_measured);
            }
            measure(&mut trend, true);
            if let Some(Outlook::From(promised)) = trend.outlook() {
                let known = std::iter::repeat_with(|| measure(&mut trend, true).filter(|_| trend.forecast().is_some()));
                let known = known.take(200).find_map(|at| at);
                prop_assert_eq!(known, Some(promised));
            }
        }
    }
}
