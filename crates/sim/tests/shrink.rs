//! A scenario that fails is made short enough to be read.

use kube::core::params::Patch;
use orlop_operator::request::Request;
use orlop_sim::{Scenario, Tamper, Trouble, shrink, until_broken};

/// An operator that asks without saying what it expects: what is late or comes twice is carried out all the same.
struct Unconditional;

impl Tamper for Unconditional {
    fn request(&mut self, mut request: Request) -> Option<Request> {
        if let Patch::Json(patch) = &mut request.patch {
            patch.0.retain(|operation| !matches!(operation, json_patch::PatchOperation::Test(_)));
        }
        Some(request)
    }
}

fn unconditional() -> Option<Box<dyn Tamper>> {
    Some(Box::new(Unconditional))
}

const CHECKER: &str = "nothing is done twice";

const LONG: &str = "
    story: A day on which much goes wrong, and one thing of it matters.
    lasts: 24h
    operators: 2
    nodes: 2
    classes:
      fast: {}
      slow: { takes: 5m }
    policies:
      all:
        capacity: { maximum: 100Gi }
    claims:
      quiet:  { size: 10Gi, class: fast, workload: { idle: {} } }
      logs:   { size: 20Gi, class: fast, node: 1, workload: { rotation: { rate: 1Mi, keep: 5Gi } } }
      tables: { size: 20Gi, class: slow, node: 1, used: 12Gi, workload: { steady: { rate: 256Ki } } }
    faults:
      - { at: 30m, lasting: 1m, kill: { operator: 1 } }
      - { at: 1h, lasting: 5m, agentDown: { node: 0 } }
      - { at: 2h, lasting: 5m, measurements: { fate: twice, share: 50 } }
      - { at: 3h, lasting: 3h, requests: { fate: late, share: 100 } }
      - { at: 4h, lasting: 20s, operatorClock: { operator: 0, ahead: 20 } }
      - { at: 7h, lasting: 5m, watches: { fate: delayed, share: 20 } }
      - { at: 8h, lasting: 5m, kubeletDown: { node: 1 } }
    changes:
      - { at: 2h, stop: { claim: quiet } }
      - { at: 3h, start: { claim: quiet, node: 1 } }
      - { at: 20h, quiet: { claim: tables } }
";

#[test]
fn what_does_not_matter_is_left_out_of_a_scenario_that_fails() {
    let long = Scenario::parse(LONG).unwrap();
    assert_eq!(until_broken(long.clone(), None, CHECKER), None, "it is the bug's fault");
    assert!(until_broken(long.clone(), unconditional(), CHECKER).is_some(), "the bug shows");

    let short = shrink(long.clone(), CHECKER, 500, unconditional).scenario;
    assert!(until_broken(short.clone(), unconditional(), CHECKER).is_some(), "{}", short.to_yaml());
    assert_eq!(short.claims.keys().collect::<Vec<_>>(), ["tables"], "{}", short.to_yaml());
    assert!(matches!(&short.faults[..], [it] if matches!(it.what, Trouble::Requests { .. })), "{}", short.to_yaml());
    assert_eq!((short.changes.len(), short.operators, short.nodes), (0, 1, 1), "{}", short.to_yaml());
    assert!(short.lasts < long.lasts && short.faults[0].lasting < long.faults[3].lasting, "{}", short.to_yaml());
}

#[test]
fn the_same_scenario_is_shortened_in_the_same_way() {
    let short = || shrink(Scenario::parse(LONG).unwrap(), CHECKER, 500, unconditional);
    let (first, second) = (short(), short());
    assert_eq!((first.scenario, first.runs), (second.scenario, second.runs));
}

#[test]
fn no_more_runs_are_made_than_are_allowed() {
    let shrunk = shrink(Scenario::parse(LONG).unwrap(), CHECKER, 7, unconditional);
    assert_eq!(shrunk.runs, 7);
}

#[test]
fn a_scenario_that_keeps_the_promise_stays_as_it_is() {
    let scenario = Scenario::parse(LONG).unwrap();
    assert_eq!(shrink(scenario.clone(), CHECKER, 500, || None).scenario, scenario);
}

#[test]
fn a_shortened_scenario_is_read_back_from_what_is_written() {
    let short = shrink(Scenario::parse(LONG).unwrap(), CHECKER, 500, unconditional).scenario;
    assert_eq!(Scenario::parse(&short.to_yaml()).unwrap(), short);
}
