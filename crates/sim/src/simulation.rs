//! The world, and how it goes on: events in the order of their times, one after the other. No clock is read and no chance
//! is taken but by the scenario's seed, so that the same scenario always goes the same way.

mod agents;
mod attributes;
mod controllers;
mod happenings;
mod kubelets;
mod leases;
mod operators;
pub(crate) mod sets;
pub(crate) mod steps;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::{Duration, Instant},
};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use orlop_api::{StorageBudgetSpec, StoragePolicySpec};
use orlop_operator::{Measurement, Moment, request::Request};
use orlop_planner::{Action, TemplateAction};
use serde_json::json;

use crate::{
    fact::{Entry, Fact},
    faults::Faults,
    process::{Message, Process, State, later},
    scenario::{Budget, Deed, Policy, Scenario, Trouble},
    server::{Kind, NAMESPACE, Server},
    volume::Volume,
};

use self::steps::StepArrival;

/// The wall clock's time at the beginning.
const BEGINNING: &str = "2026-01-01T00:00:00Z";

/// A simulated world.
pub struct Simulation {
    /// What it goes by.
    pub scenario: Scenario,
    pub(crate) now: Duration,
    /// The true time.
    time: Timestamp,
    beginning: Timestamp,
    /// Where the clock that only runs is counted from. Nothing depends on when that was.
    origin: Instant,
    rng: Rng,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    pub(crate) server: Server,
    pub(crate) volumes: BTreeMap<String, Volume>,
    /// The claims whose volumes' next reports are planned for a time, by the node.
    reports: BTreeMap<(Duration, usize), Vec<String>>,
    /// The nodes whose agents have reported all their volumes, so that a heartbeat confirms them.
    confirming: BTreeSet<usize>,
    pub(crate) processes: Vec<Process>,
    pub(crate) faults: Faults,
    calls: u64,
    facts: Vec<Entry>,
    events: u64,
    tamper: Option<Box<dyn Tamper>>,
}

/// A deliberate bug of the operator, for showing that a checker finds it.
pub trait Tamper {
    /// Changes what an operator is about to send; none where it is not sent.
    fn request(&mut self, request: Request) -> Option<Request> {
        Some(request)
    }

    /// Changes what an agent's report or a kubelet's summary is to the operator.
    fn measurement(&mut self, measurement: Measurement) -> Measurement {
        measurement
    }

    /// Is a request of this step towards a larger template carried out?
    fn step(&mut self, action: &TemplateAction) -> bool {
        let _ = action;
        true
    }

    /// Changes whether an operator thinks that it leads.
    fn leads(&self, leads: bool) -> bool {
        leads
    }

    /// Changes when an operator looks again though nothing has changed.
    fn turn_at(&mut self, at: Option<Instant>) -> Option<Instant> {
        at
    }
}

/// What happens at some time.
#[derive(Debug)]
enum Event {
    TroubleBegins(usize),
    TroubleEnds(usize),
    Deed(usize),
    Stretch { claim: String, epoch: u64 },
    Fills { claim: String, epoch: u64 },
    Report { node: usize },
    Heartbeat { node: usize },
    AgentsDial,
    KubeletMeasures { node: usize },
    KubeletAsked { operator: usize, life: u64, node: usize },
    Deliver { operator: usize, life: u64, message: Box<Message> },
    Arrive(Box<Arrival>),
    LeaseArrives { operator: usize, life: u64, attempt: u64, write: Option<Box<(LeaseSpec, u64)>> },
    List { operator: usize, life: u64, kind: Kind, stream: u64 },
    Start { operator: usize, life: u64 },
    Resize { claim: String },
    Expanded { claim: String, life: u64 },
    Sync { claim: String, life: u64 },
    SetReconciles { set: String },
    SetReleased { set: String, uid: String },
    StepArrives(Box<StepArrival>),
    Demand { claim: String, epoch: u64 },
    Modify { claim: String },
    Modified { claim: String, life: u64 },
}

/// A request that reaches the API server.
#[derive(Debug)]
struct Arrival {
    operator: usize,
    life: u64,
    call: u64,
    request: Request,
    action: Option<Action>,
    answered: bool,
}

