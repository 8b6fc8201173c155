//! Each checker finds the bug that it is there for: the operator is made to behave as if it had that bug.

use std::{collections::BTreeSet, time::Instant};

use kube::core::params::Patch;
use orlop_api::Bytes;
use orlop_operator::{
    Measurement,
    request::{Request, Target},
};
use orlop_planner::{Rates, TemplateAction};
use orlop_sim::{Outcome, Scenario, Tamper, chance::Chance, run};
use serde_json::{Value, json};

/// How many seeds may pass before the bug is found.
const SEEDS: u64 = 200;

/// Runs seeds with a bug until this checker finds it.
fn is_found_by<T: Tamper + 'static>(checker: &str, bug: impl Fn() -> T) {
    is_found_among(50, checker, bug);
}

fn is_found_among<T: Tamper + 'static>(faults_a_day: u64, checker: &str, bug: impl Fn() -> T) {
    let run = |seed, tamper: Option<Box<dyn Tamper>>| -> Outcome {
        run(Chance { seed, hours: 6, faults_a_day }.scenario(), tamper, |_, _| {})
    };
    let mut others = BTreeSet::new();
    for seed in 0..SEEDS {
        let outcome = run(seed, Some(Box::new(bug())));
        if outcome.violations.iter().any(|violation| violation.checker == checker) {
            assert!(run(seed, None).violations.is_empty(), "seed {seed} is broken without the bug too");
            return;
        }
        others.extend(outcome.violations.iter().map(|violation| violation.checker));
    }
    panic!("`{checker}` did not find the bug in {SEEDS} seeds; these found something: {others:?}");
}

/// Runs a scenario, which no promise is broken in, with a bug that this checker finds.
fn is_found_in<T: Tamper + 'static>(scenario: &str, checker: &str, bug: impl FnOnce() -> T) {
    let scenario = Scenario::parse(scenario).expect("a scenario");
    let outcome = run(scenario, Some(Box::new(bug())), |_, _| {});
    let found: Vec<_> = outcome.violations.iter().map(|violation| violation.checker).collect();
    assert!(found.contains(&checker), "`{checker}` did not find the bug; these found something: {found:?}");
}

/// The body of a request.
fn body(request: &Request) -> Value {
    match &request.patch {
        Patch::Json(patch) => json!(patch),
        Patch::Merge(patch) => patch.clone(),
        other => panic!("{other:?}"),
    }
}

/// The operations of a JSON patch, changed.
fn with_operations(request: &Request, change: impl FnOnce(&mut Vec<Value>)) -> Request {
    let mut patch = body(request);
    if let Some(operations) = patch.as_array_mut() {
        change(operations);
    }
    let patch = Patch::Json(serde_json::from_value(patch).expect("a JSON patch"));
    Request { target: request.target.clone(), patch }
}

fn is_growth(request: &Request) -> bool {
    matches!(request.target, Target::Claim(_)) && body(request).to_string().contains("\"path\":\"/spec/resources")
}

/// Asks for half of what was decided.
struct Halves;

impl Tamper for Halves {
    fn request(&mut self, request: Request) -> Option<Request> {
        let halve = |operations: &mut Vec<Value>| {
            for operation in operations.iter_mut().filter(|it| it["op"] == "replace") {
                if let Some(Ok(size)) = operation["value"].as_str().map(str::parse::<Bytes>) {
                    operation["value"] = json!(Bytes(size.0 / 2));
                }
            }
        };
        Some(if is_growth(&request) { with_operations(&request, halve) } else { request })
    }
}

#[test]
fn asking_for_a_smaller_size_is_found() {
    is_found_by("no volume shrinks", || Halves);
}

/// Never asks for growth.
struct NeverGrows;

impl Tamper for NeverGrows {
    fn request(&mut self, request: Request) -> Option<Request> {
        (!is_growth(&request)).then_some(request)
    }
}

/// Counts no inodes.
struct CountsBytesOnly;

