//! What is made of a [`Trend`](super::Trend): how full a volume will be in some days.

use jiff::{SignedDuration, Timestamp};
use orlop_api::Bytes;

const DAY_S: u128 = 86_400;

/// What is known of how a volume will fill over days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Too little was measured. From then on there is a forecast, if measuring goes on.
    From(Timestamp),
    /// A forecast.
    Known(Forecast),
}

impl Outlook {
    /// The forecast, where there is one.
    pub const fn forecast(&self) -> Option<&Forecast> {
        match self {
            Self::From(_) => None,
            Self::Known(forecast) => Some(forecast),
        }
    }
}

/// How a volume will fill over days, by how it has done lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// By how much the peak rises from day to day.
    pub per_day: PerDay,
    /// The most that was used in the last day.
    pub peak: Bytes,
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

impl Forecast {
    /// When a volume is full that can hold so many bytes.
    pub fn time_to_full(&self, usable: Bytes) -> TimeToFull {
        let free = i128::from(usable.0.saturating_sub(self.peak.0));
        let within = |rise: i64| {
            let seconds = (free * 86_400).checked_div(rise.into()).filter(|_| rise > 0)?;
            i64::try_from(seconds).ok().map(SignedDuration::from_secs)
        };
        let PerDay { low, median, high } = self.per_day;
        TimeToFull { earliest: within(high), median: within(median), latest: within(low) }
    }
}

impl PerDay {
    /// How many bytes are to be reckoned with: one day rises as the highest tenth of days do, and all others as a day usually
    /// does. So a load of once a week counts once, and not as often as there are days. Rounded up.
    pub fn rise_within(&self, span: SignedDuration) -> u64 {
        let seconds = span.as_secs().max(0).unsigned_abs().into();
        let first: u128 = DAY_S.min(seconds);
        let [high, median] = [self.high, self.median].map(|rise| u128::from(rise.max(0).unsigned_abs()));
        let rise = (high * first + median * (seconds - first)).div_ceil(DAY_S);
        u64::try_from(rise).unwrap_or(u64::MAX)
    }

    /// In how long so many bytes are filled, reckoned in the same way; none where they never are.
    pub fn lasts(&self, free: Bytes) -> Option<SignedDuration> {
        let [high, median] = [self.high, self.median].map(|rise| u128::from(rise.max(0).unsigned_abs()));
        let free = u128::from(free.0);
        let seconds = match free.checked_sub(high) {
            None => free * DAY_S / high.max(1),
            Some(rest) => DAY_S + (rest * DAY_S).checked_div(median)?,
        };
        i64::try_from(seconds).ok().map(SignedDuration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    #[test]
    fn a_load_of_once_a_week_counts_once_and_a_steady_rise_counts_each_day() {
        let rise = |median, high, days| PerDay { low: 0, median, high }.rise_within(DAY * days);
        assert_eq!(rise(10, 10, 7), 70);
        assert_eq!(rise(0, 50, 7), 50);
        assert_eq!(rise(1, 10, 7), 16);
        assert_eq!(rise(-5, -1, 7), 0, "what falls needs no room");
        assert_eq!(rise(-5, 20, 7), 20);
        assert_eq!(PerDay { low: 0, median: 1, high: 48 }.rise_within(DAY / 2), 24);
    }

    proptest! {
        #[test]
        fn what_lasts_for_a_time_is_what_rises_within_it(
            median in -10_i64..1 << 40, more in 0_i64..1 << 40, free in 0_u64..1 << 50, hours in 1_i64..3000,
        ) {
            let per_day = PerDay { low: 0, median, high: median + more };
            let span = SignedDuration::from_hours(hours);
            let is_short = per_day.rise_within(span) > free;
            let lasts = per_day.lasts(Bytes(free));
            // Both are rounded: to the byte, and to the second.
            prop_assert!(!is_short || lasts.is_some_and(|lasts| lasts <= span), "{:?}", lasts);
            prop_assert!(is_short || lasts.is_none_or(|lasts| lasts >= span - SignedDuration::from_secs(1)), "{:?}", lasts);
        }
    }
}
