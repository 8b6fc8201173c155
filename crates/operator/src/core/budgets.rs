//! How budgets go through the operator's mind: what was asked for counts, who waits is decided again, and all is told.

use jiff::SignedDuration;
use kube::core::params::Patch;
use orlop_api::{BudgetLimits, Bytes};
use orlop_planner::{Budget, BudgetName, Outcome, Selector, Source, Usage};
use serde_json::Value;

use super::{
    tests::{core, id},
    *,
};
use crate::{
    Next,
    observe::{BudgetFacts, Change},
};

/// An operator that leads, by a clock that the test sets.
struct World {
    core: Core,
    origin: Instant,
    second: u64,
}

impl World {
    fn new(limit: Bytes) -> Self {
        let mut world = Self { core: core(), origin: Instant::now(), second: 0 };
        world.limit(limit);
        world
    }

    fn limit(&mut self, limit: Bytes) {
        self.budget(limit, None);
    }

    /// Observes the budget with this status.
    fn budget(&mut self, limit: Bytes, status: Option<&Value>) {
        let facts = BudgetFacts {
            uid: orlop_planner::Uid("b".into()),
            generation: Some(1),
            budget: Ok(Budget {
                namespaces: Selector::default(),
                claims: Selector::default(),
                limits: BudgetLimits { bytes: Some(limit), iops: None, monthly_cost: None },
                reserve: None,
            }),
            status: status.map(|status| serde_json::from_value(status.clone()).unwrap()),
        };
        self.core.observe(Observation::Budget(Change::Is(team(), facts)));
    }

    fn now(&self) -> Moment {
        let time = Timestamp::from_second(1_000_000).unwrap();
        Moment {
            time: time + SignedDuration::from_secs(self.second.cast_signed()),
            instant: self.origin + Duration::from_secs(self.second),
        }
    }

    fn measure(&mut self, available: Bytes) {
        let now = self.now();
        let usage = Usage {
            at: now.time,
            source: Source::Agent,
            total: Bytes::GIB,
            available,
            inodes: None,
            fill_bytes_per_second: 0,
            crossed: None,
        };
        self.core.measure(Measurement::Sampled { node: "n".into(), volume: "pv".into(), usage }, now);
    }

    /// Takes what is to be done after so many seconds.
    fn turn_after(&mut self, seconds: u64) -> Effects {
        self.core.turn(true, self.now());
        self.second += seconds;
        self.core.turn(true, self.now())
    }

    fn used_gib(&self) -> u128 {
        self.core.observer().view().budgets.get(&team()).unwrap().1.used.bytes >> 30
    }
}

fn team() -> BudgetName {
    BudgetName("team".into())
}

fn gib(number: u64) -> Bytes {
    Bytes(number << 30)
}

/// The growth that was asked for has failed so.
fn fail(world: &mut World, mut errands: Vec<Errand>, failure: Failure) {
    let errand = errands.pop().expect("a growth was asked for");
    let Next::Ended(acted) = errand.answered(Err(failure)) else { panic!("it ends with its failure") };
    world.core.acted(acted, world.now().instant);
}

#[test]
fn a_growth_counts_from_when_it_is_asked_for_and_one_that_is_not_answered_for_another_minute() {
    let mut world = World::new(gib(4));
    world.measure(Bytes(100 << 20));
    let errands = world.turn_after(1).errands;
    assert_eq!(world.used_gib(), 2, "it was asked for");
    fail(&mut world, errands, Failure::no_answer(Duration::from_secs(10)));
    world.measure(Bytes(900 << 20));
    world.turn_after(59);
    assert_eq!(world.used_gib(), 2, "it may still be carried out");
    assert!(world.core.turn_at(true, world.now()).is_some_and(|at| at <= world.now().instant + Duration::from_secs(1)));
    world.turn_after(1);
    assert_eq!(world.used_gib(), 1);
}

#[test]
fn a_growth_that_was_refused_counts_no_longer() {
    let mut world = World::new(gib(4));
    world.measure(Bytes(100 << 20));
    let errands = world.turn_after(1).errands;
    fail(&mut world, errands, Failure::Refused("exceeded quota".into()));
    assert_eq!(world.used_gib(), 1);
}

#[test]
fn who_waits_for_a_budget_is_decided_again_when_it_allows_more() {
    let mut world = World::new(gib(1));
    world.measure(Bytes(100 << 20));
    assert!(world.turn_after(1).errands.is_empty());
    let decision = world.core.ledger().decision(&id()).unwrap();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Wait, Reason::OverBudget));
    assert!(world.turn_after(1).decided.is_empty(), "nothing has changed");
    world.limit(gib(2));
    assert_eq!(world.turn_after(1).errands.len(), 1);
}

/// The status that is written of the budget, where one is.
fn written(effects: &Effects) -> Option<Value> {
    let write = effects.statuses.iter().find(|write| write.of == StatusId::Budget(team()))?;
    let Patch::Merge(patch) = &write.request.patch else { panic!("a merge patch") };
    Some(patch["status"].clone())
}

#[test]
fn a_budget_is_reported_in_its_status_in_metrics_and_in_events_when_it_stands_otherwise() {
    let mut world = World::new(gib(1));
    let metrics = world.core.metrics.clone();
    world.measure(Bytes(900 << 20));
    let status = written(&world.turn_after(1)).unwrap();
    assert_eq!((&status["share"], &status["conditions"][1]["reason"]), (&"100%".into(), &"NearlyUsedUp".into()));
    let text = metrics.encode();
    for line in [
        "used_bytes{budget=\"team\"} 1073741824",
        "limit_bytes{budget=\"team\"} 1073741824",
        "claims{budget=\"team\"} 1",
    ] {
        assert!(text.contains(&format!("orlop_budget_{line}")), "{line} is in {text}");
    }
    world.core.written(&StatusId::Budget(team()), Ok(None), world.now().instant);
    world.budget(gib(1), Some(&status));
    assert_eq!(written(&world.turn_after(2)), None, "it says so already");

    world.measure(Bytes(100 << 20));
    let effects = world.turn_after(2);
    let status = written(&effects).unwrap();
    assert_eq!(
        (&status["waiting"][0]["name"], &status["conditions"][1]["reason"]),
        (&"data".into(), &"Exhausted".into())
    );
    let events: Vec<_> = effects.notices.iter().map(|notice| notice.event("a", world.now().time)).collect();
    let of_budget = |event: &&k8s_openapi::api::events::v1::Event| {
        event.regarding.as_ref().is_some_and(|object| object.kind.as_deref() == Some("StorageBudget"))
    };
    let [event] = &events.iter().filter(of_budget).collect::<Vec<_>>()[..] else { panic!("one Event: {events:?}") };
    assert_eq!((event.reason.as_deref(), event.type_.as_deref()), (Some("Exhausted"), Some("Warning")));
    assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    assert!(metrics.encode().contains("orlop_budget_waiting_claims{budget=\"team\"} 1"));

    world.core.written(&StatusId::Budget(team()), Ok(None), world.now().instant);
    world.core.observe(Observation::Budget(Change::Gone(team())));
    world.turn_after(2);
    assert!(!metrics.encode().contains("team"), "{}", metrics.encode());
}
