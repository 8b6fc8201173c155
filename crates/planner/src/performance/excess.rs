//! For how long more was asked of a volume than its limits allow, as its driver counts it. That is what a service itself says of
//! its limits, so it counts whatever the device's own counters show.

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Dimension, PerformanceSpec};

/// From this share of time on, in percent, a limit counts as exceeded. Every volume is asked for more at once now and then, and
/// less than this its users hardly feel.
const EXCEEDED_PERCENT: u8 = 10;

/// What a server has read longer ago is nothing to decide by, as for what it says of how full a volume is: it is asked twice a
/// minute, and mostly reads as often.
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(3);

/// After a longer pause something may have been missed, and what is to have held all the time begins anew. A server does not tell
/// of what is older than this either.
const UNBROKEN_FOR: SignedDuration = SignedDuration::from_mins(5);

/// For which share of the time between two readings each limit was exceeded, in percent, where that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exceeded([Option<u8>; 6]);

impl Exceeded {
    /// Takes note of one. Of several that are told of one limit the largest counts.
    pub fn set(&mut self, dimension: Dimension, percent: u8) {
        let known = &mut self.0[dimension as usize];
        *known = Some(known.map_or(percent, |known| known.max(percent)));
    }

    /// Those that are known.
    pub fn iter(&self) -> impl Iterator<Item = (Dimension, u8)> {
        Dimension::ALL.into_iter().zip(self.0).filter_map(|(dimension, percent)| Some((dimension, percent?)))
    }

    /// Is none known?
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The limits that count as exceeded.
    pub(super) fn limits(&self) -> impl Iterator<Item = (Dimension, u8)> {
        self.iter().filter(|(_, percent)| *percent >= EXCEEDED_PERCENT)
    }
}

/// The latest of what a driver has counted, with what was told before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// When the counters were read.
    pub at: Timestamp,
    /// For which share of the time before.
    pub shares: Exceeded,
    /// The first of an unbroken row of readings that all show a limit to be exceeded.
    pub since: Option<Timestamp>,
    /// The last reading that did.
    pub last: Option<Timestamp>,
}

impl Excess {
    /// What is known after another reading.
    pub(super) fn after(before: Option<Self>, at: Timestamp, shares: Exceeded) -> Self {
        let last = before.as_ref().and_then(|before| before.last);
        let exceeds = shares.limits().next().is_some();
        match before {
            // One that was overtaken on its way tells of what was.
            Some(before) if at <= before.at && before.at.duration_since(at) <= UNBROKEN_FOR => before,
            before => {
                let before = before.filter(|before| at.duration_since(before.at).abs() <= UNBROKEN_FOR);
                let since = exceeds.then(|| before.and_then(|before| before.since).unwrap_or(at));
                Self { at, shares, since, last: if exceeds { Some(at) } else { last } }
            }
        }
    }

    /// Is it recent enough to decide by?
    pub fn is_current(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < STALE_AFTER
    }

    /// Was a limit exceeded for as long as calls for a faster class? At least two readings must show it, of which the last is so
    /// much younger than the first: one alone may have a single burst in it.
    pub(super) fn lasts(&self, spec: &PerformanceSpec) -> bool {
        self.since.is_some_and(|since| since < self.at && self.at.duration_since(since) >= spec.raise_after.into())
    }

    /// The clock by which it is dated was set forward by so much, or back.
    pub(super) fn date_anew(&mut self, anew: impl Fn(&mut Timestamp)) {
        let Self { at, shares: _, since, last } = self;
        [Some(at), since.as_mut(), last.as_mut()].into_iter().flatten().for_each(anew);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::at;

    fn after(readings: &[(i64, u8)]) -> Excess {
        let after = |before, (second, percent): &(i64, u8)| {
            let mut shares = Exceeded::default();
            shares.set(Dimension::Iops, *percent);
            Some(Excess::after(before, at(*second), shares))
        };
        readings.iter().fold(None, after).unwrap()
    }

    fn lasts(readings: &[(i64, u8)]) -> bool {
        after(readings).lasts(&PerformanceSpec::among(Vec::new()))
    }

    #[test]
    fn a_limit_is_exceeded_for_as_long_as_each_reading_says_so() {
        assert!(!lasts(&[(100, 90)]), "that may have been a burst");
        assert!(lasts(&[(100, 10), (130, 10)]));
        assert!(!lasts(&[(100, 10), (129, 10)]));
        assert!(!lasts(&[(100, 90), (130, 9), (160, 90)]), "it begins anew");
        assert!(!lasts(&[(100, 90), (401, 90)]), "in between nobody has looked");
        assert_eq!(after(&[(100, 90), (160, 9)]).last, Some(at(100)));
        assert_eq!(after(&[(160, 90), (100, 9)]), after(&[(160, 90)]), "it was overtaken");
    }

    #[test]
    fn what_was_read_long_ago_is_nothing_to_decide_by() {
        let excess = after(&[(100, 90)]);
        assert!(excess.is_current(at(279)) && !excess.is_current(at(280)));
    }

    #[test]
    fn of_two_counters_of_one_limit_the_larger_share_counts() {
        let mut shares = Exceeded::default();
        assert!(shares.is_empty());
        for percent in [5, 40, 20] {
            shares.set(Dimension::Throughput, percent);
        }
        assert_eq!(shares.iter().collect::<Vec<_>>(), [(Dimension::Throughput, 40)]);
    }
}
