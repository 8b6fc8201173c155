//! Scenarios made from a seed: small fleets, all workloads, and every kind of trouble, none of it likelier than the user
//! says. What is made is a [`Scenario`] like any other, so that one that fails can be written down and shortened.

mod classes;
mod sets;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use orlop_api::{BudgetLimits, Bytes, CapacitySpec, DriverProfileSpec, Mode, Modifications, Period, Price, Threshold};

use crate::{
    scenario::{
        Budget, Change, Claim, Class, Deed, Fault, Inodes, MeasurementFate, Policy, RequestFate, Scenario, Trouble,
        WatchFate,
    },
    workload::Workload,
};

/// At the end everything is left alone for so long, in seconds, so that it can be seen to settle.
const REST_S: u64 = 3 * 3600;

/// Seeds that were written down before there was more to be left to chance are to stay what they were, so what came later
/// has a row of its own, which differs from the first by this.
const LATER: u64 = 0x6f72_6c6f_7000_0001;

/// What came later still has a row of its own, too.
const LATEST: u64 = 0x6f72_6c6f_7000_0002;

/// And so have VolumeAttributesClasses.
const CLASSES: u64 = 0x6f72_6c6f_7000_0003;

/// And StatefulSets.
const SETS: u64 = 0x6f72_6c6f_7000_0004;

/// What is made of a seed.
#[derive(Debug, Clone, Copy)]
pub struct Chance {
    /// The seed.
    pub seed: u64,
    /// How long it lasts, with three hours of rest at the end.
    pub hours: u64,
    /// How many troubles there are in a day.
    pub faults_a_day: u64,
}

impl Chance {
    /// The scenario of the seed.
    pub fn scenario(self) -> Scenario {
        let rng = &mut Rng::with_seed(self.seed);
        let lasts = self.hours.max(4) * 3600;
        let busy = lasts - REST_S;
        let nodes = rng.usize(1..=3);
        let operators = rng.usize(1..=2);
        let classes: BTreeMap<String, Class> = ["fast", "slow"].map(|name| (name.to_owned(), class(name, rng))).into();
        let claims: BTreeMap<_, _> =
            (0..rng.usize(1..=4)).map(|index| (format!("data-{index}"), claim(nodes, busy, rng))).collect();
        let faults = (0..self.faults_a_day * busy / 86_400)
            .map(|_| Fault {
                at: Period::from_secs(rng.u64(60..busy)),
                lasting: Period::from_secs(*choose(&[5, 20, 60, 300, 900], rng)),
                what: trouble(operators, nodes, rng),
            })
            .collect();
        let names: Vec<String> = claims.keys().cloned().collect();
        let changes = if rng.u8(0..4) == 0 { changes(&names, nodes, busy, rng) } else { Vec::new() };
        let quiet = names.into_iter().map(|claim| Change { at: Period::from_secs(busy), what: Deed::Quiet { claim } });
        let mut scenario = Scenario {
            story: format!("Made from seed {}: {} hours, {} troubles a day.", self.seed, self.hours, self.faults_a_day),
            seed: self.seed,
            lasts: Period::from_secs(lasts),
            operators,
            nodes,
            agentless: BTreeSet::new(),
            kubelet_interval: None,
            classes,
            attributes_classes: BTreeMap::new(),
            sets: BTreeMap::new(),
            policies: [("all".to_owned(), policy(rng))].into(),
            budgets: budgets(&claims, rng),
            claims,
            faults,
            changes: changes.into_iter().chain(quiet).collect(),
        };
        let later = &mut Rng::with_seed(self.seed ^ LATER);
        for claim in scenario.claims.values_mut() {
            count_inodes(claim, later);
        }
        take_agents(&mut scenario, busy, later);
        let latest = &mut Rng::with_seed(self.seed ^ LATEST);
        group(&mut scenario, latest);
        refuse(&mut scenario, busy, latest);
        pause(&mut scenario, busy, latest);
        classes::chance(&mut scenario, busy, &mut Rng::with_seed(self.seed ^ CLASSES));
        sets::chance(&mut scenario, busy, &mut Rng::with_seed(self.seed ^ SETS));
        scenario
    }
}

/// The inodes of some claims run out before their bytes, or about then.
fn count_inodes(claim: &mut Claim, rng: &mut Rng) {
    if rng.u8(0..4) > 0 {
        return;
    }
    let bytes_each = Bytes(16 << 10);
    let file_size = *choose(&[Bytes(6 << 10), Bytes(12 << 10), bytes_each, Bytes(64 << 10)], rng);
    claim.inodes = Some(Inodes { bytes_each, file_size });
    claim.used = Bytes(claim.used.0 / bytes_each.0 * file_size.min(bytes_each).0);
}