impl Tamper for CountsBytesOnly {
    fn measurement(&mut self, mut measurement: Measurement) -> Measurement {
        if let Measurement::Sampled { usage, .. } | Measurement::SampledClaim { usage, .. } = &mut measurement {
            usage.inodes = None;
        }
        measurement
    }
}

#[test]
fn a_volume_whose_inodes_run_out_is_found() {
    is_found_by("no volume fills that could grow", || CountsBytesOnly);
}

#[test]
fn a_shortage_of_inodes_that_is_not_seen_is_found() {
    is_found_by("growth is not forgotten", || CountsBytesOnly);
}

/// Believes no kubelet.
struct DeafToKubelets;

impl Tamper for DeafToKubelets {
    fn measurement(&mut self, mut measurement: Measurement) -> Measurement {
        if let Measurement::SampledClaim { usage, .. } = &mut measurement {
            usage.total = Bytes(0);
        }
        measurement
    }
}

#[test]
fn a_volume_that_fills_while_only_its_kubelet_measures_it_is_found() {
    is_found_by("no volume fills that could grow", || DeafToKubelets);
}

#[test]
fn that_a_kubelets_measurement_contradicts_itself_is_not_taken_for_true() {
    is_found_by("every reason is true", || DeafToKubelets);
}

/// Takes what a kubelet first said of a volume that is low for what it says ever after.
#[derive(Default)]
struct StaleSummaries(std::collections::BTreeMap<String, Bytes>);

impl Tamper for StaleSummaries {
    fn measurement(&mut self, mut measurement: Measurement) -> Measurement {
        if let Measurement::SampledClaim { claim, usage, .. } = &mut measurement {
            if usage.available.0 < usage.total.0 / 5 {
                self.0.entry(claim.name.to_string()).or_insert(usage.available);
            }
            usage.available = self.0.get(&*claim.name).copied().unwrap_or(usage.available);
        }
        measurement
    }
}

#[test]
fn growth_by_an_old_summary_of_a_kubelet_is_found() {
    is_found_by("nothing is done twice", StaleSummaries::default);
}

#[test]
fn a_volume_that_fills_is_found() {
    is_found_by("no volume fills that could grow", || NeverGrows);
}

#[test]
fn growth_that_never_comes_is_found() {
    is_found_by("growth is not forgotten", || NeverGrows);
}

/// Asks without preconditions.
struct Reckless;

impl Tamper for Reckless {
    fn request(&mut self, request: Request) -> Option<Request> {
        let reckless = |operations: &mut Vec<Value>| operations.retain(|operation| operation["op"] != "test");
        Some(if is_growth(&request) { with_operations(&request, reckless) } else { request })
    }
}

#[test]
fn a_request_that_is_carried_out_twice_is_found() {
    is_found_among(1_000, "nothing is done twice", || Reckless);
}

/// Takes itself for the leader.
struct Usurper;

impl Tamper for Usurper {
    fn leads(&self, _: bool) -> bool {
        true
    }
}

#[test]
fn two_leaders_are_found() {
    is_found_by("one operator leads", || Usurper);
}

/// Believes the first measurement of a volume for ever, by its free bytes.
#[derive(Default)]
struct Stale(std::collections::BTreeMap<String, Bytes>);

impl Tamper for Stale {
    fn measurement(&mut self, mut measurement: Measurement) -> Measurement {
        if let Measurement::Sampled { volume, usage, .. } = &mut measurement
            && usage.available.0 < usage.total.0 / 5
        {
            self.0.entry(volume.clone()).or_insert(usage.available);
        }
        if let Measurement::Sampled { volume, usage, .. } = &mut measurement
            && let Some(first) = self.0.get(volume)
        {
            usage.available = *first;
        }
        measurement
    }
}

#[test]
fn growth_by_a_measurement_from_before_the_last_is_found() {
    is_found_by("nothing is done twice", Stale::default);
}

/// Has a record say that nothing was asked for before.
fn forget(operations: &mut [Value]) {
    for operation in operations.iter_mut().filter(|it| it["op"] != "test") {
        let Some(Ok(mut record)) = operation["value"].as_str().map(serde_json::from_str::<Value>) else {
            continue;
        };
        if record.is_object() {
            record["earlier"] = json!([]);
            record["decided"] = json!("2025-01-01T00:00:00Z");
            operation["value"] = json!(record.to_string());
        }
    }
}

