//! What the operator counts, in the `OpenMetrics` text format.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use jiff::Timestamp;
use orlop_api::names::Reason;
use orlop_planner::{Account, Budget, BudgetName, GrowthRecord, Source};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// The operator's metrics. Clones count into the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    leader: Gauge,
    claims: Family<ReasonLabel, Gauge>,
    decisions: Counter,
    planning: Histogram,
    growths: Counter,
    growth_durations: Histogram,
    actions_failed: Family<OutcomeLabel, Counter>,
    violations: Counter,
    watch_failures: Family<KindLabel, Counter>,
    unreadable: Family<KindLabel, Counter>,
    events_dropped: Counter,
    samples: Family<SourceLabel, Counter>,
    sampled_at: Family<SourceLabel, Gauge>,
    requests: Family<RequestLabels, Counter>,
    local_lost: Gauge,
    budgets: Budgets,
}

/// What is known of each budget.
#[derive(Default)]
struct Budgets {
    used: Family<BudgetLabel, Gauge>,
    limit: Family<BudgetLabel, Gauge>,
    cost: Family<BudgetLabel, Gauge<f64, AtomicU64>>,
    cost_limit: Family<BudgetLabel, Gauge<f64, AtomicU64>>,
    claims: Family<BudgetLabel, Gauge>,
    unpriced: Family<BudgetLabel, Gauge>,
    waiting: Family<BudgetLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabel {
    budget: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: String,
    code: u32,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut it = Inner {
            registry: Registry::with_prefix("orlop"),
            leader: Gauge::default(),
            claims: Family::default(),
            decisions: Counter::default(),
            planning: Histogram::new(exponential_buckets(0.000_1, 4.0, 8)),
            growths: Counter::default(),
            growth_durations: Histogram::new([0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0]),
            actions_failed: Family::default(),
            violations: Counter::default(),
            watch_failures: Family::default(),
            unreadable: Family::default(),
            events_dropped: Counter::default(),
            samples: Family::default(),
            sampled_at: Family::default(),
            requests: Family::default(),
            local_lost: Gauge::default(),
            budgets: Budgets::default(),
        };
        let to = &mut it.registry;
        to.register("leader", "Does this operator hold the lease", it.leader.clone());
        to.register("claims", "Governed claims by the reason of the latest decision", it.claims.clone());
        to.register("decisions", "Decisions about claims", it.decisions.clone());
        to.register_with_unit("planning_duration", "One planning pass", Unit::Seconds, it.planning.clone());
        to.register("growths", "Larger sizes requested", it.growths.clone());
        to.register_with_unit(
            "growth_duration",
            "From the threshold crossed to the new bytes usable",
            Unit::Seconds,
            it.growth_durations.clone(),
        );
        to.register("actions_failed", "Actions that failed, by what came of them", it.actions_failed.clone());
        to.register("invariant_violations", "Actions refused because they break an invariant", it.violations.clone());
        to.register("watch_failures", "Watches that failed and began again", it.watch_failures.clone());
        to.register("objects_unreadable", "Objects read that could not be understood", it.unreadable.clone());
        to.register("events_dropped", "Events that could not be sent", it.events_dropped.clone());
        to.register("samples", "Measurements of volumes received", it.samples.clone());
        to.register_with_unit(
            "sample_timestamp",
            "When the newest measurement was made",
            Unit::Seconds,
            it.sampled_at.clone(),
        );
        to.register("api_requests", "Requests to the API server, by verb and code", it.requests.clone());
        to.register("local_volumes_lost", "Volumes of the local driver whose node is gone", it.local_lost.clone());
        it.budgets.register(to);
        Self(Arc::new(it))
    }
}

