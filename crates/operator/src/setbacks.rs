//! The actions that failed a short while ago: until when they are not tried again, and what the report says of them
//! meanwhile.

use std::{
    collections::{HashMap, HashSet},
    mem::{Discriminant, discriminant},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use orlop_api::names::{PerformanceReason, Reason};
use orlop_planner::{Action, ClaimId, ClassMove, Outcome, Plan, Report};

use super::{backoff::Backoff, failure::Failure, moment::Moment};

/// After an action that the API server refused: a quota or a webhook changes its mind when somebody changes it.
const REFUSED: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_mins(5) };

/// After an action that was not answered, or was overtaken by another change: by then the watch has usually told what
/// became of it.
const UNKNOWN: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10) };

/// The claims with setbacks. Those of one kind of action do not hold up another: that a pod may not be touched must not
/// keep a claim from growing.
#[derive(Debug, Default)]
pub(crate) struct Setbacks(HashMap<ClaimId, HashMap<Kind, Setback>>);

type Kind = Discriminant<Action>;

/// An action that failed a short while ago.
#[derive(Debug)]
pub(crate) struct Setback {
    /// What was to be done, in words.
    pub(crate) action: &'static str,
    /// How often in a row it has failed.
    pub(crate) failures: u32,
    /// Until when no action of the kind is tried. The wall clock may be set meanwhile.
    pub(crate) until: Instant,
    /// What the API server said, where it refused a growth, a class, or that pods are stopped or started.
    pub(crate) refusal: Option<String>,
    subject: Subject,
}

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Size,
    Class,
    Pods,
    Note,
}

impl Subject {
    const fn of(action: &Action) -> Self {
        match action {
            Action::Grow { .. } | Action::RecordGrowth { .. } | Action::WriteOwner { .. } | Action::TakeBack { .. } => {
                Self::Size
            }
            Action::SetClass { .. } => Self::Class,
            Action::ScaleToZero { .. } | Action::ScaleBack { .. } => Self::Pods,
            Action::RecordUsable { .. } | Action::SyncPod { .. } => Self::Note,
        }
    }
}

impl Setbacks {
    /// An action for the claim has failed.
    pub(crate) fn failed(&mut self, claim: &ClaimId, action: &Action, failure: Failure, now: Instant) {
        let setbacks = self.0.entry(claim.clone()).or_default();
        let failures = setbacks.get(&discriminant(action)).map_or(0, |setback| setback.failures);
        let (wait, refusal) = match failure {
            Failure::Refused(why) => {
                let is_told = match Subject::of(action) {
                    Subject::Size => action.requests().is_some(),
                    Subject::Class | Subject::Pods => true,
                    Subject::Note => false,
                };
                (REFUSED.after(failures), is_told.then_some(why))
            }
            Failure::Overtaken | Failure::Unanswered(_) => (UNKNOWN.after(failures), None),
        };
        let (words, subject) = (in_words(action), Subject::of(action));
        let setback = Setback { action: words, failures: failures + 1, until: now + wait, refusal, subject };
        setbacks.insert(discriminant(action), setback);
    }

    /// The setbacks of a claim, in the order of what was to be done.
    pub(crate) fn of(&self, claim: &ClaimId) -> Vec<&Setback> {
        let mut setbacks: Vec<_> = self.0.get(claim).into_iter().flat_map(HashMap::values).collect();
        setbacks.sort_unstable_by_key(|setback| setback.action);
        setbacks
    }

    /// The action was carried out.
    pub(crate) fn clear(&mut self, claim: &ClaimId, action: &Action) {
        if let Some(setbacks) = self.0.get_mut(claim) {
            setbacks.remove(&discriminant(action));
            if setbacks.is_empty() {
                self.0.remove(claim);
            }
        }
    }

    /// When the first of them is tried again.
    pub(crate) fn tried_again(&self, claim: &ClaimId, now: Moment) -> Option<Timestamp> {
        let setbacks = self.0.get(claim).into_iter().flat_map(HashMap::values);
        let waits = setbacks.map(|it| it.until.saturating_duration_since(now.instant)).filter(|it| !it.is_zero());
        now.time.checked_add(waits.min()?).ok()
    }

