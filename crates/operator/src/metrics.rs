//! What the operator counts, in the `OpenMetrics` text format.

mod claims;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use jiff::Timestamp;
use orlop_api::names::Reason;
use orlop_planner::{Account, Budget, BudgetName, ClaimId, GrowthRecord, PolicyId, PolicyKind, Source};
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

use self::claims::Claims;
pub(crate) use self::claims::Row as ClaimRow;

/// The operator's metrics. Clones count into the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    leader: Gauge,
    claims: Family<ReasonLabel, Gauge>,
    per_claim: Arc<Claims>,
    decisions: Counter,
    planning: Histogram,
    growths: Family<PolicyLabels, Counter>,
    growth_durations: Histogram,
    actions_failed: Family<OutcomeLabel, Counter>,
    violations: Counter,
    watch_failures: Family<KindLabel, Counter>,
    unreadable: Family<KindLabel, Counter>,
    events_dropped: Counter,
    samples: Family<SourceLabel, Counter>,
    sampled_at: Family<SourceLabel, Gauge>,
    requests: Family<RequestLabels, Counter>,
    prometheus_queries: Family<QueryLabels, Counter>,
    unconnected: Gauge,
    local_lost: Gauge,
    template_drifts: Gauge,
    recreated: Counter,
    stopped: Gauge,
    budgets: Budgets,
}

