//! Which templates of StatefulSets ask for too little, since when, and which steps are under way or have failed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::{PolicyStatus, policy::TemplateStatus};
use orlop_planner::{Drift, PolicyId, SetId, Stance, TemplateAction};

use crate::{backoff::Backoff, failure::Failure};

/// After a step that the API server refused: a quota or a webhook changes its mind when somebody changes it.
const REFUSED: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_mins(5) };

/// After a step that was not answered, or was overtaken by another change. A StatefulSet that is not there is not left waiting.
const UNKNOWN: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(10) };

/// After a deletion how long to wait for the watch to tell of it.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// What is known of templates that the view does not have.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    drifts: BTreeMap<SetId, Vec<Entry>>,
    by_policy: BTreeMap<PolicyId, BTreeSet<SetId>>,
    /// The StatefulSets for which a step is under way.
    busy: BTreeSet<SetId>,
    setbacks: BTreeMap<SetId, Setback>,
    /// When those are to be looked at again whose last step has failed.
    due: BTreeMap<SetId, Instant>,
}

#[derive(Debug)]
struct Entry {
    drift: Drift,
    since: Timestamp,
    /// Has it been told since it became so?
    is_told: bool,
}

/// A step that has failed.
#[derive(Debug)]
struct Setback {
    failures: u32,
    /// Until when no step is made.
    until: Instant,
    /// What the API server said, where it refused.
    refusal: Option<String>,
}

impl Templates {
    /// Takes in what was decided about a StatefulSet's templates. Returns the policies whose statuses say something else since.
    pub(crate) fn record(&mut self, id: &SetId, drifts: Vec<Drift>, now: Timestamp) -> BTreeSet<PolicyId> {
        let before = self.drifts.remove(id).unwrap_or_default();
        let known = |drift: &Drift| before.iter().find(|it| it.drift.template == drift.template);
        let entry = |drift: Drift| {
            let same = known(&drift);
            let since = same.map_or(now, |it| it.since);
            let is_told = same.is_some_and(|it| it.is_told && is_same_event(&it.drift, &drift));
            Entry { drift, since, is_told }
        };
        let after: Vec<Entry> = drifts.into_iter().map(entry).collect();
        let mut changed = BTreeSet::new();
        if before.iter().map(|it| &it.drift).ne(after.iter().map(|it| &it.drift)) {
            changed.extend(before.iter().chain(&after).map(|it| it.drift.policy.clone()));
        }
        for entry in &before {
            if let Some(sets) = self.by_policy.get_mut(&entry.drift.policy) {
                sets.remove(id);
                if sets.is_empty() {
                    self.by_policy.remove(&entry.drift.policy);
                }
            }
        }
        for entry in &after {
            self.by_policy.entry(entry.drift.policy.clone()).or_default().insert(id.clone());
        }
        if !after.is_empty() {
            self.drifts.insert(id.clone(), after);
        }
        changed
    }

    /// The templates of a StatefulSet that have not been told of and that somebody else must change.
    pub(crate) fn news(&mut self, id: &SetId) -> Vec<&Drift> {
        let entries = self.drifts.get_mut(id).into_iter().flatten();
        let mut news = Vec::new();
        for entry in entries {
            let is_for_somebody = matches!(entry.drift.stance, Stance::Report(_));
            if is_for_somebody && !std::mem::replace(&mut entry.is_told, true) {
                news.push(&entry.drift);
            }
        }
        news
    }

    /// How many templates ask for too little.
    pub(crate) fn count(&self) -> usize {
        self.drifts.values().map(Vec::len).sum()
    }

    /// What a template's claims have, where it asks for less.
    pub(crate) fn drift(&self, id: &SetId, template: &str) -> Option<&Drift> {
        self.drifts.get(id)?.iter().map(|it| &it.drift).find(|drift| *drift.template == *template)
    }

    /// What the status of a policy is to say.
    pub(crate) fn statuses(&self, policy: &PolicyId) -> Vec<TemplateStatus> {
        let sets = self.by_policy.get(policy).into_iter().flatten();
        let entries = sets.flat_map(|id| self.drifts.get(id).into_iter().flatten().map(move |entry| (id, entry)));
        let of_policy = entries.filter(|(_, entry)| entry.drift.policy == *policy);
        of_policy.take(PolicyStatus::TEMPLATES_MAX).map(|(id, entry)| self.status(id, entry)).collect()
    }

    fn status(&self, id: &SetId, Entry { drift, since, .. }: &Entry) -> TemplateStatus {
        let refusal = self.setbacks.get(id).and_then(|setback| setback.refusal.as_ref());
        let refused = refusal.map_or_else(String::new, |why| format!(", and the API server refuses that: {why}"));
        TemplateStatus {
            namespace: id.namespace.0.to_string(),
            stateful_set: id.name.to_string(),
            template: drift.template.to_string(),
            size: drift.asks,
            target: drift.wants,
            message: drift.sentence() + &refused,
            patch: drift.patch(),
            since: Time(*since),
        }
    }

    /// May the step be made now? Then it is under way.
    pub(crate) fn begin(&mut self, action: &TemplateAction, now: Instant) -> bool {
        let id = action.set();
        let waits = self.setbacks.get(id).is_some_and(|setback| setback.until > now);
        !waits && self.busy.insert(id.clone())
    }

