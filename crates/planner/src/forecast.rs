//! How fast a volume is filling, from its latest measurements. Windows are spans of time and not counts, so that the
//! same code serves an agent that measures several times a second and a kubelet that does so once a minute.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use orlop_api::Bytes;

/// The window in which a writer that has just started shows.
const SHORT: SignedDuration = SignedDuration::from_secs(5);

/// The window in which a writer that writes in bursts shows.
const LONG: SignedDuration = SignedDuration::from_secs(60);

/// Samples closer together than this are kept as one: it bounds the memory, and one burst of a page cache being
/// written back is not extrapolated.
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

/// The latest measurements of one filesystem: as many as the long window takes, at most about 120.
#[derive(Debug, Clone, Default)]
pub struct FillHistory {
    latest: Option<Sample>,
    points: VecDeque<Point>,
}

/// How much had been filled by then, counted from the first sample; deletions count against it.
#[derive(Debug, Clone, Copy)]
struct Point {
    at: Timestamp,
    filled: i128,
}

impl FillHistory {
    /// Adds a measurement. One that is older than the latest, as after a node's clock was set, starts anew.
    pub fn push(&mut self, sample: Sample) {
        let filled = match self.latest {
            Some(latest) if sample.at >= latest.at => {
                // Growth changes what is free without anybody having written: free bytes are compared only between
                // samples of one size. What is written while it grows goes uncounted, which is little.
                let same_size = sample.total == latest.total;
                let freed = i128::from(sample.available.0) - i128::from(latest.available.0);
                self.points.back().map_or(0, |point| point.filled) - if same_size { freed } else { 0 }
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
        let per_second = (last.filled - start.filled).max(0).saturating_mul(1_000_000_000) / span.as_nanos();
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }
}
