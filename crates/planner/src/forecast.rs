//! How fast a volume is filling, from its latest measurements. Windows are spans of time and not counts, so that the
//! same code serves an agent that measures several times a second and a kubelet that does so once a minute. [`Trend`] is
//! how it fills over days, and an [`Outlook`] what is made of that.

mod outlook;
mod trend;

pub use outlook::{Forecast, Outlook, PerDay, TimeToFull};
pub use trend::Trend;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use orlop_api::Bytes;

/// The window in which a writer that has just started shows.
const SHORT: SignedDuration = SignedDuration::from_secs(5);

/// The window in which a writer that writes in bursts shows.
const LONG: SignedDuration = SignedDuration::from_secs(60);

/// Two samples in this time are kept, and no more: it bounds the memory. No rate is taken over a shorter span: one
/// burst of a page cache being written back is not extrapolated.
const SPACING: SignedDuration = SignedDuration::from_millis(500);

/// With nothing newer than this, what was measured says nothing about now; as old as any measurement may become
/// before the planner calls it stale.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_secs(180);

/// One measurement of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was measured.
    pub at: Timestamp,
    /// All bytes of the filesystem.
    pub total: Bytes,
    /// The free ones.
    pub available: Bytes,
}

/// The latest measurements of one filesystem: as many as the long window takes, at most about 240.
#[derive(Debug, Clone, Default)]
pub struct FillHistory {
    latest: Option<Sample>,
    points: VecDeque<Point>,
}

/// How many bytes had been filled by then, counted from the first sample; deletions count against it.
#[derive(Debug, Clone, Copy)]
struct Point {
    at: Timestamp,
    filled: i64,
}

impl FillHistory {
    /// Adds a measurement. One that is older than the latest, as after a node's clock was set, starts anew.
    pub fn push(&mut self, sample: Sample) {
        let filled = match self.latest {
            Some(latest) if sample.at >= latest.at => {
                // Growth changes what is free without anybody having written: free bytes are compared only between
                // samples of one size. What is written while it grows goes uncounted, which is little.
                let same_size = sample.total == latest.total;
                let freed = sample.available.0.wrapping_sub(latest.available.0).cast_signed();
                let before = self.points.back().map_or(0, |point| point.filled);
                if same_size { before.saturating_sub(freed) } else { before }
            }
            _ => {
                self.points.clear();
                0
            }
        };
        self.latest = Some(sample);
        let close = |before: &Point| sample.at.duration_since(before.at) < SPACING;
        if self.points.len() >= 2 && close(&self.points[self.points.len() - 2]) {
            self.points.pop_back();
        }
        self.points.push_back(Point { at: sample.at, filled });
        // The first point is the long window's start: the youngest that is at least that old.
        while self.points.get(1).is_some_and(|point| sample.at.duration_since(point.at) >= LONG) {
            self.points.pop_front();
        }
    }

    /// How fast the volume is filling, in bytes a second: the faster of what the short and the long window show, and
    /// zero where neither shows less free than before. One large write shows at its full rate for some seconds and as
    /// a small one for a minute; a steady writer shows as what it is.
    pub fn rate(&self, now: Timestamp) -> u64 {
        let Some(last) = self.points.back() else { return 0 };
        if now.duration_since(last.at) >= FORGOTTEN_AFTER {
            return 0;
        }
        [SHORT, LONG].into_iter().map(|window| self.rate_within(window, *last)).max().unwrap_or(0)
    }

