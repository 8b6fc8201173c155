//! What is counted along the way: how long volumes were full, how long a growth had to wait, and how many bytes were held
//! for how long.

use std::collections::BTreeMap;

use orlop_api::names::Reason;

/// The times at which a volume was full. Times that follow each other without a pause are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fills {
    pub(crate) times: u64,
    pub(crate) lasting_ms: u64,
    pub(crate) first_ms: Option<i64>,
    until_ms: Option<i64>,
}

impl Fills {
    /// Adds a span, none of which is before the last one's end. Is it the beginning of another time?
    pub(crate) fn add(&mut self, from_ms: i64, to_ms: i64) -> bool {
        let begins = self.until_ms != Some(from_ms);
        self.times += u64::from(begins);
        self.lasting_ms += to_ms.saturating_sub(from_ms).unsigned_abs();
        self.first_ms.get_or_insert(from_ms);
        self.until_ms = Some(to_ms);
        begins
    }
}

/// How long growth was called for and could not be, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waited {
    pub(crate) times: u64,
    pub(crate) lasting_ms: u64,
    pub(crate) first_ms: i64,
    /// The planner's sentence of the first time.
    pub(crate) message: String,
}

/// All that is counted for one claim.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) samples: u64,
    pub(crate) gaps: u64,
    /// How long samples were near enough to each other to say what was between them.
    pub(crate) watched_ms: u64,
    /// From the first sample to the last.
    pub(crate) span_ms: u64,
    /// Size times time: of the sizes that were recorded, and of those under the policy.
    pub(crate) recorded_byte_ms: u128,
    pub(crate) policy_byte_ms: u128,
    pub(crate) most_used: u64,
    pub(crate) most_inodes_used: u64,
    pub(crate) recorded_full: Fills,
    pub(crate) policy_full: Fills,
    /// How many of the times at which the recorded volume was full the simulated one was never full in.
    pub(crate) averted: u64,
    /// Was the simulated one full in the latest of them?
    is_shared: bool,
    pub(crate) waits: BTreeMap<Reason, Waited>,
}

impl Tally {
    /// Adds spans, of the same short time, in which the two volumes were full.
    pub(crate) fn full(&mut self, recorded: Option<(i64, i64)>, policy: Option<(i64, i64)>) {
        if let Some((from, to)) = policy {
            self.policy_full.add(from, to);
        }
        let Some((from, to)) = recorded else { return };
        if self.recorded_full.add(from, to) {
            self.averted += 1;
            self.is_shared = false;
        }
        if policy.is_some() && !self.is_shared {
            self.averted -= 1;
            self.is_shared = true;
        }
    }

    /// A wait begins.
    pub(crate) fn begin_wait(&mut self, reason: Reason, at_ms: i64, message: &str) {
        let begun = || Waited { times: 0, lasting_ms: 0, first_ms: at_ms, message: message.to_owned() };
        self.waits.entry(reason).or_insert_with(begun).times += 1;
    }

    /// A wait goes on.
    pub(crate) fn wait(&mut self, reason: Reason, lasting_ms: u64) {
        if let Some(waited) = self.waits.get_mut(&reason) {
            waited.lasting_ms += lasting_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_follow_each_other_are_one_time() {
        let mut fills = Fills::default();
        assert!(fills.add(10, 20));
        assert!(!fills.add(20, 30));
        assert!(fills.add(31, 40));
        assert_eq!((fills.times, fills.lasting_ms, fills.first_ms), (2, 29, Some(10)));
    }

    #[test]
    fn a_fill_is_averted_only_if_the_simulated_volume_was_not_full_in_any_part_of_it() {
        let mut tally = Tally::default();
        tally.full(Some((0, 10)), None);
        assert_eq!(tally.averted, 1);
        tally.full(Some((10, 20)), Some((15, 20)));
        tally.full(Some((20, 30)), Some((20, 30)));
        assert_eq!((tally.averted, tally.recorded_full.times), (0, 1));
        tally.full(Some((40, 50)), None);
        assert_eq!((tally.averted, tally.recorded_full.times, tally.policy_full.times), (1, 2, 1));
    }
}
