//! When which claim is to be decided again though nothing about it was observed: a measurement becomes stale, a
//! growth overdue.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
};

use jiff::Timestamp;
use orlop_planner::ClaimId;

/// The claims by the time at which each is due. A claim is in it once.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    queue: BinaryHeap<Reverse<(Timestamp, ClaimId)>>,
    /// What counts: an entry of the queue that says another time is a leftover.
    due_at: HashMap<ClaimId, Timestamp>,
}

impl Agenda {
    /// Has the claim decided at this time at the latest. An earlier time that is already set stays: to decide once
    /// too often is cheap, and a queue of superseded times is not.
    pub(crate) fn schedule(&mut self, claim: &ClaimId, at: Timestamp) {
        match self.due_at.entry(claim.clone()) {
            Entry::Occupied(known) if *known.get() <= at => return,
            Entry::Occupied(mut known) => {
                known.insert(at);
            }
            Entry::Vacant(none) => {
                none.insert(at);
            }
        }
        self.queue.push(Reverse((at, claim.clone())));
    }

    /// The claim is no more.
    pub(crate) fn forget(&mut self, claim: &ClaimId) {
        self.due_at.remove(claim);
    }

    /// When the claim is due.
    pub(crate) fn due_at(&self, claim: &ClaimId) -> Option<Timestamp> {
        self.due_at.get(claim).copied()
    }

    /// When the next claim is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// The claims that are due.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Vec<ClaimId> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= now) {
            let Some(Reverse((at, claim))) = self.queue.pop() else { break };
            if self.due_at.get(&claim) == Some(&at) {
                self.due_at.remove(&claim);
                due.push(claim);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use orlop_planner::NamespaceName;

    use super::*;

    fn claim(name: &str) -> ClaimId {
        ClaimId { namespace: NamespaceName("ns".into()), name: name.into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_claim_is_due_once_at_the_earliest_time_set() {
        let mut agenda = Agenda::default();
        agenda.schedule(&claim("a"), at(20));
        agenda.schedule(&claim("a"), at(10));
        agenda.schedule(&claim("a"), at(30));
        agenda.schedule(&claim("b"), at(15));
        assert_eq!(agenda.next(), Some(at(10)));
        assert_eq!(agenda.take_due(at(9)), []);
        assert_eq!(agenda.take_due(at(15)), [claim("a"), claim("b")]);
        assert_eq!(agenda.take_due(at(100)), []);
    }

    #[test]
    fn a_claim_that_is_no_more_is_never_due() {
        let mut agenda = Agenda::default();
        agenda.schedule(&claim("a"), at(10));
        agenda.forget(&claim("a"));
        assert_eq!(agenda.take_due(at(100)), []);
    }
}