/// Some fleets have nodes without an agent, or lose all agents for long; in most of them the kubelets are asked.
fn take_agents(scenario: &mut Scenario, busy: u64, rng: &mut Rng) {
    match rng.u8(0..12) {
        0..=1 => scenario.agentless = (0..scenario.nodes).filter(|_| rng.bool()).collect(),
        2 => {
            let at = rng.u64(60..busy);
            let (at, lasting) = (Period::from_secs(at), Period::from_secs(rng.u64(1800..busy)));
            scenario.faults.push(Fault { at, lasting, what: Trouble::AgentsDown {} });
        }
        _ => return,
    }
    scenario.kubelet_interval = (rng.u8(0..4) > 0).then(|| Period::from_secs(*choose(&[15, 30, 60], rng)));
}

/// In one world of four some claims are to stay equal.
fn group(scenario: &mut Scenario, rng: &mut Rng) {
    const KEY: &str = "shard";
    if rng.u8(0..4) > 0 {
        return;
    }
    let specs = scenario.changes.iter_mut().filter_map(|change| match &mut change.what {
        Deed::Policy { spec, .. } => Some(spec),
        _ => None,
    });
    for policy in scenario.policies.values_mut().chain(specs) {
        policy.capacity.group_by = Some(KEY.to_owned());
    }
    for claim in scenario.claims.values_mut() {
        claim.labels.insert(KEY.to_owned(), (*choose(&["a", "b"], rng)).to_owned());
    }
}

/// In one world of four the drivers refuse to expand volumes for a while, at all or beyond some size.
fn refuse(scenario: &mut Scenario, busy: u64, rng: &mut Rng) {
    if rng.u8(0..4) > 0 {
        return;
    }
    let at = rng.u64(60..busy);
    let lasting = rng.u64(60..=(busy - at).max(60));
    let above = rng.bool().then(|| Bytes(rng.u64(5..80) << 30));
    let what = Trouble::DriverRefuses { above };
    scenario.faults.push(Fault { at: Period::from_secs(at), lasting: Period::from_secs(lasting), what });
}

/// In one world of four a claim is paused for a while.
fn pause(scenario: &mut Scenario, busy: u64, rng: &mut Rng) {
    if rng.u8(0..4) > 0 {
        return;
    }
    let claims: Vec<String> = scenario.claims.keys().cloned().collect();
    let claim = choose(&claims, rng).clone();
    let at = rng.u64(60..busy - 60);
    let until = rng.u64(at + 1..busy);
    let why = "by chance".to_owned();
    let pause = Change { at: Period::from_secs(at), what: Deed::Pause { claim: claim.clone(), why } };
    let resume = Change { at: Period::from_secs(until), what: Deed::Resume { claim } };
    scenario.changes.splice(0..0, [pause, resume]);
}

fn choose<'a, T>(of: &'a [T], rng: &mut Rng) -> &'a T {
    &of[rng.usize(0..of.len())]
}

fn class(name: &str, rng: &mut Rng) -> Class {
    let takes = if name == "fast" { rng.u64(0..5) } else { rng.u64(20..600) };
    let size_increment = *choose(&[Bytes::MIB, Bytes::GIB, Bytes(8 << 30)], rng);
    let modifications = (name == "slow" && rng.u8(0..3) == 0).then(|| Modifications {
        count: rng.u32(1..=3),
        window: Period::from_secs(rng.u64(1..=6) * 3600),
        next_when_completed: true,
        cooldown: rng.bool().then(|| Period::from_secs(600)),
        source: None,
        as_of: None,
    });
    Class {
        expandable: true,
        driver: DriverProfileSpec {
            size_increment,
            modifications,
            price: price(if name == "fast" { "0.08" } else { "0.045" }),
            ..DriverProfileSpec::default()
        },
        takes: Period::from_secs(takes),
    }
}

fn price(per_gib_month: &str) -> Option<Price> {
    Some(Price {
        currency: "USD".to_owned(),
        per_gib_month: per_gib_month.parse().ok()?,
        per_iops_month: None,
        per_mibps_month: None,
        source: "made up".to_owned(),
        as_of: "2026-01-01".to_owned(),
    })
}

fn policy(rng: &mut Rng) -> Policy {
    Policy {
        mode: Mode::Auto,
        labels: BTreeMap::new(),
        performance: None,
        capacity: CapacitySpec {
            min_free: if rng.bool() { Threshold::Percent(rng.u8(5..40)) } else { Threshold::Absolute(Bytes(2 << 30)) },
            min_free_inodes: Threshold::Percent(5),
            time_to_full: Period::from_secs(*choose(&[0, 60, 600], rng)),
            increase: Threshold::Percent(rng.u8(5..60)),
            ..CapacitySpec::up_to(Bytes(rng.u64(50..400) << 30))
        },
    }
}