#[derive(Debug)]
struct Scheduled {
    at: Duration,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Simulation {
    /// A world at its beginning.
    pub fn new(scenario: Scenario) -> Self {
        let origin = Instant::now();
        let beginning = BEGINNING.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let mut world = Self {
            now: Duration::ZERO,
            time: beginning,
            beginning,
            origin,
            rng: Rng::with_seed(scenario.seed),
            queue: BinaryHeap::new(),
            sequence: 0,
            server: Server::default(),
            volumes: BTreeMap::new(),
            reports: BTreeMap::new(),
            confirming: BTreeSet::new(),
            processes: (0..scenario.operators).map(|number| Process::new(number, origin)).collect(),
            faults: Faults::default(),
            calls: 0,
            facts: Vec::new(),
            events: 0,
            tamper: None,
            scenario,
        };
        world.furnish();
        world
    }

    /// Has the operators behave differently from what they are.
    pub fn tamper(&mut self, tamper: Box<dyn Tamper>) {
        self.tamper = Some(tamper);
    }

    /// Goes on by one event; false where the scenario is over. What happened is in [`Simulation::take_facts`].
    pub fn step(&mut self) -> bool {
        let end = self.scenario.lasts.into();
        let Some(Reverse(next)) = self.queue.pop_if_before(end) else {
            self.now = end;
            return false;
        };
        if self.now != next.at {
            self.now = next.at;
            self.time = later(self.beginning, SignedDuration::try_from(self.now).unwrap_or(SignedDuration::MAX));
        }
        self.events += 1;
        self.happen(next.event);
        self.spread_events();
        true
    }

    /// What has happened since this was last asked.
    pub fn take_facts(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.facts)
    }

    /// How long after the beginning it is.
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// How many events have happened.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The volumes, by the names of their claims.
    pub const fn volumes(&self) -> &BTreeMap<String, Volume> {
        &self.volumes
    }

    /// The policies as they are now, after what users have done to them.
    pub fn current_policies(&self) -> impl Iterator<Item = &Policy> {
        let now = self.now;
        self.scenario.policies.iter().map(move |(name, policy)| {
            let done = self.scenario.changes.iter().filter(|change| Duration::from(change.at) <= now);
            let specs = done.filter_map(|change| match &change.what {
                Deed::Policy { name: of, spec } if of == name => Some((change.at.as_secs(), spec)),
                _ => None,
            });
            specs.max_by_key(|(at, _)| *at).map_or(policy, |(_, spec)| spec)
        })
    }

    /// The budgets as they are now, after what users have done to them.
    pub fn current_budgets(&self) -> impl Iterator<Item = (&String, &Budget)> {
        let now = self.now;
        self.scenario.budgets.iter().map(move |(name, budget)| {
            let done = self.scenario.changes.iter().filter(|change| Duration::from(change.at) <= now);
            let specs = done.filter_map(|change| match &change.what {
                Deed::Budget { name: of, spec } if of == name => Some((change.at.as_secs(), spec)),
                _ => None,
            });
            (name, specs.max_by_key(|(at, _)| *at).map_or(budget, |(_, spec)| spec))
        })
    }

