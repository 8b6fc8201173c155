//! The templates of StatefulSets: what is reported of them, and the steps by which one is made anew.

use std::{collections::BTreeSet, time::Instant};

use orlop_api::policy::TemplateStatus;
use orlop_planner::{ClaimId, Drift, PolicyId, SetId, TemplateAction, invariants, templates};
use tracing::{error, info, warn};

use super::Core;
use crate::{failure::Failure, moment::Moment, notice, observe::Observation, request::StatusId};

/// What has become of a step.
#[derive(Debug)]
pub struct TemplateActed {
    /// The step.
    pub action: TemplateAction,
    /// What is there since, as far as it could be read; or why the step was not made.
    pub result: Result<Vec<Observation>, Failure>,
}

impl Core {
    /// The StatefulSets that these claims are of, also where a claim is gone.
    pub(super) fn sets_of(&self, claims: &BTreeSet<ClaimId>) -> Vec<SetId> {
        let view = self.observer.view();
        let pods = |id: &ClaimId| view.claims.get(id).map_or(&[][..], |claim| &claim.pods);
        claims.iter().filter_map(|id| Some(view.membership(id, pods(id))?.id.clone())).collect()
    }

    /// Looks at the templates of these StatefulSets.
    pub(super) fn look_at_templates(&mut self, sets: BTreeSet<SetId>, now: Moment) {
        if sets.is_empty() {
            return;
        }
        for id in sets {
            self.look_at_set(&id, now);
        }
        self.metrics.template_drifts(self.templates.count());
    }

    fn look_at_set(&mut self, id: &SetId, now: Moment) {
        let view = self.observer.view();
        let (action, drifts) = templates(view, id);
        let action = action.filter(|action| match invariants::check_template(view, action) {
            Ok(()) => true,
            Err(rule) => {
                self.metrics.invariant_violated();
                error!(%action, %rule, "a step breaks an invariant and is not made: this is a bug");
                false
            }
        });
        let policies = self.templates.record(id, drifts, now.time);
        for policy in policies {
            self.pace.mark(StatusId::Policy(policy), now.instant);
        }
        self.tell_of_templates(id);
        if let Some(action) = action.filter(|action| self.templates.begin(action, now.instant)) {
            info!("{action}");
            self.effects.templates.push(action);
        }
    }

    fn tell_of_templates(&mut self, id: &SetId) {
        let Some(set) = self.observer.view().sets.get(id) else { return };
        let news = self.templates.news(id).into_iter();
        self.effects.notices.extend(news.map(|drift| notice::template::of_drift(id, &set.uid, drift)));
    }

    /// Takes in what became of a step. Made or not, what comes next is decided from what is there now.
    pub fn template_acted(&mut self, acted: TemplateActed, now: Instant) {
        let TemplateActed { action, result } = acted;
        let failed = match result {
            Ok(observations) => {
                for observation in observations {
                    self.observer.observe(observation);
                }
                None
            }
            Err(failure) => Some(failure),
        };
        if let Some(failure) = &failed {
            self.metrics.action_failed(failure.label());
            warn!(%action, ?failure, "a step to larger templates failed");
            let uid = self.observer.view().sets.get(action.set()).map(|set| set.uid.clone());
            if let (Failure::Refused(why), Some(uid)) = (failure, uid) {
                self.effects.notices.push(notice::template::refused(&action, &uid, why));
            }
        } else if let TemplateAction::Create { set, .. } = &action {
            self.metrics.statefulset_recreated();
            if let Some(it) = self.observer.view().sets.get(set) {
                self.effects.notices.push(notice::template::made_anew(set, it));
            }
        }
        let is_deleted = failed.is_none() && matches!(action, TemplateAction::Delete { .. });
        let policies = self.templates.end(&action, failed, now);
        for policy in policies {
            self.pace.mark(StatusId::Policy(policy), now);
        }
        // What has been deleted is gone when the watch says so.
        if !is_deleted {
            self.observer.mark_set(action.set().clone());
        }
    }

    /// What a template's claims have, where it was last seen to ask for less.
    pub(crate) fn drift(&self, set: &SetId, template: &str) -> Option<&Drift> {
        self.templates.drift(set, template)
    }

