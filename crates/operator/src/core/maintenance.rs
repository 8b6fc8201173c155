//! What was stopped in a maintenance window comes back, whatever is refused, and whatever is gone.

use std::time::Duration;

use jiff::SignedDuration;
use orlop_api::{Bytes, DriverProfileSpec, Expansion, StoragePolicy};
use orlop_planner::{
    Action, Allowed, Belonging, Deployment, DeploymentId, NamespaceName, Owner, Uid, Usage, WorkloadId,
    maintenance::ScaledFrom,
};
use serde_json::json;

use super::{
    Core, Effects,
    tests::{core, id},
};
use crate::{
    errand::Next,
    failure::Failure,
    moment::Moment,
    objects,
    observe::{Change, Observation, PodFacts, fixture::claim_facts},
};

fn deployment_id() -> DeploymentId {
    DeploymentId { namespace: NamespaceName("app".into()), name: "web".into() }
}

fn deployment() -> Deployment {
    Deployment {
        uid: Uid("d".into()),
        belonging: Belonging::default(),
        replicas: 2,
        scaled: None,
        in_vain: None,
        claims: [id().name, "logs".into()].into(),
        deleting: false,
        version: Some(1),
    }
}

/// An operator that may stop pods, and how much time has passed.
struct World {
    core: Core,
    now: Moment,
}

impl World {
    fn new() -> Self {
        let mut core = core();
        core.allow(Allowed { scaling: true, ..Allowed::default() });
        for observation in [
            Observation::Autoscaler(Change::ListBegins),
            Observation::Autoscaler(Change::ListComplete),
            Observation::Deployment(Change::ListBegins),
            Observation::Deployment(Change::Is(deployment_id(), deployment())),
            Observation::Deployment(Change::ListComplete),
        ] {
            core.observe(observation);
        }
        Self { core, now: Moment::now() }
    }

    fn deployment(&mut self, deployment: Deployment) {
        self.core.observe(Observation::Deployment(Change::Is(deployment_id(), deployment)));
    }

    /// What is to be done after so long, in two looks.
    fn after(&mut self, pause: Duration) -> Effects {
        let mut effects = Effects::default();
        for pause in [pause, Duration::from_millis(20)] {
            self.now.instant += pause;
            self.now.time += SignedDuration::try_from(pause).unwrap();
            let next = self.core.turn(true, self.now);
            effects.errands.extend(next.errands);
            effects.notices.extend(next.notices);
        }
        effects
    }

    /// Answers all that is to be done after so long, and says what it was.
    fn answered(&mut self, pause: Duration, answer: &dyn Fn() -> Result<Option<Observation>, Failure>) -> Vec<Action> {
        let mut actions = Vec::new();
        for errand in self.after(pause).errands {
            actions.push(errand.action().clone());
            let Next::Ended(acted) = errand.answered(answer()) else { panic!("one request") };
            self.core.acted(acted, self.now.instant);
        }
        actions
    }
}

/// Scaled to zero for the claim, and it should have been scaled back a minute ago.
fn overdue(now: Moment) -> Deployment {
    let at = now.time - SignedDuration::from_mins(31);
    let scaled =
        ScaledFrom { replicas: 2, claim: id().name.as_ref().into(), at, until: at + SignedDuration::from_mins(30) };
    Deployment { replicas: 0, scaled: Some(Box::new(scaled)), version: Some(2), ..deployment() }
}

