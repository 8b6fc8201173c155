//! How a volume fills over days, for what is planned ahead. What counts is the peak of each day: within a day a workload
//! may fill and empty as it likes, and the volume must hold its peak. How much the peak rises from one day to the next is
//! taken at every hour of the last two weeks, and of all these the median and the outer tenths say how fast it fills
//! and how sure that is: one bulk load, one clean-up or one restart from nothing is among the outer ones and changes
//! little.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use orlop_api::Bytes;

const HOUR_S: i64 = 3600;
const DAY_H: usize = 24;

/// So many hours are kept: two weeks, in which what happens once a week happens twice.
const HOURS_MAX: usize = 14 * DAY_H;

/// From so many comparisons of a day with the one before on something can be said: a day of them, so that no hour of the
/// day counts more than another.
const COMPARISONS_MIN: usize = DAY_H;

/// The hourly peaks of the last two weeks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trend {
    /// The latest hour, since the beginning of 1970.
    hour: Option<i64>,
    /// The most that was used in each hour, the latest last; none where nothing was measured.
    peaks: VecDeque<Option<u64>>,
}

/// By how many bytes the peak of a day rises from one day to the next; negative where it falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerDay {
    /// One day in ten it is less than this.
    pub low: i64,
    /// As often more as less.
    pub median: i64,
    /// One day in ten it is more than this.
    pub high: i64,
}

/// In how long a volume is full at the rates of [`PerDay`]; none where at such a rate it never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeToFull {
    /// At the high rate.
    pub earliest: Option<SignedDuration>,
    /// At the median rate.
    pub median: Option<SignedDuration>,
    /// At the low rate.
    pub latest: Option<SignedDuration>,
}

impl Trend {
    /// Adds a measurement. One that is of an earlier hour than the latest begins anew, as after a clock was set.
    pub fn push(&mut self, at: Timestamp, used: Bytes) {
        let hour = at.as_second().div_euclid(HOUR_S);
        let passed = self.hour.map_or(0, |latest| hour - latest);
        match (passed, self.peaks.back_mut()) {
            (0, Some(peak)) => {
                *peak = Some(peak.map_or(used.0, |peak| peak.max(used.0)));
                return;
            }
            (1.., Some(_)) => {
                let unmeasured = usize::try_from(passed - 1).unwrap_or(usize::MAX).min(HOURS_MAX);
                self.peaks.extend(std::iter::repeat_n(None, unmeasured));
            }
            _ => self.peaks.clear(),
        }
        self.peaks.push_back(Some(used.0));
        let superfluous = self.peaks.len().saturating_sub(HOURS_MAX);
        self.peaks.drain(..superfluous);
        self.hour = Some(hour);
    }

    /// How much the daily peak rises; none where fewer than two days were measured.
    pub fn per_day(&self) -> Option<PerDay> {
        let days = self.daily_peaks();
        let mut rises: Vec<i64> = days
            .iter()
            .zip(days.iter().skip(DAY_H))
            .filter_map(|(before, after)| {
                Some(after.as_ref()?.cast_signed().saturating_sub(before.as_ref()?.cast_signed()))
            })
            .collect();
        if rises.len() < COMPARISONS_MIN {
            return None;
        }
        rises.sort_unstable();
        let quantile = |tenths: usize| rises[(rises.len() - 1) * tenths / 10];
        Some(PerDay { low: quantile(1), median: quantile(5), high: quantile(9) })
    }

    /// In how long a volume that holds so many bytes is full, from the peak of the last day on.
    pub fn time_to_full(&self, usable: Bytes) -> Option<TimeToFull> {
        let per_day = self.per_day()?;
        let peak = self.peaks.iter().rev().take(DAY_H).flatten().max()?;
        let free = i128::from(usable.0.saturating_sub(*peak));
        let within = |rise: i64| {
            let seconds = (free * 86_400).checked_div(rise.into()).filter(|_| rise > 0)?;
            i64::try_from(seconds).ok().map(SignedDuration::from_secs)
        };
        Some(TimeToFull { earliest: within(per_day.high), median: within(per_day.median), latest: within(per_day.low) })
    }