/// Forgets when it grew a claim before.
struct Forgetful;

impl Tamper for Forgetful {
    fn request(&mut self, request: Request) -> Option<Request> {
        Some(if is_growth(&request) { with_operations(&request, |operations| forget(operations)) } else { request })
    }
}

#[test]
fn a_modification_without_a_slot_is_found() {
    is_found_by("no more modifications than slots", || Forgetful);
}

/// Asks for twice as much as was decided.
struct Doubles;

impl Tamper for Doubles {
    fn request(&mut self, request: Request) -> Option<Request> {
        let double = |operations: &mut Vec<Value>| {
            for operation in operations.iter_mut().filter(|it| it["op"] == "replace") {
                if let Some(Ok(size)) = operation["value"].as_str().map(str::parse::<Bytes>) {
                    operation["value"] = json!(Bytes(size.0 * 2));
                }
            }
        };
        Some(if is_growth(&request) { with_operations(&request, double) } else { request })
    }
}

#[test]
fn a_growth_beyond_a_budget_is_found() {
    is_found_by("budgets are kept", || Doubles);
}

/// Labels what it grows.
struct Labels;

impl Tamper for Labels {
    fn request(&mut self, request: Request) -> Option<Request> {
        let label = |operations: &mut Vec<Value>| {
            operations.push(json!({ "op": "add", "path": "/metadata/labels", "value": { "grown": "yes" } }));
        };
        Some(if is_growth(&request) { with_operations(&request, label) } else { request })
    }
}

#[test]
fn a_change_of_what_is_not_ours_is_found() {
    is_found_by("nothing is changed that is not ours", || Labels);
}

/// Reads every measurement as nonsense.
struct Blind;

impl Tamper for Blind {
    fn measurement(&mut self, mut measurement: Measurement) -> Measurement {
        if let Measurement::Sampled { usage, .. } = &mut measurement {
            usage.total = Bytes(0);
        }
        measurement
    }
}

#[test]
fn a_reason_that_is_not_true_is_found() {
    is_found_by("every reason is true", || Blind);
}

/// Writes a status that it does not take for its own.
#[derive(Default)]
struct Restless(u64);

impl Tamper for Restless {
    fn request(&mut self, request: Request) -> Option<Request> {
        let Target::Status(_) = request.target else { return Some(request) };
        let mut patch = body(&request);
        self.0 += 1;
        patch["status"]["claimCount"] = json!(1_000 + self.0 % 7);
        Some(Request { patch: Patch::Merge(patch), ..request })
    }

    fn turn_at(&mut self, at: Option<Instant>) -> Option<Instant> {
        at
    }
}

#[test]
fn an_operator_that_never_settles_is_found() {
    is_found_by("the plan settles", Restless::default);
}

fn is_class_change(request: &Request) -> bool {
    matches!(request.target, Target::Claim(_)) && body(request).to_string().contains("/spec/volumeAttributesClassName")
}

/// Never asks for another class.
struct KeepsClasses;

impl Tamper for KeepsClasses {
    fn request(&mut self, request: Request) -> Option<Request> {
        (!is_class_change(&request)).then_some(request)
    }
}

#[test]
fn a_saturated_volume_that_keeps_its_class_is_found() {
    is_found_by("no saturated volume keeps its class", || KeepsClasses);
}

