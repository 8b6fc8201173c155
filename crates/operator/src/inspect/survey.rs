//! All claims, counted and the foremost of them listed: in steps of a bounded cost, because there may be very many.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Included, Unbounded},
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, amount};
use orlop_planner::{
    Claim, ClaimId, Decision, Governance, NamespaceName, Outcome, PolicyId, PolicyKind, Urgency, Usage, stale_at,
};
use serde::{Deserialize, Serialize};

use super::{
    document::{Agents, ClaimRow, Cost, DriverRow, Fleet, PolicyRow},
    row::{self, row},
};
use crate::Core;

/// How many claims are listed at most.
pub const ROWS_MAX: usize = 1000;

/// How many policies are listed at most.
const POLICIES_MAX: usize = 200;

/// How many drivers are listed at most.
const DRIVERS_MAX: usize = 50;

/// What is a growth of late.
const OF_LATE: SignedDuration = SignedDuration::from_hours(1);

/// A clock that is further ahead than this has been set since.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(1);

/// Which claims come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Those that most need somebody's attention, and among these the fullest.
    #[default]
    Urgency,
    /// The fullest.
    Free,
    /// Those that fill fastest.
    Rate,
    /// Those that are full soonest.
    TimeToFull,
    /// The largest.
    Size,
    /// By namespace and name.
    Name,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SurveyQuery {
    /// Count the claims of this namespace only.
    pub namespace: Option<NamespaceName>,
    /// List only the claims in whose `NAMESPACE/NAME`, policy or reason this is, in any case.
    pub find: Option<String>,
    /// List only those that somebody must look at.
    pub problems: bool,
    /// Which come first.
    pub order: Order,
    /// How many are listed, at most [`ROWS_MAX`]; the others are only counted.
    pub limit: usize,
}

/// A survey under way.
#[derive(Debug)]
pub struct Survey {
    query: SurveyQuery,
    after: Option<ClaimId>,
    fleet: Fleet,
    policies: BTreeMap<PolicyId, Tally>,
    drivers: BTreeMap<String, DriverTally>,
    foremost: BTreeSet<(u64, ClaimId)>,
}

#[derive(Debug, Default)]
struct Tally {
    claims: u64,
    growing: u64,
    problems: u64,
}

#[derive(Debug, Default)]
struct DriverTally {
    claims: u64,
    requested: u64,
    used: u64,
    /// Millionths and claims, by currency.
    costs: BTreeMap<String, (u128, u64)>,
}

impl Survey {
    /// A survey that has not begun.
    pub fn new(mut query: SurveyQuery) -> Self {
        query.limit = query.limit.min(ROWS_MAX);
        query.find = query.find.map(|text| text.to_lowercase());
        let namespace = query.namespace.as_ref().map(|namespace| namespace.0.to_string());
        Self {
            query,
            after: None,
            fleet: Fleet { namespace, ..Fleet::default() },
            policies: BTreeMap::new(),
            drivers: BTreeMap::new(),
            foremost: BTreeSet::new(),
        }
    }

    /// Looks at so many more claims. Returns whether all have been looked at.
    pub fn step(&mut self, core: &Core, claims: usize, now: Timestamp) -> bool {
        let first = self.query.namespace.clone().map(|namespace| ClaimId { namespace, name: "".into() });
        let from = match (&self.after, &first) {
            (Some(after), _) => Excluded(after),
            (None, Some(first)) => Included(first),
            (None, None) => Unbounded,
        };
        let mut last = None;
        let mut looked_at = 0;
        for (id, claim) in core.observer().view().claims.range((from, Unbounded)).take(claims) {
            if self.query.namespace.as_ref().is_some_and(|namespace| id.namespace != *namespace) {
                break;
            }
            looked_at += 1;
            last = Some(id);
            Look { core, id, claim, now }.count(&mut self.fleet, &mut self.policies, &mut self.drivers);
            self.list(core, id, claim);
        }
        self.after = last.cloned().or(self.after.take());
        looked_at < claims
    }

    /// Keeps the claim if it is among the foremost of those asked for.
    fn list(&mut self, core: &Core, id: &ClaimId, claim: &Claim) {
        let decision = core.ledger().decision(id);
        if !self.query.matches(id, decision) {
            return;
        }
        self.fleet.matching += 1;
        let key = self.query.order.key(claim, decision);
        if self.query.limit == 0 {
            return;
        }
        if self.foremost.len() >= self.query.limit {
            if self.foremost.last().is_some_and(|(last, last_id)| (*last, last_id) <= (key, id)) {
                return;
            }
            self.foremost.pop_last();
        }
        self.foremost.insert((key, id.clone()));
    }

