//! The decisions of Orlop. Pure functions from a [`View`] of the cluster and a time to a [`Plan`] of actions and a
//! [`Report`] that says why: no client, no clock, no randomness, no async. The same input gives the same output, byte
//! for byte. The operator, the backtest, the simulator and `orlop explain` all run this crate.
//!
//! [`plan()`] decides for every claim of a view, [`plan_claims()`] for some: the cost follows what changed. A plan is
//! checked by [`invariants`] before anyone applies it, in production too.

mod capacity;
#[cfg(test)]
mod fixture;
pub mod forecast;
mod groups;
pub mod invariants;
mod labels;
mod ledger;
pub mod lifecycle;
mod plan;
#[cfg(test)]
mod properties;
mod report;
mod selector;
mod view;

pub use capacity::{SlotUse, is_current, silent_at, slot_use, stale_at, still_enough, watch};
pub use groups::Groups;
pub use labels::Labels;
pub use ledger::{Changes, Ledger, Urgency};
pub use plan::{Action, Plan};
pub use report::{Decision, Outcome, Report};
pub use view::{
    Capacity, Claim, ClaimId, Class, Governance, GrowthRecord, NamespaceName, Outgrown, PodId, PodUse, Policy,
    PolicyId, PolicyKind, Requirement, Resize, Selector, Source, Uid, Usage, View, Watch,
};

use jiff::Timestamp;

/// Decides for every claim of the view.
pub fn plan(view: &View, now: Timestamp) -> (Plan, Report) {
    plan_claims(view, view.claims.keys(), now)
}

/// Decides for the claims named; one that the view does not hold is passed over.
pub fn plan_claims<'a>(view: &View, claims: impl IntoIterator<Item = &'a ClaimId>, now: Timestamp) -> (Plan, Report) {
    let mut plan = Plan::default();
    let mut report = Report::default();
    for id in claims {
        let Some(claim) = view.claims.get(id) else { continue };
        let (actions, decision) = capacity::decide(view, id, claim, now);
        plan.actions.extend(actions);
        report.decisions.insert(id.clone(), decision);
    }
    (plan, report)
}