/// In one world of four, a budget in which some of its claims can grow, and not all as far as they would.
fn budgets(claims: &BTreeMap<String, Claim>, rng: &mut Rng) -> BTreeMap<String, Budget> {
    if rng.u8(0..4) > 0 {
        return BTreeMap::new();
    }
    let size: u64 = claims.values().map(|claim| claim.size.0).sum();
    let limits = BudgetLimits { bytes: Some(Bytes(size / 100 * rng.u64(105..220))), iops: None, monthly_cost: None };
    let emergency_reserve = rng.bool().then(|| Threshold::Percent(rng.u8(1..20)));
    [("team".to_owned(), Budget { labels: BTreeMap::new(), limits, emergency_reserve })].into()
}

fn claim(nodes: usize, busy: u64, rng: &mut Rng) -> Claim {
    let size = rng.u64(5..40) << 30;
    Claim {
        size: Bytes(size),
        class: (*choose(&["fast", "slow"], rng)).to_owned(),
        labels: BTreeMap::new(),
        node: rng.usize(0..nodes),
        used: Bytes(size / 100 * rng.u64(0..75)),
        inodes: None,
        workload: workload(size, busy, rng),
        attributes_class: None,
        demand: None,
    }
}

/// Rates are such that most volumes grow a few times.
fn workload(size: u64, busy: u64, rng: &mut Rng) -> Workload {
    let rate = Bytes((size * rng.u64(1..=4) / busy).max(1));
    let hour = Period::from_secs(3600);
    match rng.u8(0..7) {
        0 => Workload::Steady { rate },
        1 => Workload::Daily { rate },
        2 => Workload::Bursts { rate: Bytes(rate.0 * 20), lasting: Period::from_secs(180), every: hour },
        3 => Workload::Rotation { rate: Bytes(rate.0 * 4), keep: Bytes(size / 4) },
        4 => {
            Workload::BulkLoad { rate: Bytes(rate.0 * 50), bytes: Bytes(size / 5), every: Period::from_secs(4 * 3600) }
        }
        5 => Workload::Runaway { rate: Bytes(rate.0 / 16) },
        _ => Workload::Idle {},
    }
}

fn trouble(operators: usize, nodes: usize, rng: &mut Rng) -> Trouble {
    let operator = rng.usize(0..operators);
    let node = rng.usize(0..nodes);
    let share = *choose(&[5, 20, 50, 100], rng);
    let ahead = *choose(&[-7200, -300, -20, -5, 5, 20, 300, 7200], rng);
    match rng.u8(0..18) {
        0 => Trouble::Kill { operator },
        1 => Trouble::KillAtRequest { operator, after: false },
        2 => Trouble::KillAtRequest { operator, after: true },
        3 => Trouble::Pause { operator },
        4 => Trouble::OperatorClock { operator, ahead },
        5 => Trouble::NodeClock { node, ahead },
        6 => Trouble::ServerDown {},
        7..=8 => {
            use RequestFate::{AnswerLost, Answered, Late, Lost, Twice};
            let fates = [Lost, AnswerLost, Late, Twice, Answered(500), Answered(503), Answered(429), Answered(409)];
            Trouble::Requests { fate: *choose(&fates, rng), share }
        }
        9..=10 => {
            use WatchFate::{Broken, BrokenAndStale, Delayed, Twice};
            Trouble::Watches { fate: *choose(&[Broken, BrokenAndStale, Delayed, Twice], rng), share }
        }
        11 => Trouble::AgentDown { node },
        12..=13 => {
            use MeasurementFate::{Late, Lost, Nonsense, Twice};
            Trouble::Measurements { fate: *choose(&[Lost, Late, Twice, Nonsense], rng), share }
        }
        14 => Trouble::ResizerDown {},
        15 => Trouble::DriverFails {},
        16 => Trouble::DriverSlow { times: rng.u32(2..20) },
        _ => Trouble::KubeletDown { node },
    }
}

fn changes(claims: &[String], nodes: usize, busy: u64, rng: &mut Rng) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..rng.usize(1..6) {
        let at = rng.u64(60..busy);
        let claim = choose(claims, rng).clone();
        let mut change = |at, what| changes.push(Change { at: Period::from_secs(at), what });
        match rng.u8(0..4) {
            0 => change(at, Deed::Recreate { claim }),
            1 => change(at, Deed::Request { claim, size: Bytes(rng.u64(41..60) << 30) }),
            2 => change(at, Deed::Policy { name: "all".to_owned(), spec: policy(rng) }),
            _ => {
                change(at, Deed::Stop { claim: claim.clone() });
                change((at + 300).min(busy - 1), Deed::Start { claim, node: rng.usize(0..nodes) });
            }
        }
    }
    changes
}