    /// The result, when all have been looked at. A listed claim is told as it is now.
    pub fn finish(self, core: &Core) -> Fleet {
        let view = core.observer().view();
        let rows = self.foremost.iter().filter_map(|(_, id)| Some(row(core, id, view.claims.get(id)?)));
        let claims: Vec<ClaimRow> = rows.collect();
        let policies = policies(core, self.query.namespace.as_ref(), self.policies);
        let agents = Agents { nodes: core.observer().nodes().len() as u64, ..Agents::default() };
        Fleet { claims, policies, drivers: drivers(self.drivers), agents, ..self.fleet }
    }
}

impl SurveyQuery {
    fn matches(&self, id: &ClaimId, decision: Option<&Decision>) -> bool {
        if self.problems && !decision.is_some_and(Decision::is_problem) {
            return false;
        }
        let Some(text) = &self.find else { return true };
        // Most claims are found or not by their name, without a text being made of it.
        let in_name = id.namespace.0.contains(&**text) || id.name.contains(&**text);
        let in_decision = |decision: &Decision| {
            let policy = row::governing(&decision.governance).unwrap_or_default();
            [decision.reason.to_string(), policy].iter().any(|it| it.to_lowercase().contains(text))
        };
        in_name || (text.contains('/') && id.to_string().contains(text)) || decision.is_some_and(in_decision)
    }
}

impl Order {
    /// What a claim is put in order by, the smallest first.
    fn key(self, claim: &Claim, decision: Option<&Decision>) -> u64 {
        let usage = claim.usage.as_ref();
        let permille = usage.map_or(1001, |usage| {
            let permille = u128::from(usage.available.0) * 1000 / u128::from(usage.total.0.max(1));
            u64::try_from(permille).unwrap_or(1000).min(1000)
        });
        match self {
            Self::Urgency => decision.map_or(u64::MAX, |decision| (Urgency::of(decision) as u64) << 16 | permille),
            Self::Free => permille,
            Self::Rate => u64::MAX - usage.map_or(0, |usage| usage.fill_bytes_per_second),
            Self::TimeToFull => {
                usage.and_then(|usage| usage.available.0.checked_div(usage.fill_bytes_per_second)).unwrap_or(u64::MAX)
            }
            Self::Size => u64::MAX - claim.requested.0,
            Self::Name => 0,
        }
    }
}

/// One claim.
struct Look<'a> {
    core: &'a Core,
    id: &'a ClaimId,
    claim: &'a Claim,
    now: Timestamp,
}

