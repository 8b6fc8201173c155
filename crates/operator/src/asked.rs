//! The growths that were asked for and not answered: until when they count in the budgets though nobody knows whether they
//! were carried out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use orlop_planner::ClaimId;

/// The API server ends a request after a minute by default, and a request that it has not carried out by then it never
/// will: kube-apiserver's `--request-timeout`.
const MAY_BE_CARRIED_OUT_FOR: Duration = Duration::from_mins(1);

/// The claims with such a growth, and when it is over.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(BTreeMap<ClaimId, Instant>);

impl Unanswered {
    /// A growth of the claim was not answered.
    pub(crate) fn note(&mut self, claim: ClaimId, now: Instant) {
        self.0.insert(claim, now + MAY_BE_CARRIED_OUT_FOR);
    }

    /// It is known what came of it, or another was asked for.
    pub(crate) fn forget(&mut self, claim: &ClaimId) {
        self.0.remove(claim);
    }

    /// When the first of them is over.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// The claims whose growth is over.
    pub(crate) fn take_over(&mut self, now: Instant) -> Vec<ClaimId> {
        self.0.extract_if(.., |_, at| *at <= now).map(|(claim, _)| claim).collect()
    }
}
