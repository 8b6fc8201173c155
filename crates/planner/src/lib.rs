//! The decisions of Orlop. Pure functions from a [`View`] of the cluster and a time to a [`Plan`] of actions and a
//! [`Report`] that says why: no client, no clock, no randomness, no async. The same input gives the same output, byte
//! for byte. The operator, the backtest, the simulator and `orlop explain` all run this crate.
//!
//! [`plan()`] decides for every claim of a view, [`plan_claims()`] for some: the cost follows what changed. A plan is
//! checked by [`invariants`] before anyone applies it, in production too.

mod budget;
mod capacity;
mod claims;
#[cfg(test)]
mod fixture;
pub mod forecast;
mod groups;
pub mod invariants;
mod labels;
mod ledger;
pub mod lifecycle;
pub mod maintenance;
mod owner;
mod performance;
mod plan;
#[cfg(test)]
mod properties;
mod report;
mod resources;
mod selector;
mod template;
mod view;
mod workload;

pub use budget::{Account, Budget, BudgetName, Budgets, OverBudget, Precedence};
pub use capacity::{SlotUse, is_current, is_foreseen, silent_at, slot_use, stale_at, still_enough};
pub use claims::Claims;
pub use groups::Groups;
pub use labels::Labels;
pub use ledger::{Changes, Ledger, Urgency};
pub use owner::{
    Belonging, ClaimTemplate, KeepsClaims, Link, Manager, Membership, Owner, Ownership, SetId, StatefulSet,
};
pub use performance::{
    AttributesClass, ClassChange, ClassMove, ClassUse, Exceeded, Excess, Load, LoadReading, LoadSample, LoadWatch,
    Modification, PerformanceDecision, Pressure, Quiet, Rates, counted_by,
};
pub use plan::{Action, Plan};
pub use report::{Decision, Outcome, Report};
pub use resources::{Knowledge, NamedOwner, Objects, OwnerKind, Resource, ResourceId, Resources, Unknown, WriteBack};
pub use template::{Drift, Resizes, Stance, StoredSet, TemplateAction, templates};
pub use view::{
    Allowed, Capacity, Claim, ClaimId, Class, Governance, GrowthRecord, NamespaceName, Outgrown, OwnerGrowth, PodId,
    PodUse, Policy, PolicyId, PolicyKind, Requirement, Resize, Selector, Source, Uid, Usage, View, Watch,
};
pub use workload::{Deployment, DeploymentId, Workload, WorkloadId};

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_api::{Bytes, Count};

/// Decides for every claim of the view.
pub fn plan(view: &View, now: Timestamp) -> (Plan, Report) {
    plan_claims(view, view.claims.keys(), now)
}

/// Decides for the claims named. For one that the view does not hold there is nothing to do but to scale back the workload
/// that was stopped for it. Claims that are to grow within the same budget are decided in the order of their urgency, each after
/// what was decided for those before it.
pub fn plan_claims<'a>(view: &View, claims: impl IntoIterator<Item = &'a ClaimId>, now: Timestamp) -> (Plan, Report) {
    let mut bookings = budget::Bookings::default();
    let mut actions = BTreeMap::new();
    let mut report = Report::default();
    let claims: Vec<_> = claims.into_iter().collect();
    if !view.scaled.is_empty() {
        for id in &claims {
            for action in maintenance::restore(view, id, now) {
                actions.entry(*id).or_insert_with(Vec::new).push(action);
            }
        }
    }
    let mut owners = capacity::OwnerWrites::default();
    for (id, claim) in budget::in_order(view, claims) {
        let (mut decided, mut decision) = capacity::decide(view, &bookings, id, claim, now);
        owners.take(id, &mut decided, &mut decision, &mut actions, &mut report, now);
        if let Some(to) = decided.iter().find_map(Action::requests) {
            bookings.book_all(view, id, claim, to);
        }
        if let Some((action, performance)) =
            performance::decide(view, &bookings, (id, claim), (&decision, &decided), now)
        {
            if let Some(change) = action.as_ref().and_then(Action::sets_class) {
                bookings.book_class(view, id, claim, change.to.as_deref());
            }
            decided.extend(action);
            report.performance.insert(id.clone(), performance);
        }
        if !decided.is_empty() {
            actions.entry(id).or_insert_with(Vec::new).append(&mut decided);
        }
        report.decisions.insert(id.clone(), decision);
    }
    (Plan { actions: actions.into_values().flatten().collect() }, report)
}

/// What a source of measurements should report at once for the claim's volume, so that a decision is made as soon as it is
/// called for. None where nothing that is measured of it decides anything.
pub fn watch(view: &View, id: &ClaimId, claim: &Claim) -> Option<Watch> {
    let room = capacity::watch(view, id, claim);
    let load = performance::watch(view, id, claim).map(std::sync::Arc::new);
    if room.is_none() && load.is_none() {
        return None;
    }
    let nothing =
        Watch { available_below: Bytes(0), free_inodes_below: Count(0), seconds_to_full_below: 0, load: None };
    Some(Watch { load, ..room.unwrap_or(nothing) })
}
