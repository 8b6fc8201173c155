//! What a picture needs of a claim's history: as many points as it is wide, whatever the history's length. The
//! length is not known before the end, so the points are made half as many whenever they become too many.

use orlop_api::Bytes;

use crate::history::Sample;

/// Two points fall on each pixel's width at most.
const POINTS_MAX: usize = 600;

/// Of more times at which a volume is full, the picture says nothing more.
const FULL_MAX: usize = 100;

/// The outline of a history.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outline {
    /// One point has been made of so many samples, as a power of two.
    thinned: u32,
    /// How many samples the last point is of.
    taken: u64,
    pub(crate) points: Vec<Point>,
    pub(crate) recorded_full: Vec<(i64, i64)>,
    pub(crate) policy_full: Vec<(i64, i64)>,
}

/// What is drawn at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) at_ms: i64,
    /// The most that was used since the point before.
    pub(crate) used: Bytes,
    /// The recorded filesystem.
    pub(crate) recorded: Bytes,
}

impl Outline {
    pub(crate) fn push(&mut self, sample: &Sample) {
        match self.points.last_mut() {
            Some(point) if self.taken < 1 << self.thinned => {
                point.used = point.used.max(sample.used);
                point.recorded = sample.capacity;
                self.taken += 1;
            }
            _ => {
                self.points.push(Point { at_ms: sample.at_ms, used: sample.used, recorded: sample.capacity });
                self.taken = 1;
            }
        }
        if self.points.len() > POINTS_MAX {
            let halved = self.points.chunks(2).map(|pair| {
                let used = pair.iter().map(|point| point.used).max().unwrap_or_default();
                Point { used, ..pair[0] }
            });
            self.points = halved.collect();
            self.thinned += 1;
        }
    }

    pub(crate) fn full(&mut self, recorded: Option<(i64, i64)>, policy: Option<(i64, i64)>) {
        for (spans, span) in [(&mut self.recorded_full, recorded), (&mut self.policy_full, policy)] {
            let Some((from, to)) = span else { continue };
            let count = spans.len();
            match spans.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ if count < FULL_MAX => spans.push((from, to)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_the_history_the_outline_is_short_and_has_the_peak() {
        let mut outline = Outline::default();
        for number in 0..100_000_i64 {
            let used = Bytes(if number == 77_777 { 900 } else { 100 });
            let available = Bytes(1000 - used.0);
            outline.push(&Sample { at_ms: number * 1000, capacity: Bytes(1000), used, available, inodes: None });
        }
        assert!((POINTS_MAX / 2..=POINTS_MAX).contains(&outline.points.len()), "{}", outline.points.len());
        assert_eq!(outline.points.iter().map(|point| point.used.0).max(), Some(900));
        assert_eq!(outline.points[0].at_ms, 0);
        assert!(outline.points.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
    }
}