    /// The claim is no more.
    pub(crate) fn forget(&mut self, claim: &ClaimId) {
        self.0.remove(claim);
    }

    /// Takes out of the plan what is not to be tried now. Where the API server has refused a growth, the report says
    /// so until it allows it, also while it is tried again.
    pub(crate) fn hold_back(&self, plan: &mut Plan, report: &mut Report, now: Moment) {
        if self.0.is_empty() {
            return;
        }
        for (claim, decision) in &mut report.decisions {
            let Some(setbacks) = self.0.get(claim) else { continue };
            decision.again_at = self.tried_again(claim, now).into_iter().chain(decision.again_at).min();
            let refusal = |subject: Subject| {
                setbacks.values().find_map(|it| it.refusal.as_ref().filter(|_| it.subject == subject))
            };
            if let Some((refusal, decision)) = refusal(Subject::Class).zip(report.performance.get_mut(claim))
                && let ClassMove::Set(Some(to)) = &decision.outcome
            {
                decision.message =
                    format!("the API server refuses to let the claim have VolumeAttributesClass {to}: {refusal}");
                decision.outcome = ClassMove::Wait;
                decision.reason = PerformanceReason::ClassRefused;
            }
            let Some(refusal) = refusal(Subject::Size) else { continue };
            decision.message = match (decision.outcome, decision.reason) {
                (Outcome::Grow(to), _) => format!("the API server refuses to let the claim grow to {to}: {refusal}"),
                (_, Reason::GrowthReduced) => {
                    format!("{}, and the API server refuses that: {refusal}", decision.message)
                }
                _ => continue,
            };
            decision.outcome = Outcome::Wait;
            decision.reason = Reason::GrowthFailed;
        }
        self.tell_of_pods(plan, report);
        let mut unrecorded = HashSet::new();
        plan.actions.retain(|action| {
            let claim = action.claim();
            let setback = self.0.get(claim).and_then(|setbacks| setbacks.get(&discriminant(action)));
            let waits = setback.is_some_and(|setback| setback.until > now.instant);
            if waits && matches!(action, Action::RecordGrowth { .. }) {
                unrecorded.insert(claim.clone());
            }
            // An owner is not written before that is on record.
            let is_unrecorded = matches!(action, Action::WriteOwner { .. }) && unrecorded.contains(claim);
            !(waits || is_unrecorded)
        });
    }

    /// Says in the report where the API server does not let pods be stopped that are to be, or started again.
    fn tell_of_pods(&self, plan: &Plan, report: &mut Report) {
        for action in plan.actions.iter().filter(|action| Subject::of(action) == Subject::Pods) {
            let setback = self.0.get(action.claim()).and_then(|setbacks| setbacks.get(&discriminant(action)));
            let refusal = setback.and_then(|setback| setback.refusal.as_ref());
            if let Some((refusal, decision)) = refusal.zip(report.decisions.get_mut(action.claim())) {
                decision.message = format!("{}; the API server refuses to {action}: {refusal}", decision.message);
                decision.outcome = Outcome::Wait;
                decision.reason = Reason::GrowthFailed;
            }
        }
    }
}