    /// At each hour that has a day before it, the most that was used in the day that ends then; none where nothing was
    /// measured in that hour, so that what was not measured is not taken for what did not rise.
    fn daily_peaks(&self) -> Vec<Option<u64>> {
        let hours: Vec<_> = self.peaks.iter().copied().collect();
        let peak = |day: &[Option<u64>]| day.last()?.and_then(|_| day.iter().flatten().max().copied());
        hours.windows(DAY_H).map(peak).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    /// The trend of what is used at each hour.
    fn trend(hours: impl IntoIterator<Item = u64>) -> Trend {
        let mut trend = Trend::default();
        for (hour, used) in (0..).zip(hours) {
            trend.push(Timestamp::from_second(hour * HOUR_S).unwrap(), Bytes(used));
        }
        trend
    }

    fn days(duration: Option<SignedDuration>) -> Option<i64> {
        duration.map(|duration| duration.as_hours() / 24)
    }

    #[test]
    fn a_steady_writer_is_full_when_it_will_be() {
        let steady = trend((0..240).map(|hour| hour * GIB / 24));
        assert_eq!(
            steady.per_day(),
            Some(PerDay { low: GIB.cast_signed(), median: GIB.cast_signed(), high: GIB.cast_signed() })
        );
        let full = steady.time_to_full(Bytes(20 * GIB)).unwrap();
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
        let full = rhythm(0).time_to_full(Bytes(100 * GIB)).unwrap();
        assert_eq!(full, TimeToFull { earliest: None, median: None, latest: None });
        let full = rhythm(GIB).time_to_full(Bytes(100 * GIB)).unwrap();
        assert_eq!(days(full.median), Some(21), "from 79 GiB, the peak of the last day, to 100 GiB");
    }

    #[test]
    fn a_peak_that_comes_at_another_time_each_day_is_no_growth() {
        let peak_begins = |day: u64| if day.is_multiple_of(2) { 8 } else { 12 };
        let is_peak = |hour: u64| (0..8).contains(&(hour % 24).wrapping_sub(peak_begins(hour / 24)));
        let used = (0..240).map(|hour| if is_peak(hour) { 70 * GIB } else { 50 * GIB });
        assert_eq!(trend(used).per_day(), Some(PerDay { low: 0, median: 0, high: 0 }));
    }

    #[test]
    fn one_bulk_load_and_one_reset_change_little() {
        let per_day = |change: fn(u64) -> i64| {
            let used = (0..336).map(move |hour| (100 * GIB + hour * GIB / 24).saturating_add_signed(change(hour)));
            trend(used).per_day().unwrap().median
        };
        let steady = per_day(|_| 0);
        assert_eq!(per_day(|hour| if hour > 200 { 60 << 30 } else { 0 }), steady);
        assert_eq!(per_day(|hour| if hour > 200 { -(90 << 30) } else { 0 }), steady);
    }

    #[test]
    fn what_varies_from_day_to_day_has_wide_bounds() {
        let days_of = [1, 3, 1, 2, 5, 1, 2, 1, 4, 2];
        let used = days_of.iter().scan(0, |sum, day| {
            let before = *sum;
            *sum += day * GIB;
            Some((0..24).map(move |hour| before + day * GIB * hour / 24))
        });
        let full = trend(used.flatten()).time_to_full(Bytes(42 * GIB)).unwrap();
        assert!(full.earliest < full.median && full.median < full.latest, "{full:?}");
    }

    #[test]
    fn less_than_two_days_say_nothing_and_hours_without_measurements_say_nothing_either() {
        assert_eq!(trend(0..46).per_day(), None);
        assert!(trend(0..71).per_day().is_some());
        let mut gap = trend((0..120).map(|hour| hour * GIB / 24));
        let later = Timestamp::from_second(300 * HOUR_S).unwrap();
        gap.push(later, Bytes(5 * GIB));
        assert_eq!(
            gap.per_day().map(|it| it.median),
            Some(GIB.cast_signed()),
            "the five days before the gap are within the two weeks"
        );
        gap.push(Timestamp::from_second(100).unwrap(), Bytes(GIB));
        assert_eq!(gap.per_day(), None, "a clock that was set back begins anew");
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
            if let Some(PerDay { low, median, high }) = trend.per_day() {
                prop_assert!(low <= median && median <= high);
            }
        }
    }
}