/// Asks for this class, whatever was decided.
struct Always(&'static str);

impl Tamper for Always {
    fn request(&mut self, request: Request) -> Option<Request> {
        let change = |operations: &mut Vec<Value>| {
            for operation in operations.iter_mut().filter(|it| it["op"] == "add") {
                if operation["path"] == "/spec/volumeAttributesClassName" {
                    operation["value"] = json!(self.0);
                }
            }
        };
        Some(if is_class_change(&request) { with_operations(&request, change) } else { request })
    }
}

#[test]
fn a_class_that_no_policy_lists_is_found() {
    is_found_by("no class but those that the policy lists", || Always("gold"));
}

#[test]
fn a_class_beyond_a_budget_is_found() {
    let scenario = include_str!("../scenarios/performance/operations-that-a-budget-does-not-have.yaml");
    is_found_in(scenario, "budgets are kept", || Always("quick"));
}

/// Takes what a volume does for less or more than it is, by the time.
struct Misjudges(fn(i64) -> (u64, u64));

impl Tamper for Misjudges {
    fn measurement(&mut self, mut measurement: Measurement) -> Measurement {
        if let Measurement::Load { reading, .. } = &mut measurement {
            let (times, part) = (self.0)(reading.at.as_second());
            reading.quiet = None;
            for rates in [&mut reading.rates, &mut reading.peak] {
                *rates = Rates::from_array(rates.to_array().map(|rate| rate * times / part));
            }
        }
        measurement
    }
}

#[test]
fn a_class_that_is_lowered_too_soon_is_found() {
    is_found_by("no class is lowered before its time", || Misjudges(|_| (1, 20)));
}

#[test]
fn a_class_that_goes_to_and_fro_is_found() {
    is_found_by("a class settles", || Misjudges(|second| if second / 2400 % 2 == 0 { (1, 20) } else { (20, 1) }));
}

/// Forgets when it gave a claim another class, or let it grow.
struct ForgetfulOfClasses;

impl Tamper for ForgetfulOfClasses {
    fn request(&mut self, request: Request) -> Option<Request> {
        Some(if is_class_change(&request) {
            with_operations(&request, |operations| forget(operations))
        } else {
            request
        })
    }
}

#[test]
fn a_class_change_without_a_slot_is_found() {
    is_found_by("no more modifications than slots", || ForgetfulOfClasses);
}

/// Never makes what it has deleted.
struct NeverCreates;

impl Tamper for NeverCreates {
    fn step(&mut self, action: &TemplateAction) -> bool {
        !matches!(action, TemplateAction::Create { .. })
    }
}

#[test]
fn a_statefulset_that_is_lost_is_found() {
    is_found_by("no StatefulSet is lost", || NeverCreates);
}

/// Stores nothing, and so makes nothing anew.
struct NeverStores;

impl Tamper for NeverStores {
    fn step(&mut self, action: &TemplateAction) -> bool {
        !matches!(action, TemplateAction::Store { .. })
    }
}

#[test]
fn a_replica_that_would_be_smaller_than_the_others_is_found() {
    is_found_by("a new replica is as large as the others", || NeverStores);
}

/// What a merge patch for a StatefulSet asks for.
fn set_patch(request: &Request) -> Option<Value> {
    matches!(request.target, Target::Workload(_)).then(|| body(request))
}

/// Stops pods and does not start them again.
struct NeverScalesBack;

impl Tamper for NeverScalesBack {
    fn request(&mut self, request: Request) -> Option<Request> {
        let scales_back = |patch: &Value| patch["spec"]["replicas"].as_u64().is_some_and(|replicas| replicas > 0);
        let is_dropped = set_patch(&request).is_some_and(|patch| scales_back(&patch));
        (!is_dropped).then_some(request)
    }
}

#[test]
fn pods_that_stay_stopped_after_the_window_are_found() {
    is_found_by("pods are stopped in windows only", || NeverScalesBack);
}

/// Forgets to write down what a StatefulSet had when it scales it to zero.
struct WritesNothingDown;

impl Tamper for WritesNothingDown {
    fn request(&mut self, mut request: Request) -> Option<Request> {
        if let Some(mut patch) = set_patch(&request)
            && patch["spec"]["replicas"] == 0
        {
            patch["metadata"]["annotations"] = Value::Null;
            request.patch = Patch::Merge(patch);
        }
        Some(request)
    }
}

#[test]
fn pods_that_nobody_knows_to_have_been_stopped_are_found() {
    is_found_by("no StatefulSet is lost", || WritesNothingDown);
}