impl Metrics {
    /// The metrics as text, in the form that Prometheus reads.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing into a String does not fail.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.0.leader.set(leads.into());
    }

    /// A claim is counted under another reason than before.
    pub(crate) fn claim_moved(&self, from: Option<Reason>, to: Option<Reason>) {
        let count = |reason: Reason| self.0.claims.get_or_create_owned(&ReasonLabel { reason: reason.to_string() });
        if from != to {
            from.map(|reason| count(reason).dec());
            to.map(|reason| count(reason).inc());
        }
    }

    /// So many claims were decided about in one pass.
    pub fn planned(&self, claims: usize, took: Duration) {
        self.0.decisions.inc_by(claims as u64);
        self.0.planning.observe(took.as_secs_f64());
    }

    pub(crate) fn growth_requested(&self) {
        self.0.growths.inc();
    }

    pub(crate) fn growth_usable(&self, record: &GrowthRecord) {
        if let Some(usable) = record.usable {
            self.0.growth_durations.observe(usable.duration_since(record.crossed).as_secs_f64());
        }
    }

    pub(crate) fn action_failed(&self, outcome: &'static str) {
        self.0.actions_failed.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn invariant_violated(&self) {
        self.0.violations.inc();
    }

    /// A watch failed, and begins again.
    pub fn watch_failed(&self, kind: &'static str) {
        self.0.watch_failures.get_or_create(&KindLabel { kind }).inc();
    }

    /// An object was read that could not be understood.
    pub fn object_unreadable(&self, kind: &'static str) {
        self.0.unreadable.get_or_create(&KindLabel { kind }).inc();
    }

    /// An Event could not be sent.
    pub fn event_dropped(&self) {
        self.0.events_dropped.inc();
    }

    pub(crate) fn sampled(&self, source: Source, at: Timestamp) {
        let label = SourceLabel {
            source: match source {
                Source::Agent => "agent",
                Source::Kubelet => "kubelet",
            },
        };
        self.0.samples.get_or_create(&label).inc();
        self.0.sampled_at.get_or_create(&label).set(at.as_second());
    }

    /// A budget, what its claims have, and how many wait for it.
    pub(crate) fn budget(&self, name: &BudgetName, budget: &Budget, account: &Account, waiting: usize) {
        let label = BudgetLabel { budget: name.to_string() };
        let Budgets { used, limit, cost, cost_limit, claims, unpriced, waiting: waits } = &self.0.budgets;
        used.get_or_create(&label).set(i64::try_from(account.used.bytes).unwrap_or(i64::MAX));
        cost.get_or_create(&label).set(in_dollars(account.used.cost));
        for (family, number) in [(claims, account.claims), (unpriced, account.unpriced), (waits, waiting)] {
            family.get_or_create(&label).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        match budget.limits.bytes {
            Some(bytes) => drop(limit.get_or_create(&label).set(i64::try_from(bytes.0).unwrap_or(i64::MAX))),
            None => drop(limit.remove(&label)),
        }
        match budget.limits.monthly_cost {
            Some(amount) => drop(cost_limit.get_or_create(&label).set(in_dollars(amount.millionths().into()))),
            None => drop(cost_limit.remove(&label)),
        }
    }

    /// A budget is no more, or not in force.
    pub(crate) fn budget_gone(&self, name: &BudgetName) {
        let label = BudgetLabel { budget: name.to_string() };
        let Budgets { used, limit, cost, cost_limit, claims, unpriced, waiting } = &self.0.budgets;
        for family in [used, limit, claims, unpriced, waiting] {
            family.remove(&label);
        }
        for family in [cost, cost_limit] {
            family.remove(&label);
        }
    }

    /// So many volumes of the local driver are on nodes that are gone.
    pub fn local_volumes_lost(&self, count: usize) {
        self.0.local_lost.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The API server was asked; the code of its answer, where there was one.
    pub fn requested(&self, verb: &http::Method, code: Option<http::StatusCode>) {
        let labels =
            RequestLabels { verb: verb.as_str().to_owned(), code: code.map_or(0, |code| code.as_u16().into()) };
        self.0.requests.get_or_create(&labels).inc();
    }
}

impl Budgets {
    fn register(&self, to: &mut Registry) {
        let bytes = "The sizes of the claims that a budget covers";
        to.register_with_unit("budget_used", bytes, Unit::Bytes, self.used.clone());
        to.register_with_unit("budget_limit", "What they may be together", Unit::Bytes, self.limit.clone());
        let cost = "What the claims that a budget covers cost a month whose price is known, in US dollars";
        to.register("budget_monthly_cost", cost, self.cost.clone());
        to.register("budget_monthly_cost_limit", "What they may cost a month, in US dollars", self.cost_limit.clone());
        to.register("budget_claims", "The claims that a budget covers", self.claims.clone());
        to.register("budget_unpriced_claims", "Those of them whose price is not known", self.unpriced.clone());
        to.register("budget_waiting_claims", "Claims that wait for room in a budget", self.waiting.clone());
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric has the precision of a float")]
fn in_dollars(millionths: u128) -> f64 {
    millionths as f64 / 1e6
}