    /// The step has been made, or could not be. Returns the policies whose statuses say something else since.
    pub(crate) fn end(&mut self, action: &TemplateAction, failed: Option<Failure>, now: Instant) -> BTreeSet<PolicyId> {
        let id = action.set();
        self.busy.remove(id);
        let before = self.setbacks.remove(id);
        let was_refused = before.as_ref().is_some_and(|setback| setback.refusal.is_some());
        if failed.is_none() && matches!(action, TemplateAction::Delete { .. }) {
            self.due.insert(id.clone(), now + SEEN_WITHIN);
        }
        let Some(failure) = failed else {
            return if was_refused { self.policies(id) } else { BTreeSet::new() };
        };
        let failures = before.map_or(0, |setback| setback.failures);
        let (wait, refusal) = match failure {
            Failure::Refused(why) => (REFUSED.after(failures), Some(why)),
            Failure::Overtaken | Failure::Unanswered(_) => (UNKNOWN.after(failures), None),
        };
        let is_refused = refusal.is_some();
        self.setbacks.insert(id.clone(), Setback { failures: failures + 1, until: now + wait, refusal });
        self.due.insert(id.clone(), now + wait);
        if is_refused || was_refused { self.policies(id) } else { BTreeSet::new() }
    }

    fn policies(&self, id: &SetId) -> BTreeSet<PolicyId> {
        self.drifts.get(id).into_iter().flatten().map(|it| it.drift.policy.clone()).collect()
    }

    /// When the next StatefulSet is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// The StatefulSets that are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<SetId> {
        self.due.extract_if(.., |_, at| *at <= now).map(|(id, _)| id).collect()
    }
}

/// Is it what its last Event has said? How much is free of what the claims have changes nothing of that.
fn is_same_event(before: &Drift, after: &Drift) -> bool {
    before.asks == after.asks && before.wants == after.wants
}

#[cfg(test)]
mod tests {
    use orlop_api::Bytes;
    use orlop_planner::{NamespaceName, PolicyKind, Resizes, Uid};

    use super::*;

    fn id() -> SetId {
        SetId { namespace: NamespaceName("shop".into()), name: "db".into() }
    }

    fn policy(name: &str) -> PolicyId {
        PolicyId { kind: PolicyKind::Cluster, name: name.into() }
    }

    fn drift(policy_name: &str, wants: u64, stance: Stance) -> Drift {
        Drift {
            template: "data".into(),
            index: 0,
            asks: Bytes::GIB,
            wants: Bytes(wants << 30),
            policy: policy(policy_name),
            stance,
        }
    }

    fn by_hand() -> Stance {
        Stance::Report("change it".to_owned())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn store() -> TemplateAction {
        TemplateAction::Store { set: id(), uid: Uid("u".into()), resizes: Resizes::new() }
    }

    #[test]
    fn a_status_says_since_when_a_template_asks_for_too_little_and_is_written_when_that_changes() {
        let mut templates = Templates::default();
        assert_eq!(templates.record(&id(), vec![drift("p", 2, by_hand())], at(1)), [policy("p")].into());
        assert_eq!(templates.record(&id(), vec![drift("p", 2, by_hand())], at(2)), [].into());
        assert_eq!(templates.record(&id(), vec![drift("p", 3, by_hand())], at(3)), [policy("p")].into());
        let [status] = &templates.statuses(&policy("p"))[..] else { panic!("one") };
        assert_eq!((status.size, status.target, status.since.clone()), (Bytes::GIB, Bytes(3 << 30), Time(at(1))));
        assert_eq!(templates.record(&id(), vec![drift("q", 3, by_hand())], at(4)), [policy("p"), policy("q")].into());
        assert_eq!((templates.statuses(&policy("p")).len(), templates.statuses(&policy("q")).len()), (0, 1));
        assert_eq!(templates.record(&id(), Vec::new(), at(5)), [policy("q")].into());
        assert_eq!((templates.count(), templates.statuses(&policy("q")).len()), (0, 0));
    }

    #[test]
    fn what_somebody_else_must_change_is_told_once_for_each_size() {
        let mut templates = Templates::default();
        let mut told = |drifts: Vec<Drift>| {
            templates.record(&id(), drifts, at(1));
            templates.news(&id()).len()
        };
        assert_eq!(told(vec![drift("p", 2, by_hand())]), 1);
        assert_eq!(told(vec![drift("p", 2, by_hand())]), 0);
        assert_eq!(told(vec![drift("p", 3, by_hand())]), 1);
        assert_eq!(told(Vec::new()), 0);
        assert_eq!(told(vec![drift("p", 3, Stance::Recreate)]), 0, "we change it");
        assert_eq!(told(vec![drift("p", 3, by_hand())]), 1);
    }

    #[test]
    fn a_step_is_made_once_at_a_time_and_after_a_failure_later_and_later() {
        let (mut templates, start) = (Templates::default(), Instant::now());
        templates.record(&id(), vec![drift("p", 2, Stance::Recreate)], at(1));
        assert!(templates.begin(&store(), start) && !templates.begin(&store(), start));
        let refused = || Some(Failure::Refused("no room".into()));
        assert_eq!(templates.end(&store(), refused(), start), [policy("p")].into());
        let [status] = &templates.statuses(&policy("p"))[..] else { panic!("one") };
        assert!(status.message.ends_with("made anew, and the API server refuses that: no room"), "{}", status.message);
        let due = templates.next().unwrap();
        assert!(!templates.begin(&store(), start));
        assert_eq!((templates.take_due(start), templates.take_due(due)), (vec![], vec![id()]));
        assert_eq!(templates.next(), None, "it is looked at once");
        assert!(templates.begin(&store(), due));
        templates.end(&store(), refused(), due);
        assert!(templates.next().unwrap() - due > due - start);
        assert_eq!(templates.end(&store(), None, due), [policy("p")].into());
        assert!(templates.begin(&store(), due), "it was made");
    }
}