/// What is known of each budget.
#[derive(Default)]
struct Budgets {
    used: Family<BudgetLabel, Gauge>,
    limit: Family<BudgetLabel, Gauge>,
    iops: Family<BudgetLabel, Gauge>,
    iops_limit: Family<BudgetLabel, Gauge>,
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
struct PolicyLabels {
    kind: &'static str,
    /// Empty for a policy of the whole cluster.
    namespace: String,
    policy: String,
}

impl From<&PolicyId> for PolicyLabels {
    fn from(id: &PolicyId) -> Self {
        let (kind, namespace) = match &id.kind {
            PolicyKind::Namespaced(namespace) => ("StoragePolicy", namespace.0.to_string()),
            PolicyKind::Cluster => ("ClusterStoragePolicy", String::new()),
        };
        Self { kind, namespace, policy: id.name.to_string() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    server: String,
    outcome: &'static str,
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
    /// Tells of no single claim.
    fn default() -> Self {
        Self::new(0)
    }
}

impl Inner {
    fn new(claims_max: usize) -> Self {
        Self {
            registry: Registry::with_prefix("orlop"),
            leader: Gauge::default(),
            claims: Family::default(),
            per_claim: Arc::new(Claims::new(claims_max)),
            decisions: Counter::default(),
            planning: Histogram::new(exponential_buckets(0.000_1, 4.0, 8)),
            growths: Family::default(),
            growth_durations: Histogram::new([0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0]),
            actions_failed: Family::default(),
            violations: Counter::default(),
            watch_failures: Family::default(),
            unreadable: Family::default(),
            events_dropped: Counter::default(),
            samples: Family::default(),
            sampled_at: Family::default(),
            requests: Family::default(),
            prometheus_queries: Family::default(),
            unconnected: Gauge::default(),
            local_lost: Gauge::default(),
            template_drifts: Gauge::default(),
            recreated: Counter::default(),
            stopped: Gauge::default(),
            budgets: Budgets::default(),
        }
    }

    fn register(&mut self) {
        let mut registry = std::mem::take(&mut self.registry);
        let to = &mut registry;
        to.register("leader", "Does this operator hold the lease", self.leader.clone());
        to.register("claims", "Governed claims by the reason of the latest decision", self.claims.clone());
        to.register("decisions", "Decisions about claims", self.decisions.clone());
        to.register_with_unit("planning_duration", "One planning pass", Unit::Seconds, self.planning.clone());
        to.register("growths", "Larger sizes requested, by policy", self.growths.clone());
        to.register_with_unit(
            "growth_duration",
            "From the threshold crossed to the new bytes usable",
            Unit::Seconds,
            self.growth_durations.clone(),
        );
        to.register("actions_failed", "Actions that failed, by what came of them", self.actions_failed.clone());
        to.register("invariant_violations", "Actions refused because they break an invariant", self.violations.clone());
        to.register("watch_failures", "Watches that failed and began again", self.watch_failures.clone());
        to.register("objects_unreadable", "Objects read that could not be understood", self.unreadable.clone());
        to.register("events_dropped", "Events that could not be sent", self.events_dropped.clone());
        to.register("samples", "Measurements of volumes received", self.samples.clone());
        to.register_with_unit(
            "sample_timestamp",
            "When the newest measurement was made",
            Unit::Seconds,
            self.sampled_at.clone(),
        );
        to.register("api_requests", "Requests to the API server, by verb and code", self.requests.clone());
        to.register(
            "prometheus_queries",
            "Questions to Prometheus servers, by what came of them",
            self.prometheus_queries.clone(),
        );
        to.register("nodes_without_agent", "Nodes whose agent is not connected", self.unconnected.clone());
        to.register(
            "template_drifts",
            "Claim templates of StatefulSets that ask for less than their claims have",
            self.template_drifts.clone(),
        );
        to.register("statefulsets_recreated", "StatefulSets made anew with larger templates", self.recreated.clone());
        to.register(
            "workloads_stopped",
            "StatefulSets and Deployments scaled to zero for a maintenance window now",
            self.stopped.clone(),
        );
        to.register("local_volumes_lost", "Volumes of the local driver whose node is gone", self.local_lost.clone());
        self.budgets.register(to);
        to.register_collector(Box::new(self.per_claim.clone()));
        self.registry = registry;
    }
}

impl Metrics {
    /// Metrics that tell of each governed claim, of so many at most.
    pub fn new(claims_max: usize) -> Self {
        let mut it = Inner::new(claims_max);
        it.register();
        Self(Arc::new(it))
    }

    /// Writes the metrics as text, in the form that Prometheus reads. Of a large cluster that is much text, and so `out` may
    /// pass it on piece by piece. Fails when `out` does.
    pub fn encode_into(&self, out: &mut impl fmt::Write) -> fmt::Result {
        text::encode(out, &self.0.registry)
    }

    /// The metrics as one text.
    #[cfg(test)]
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        self.encode_into(&mut text).unwrap();
        text
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
        self.0.per_claim.governed(from.is_some(), to.is_some());
    }

    /// Is there anything to be told of single claims?
    pub(crate) fn tells_of_claims(&self) -> bool {
        self.0.per_claim.is_wanted()
    }

    /// A claim is as said now.
    pub(crate) fn claim_is(&self, id: &ClaimId, row: ClaimRow) {
        self.0.per_claim.set(id, row);
    }

    /// A claim is governed no longer, or gone: nothing more is told of it.
    pub(crate) fn claim_gone(&self, id: &ClaimId) {
        self.0.per_claim.remove(id);
    }

    /// So many claims were decided about in one pass.
    pub fn planned(&self, claims: usize, took: Duration) {
        self.0.decisions.inc_by(claims as u64);
        self.0.planning.observe(took.as_secs_f64());
    }

    /// So many templates ask for less than their claims have.
    pub(crate) fn template_drifts(&self, count: usize) {
        self.0.template_drifts.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many StatefulSets and Deployments are scaled to zero for a maintenance window.
    pub(crate) fn workloads_stopped(&self, count: usize) {
        self.0.stopped.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A StatefulSet was made anew.
    pub(crate) fn statefulset_recreated(&self) {
        self.0.recreated.inc();
    }

    pub(crate) fn growth_requested(&self, policy: &PolicyId) {
        self.0.growths.get_or_create(&policy.into()).inc();
    }

    /// A policy is gone, and what was counted for it with it.
    pub(crate) fn policy_gone(&self, policy: &PolicyId) {
        self.0.growths.remove(&policy.into());
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
        let label = SourceLabel { source: source.name() };
        self.0.samples.get_or_create(&label).inc();
        self.0.sampled_at.get_or_create(&label).set(at.as_second());
    }

    /// A Prometheus server was asked: `complete`, `partial` or `failed` is what came of it.
    pub fn prometheus_asked(&self, server: &str, outcome: &'static str) {
        self.0.prometheus_queries.get_or_create(&QueryLabels { server: server.to_owned(), outcome }).inc();
    }

    /// So many nodes have no agent connected.
    pub fn nodes_without_agent(&self, count: usize) {
        self.0.unconnected.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A budget, what its claims have, and how many wait for it.
    pub(crate) fn budget(&self, name: &BudgetName, budget: &Budget, account: &Account, waiting: usize) {
        let label = BudgetLabel { budget: name.to_string() };
        let Budgets { used, limit, iops, iops_limit, cost, cost_limit, claims, unpriced, waiting: waits } =
            &self.0.budgets;
        used.get_or_create(&label).set(i64::try_from(account.used.bytes).unwrap_or(i64::MAX));
        cost.get_or_create(&label).set(in_dollars(account.used.cost));
        for (family, number) in [(claims, account.claims), (unpriced, account.unpriced), (waits, waiting)] {
            family.get_or_create(&label).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        match budget.limits.bytes {
            Some(bytes) => drop(limit.get_or_create(&label).set(i64::try_from(bytes.0).unwrap_or(i64::MAX))),
            None => drop(limit.remove(&label)),
        }
        match budget.limits.iops {
            Some(most) => {
                iops.get_or_create(&label).set(i64::try_from(account.used.iops).unwrap_or(i64::MAX));
                iops_limit.get_or_create(&label).set(i64::try_from(most).unwrap_or(i64::MAX));
            }
            None => [iops, iops_limit].into_iter().for_each(|family| {
                family.remove(&label);
            }),
        }
        match budget.limits.monthly_cost {
            Some(amount) => drop(cost_limit.get_or_create(&label).set(in_dollars(amount.millionths().into()))),
            None => drop(cost_limit.remove(&label)),
        }
    }

    /// A budget is no more, or not in force.
    pub(crate) fn budget_gone(&self, name: &BudgetName) {
        let label = BudgetLabel { budget: name.to_string() };
        let Budgets { used, limit, iops, iops_limit, cost, cost_limit, claims, unpriced, waiting } = &self.0.budgets;
        for family in [used, limit, iops, iops_limit, claims, unpriced, waiting] {
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
        let iops = "The I/O operations a second that the classes of the claims give, where the budget limits them";
        to.register("budget_iops", iops, self.iops.clone());
        to.register("budget_iops_limit", "How many they may give together", self.iops_limit.clone());
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
