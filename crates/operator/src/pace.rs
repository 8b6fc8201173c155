//! When which policy's status may be compared and written: at most once a second, later and later where it fails.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use orlop_planner::PolicyId;

use super::backoff::Backoff;

/// How often the status of one policy is written at most.
const EVERY: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_mins(1) };

/// The policies to look at, and when.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    due: BTreeMap<PolicyId, Instant>,
    writing: BTreeSet<PolicyId>,
    last: HashMap<PolicyId, Last>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Last {
    failures: u32,
    not_before: Option<Instant>,
}

impl Pace {
    /// Has the policy looked at as soon as may be.
    pub(crate) fn mark(&mut self, policy: PolicyId, now: Instant) {
        let not_before = self.last.get(&policy).and_then(|last| last.not_before);
        self.due.entry(policy).or_insert(not_before.map_or(now, |at| at.max(now)));
    }

    /// When the next policy is due; one that is being written is not.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.iter().filter(|(policy, _)| !self.writing.contains(policy)).map(|(_, at)| *at).min()
    }

    /// The policies that are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<PolicyId> {
        let writing = &self.writing;
        self.due
            .extract_if(.., |policy, at| *at <= now && !writing.contains(policy))
            .map(|(policy, _)| policy)
            .collect()
    }

    /// The policy's status is being written.
    pub(crate) fn begin(&mut self, policy: PolicyId) {
        self.writing.insert(policy);
    }

    /// The policy's status has been written, or could not be: then it is looked at again by itself.
    pub(crate) fn end(&mut self, policy: &PolicyId, written: bool, now: Instant) {
        self.writing.remove(policy);
        let last = self.last.entry(policy.clone()).or_default();
        if written {
            *last = Last { failures: 0, not_before: Some(now + EVERY) };
        } else {
            let not_before = Some(now + BACKOFF.after(last.failures));
            *last = Last { failures: last.failures + 1, not_before };
        }
        match self.due.get_mut(policy) {
            Some(at) => *at = (*at).max(last.not_before.unwrap_or(now)),
            None if !written => self.mark(policy.clone(), now),
            None => {}
        }
    }

    /// The policy is no more.
    pub(crate) fn forget(&mut self, policy: &PolicyId) {
        self.due.remove(policy);
        self.last.remove(policy);
    }
}

#[cfg(test)]
mod tests {
    use orlop_planner::PolicyKind;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy() -> PolicyId {
        PolicyId { kind: PolicyKind::Cluster, name: "all".into() }
    }

    #[test]
    fn a_status_is_written_at_once_and_then_at_most_once_a_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.mark(policy(), start);
        assert_eq!(pace.take_due(start), [policy()]);
        pace.begin(policy());
        pace.mark(policy(), start + MS);
        assert_eq!(pace.next(), None, "it is being written");
        assert_eq!(pace.take_due(start + 2 * MS), []);
        pace.end(&policy(), true, start + 3 * MS);
        assert_eq!(pace.take_due(start + 1002 * MS), []);
        assert_eq!(pace.take_due(start + 1003 * MS), [policy()]);
        assert_eq!(pace.take_due(start + 5000 * MS), [], "nothing has changed since");
    }

    #[test]
    fn a_status_that_cannot_be_written_is_tried_again_later_and_later() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.begin(policy());
        pace.end(&policy(), false, start);
        assert_eq!(pace.next(), Some(start + 2000 * MS));
        assert_eq!(pace.take_due(start + 2000 * MS), [policy()]);
        pace.begin(policy());
        pace.end(&policy(), false, start + 2000 * MS);
        assert_eq!(pace.next(), Some(start + 6000 * MS));
        pace.mark(policy(), start + 2001 * MS);
        assert_eq!(pace.next(), Some(start + 6000 * MS), "a change does not hurry it");
    }

    #[test]
    fn a_policy_that_is_no_more_is_not_looked_at() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.mark(policy(), start);
        pace.forget(&policy());
        assert_eq!(pace.take_due(start), []);
    }
}
