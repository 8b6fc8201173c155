//! The actions that failed a short while ago: until when they are not tried again, and what the report says of them
//! meanwhile.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use orlop_api::names::Reason;
use orlop_planner::{ClaimId, Outcome, Plan, Report};

use super::{act::Failure, backoff::Backoff};

/// After an action that the API server refused: a quota or a webhook changes its mind when somebody changes it.
const REFUSED: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_mins(5) };

/// After an action that was not answered, or was overtaken by another change: by then the watch has usually told what
/// became of it.
const UNKNOWN: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10) };

/// The claims with a setback.
#[derive(Debug, Default)]
pub(super) struct Setbacks(HashMap<ClaimId, Setback>);

#[derive(Debug)]
struct Setback {
    failures: u32,
    /// Until when no action is tried.
    until: Timestamp,
    /// What the API server said, where it refused.
    refusal: Option<String>,
}

impl Setbacks {
    /// An action for the claim has failed.
    pub(super) fn failed(&mut self, claim: &ClaimId, failure: Failure, now: Timestamp) {
        let failures = self.0.get(claim).map_or(0, |setback| setback.failures);
        let (wait, refusal) = match failure {
            Failure::Refused(why) => (REFUSED.after(failures), Some(why)),
            Failure::Overtaken | Failure::Unanswered(_) => (UNKNOWN.after(failures), None),
        };
        let until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        self.0.insert(claim.clone(), Setback { failures: failures + 1, until, refusal });
    }

    /// The actions for the claim were carried out, or the claim is no more.
    pub(super) fn clear(&mut self, claim: &ClaimId) {
        self.0.remove(claim);
    }

    /// Takes out of the plan what is not to be tried now. Where the API server has refused a growth, the report says
    /// so until it allows it, also while it is tried again.
    pub(super) fn hold_back(&self, plan: &mut Plan, report: &mut Report, now: Timestamp) {
        if self.0.is_empty() {
            return;
        }
        for (claim, decision) in &mut report.decisions {
            let Some(setback) = self.0.get(claim) else { continue };
            if now < setback.until {
                decision.again_at = Some(decision.again_at.map_or(setback.until, |at| at.min(setback.until)));
            }
            if let (Outcome::Grow(to), Some(refusal)) = (decision.outcome, &setback.refusal) {
                decision.outcome = Outcome::Wait;
                decision.reason = Reason::GrowthFailed;
                decision.message = format!("the API server refuses to let the claim grow to {to}: {refusal}");
            }
        }
        plan.actions.retain(|action| self.0.get(action.claim()).is_none_or(|setback| setback.until <= now));
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::{Bytes, Mode};
    use orlop_planner::{Action, Decision, Governance, GrowthRecord, NamespaceName, Uid};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claim() -> ClaimId {
        ClaimId { namespace: NamespaceName("ns".into()), name: "data".into() }
    }

    /// What the planner says of a claim that is to grow.
    fn growth() -> (Plan, Report) {
        let record = GrowthRecord {
            from: Bytes::GIB,
            to: Bytes(2 << 30),
            filesystem: Bytes::GIB,
            crossed: at(0),
            decided: at(0),
            reason: Reason::BelowMinFree,
            usable: None,
        };
        let decision = Decision {
            uid: Uid("u".into()),
            governance: Governance::None,
            mode: Mode::Auto,
            size: record.from,
            outcome: Outcome::Grow(record.to),
            reason: record.reason,
            message: "grow".into(),
            again_at: Some(at(500)),
        };
        let action = Action::Grow { claim: claim(), uid: Uid("u".into()), previous: None, record };
        (Plan { actions: vec![action] }, Report { decisions: [(claim(), decision)].into() })
    }

    fn held_back(setbacks: &Setbacks, now: Timestamp) -> (Plan, Decision) {
        let (mut plan, mut report) = growth();
        setbacks.hold_back(&mut plan, &mut report, now);
        (plan, report.decisions.remove(&claim()).unwrap())
    }

    #[test]
    fn a_refused_growth_is_reported_and_tried_again_later_and_later() {
        let mut setbacks = Setbacks::default();
        setbacks.failed(&claim(), Failure::Refused("exceeded quota".into()), at(100));
        let (plan, decision) = held_back(&setbacks, at(109));
        assert_eq!(plan, Plan::default());
        assert_eq!((decision.outcome, decision.reason), (Outcome::Wait, Reason::GrowthFailed));
        assert_eq!(decision.message, "the API server refuses to let the claim grow to 2Gi: exceeded quota");
        assert_eq!(decision.again_at, Some(at(110)));

        let (plan, decision) = held_back(&setbacks, at(110));
        assert_eq!((plan.actions.len(), decision.reason), (1, Reason::GrowthFailed), "tried again, and not well yet");
        setbacks.failed(&claim(), Failure::Refused("exceeded quota".into()), at(110));
        assert_eq!(held_back(&setbacks, at(129)).0.actions.len(), 0);
        assert_eq!(held_back(&setbacks, at(130)).0.actions.len(), 1);
    }

    #[test]
    fn an_unanswered_growth_is_tried_again_soon_and_is_no_problem_yet() {
        let mut setbacks = Setbacks::default();
        setbacks.failed(&claim(), Failure::Unanswered("no answer".into()), at(100));
        let (plan, decision) = held_back(&setbacks, at(100));
        assert_eq!(plan, Plan::default());
        assert_eq!(decision.reason, Reason::BelowMinFree);
        assert_eq!(held_back(&setbacks, at(101)).0.actions.len(), 1);
    }

    #[test]
    fn a_growth_that_was_carried_out_leaves_no_setback() {
        let mut setbacks = Setbacks::default();
        setbacks.failed(&claim(), Failure::Overtaken, at(100));
        setbacks.clear(&claim());
        assert_eq!(held_back(&setbacks, at(100)).0, growth().0);
    }
}