#[test]
fn an_operator_that_begins_to_lead_scales_back_what_another_has_stopped_also_where_the_claim_is_gone() {
    for claim_is_gone in [false, true] {
        let mut world = World::new();
        world.deployment(overdue(world.now));
        if claim_is_gone {
            world.core.observe(Observation::Claim(Change::Gone(id())));
        }
        let done = || {
            Ok(Some(Observation::Deployment(Change::Is(
                deployment_id(),
                Deployment { version: Some(3), ..deployment() },
            ))))
        };
        let actions = world.answered(Duration::ZERO, &done);
        let [Action::ScaleBack { workload: WorkloadId::Deployment(it), scaled, in_vain: None, .. }] = &actions[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!((it, scaled.replicas), (&deployment_id(), 2));
        assert_eq!(world.answered(Duration::from_mins(10), &done), [], "once");
    }
}

#[test]
fn what_may_not_be_scaled_back_is_tried_again_later_and_later_also_where_the_claim_is_gone() {
    for claim_is_gone in [false, true] {
        let mut world = World::new();
        world.deployment(overdue(world.now));
        if claim_is_gone {
            world.core.observe(Observation::Claim(Change::Gone(id())));
        }
        let refused = || Err(Failure::Refused("forbidden".to_owned()));
        assert_eq!(world.answered(Duration::ZERO, &refused).len(), 1);
        let mut tries = 0;
        for _ in 0..70 {
            tries += world.answered(Duration::from_millis(100), &refused).len();
        }
        assert_eq!(tries, 0, "not within eight seconds");
        let next = world.core.turn_at(true, world.now).unwrap();
        assert!(next > world.now.instant + Duration::from_millis(500), "nor is it looked at all the time");
        assert_eq!(world.answered(Duration::from_secs(2), &refused).len(), 1);
    }
}

/// Two claims of the Deployment that need room when the window opens.
#[test]
fn several_claims_that_grow_in_a_window_are_expanded_by_one_stop() {
    let mut world = World::new();
    let policy: StoragePolicy = serde_json::from_value(json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
        "metadata": { "name": "all", "namespace": "app", "uid": "p" },
        "spec": { "mode": "Auto", "selector": {}, "capacity": {
            "maximum": "10Gi", "maintenance": { "windows": [{ "schedule": "* * * * *", "duration": "1h" }] },
        } },
    }))
    .unwrap();
    world
        .core
        .observe(Observation::Policy(Change::Is(objects::policy_id(&policy.metadata), objects::policy(Ok(policy)))));
    let offline = DriverProfileSpec { expansion: Expansion::Offline, ..DriverProfileSpec::default() };
    world.core.observe(Observation::Driver(Change::Is("d".to_owned(), offline)));
    let logs = orlop_planner::ClaimId { name: "logs".into(), ..id() };
    let volume = crate::observe::VolumeFacts {
        handle: None,
        capacity: Bytes::GIB,
        driver: None,
        claim: Some((logs.clone(), Uid("l".into()))),
    };
    let facts = crate::observe::ClaimFacts { uid: Uid("l".into()), volume: Some("pv-logs".into()), ..claim_facts() };
    world.core.observe(Observation::Volume(Change::Is("pv-logs".into(), volume)));
    world.core.observe(Observation::Claim(Change::Is(logs, facts)));
    let pod = orlop_planner::PodId { namespace: id().namespace, name: "web-5d4f8c7b9-x".into() };
    let controller = Owner {
        api_version: "apps/v1".into(),
        kind: "ReplicaSet".into(),
        name: "web-5d4f8c7b9".into(),
        uid: Uid("rs".into()),
    };
    let facts = PodFacts {
        uid: Uid("pod".into()),
        version: Some(1),
        since: Some(world.now.time - SignedDuration::from_hours(1)),
        synced: None,
        controller: Some(std::sync::Arc::new(controller)),
        claims: vec![id().name, "logs".into()],
    };
    world.core.observe(Observation::Pod(Change::Is(pod, facts)));
    for volume in ["pv", "pv-logs"] {
        let usage = Usage {
            at: world.now.time,
            source: orlop_planner::Source::Agent,
            total: Bytes::GIB,
            available: Bytes(10 << 20),
            inodes: None,
            fill_bytes_per_second: 0,
            crossed: None,
        };
        let sample = crate::measure::Measurement::Sampled { node: "n".into(), volume: volume.into(), usage };
        world.core.measure(sample, world.now);
    }

    let grown = world.after(Duration::ZERO).errands;
    let actions: Vec<_> = grown.iter().map(|errand| errand.action().to_string()).collect();
    assert!(actions.len() == 2 && actions.iter().all(|action| action.starts_with("grow claim")), "{actions:?}");
    let mut stops = 0;
    for (version, errand) in (2..).zip(grown) {
        let Action::Grow { claim, uid, record, .. } = errand.action().clone() else { panic!("{errand:?}") };
        let volume = if *uid.0 == *"l" { "pv-logs" } else { "pv" };
        let facts = crate::observe::ClaimFacts {
            uid,
            version: Some(version),
            volume: Some(volume.into()),
            requested: record.to,
            growth: Some(Box::new(record)),
            ..claim_facts()
        };
        let Next::Ended(acted) = errand.answered(Ok(Some(Observation::Claim(Change::Is(claim, facts))))) else {
            panic!("one request")
        };
        world.core.acted(acted, world.now.instant);
        for errand in world.after(Duration::ZERO).errands {
            let Action::ScaleToZero { scaled, .. } = errand.action().clone() else { panic!("{errand:?}") };
            stops += 1;
            let stopped = Deployment { replicas: 0, scaled: Some(Box::new(scaled)), version: Some(9), ..deployment() };
            let answer = Observation::Deployment(Change::Is(deployment_id(), stopped));
            let Next::Ended(acted) = errand.answered(Ok(Some(answer))) else { panic!("one request") };
            world.core.acted(acted, world.now.instant);
        }
    }
    assert_eq!(stops, 1);
    assert!(world.after(Duration::from_secs(1)).errands.is_empty(), "both wait for the driver");
}