    /// The mean rate since the youngest point that is at least `window` old, or since the first point there is.
    fn rate_within(&self, window: SignedDuration, last: Point) -> u64 {
        let old_enough = |point: &&Point| last.at.duration_since(point.at) >= window;
        let Some(start) = self.points.iter().rev().find(old_enough).or(self.points.front()) else { return 0 };
        let span = last.at.duration_since(start.at);
        if span < SPACING {
            return 0;
        }
        let filled = i128::from(last.filled) - i128::from(start.filled);
        let per_second = filled.max(0) * 1_000_000_000 / span.as_nanos();
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    /// Measurements of a volume of 1 GiB every `every`, with so many MiB free.
    fn history(every: SignedDuration, available_mib: impl IntoIterator<Item = u64>) -> (FillHistory, Timestamp) {
        let mut history = FillHistory::default();
        let mut now = start();
        for available in available_mib {
            now += every;
            history.push(Sample { at: now, total: Bytes::GIB, available: Bytes(available * MIB) });
        }
        (history, now)
    }

    const SECOND: SignedDuration = SignedDuration::from_secs(1);

    #[test]
    fn a_steady_writer_shows_as_what_it_is_however_often_it_is_measured() {
        for every in [100, 1000, 10_000, 60_000].map(SignedDuration::from_millis) {
            let mut history = FillHistory::default();
            let step = 10 * MIB * u64::try_from(every.as_millis()).unwrap() / 1000;
            let mut available = 1 << 40;
            let mut now = start();
            for _ in 0..1000 {
                now += every;
                available -= step;
                history.push(Sample { at: now, total: Bytes(1 << 40), available: Bytes(available) });
            }
            assert_eq!(history.rate(now), 10 * MIB, "every {every:?}");
            assert!(history.points.len() <= 242, "{} points are kept", history.points.len());
        }
    }

    #[test]
    fn one_measurement_or_a_moment_shows_no_rate() {
        let (history, now) = history(SECOND, [500]);
        assert_eq!(history.rate(now), 0);
        let (history, now) = self::history(SignedDuration::from_millis(100), [500, 400, 300]);
        assert_eq!(history.rate(now), 0);
        assert_eq!(FillHistory::default().rate(now), 0);
    }

    #[test]
    fn a_writer_that_starts_shows_within_the_short_window() {
        let (history, now) = history(SECOND, std::iter::repeat_n(900, 60).chain([890, 880, 870, 860, 850]));
        assert_eq!(history.rate(now), 10 * MIB);
    }

    #[test]
    fn one_large_write_fades_within_seconds_and_is_forgotten_within_a_minute() {
        let after = |seconds: usize| {
            let (history, now) = history(SECOND, std::iter::repeat_n(900, 60).chain(std::iter::repeat_n(600, seconds)));
            history.rate(now)
        };
        assert_eq!(after(5), 60 * MIB);
        assert_eq!(after(6), 5 * MIB);
        assert_eq!(after(60), 5 * MIB);
        assert_eq!(after(61), 0);
    }

    #[test]
    fn deleting_is_not_filling() {
        let (history, now) = history(SECOND, [100, 200, 300, 400, 500, 600, 700]);
        assert_eq!(history.rate(now), 0);
    }

    #[test]
    fn growth_neither_hides_a_writer_nor_looks_like_one() {
        let mut history = FillHistory::default();
        let mut now = start();
        let mut sample = |total: u64, available: u64| {
            now += SECOND;
            history.push(Sample { at: now, total: Bytes(total * MIB), available: Bytes(available * MIB) });
            history.rate(now)
        };
        for available in [200, 190, 180, 170, 160, 150] {
            sample(1024, available);
        }
        // The growth adds 512 MiB, of which the filesystem takes 50 for itself.
        assert_eq!(sample(1536, 612), 50 * MIB / 6, "only what is written in the moment of growth goes uncounted");
        for available in [602, 592, 582, 572] {
            sample(1536, available);
        }
        assert_eq!(sample(1536, 562), 10 * MIB);
    }

    #[test]
    fn a_clock_that_is_set_back_starts_anew() {
        let (mut history, now) = history(SECOND, [500, 400, 300]);
        let earlier = now - SignedDuration::from_hours(1);
        history.push(Sample { at: earlier, total: Bytes::GIB, available: Bytes(200 * MIB) });
        assert_eq!(history.rate(earlier), 0);
        let next = earlier + SECOND;
        history.push(Sample { at: next, total: Bytes::GIB, available: Bytes(190 * MIB) });
        assert_eq!(history.rate(next), 10 * MIB);
    }

    #[test]
    fn what_was_measured_long_ago_says_nothing_about_now() {
        let (history, now) = history(SECOND, [500, 400]);
        assert_eq!(history.rate(now), 100 * MIB);
        assert_eq!(history.rate(now + FORGOTTEN_AFTER), 0);
    }
}