const fn in_words(action: &Action) -> &'static str {
    match action {
        Action::Grow { .. } => "request the larger size",
        Action::RecordGrowth { .. } => "record a growth by way of the owner",
        Action::WriteOwner { .. } => "write the larger size into the owner",
        Action::TakeBack { .. } => "request a smaller size in place of the one that was refused",
        Action::RecordUsable { .. } => "record that the growth is usable",
        Action::SetClass { .. } => "request another VolumeAttributesClass",
        Action::ScaleToZero { .. } => "scale its workload to zero",
        Action::ScaleBack { .. } => "scale its workload back",
        Action::SyncPod { .. } => "touch the pod, so that its kubelet notices the growth",
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::{Bytes, Mode};
    use orlop_planner::{Decision, Governance, GrowthRecord, NamespaceName, Uid};

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
            earlier: Vec::new(),
            refused: Vec::new(),
            usable: None,
            owner: None,
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
            over_budget: None,
            by_owner: None,
        };
        let action = Action::Grow { claim: claim(), uid: Uid("u".into()), previous: None, record };
        (Plan { actions: vec![action] }, Report { decisions: [(claim(), decision)].into(), ..Report::default() })
    }

    /// The clock that only runs, counted as `at` counts the other.
    fn clock() -> impl Fn(i64) -> Instant {
        let origin = Instant::now();
        move |second| origin + Duration::from_secs(second.unsigned_abs())
    }

    fn held_back(setbacks: &Setbacks, clock: &impl Fn(i64) -> Instant, second: i64) -> (Plan, Decision) {
        let (mut plan, mut report) = growth();
        setbacks.hold_back(&mut plan, &mut report, Moment { time: at(second), instant: clock(second) });
        (plan, report.decisions.remove(&claim()).unwrap())
    }

    #[test]
    fn a_refused_growth_is_reported_and_tried_again_later_and_later() {
        let (mut setbacks, clock) = (Setbacks::default(), clock());
        setbacks.failed(&claim(), &growth().0.actions[0], Failure::Refused("exceeded quota".into()), clock(100));
        let (plan, decision) = held_back(&setbacks, &clock, 109);
        assert_eq!(plan, Plan::default());
        assert_eq!((decision.outcome, decision.reason), (Outcome::Wait, Reason::GrowthFailed));
        assert_eq!(decision.message, "the API server refuses to let the claim grow to 2Gi: exceeded quota");
        assert_eq!(decision.again_at, Some(at(110)));

        let (plan, decision) = held_back(&setbacks, &clock, 110);
        assert_eq!((plan.actions.len(), decision.reason), (1, Reason::GrowthFailed), "tried again, and not well yet");
        setbacks.failed(&claim(), &growth().0.actions[0], Failure::Refused("exceeded quota".into()), clock(110));
        assert_eq!(held_back(&setbacks, &clock, 129).0.actions.len(), 0);
        assert_eq!(held_back(&setbacks, &clock, 130).0.actions.len(), 1);
    }

    /// As an API server does that does not know how to recover from a failed expansion.
    #[test]
    fn a_growth_that_may_not_be_taken_back_has_failed_and_the_report_says_both() {
        let (mut setbacks, clock) = (Setbacks::default(), clock());
        let (_, mut report) = growth();
        let decision = report.decisions.get_mut(&claim()).unwrap();
        decision.outcome = Outcome::Growing(Bytes(3 << 29));
        decision.reason = Reason::GrowthReduced;
        decision.message = "the driver refused it; 1536Mi is asked for in its place".into();
        let Action::Grow { claim: id, uid, record, .. } = growth().0.actions.remove(0) else { panic!("it grows") };
        let action = Action::TakeBack { claim: id, uid, previous: record.clone(), record };
        let refusal = Failure::Refused("field can not be less than previous value".into());
        setbacks.failed(&claim(), &action, refusal, clock(100));
        let mut plan = Plan { actions: vec![action] };
        setbacks.hold_back(&mut plan, &mut report, Moment { time: at(101), instant: clock(101) });
        assert_eq!(plan, Plan::default());
        let decision = &report.decisions[&claim()];
        assert_eq!((decision.outcome, decision.reason), (Outcome::Wait, Reason::GrowthFailed));
        assert_eq!(
            decision.message,
            "the driver refused it; 1536Mi is asked for in its place, and the API server refuses that: field can not be \
             less than previous value"
        );
    }

    /// A webhook may refuse any change of a workload, and then its pods do not come back.
    #[test]
    fn that_pods_may_not_be_started_again_is_a_problem_and_the_report_says_so() {
        let (mut setbacks, clock) = (Setbacks::default(), clock());
        let name = "web".into();
        let id = orlop_planner::DeploymentId { namespace: NamespaceName("ns".into()), name };
        let (at, until) = (at(50), at(90));
        let action = Action::ScaleBack {
            claim: claim(),
            workload: orlop_planner::WorkloadId::Deployment(id),
            uid: Uid("d".into()),
            scaled: orlop_planner::maintenance::ScaledFrom { replicas: 2, claim: "data".into(), at, until },
            replicas: 0,
            in_vain: None,
        };
        let (_, mut report) = growth();
        let decision = report.decisions.get_mut(&claim()).unwrap();
        (decision.outcome, decision.reason) = (Outcome::Growing(Bytes(2 << 30)), Reason::Growing);
        decision.message = "the volume has grown to 2Gi".into();
        setbacks.failed(&claim(), &action, Failure::Refused("frozen for the holidays".into()), clock(100));
        let now = Moment { time: Timestamp::from_second(101).unwrap(), instant: clock(101) };
        let mut plan = Plan { actions: vec![action] };
        setbacks.hold_back(&mut plan, &mut report, now);
        let decision = &report.decisions[&claim()];
        assert_eq!((plan.actions.len(), decision.reason), (0, Reason::GrowthFailed));
        assert_eq!(
            decision.message,
            "the volume has grown to 2Gi; the API server refuses to scale Deployment ns/web back to 2: frozen for the \
             holidays"
        );
        // Nothing of it is to be done any more: somebody has done it.
        let (_, mut report) = growth();
        setbacks.hold_back(&mut Plan::default(), &mut report, now);
        assert_eq!(report.decisions[&claim()].reason, Reason::BelowMinFree);
    }

    #[test]
    fn an_unanswered_growth_is_tried_again_soon_and_is_no_problem_yet() {
        let (mut setbacks, clock) = (Setbacks::default(), clock());
        setbacks.failed(&claim(), &growth().0.actions[0], Failure::Unanswered("no answer".into()), clock(100));
        let (plan, decision) = held_back(&setbacks, &clock, 100);
        assert_eq!(plan, Plan::default());
        assert_eq!(decision.reason, Reason::BelowMinFree);
        assert_eq!(held_back(&setbacks, &clock, 101).0.actions.len(), 1);
    }

    #[test]
    fn a_growth_that_was_carried_out_leaves_no_setback() {
        let (mut setbacks, clock) = (Setbacks::default(), clock());
        setbacks.failed(&claim(), &growth().0.actions[0], Failure::Overtaken, clock(100));
        setbacks.clear(&claim(), &growth().0.actions[0]);
        assert_eq!(held_back(&setbacks, &clock, 100).0, growth().0);
    }

    #[test]
    fn an_owner_is_not_written_while_that_may_not_be_recorded() {
        let (mut setbacks, clock) = (Setbacks::default(), clock());
        let (mut plan, mut report) = growth();
        let Action::Grow { claim: id, uid, previous, record } = plan.actions.remove(0) else { panic!("it grows") };
        let field = orlop_api::owner::Field {
            path: "spec.size".to_owned(),
            pointer: "/spec/size".to_owned(),
            size: record.from,
            written: record.from.to_string().into(),
            chosen_by: Vec::new(),
        };
        let definition = "stores.example.com".into();
        let owner = orlop_planner::ResourceId { definition, namespace: id.namespace.clone(), name: "db".into() };
        let write = Action::WriteOwner {
            claim: id.clone(),
            uid: uid.clone(),
            owner,
            owner_uid: Uid("o".into()),
            field,
            to: record.to,
        };
        let note = Action::RecordGrowth { claim: id, uid, previous, record };
        setbacks.failed(&claim(), &note, Failure::Unanswered("no answer".into()), clock(100));
        plan.actions = vec![note, write.clone()];
        setbacks.hold_back(&mut plan, &mut report, Moment { time: at(100), instant: clock(100) });
        assert_eq!(plan, Plan::default());
        plan.actions = vec![write];
        setbacks.hold_back(&mut plan, &mut report, Moment { time: at(100), instant: clock(100) });
        assert_eq!(plan.actions.len(), 1, "it is on record already");
    }

    #[test]
    fn a_pod_that_may_not_be_touched_keeps_no_claim_from_growing() {
        let (mut setbacks, clock) = (Setbacks::default(), clock());
        let pod = orlop_planner::PodId { namespace: NamespaceName("ns".into()), name: "db-0".into() };
        let touch = Action::SyncPod { claim: claim(), pod, uid: Uid("p".into()), value: String::new() };
        setbacks.failed(&claim(), &touch, Failure::Refused("forbidden".into()), clock(100));
        let (plan, decision) = held_back(&setbacks, &clock, 100);
        assert_eq!((plan, decision.reason), (growth().0, Reason::BelowMinFree));
        assert_eq!(decision.again_at, Some(at(110)));
    }
}
