//! Samples of metrics that come one metric after the other, put together to samples of a filesystem.

use orlop_api::{Bytes, Count};
use orlop_backtest::Sample;
use orlop_planner::Capacity;

/// What a metric measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measure {
    Capacity,
    Used,
    Available,
    Inodes,
    InodesUsed,
    InodesFree,
}

/// What was measured of one filesystem at one moment, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measured {
    pub(super) capacity: Option<u64>,
    pub(super) used: Option<u64>,
    pub(super) available: Option<u64>,
    pub(super) inodes: Option<u64>,
    pub(super) inodes_used: Option<u64>,
    pub(super) inodes_free: Option<u64>,
}

impl Measured {
    /// The sample; none where not enough is known. What one of used and available does not say is the rest of the capacity.
    pub(super) fn sample(self, at_ms: i64) -> Option<Sample> {
        let capacity = self.capacity?;
        let rest = |known: Option<u64>| known.map(|known| capacity.saturating_sub(known));
        let used = self.used.or_else(|| rest(self.available))?;
        let available = self.available.or_else(|| rest(self.used))?;
        let inodes = self.inodes.and_then(|total| {
            let free = self.inodes_free.or_else(|| self.inodes_used.map(|used| total.saturating_sub(used)))?;
            Some(Capacity { total: Count(total), free: Count(free) })
        });
        Some(Sample { at_ms, capacity: Bytes(capacity), used: Bytes(used), available: Bytes(available), inodes })
    }
}

/// The metrics of one claim, each with its values and their times.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns([Vec<(i64, u64)>; 6]);

impl Columns {
    pub(super) fn push(&mut self, measure: Measure, at_ms: i64, value: u64) {
        self.0[measure as usize].push((at_ms, value));
    }

    /// The samples in the order of their times, and how many times a capacity has nothing beside it. Where two sources tell of
    /// one time, the first that told counts.
    pub(super) fn samples(mut self) -> (Vec<Sample>, u64) {
        for column in &mut self.0 {
            column.sort_by_key(|(at_ms, _)| *at_ms);
            column.dedup_by_key(|(at_ms, _)| *at_ms);
        }
        let [capacities, others @ ..] = self.0;
        let mut rest: [&[(i64, u64)]; 5] = [&others[0], &others[1], &others[2], &others[3], &others[4]];
        let mut incomplete = 0;
        let mut samples = Vec::with_capacity(capacities.len());
        for (at_ms, capacity) in capacities {
            let [used, available, inodes, inodes_used, inodes_free] = rest.each_mut().map(|column| take(column, at_ms));
            let measured = Measured { capacity: Some(capacity), used, available, inodes, inodes_used, inodes_free };
            match measured.sample(at_ms) {
                Some(sample) => samples.push(sample),
                None => incomplete += 1,
            }
        }
        (samples, incomplete)
    }
}

/// The value of that time, where there is one; what is older is passed over.
fn take(column: &mut &[(i64, u64)], at_ms: i64) -> Option<u64> {
    while let [(first_ms, value), later @ ..] = *column {
        if *first_ms > at_ms {
            return None;
        }
        *column = later;
        if *first_ms == at_ms {
            return Some(*value);
        }
    }
    None
}

/// The whole number that a metric's value is: none where it says that there is none (a staleness marker, which is NaN), and
/// an error where it is no number of bytes or inodes.
pub(super) fn whole(value: &str) -> Result<Option<u64>, String> {
    if let Ok(value) = value.parse::<u64>() {
        return Ok(Some(value));
    }
    match value.parse::<f64>() {
        Ok(value) if value.is_nan() => Ok(None),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within")]
        Ok(value) if (0.0..9.2e18).contains(&value) => Ok(Some(value.round() as u64)),
        _ => Err(format!("`{value}` is not a number of bytes or inodes")),
    }
}

/// A time that is written as a number of seconds, with or without a fraction.
pub(super) fn milliseconds(seconds: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within")]
    (seconds.abs() < 2.5e11).then(|| (seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_time_become_a_sample_and_the_first_source_counts() {
        let mut columns = Columns::default();
        for (at_ms, capacity) in [(2000, 100), (1000, 100), (3000, 100), (1000, 77)] {
            columns.push(Measure::Capacity, at_ms, capacity);
        }
        columns.push(Measure::Used, 1000, 40);
        columns.push(Measure::Available, 1000, 55);
        columns.push(Measure::Used, 1500, 41);
        columns.push(Measure::Available, 3000, 50);
        let (samples, incomplete) = columns.samples();
        let seen: Vec<_> = samples.iter().map(|it| (it.at_ms, it.capacity.0, it.used.0, it.available.0)).collect();
        assert_eq!(seen, [(1000, 100, 40, 55), (3000, 100, 50, 50)]);
        assert_eq!(incomplete, 1, "of 2000 only the capacity is known");
    }

    #[test]
    fn inodes_are_known_by_any_two_of_their_three_numbers() {
        let inodes = |used, free| {
            let known = Measured { capacity: Some(1), used: Some(0), inodes: Some(10), ..Measured::default() };
            let sample = Measured { inodes_used: used, inodes_free: free, ..known }.sample(0).unwrap();
            sample.inodes.map(|inodes| inodes.free.0)
        };
        assert_eq!((inodes(Some(3), None), inodes(None, Some(6)), inodes(None, None)), (Some(7), Some(6), None));
    }

    #[test]
    fn a_value_is_a_whole_number_and_a_staleness_marker_is_none() {
        assert_eq!(whole("1.073741824e+09"), Ok(Some(1 << 30)));
        assert_eq!(whole("18014398509481985"), Ok(Some(18_014_398_509_481_985)), "beyond what a float can hold");
        assert_eq!(whole("NaN"), Ok(None));
        for wrong in ["-1", "+Inf", "", "1Gi"] {
            assert!(whole(wrong).is_err(), "{wrong}");
        }
    }
}
