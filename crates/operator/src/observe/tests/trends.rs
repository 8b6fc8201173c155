use orlop_api::{Bytes, Days};
use orlop_planner::{forecast::Outlook, plan_claims};

use super::*;
use crate::measure::History;

const HOUR_S: i64 = 3600;
const MIB: u64 = 1 << 20;

/// An observer under a policy with a horizon, or without, whose claims have been decided about.
fn observer_with(horizon: Option<Days>) -> Observer {
    let mut observer = observer();
    set_horizon(&mut observer, horizon);
    observer
}

fn set_horizon(observer: &mut Observer, horizon: Option<Days>) {
    let mut facts = policy(Selector::default());
    facts.policy.as_mut().unwrap().capacity.as_mut().unwrap().horizon = horizon;
    observer.observe(Observation::Policy(Change::Is(policy_id("app", "keep"), facts)));
    decide(observer, 0);
}

/// Decides what there is to decide, as the operator does.
fn decide(observer: &mut Observer, second: i64) {
    while observer.is_dirty() {
        let dirty = observer.take_dirty(usize::MAX);
        let (_, report) = plan_claims(observer.view(), &dirty.claims, Timestamp::from_second(second).unwrap());
        for (id, decision) in &report.decisions {
            observer.note_decision(id, decision, None);
        }
    }
}

/// In each of these hours so many MiB are used.
fn measured(observer: &mut Observer, hours: std::ops::Range<i64>, used_mib: impl Fn(i64) -> u64) {
    for hour in hours {
        let usage = usage(Source::Agent, hour * HOUR_S, Bytes::GIB.0 - used_mib(hour) * MIB);
        observer.measure(sampled("node-1", "pv-a", usage));
        decide(observer, hour * HOUR_S);
    }
}

fn outlook(observer: &Observer) -> Option<Outlook> {
    observer.seen("a").outlook.as_deref().copied()
}

fn median_mib(observer: &Observer) -> Option<i64> {
    Some(outlook(observer)?.forecast()?.per_day.median >> 20)
}

#[test]
fn only_claims_under_a_policy_with_a_horizon_have_a_trend() {
    let mut observer = observer_with(None);
    measured(&mut observer, 0..100, |hour| u64::try_from(hour).unwrap());
    assert_eq!(outlook(&observer), None);
    assert_eq!(observer.take_unasked(), []);
    set_horizon(&mut observer, Some(Days::new(7)));
    assert_eq!(observer.take_unasked(), [claim_id("a"), claim_id("b")]);
    assert_eq!(observer.take_unasked(), [], "each is asked about once");
    measured(&mut observer, 100..200, |hour| u64::try_from(hour).unwrap());
    assert_eq!(median_mib(&observer), Some(24));
    set_horizon(&mut observer, None);
    assert_eq!(outlook(&observer), None);
    assert!(observer.claims.values().all(|known| known.trend.is_none()));
}

#[test]
fn until_there_is_a_forecast_it_is_said_from_when_on_and_then_the_claim_is_decided_again() {
    let mut observer = observer_with(Some(Days::new(7)));
    measured(&mut observer, 0..71, |hour| u64::try_from(hour).unwrap());
    assert_eq!(outlook(&observer), Some(Outlook::From(Timestamp::from_second(72 * HOUR_S).unwrap())));
    measured(&mut observer, 71..72, |hour| u64::try_from(hour).unwrap());
    let usage = usage(Source::Kubelet, 72 * HOUR_S, Bytes::GIB.0 - 72 * MIB);
    observer.measure(sampled("node-1", "pv-a", usage));
    assert_eq!(observer.dirty_claims(), ["a"]);
    assert_eq!(median_mib(&observer), Some(24), "whoever measures");
}

#[test]
fn a_claim_to_which_nothing_is_written_has_its_trend_by_what_its_agent_confirms() {
    let mut observer = observer_with(Some(Days::new(7)));
    measured(&mut observer, 0..1, |_| 100);
    for hour in 1..80 {
        let at = Timestamp::from_second(hour * HOUR_S).unwrap();
        observer.measure(Measurement::Confirmed { node: "node-1".into(), at });
        observer.trends_go_on(at);
    }
    assert_eq!(median_mib(&observer), Some(0));
}

#[test]
fn what_somebody_else_remembers_comes_before_what_was_measured_here() {
    let mut observer = observer_with(Some(Days::new(7)));
    measured(&mut observer, 200..202, |hour| u64::try_from(hour).unwrap());
    let hours = (0..200)
        .map(|hour| (Timestamp::from_second(hour * HOUR_S).unwrap(), Bytes(u64::try_from(hour).unwrap() * MIB)));
    observer.remember(History { claim: claim_id("a"), hours: hours.clone().collect() });
    assert_eq!((median_mib(&observer), observer.dirty_claims()), (Some(24), vec!["a".to_owned()]));
    observer.remember(History { claim: claim_id("gone"), hours: hours.collect() });
    assert_eq!(observer.dirty_claims(), [""; 0]);
}

#[test]
fn a_claim_made_anew_under_its_name_begins_anew_and_one_that_only_changes_does_not() {
    let mut observer = observer_with(Some(Days::new(7)));
    measured(&mut observer, 0..100, |hour| u64::try_from(hour).unwrap());
    observer.observe(Observation::Claim(Change::Is(
        claim_id("a"),
        ClaimFacts { requested: Bytes(2 << 30), ..claim("a", 11) },
    )));
    assert_eq!(median_mib(&observer), Some(24));
    let anew = ClaimFacts { uid: Uid("another".into()), ..claim("a", 12) };
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), anew)));
    assert_eq!(outlook(&observer), None);
    observer.observe(Observation::Claim(Change::Gone(claim_id("b"))));
    assert_eq!(observer.trends.claims.len(), 0, "nothing is kept of what is gone");
}