    /// The templates that the status of a policy is to tell of.
    pub(super) fn template_statuses(&self, policy: &PolicyId) -> Vec<TemplateStatus> {
        self.templates.statuses(policy)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use orlop_api::{Bytes, StoragePolicy};
    use orlop_planner::{
        Allowed, Belonging, ClaimTemplate, KeepsClaims, Labels, NamespaceName, StatefulSet, StoredSet, Uid,
    };
    use serde_json::json;

    use super::*;
    use crate::{
        objects,
        observe::{Change, ClaimFacts, VolumeFacts, fixture::claim_facts},
    };

    fn id() -> SetId {
        SetId { namespace: NamespaceName("app".into()), name: "db".into() }
    }

    fn set(uid: &str, version: u64, gib: u64) -> StatefulSet {
        let template = ClaimTemplate { name: "data".into(), size: Some(Bytes(gib << 30)), class: None };
        StatefulSet {
            uid: Uid(uid.into()),
            belonging: Belonging::default(),
            replicas: 1,
            templates: Box::new([template]),
            settled: true,
            deleting: false,
            scaled: None,
            in_vain: None,
            keeps_claims: KeepsClaims::default(),
            version: Some(version),
        }
    }

    fn is(set: StatefulSet) -> Observation {
        Observation::Set(Change::Is(id(), set))
    }

    fn stored() -> Observation {
        let sizes = [("data".into(), Bytes(2 << 30))].into();
        let stored = StoredSet { uid: Uid("map".into()), set: Uid("s".into()), version: 5, sizes };
        Observation::Stored(Change::Is(id(), stored))
    }

    /// An operator, and how much time has passed.
    struct World {
        core: Core,
        now: Moment,
        notices: Vec<String>,
    }

    /// A StatefulSet whose template asks for 1Gi and whose claim has 2Gi.
    fn world() -> World {
        let mut core = super::super::tests::core();
        core.allow(Allowed { template_sync: true, ..Allowed::default() });
        let policy: StoragePolicy = serde_json::from_value(json!({
            "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
            "metadata": { "name": "all", "namespace": "app", "uid": "p" },
            "spec": {
                "mode": "Auto", "selector": {},
                "capacity": { "maximum": "10Gi", "templateSync": "Recreate" },
            },
        }))
        .unwrap();
        let policy_id = objects::policy_id(&policy.metadata);
        let claim_id = ClaimId { namespace: id().namespace, name: "data-db-0".into() };
        let claim = ClaimFacts {
            uid: Uid("c".into()),
            volume: Some("pv-db".into()),
            requested: Bytes(2 << 30),
            capacity: Some(Bytes(2 << 30)),
            ..claim_facts()
        };
        let volume = VolumeFacts {
            capacity: Bytes(2 << 30),
            driver: None,
            handle: None,
            claim: Some((claim_id.clone(), Uid("c".into()))),
        };
        for observation in [
            Observation::Policy(Change::Is(policy_id, objects::policy(Ok(policy)))),
            Observation::Namespace(Change::Is(id().namespace, Labels::default())),
            Observation::Volume(Change::Is("pv-db".into(), volume)),
            Observation::Claim(Change::Is(claim_id, claim)),
            is(set("s", 5, 1)),
        ] {
            core.observe(observation);
        }
        World { core, now: Moment::now(), notices: Vec::new() }
    }

    impl World {
        /// The steps to be made after so long.
        fn after(&mut self, seconds: u64) -> Vec<TemplateAction> {
            let mut actions = Vec::new();
            for pause in [Duration::from_secs(seconds), Duration::from_millis(20)] {
                self.now.instant += pause;
                self.now.time += SignedDuration::try_from(pause).unwrap();
                let effects = self.core.turn(true, self.now);
                actions.extend(effects.templates);
                let events = effects.notices.iter().map(|notice| notice.event("o", self.now.time));
                self.notices.extend(events.filter_map(|event| event.reason));
            }
            actions
        }

        fn done(&mut self, action: TemplateAction, there: Vec<Observation>) -> Vec<TemplateAction> {
            self.core.template_acted(TemplateActed { action, result: Ok(there) }, self.now.instant);
            self.after(1)
        }

        fn messages(&self) -> Vec<String> {
            let policies = self.core.observer().known_policies().map(|(id, _)| id.clone());
            policies.flat_map(|id| self.core.template_statuses(&id)).map(|template| template.message).collect()
        }
    }

    fn one(mut actions: Vec<TemplateAction>) -> TemplateAction {
        assert_eq!(actions.len(), 1, "{actions:?}");
        actions.remove(0)
    }

    #[test]
    fn a_statefulset_is_made_anew_one_step_after_the_other() {
        let mut world = world();
        let store = one(world.after(1));
        assert!(matches!(store, TemplateAction::Store { .. }) && world.after(60).is_empty(), "one at a time");
        assert_eq!(world.messages().len(), 1);
        let delete = one(world.done(store, vec![stored()]));
        assert!(matches!(delete, TemplateAction::Delete { version: 5, .. }));
        assert_eq!(world.done(delete, Vec::new()), [], "the watch is to say that it is gone");
        world.core.observe(is(StatefulSet { deleting: true, ..set("s", 6, 1) }));
        assert_eq!(world.after(30), [], "its pods are being let go of");
        world.core.observe(Observation::Set(Change::Gone(id())));
        let create = one(world.after(1));
        assert!(matches!(create, TemplateAction::Create { .. }));
        let forget = one(world.done(create, vec![is(set("t", 9, 2))]));
        assert!(matches!(forget, TemplateAction::Forget { .. }));
        assert_eq!(world.done(forget, vec![Observation::Stored(Change::Gone(id()))]), []);
        assert_eq!(world.messages(), Vec::<String>::new());
        assert!(world.notices.contains(&"TemplateGrown".to_owned()), "{:?}", world.notices);
    }

    #[test]
    fn a_step_that_is_refused_is_reported_and_tried_again_later() {
        let mut world = world();
        let store = one(world.after(1));
        let result = Err(Failure::Refused("exceeded quota".to_owned()));
        world.core.template_acted(TemplateActed { action: store, result }, world.now.instant);
        assert_eq!(world.after(5), []);
        let [message] = &world.messages()[..] else { panic!("one") };
        assert!(message.ends_with("and the API server refuses that: exceeded quota"), "{message}");
        assert!(world.notices.contains(&"TemplateSyncFailed".to_owned()), "{:?}", world.notices);
        assert!(matches!(one(world.after(6)), TemplateAction::Store { .. }));
    }

    #[test]
    fn what_the_operator_may_not_make_anew_is_told_once() {
        let mut world = world();
        world.core.allow(Allowed::default());
        assert_eq!(world.after(1), []);
        assert_eq!(world.notices.iter().filter(|reason| *reason == "TemplateDrift").count(), 1);
        world.core.observe(is(set("s", 6, 1)));
        assert_eq!(world.after(1), []);
        assert_eq!(world.notices.iter().filter(|reason| *reason == "TemplateDrift").count(), 1);
    }
}