    /// The troubles that are on.
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    fn furnish(&mut self) {
        let now = self.time();
        self.server.create(Kind::Namespace, NAMESPACE, json!({}), now);
        for node in 0..self.scenario.nodes {
            self.server.create(Kind::Node, &node_name(node), json!({}), now);
            let first = Duration::from_millis(self.rng.u64(0..agents::HEARTBEAT_MS));
            self.schedule(first, Event::Heartbeat { node });
            if self.scenario.kubelet_interval.is_some() {
                let first = Duration::from_millis(self.rng.u64(0..kubelets::MEASURES_EVERY_MS));
                self.schedule(first, Event::KubeletMeasures { node });
            }
        }
        for (name, class) in self.scenario.classes.clone() {
            let driver = driver_name(&name);
            let object = json!({ "provisioner": driver, "allowVolumeExpansion": class.expandable });
            self.server.create(Kind::Class, &name, object, now);
            self.server.create(Kind::Driver, &driver, json!({ "spec": class.driver }), now);
        }
        for (name, attributes) in self.scenario.attributes_classes.clone() {
            let object = json!({ "driverName": driver_name(&attributes.class), "parameters": attributes.parameters });
            self.server.create(Kind::AttributesClass, &name, object, now);
        }
        for (name, policy) in self.scenario.policies.clone() {
            self.server.create(Kind::Policy, &name, json!({ "spec": policy_spec(policy) }), now);
        }
        for (name, budget) in self.scenario.budgets.clone() {
            self.server.create(Kind::Budget, &name, json!({ "spec": budget_spec(budget) }), now);
        }
        for name in self.scenario.claims.keys().cloned().collect::<Vec<_>>() {
            self.provision(&name);
        }
        self.furnish_sets();
        for operator in 0..self.scenario.operators {
            let delay = Duration::from_millis(self.rng.u64(0..2_000));
            self.schedule(delay, Event::Start { operator, life: 0 });
        }
        let faults: Vec<_> = self.scenario.faults.iter().map(|fault| fault.at).collect();
        for (id, at) in faults.into_iter().enumerate() {
            self.schedule(at.into(), Event::TroubleBegins(id));
        }
        let changes: Vec<_> = self.scenario.changes.iter().map(|change| change.at).collect();
        for (id, at) in changes.into_iter().enumerate() {
            self.schedule(at.into(), Event::Deed(id));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::TroubleBegins(id) => self.trouble_begins(id),
            Event::TroubleEnds(id) => self.trouble_ends(id),
            Event::Deed(id) => {
                let change = self.scenario.changes[id].clone();
                self.deed(change);
            }
            Event::Stretch { claim, epoch } => self.stretch(&claim, epoch),
            Event::Fills { claim, epoch } => self.fills(&claim, epoch),
            Event::Report { node } => self.report(node),
            Event::Heartbeat { node } => self.heartbeat(node),
            Event::AgentsDial => self.agents_dial(),
            Event::KubeletMeasures { node } => self.kubelet_measures(node),
            Event::KubeletAsked { operator, life, node } => self.kubelet_asked(operator, life, node),
            Event::Deliver { operator, life, message } => self.deliver(operator, life, *message),
            Event::Arrive(arrival) => self.arrive(*arrival),
            Event::LeaseArrives { operator, life, attempt, write } => {
                self.lease_arrives(operator, life, attempt, write);
            }
            Event::List { operator, life, kind, stream } => self.list(operator, life, kind, stream),
            Event::Start { operator, life } => self.start(operator, life),
            Event::Resize { claim } => self.resize(&claim),
            Event::Expanded { claim, life } => self.expanded(&claim, life),
            Event::Sync { claim, life } => self.sync(&claim, life),
            Event::SetReconciles { set } => self.reconcile_set(&set),
            Event::SetReleased { set, uid } => self.release_set(&set, &uid),
            Event::StepArrives(arrival) => self.step_arrives(*arrival),
            Event::Demand { claim, epoch } => self.demand_changes(&claim, epoch),
            Event::Modify { claim } => self.modify(&claim),
            Event::Modified { claim, life } => self.modified(&claim, life),
        }
    }

    /// The true time.
    pub(crate) const fn time(&self) -> Timestamp {
        self.time
    }

    /// Does an operator think that it may act?
    pub(crate) fn leads(&self, operator: usize) -> bool {
        let process = &self.processes[operator];
        let leads = process.state == State::Running && process.leads(self.moment(operator));
        match &self.tamper {
            Some(tamper) if process.state == State::Running => tamper.leads(leads),
            _ => leads,
        }
    }

    /// This moment by an operator's clocks.
    pub(crate) fn moment(&self, operator: usize) -> Moment {
        let ahead = self.faults.sum(|trouble| match trouble {
            Trouble::OperatorClock { operator: of, ahead } if *of == operator => Some(*ahead),
            _ => None,
        });
        Moment { time: later(self.time(), SignedDuration::from_secs(ahead)), instant: self.origin + self.now }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    fn schedule_at(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at, sequence: self.sequence, event }));
    }

    fn tell(&mut self, fact: Fact) {
        self.facts.push(Entry { at: self.now, fact });
    }

    /// How long a message takes on its way.
    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(1_000..20_000))
    }
}

trait PopBefore {
    fn pop_if_before(&mut self, end: Duration) -> Option<Reverse<Scheduled>>;
}

impl PopBefore for BinaryHeap<Reverse<Scheduled>> {
    fn pop_if_before(&mut self, end: Duration) -> Option<Reverse<Scheduled>> {
        if self.peek()?.0.at > end { None } else { self.pop() }
    }
}

pub(crate) fn node_name(node: usize) -> String {
    format!("node-{node}")
}

/// Of a name that [`node_name`] has made.
fn node_number(name: &str) -> Option<usize> {
    name.strip_prefix("node-")?.parse().ok()
}

fn driver_name(class: &str) -> String {
    format!("{class}.example.com")
}

fn policy_spec(policy: Policy) -> StoragePolicySpec {
    StoragePolicySpec {
        mode: policy.mode,
        selector: selector(policy.labels),
        capacity: Some(policy.capacity),
        performance: policy.performance,
    }
}

fn budget_spec(budget: Budget) -> StorageBudgetSpec {
    StorageBudgetSpec {
        namespace_selector: LabelSelector::default(),
        selector: selector(budget.labels),
        limits: budget.limits,
        emergency_reserve: budget.emergency_reserve,
    }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: (!labels.is_empty()).then_some(labels), ..LabelSelector::default() }
}