impl Look<'_> {
    fn count(
        &self,
        fleet: &mut Fleet,
        policies: &mut BTreeMap<PolicyId, Tally>,
        drivers: &mut BTreeMap<String, DriverTally>,
    ) {
        let usage = self.core.observer().latest(self.id);
        let used = usage.as_ref().map_or(0, |usage| usage.total.0.saturating_sub(usage.available.0));
        let totals = &mut fleet.totals;
        totals.claims += 1;
        totals.requested.0 = totals.requested.0.saturating_add(self.claim.requested.0);
        totals.used.0 = totals.used.0.saturating_add(used);
        totals.measured.0 = totals.measured.0.saturating_add(usage.as_ref().map_or(0, |usage| usage.total.0));
        match self.core.ledger().decision(self.id) {
            Some(decision) => {
                let is_growing = matches!(decision.outcome, Outcome::Grow(_) | Outcome::Growing(_));
                let (growing, problem) = (u64::from(is_growing), u64::from(decision.is_problem()));
                totals.growing += growing;
                totals.problems += problem;
                *fleet.reasons.entry(decision.reason).or_default() += 1;
                for policy in speaking(&decision.governance) {
                    let tally = policies.entry(policy.clone()).or_default();
                    tally.claims += 1;
                    tally.growing += growing;
                    tally.problems += problem;
                }
            }
            None => match self.core.observer().view().governance(self.id, self.claim) {
                Governance::None => totals.ungoverned += 1,
                Governance::By(_) | Governance::Conflict(_) => totals.undecided += 1,
            },
        }
        self.count_measurement(fleet, usage.as_ref());
        self.count_growth(fleet);
        self.count_driver(drivers, used);
    }

    fn count_measurement(&self, fleet: &mut Fleet, usage: Option<&Usage>) {
        if self.claim.raw_block || !self.claim.bound || self.claim.pods.is_empty() {
            return;
        }
        let Some(usage) = usage else {
            fleet.measured.unmeasured += 1;
            return;
        };
        let row = fleet.measured.sources.entry(usage.source.name().to_owned()).or_default();
        if self.now < stale_at(usage) && usage.at.duration_since(self.now) <= AHEAD_MAX {
            row.fresh += 1;
        } else {
            row.stale += 1;
        }
    }

    fn count_growth(&self, fleet: &mut Fleet) {
        let growth = self.claim.growth.as_ref();
        let of_late = |at: Timestamp| self.now.duration_since(at) < OF_LATE && at.duration_since(self.now) <= AHEAD_MAX;
        // A record that the size contradicts was copied here from another claim.
        let Some(growth) = growth.filter(|it| of_late(it.decided) && it.to <= self.claim.requested) else { return };
        fleet.growths.claims += 1;
        fleet.growths.added.0 += growth.to.0.saturating_sub(growth.from.0);
        match growth.usable {
            None => fleet.growths.under_way += 1,
            Some(usable) => {
                let took = u64::try_from(usable.duration_since(growth.crossed).as_millis()).ok();
                fleet.growths.slowest_ms = fleet.growths.slowest_ms.max(took);
            }
        }
    }

    fn count_driver(&self, drivers: &mut BTreeMap<String, DriverTally>, used: u64) {
        let name = self.core.observer().view().driver_of(self.claim).unwrap_or("none");
        if !drivers.contains_key(name) {
            drivers.insert(name.to_owned(), DriverTally::default());
        }
        let Some(tally) = drivers.get_mut(name) else { return };
        let size = self.claim.requested.max(self.claim.capacity);
        tally.claims += 1;
        tally.requested = tally.requested.saturating_add(self.claim.requested.0);
        tally.used = tally.used.saturating_add(used);
        let view = self.core.observer().view();
        let abilities = view.abilities(self.claim).filter(|_| self.claim.bound);
        let price = abilities.and_then(|abilities| abilities.price);
        if let Some(price) = price {
            if !tally.costs.contains_key(&price.currency) {
                tally.costs.insert(price.currency.clone(), (0, 0));
            }
            if let Some((millionths, claims)) = tally.costs.get_mut(&price.currency) {
                *millionths += price.monthly_millionths(size);
                *claims += 1;
            }
        }
    }
}

/// The policies that a claim counts for.
fn speaking(governance: &Governance) -> &[PolicyId] {
    match governance {
        Governance::None => &[],
        Governance::By(policy) => std::slice::from_ref(policy),
        Governance::Conflict(policies) => policies,
    }
}

/// The policies with what was counted of each, also those that govern nothing.
fn policies(core: &Core, namespace: Option<&NamespaceName>, mut tallies: BTreeMap<PolicyId, Tally>) -> Vec<PolicyRow> {
    let in_scope = |id: &PolicyId| match (&id.kind, namespace) {
        (PolicyKind::Namespaced(of), Some(namespace)) => of == namespace,
        (PolicyKind::Namespaced(_) | PolicyKind::Cluster, _) => true,
    };
    let known: BTreeMap<_, _> = core.observer().known_policies().filter(|(id, _)| in_scope(id)).collect();
    let mut rows: Vec<PolicyRow> = known
        .into_iter()
        .map(|(id, policy)| {
            let Tally { claims, growing, problems } = tallies.remove(id).unwrap_or_default();
            let mode = core.observer().view().policies.get(id).map(|policy| policy.mode);
            PolicyRow { policy: id.to_string(), mode, claims, growing, problems, invalid: policy.invalid.clone() }
        })
        .collect();
    // Stable, so that those with as many stay in the order of their names.
    rows.sort_by_key(|row| (row.invalid.is_none(), std::cmp::Reverse(row.problems)));
    rows.truncate(POLICIES_MAX);
    rows
}

fn drivers(tallies: BTreeMap<String, DriverTally>) -> Vec<DriverRow> {
    let mut rows: Vec<DriverRow> = tallies
        .into_iter()
        .map(|(driver, tally)| DriverRow {
            driver,
            claims: tally.claims,
            requested: Bytes(tally.requested),
            used: Bytes(tally.used),
            monthly: tally
                .costs
                .into_iter()
                .map(|(currency, (millionths, claims))| Cost { currency, amount: amount(millionths), claims })
                .collect(),
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.requested));
    rows.truncate(DRIVERS_MAX);
    rows
}
