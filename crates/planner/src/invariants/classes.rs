//! May a claim be given another VolumeAttributesClass? By an Auto policy that names it, of a volume that is left alone by
//! everything else, within the driver's slots and the budgets; or back to what it has, where the driver refused.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_api::{Dimension, Limits, Mode, names::PerformanceReason as Reason};

use super::Rule;
use crate::{
    budget::BudgetName,
    performance::{ClassChange, ClassUse, Modification},
    view::{Claim, ClaimId, Governance, Policy, View},
};

/// The operations a second that a plan's changes of class take of each budget.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeMap<BudgetName, u128>);

pub(super) fn check(
    view: &View,
    id: &ClaimId,
    claim: &Claim,
    (previous, record): (Option<&ClassChange>, &ClassChange),
    given: &mut Given,
) -> Result<(), Rule> {
    let none = ClassUse::default();
    let present = claim.attributes.as_deref().unwrap_or(&none);
    if previous != present.change.as_ref() || record.from != present.requested || record.to == record.from {
        return Err(Rule::Precondition);
    }
    let policy = auto_policy(view, id, claim).filter(|_| claim.bound).ok_or(Rule::NotGoverned)?;
    if record.reason == Reason::ClassTakenBack {
        return taken_back(present, previous, record);
    }
    if present.requested != present.current || matches!(present.modification, Modification::Pending(_)) {
        return Err(Rule::ModificationInFlight);
    }
    if claim.requested > claim.capacity && claim.volume_capacity < claim.requested {
        // What the driver has refused for good it is not at.
        let refused = matches!(claim.resize, crate::view::Resize::Infeasible(_));
        if !refused {
            return Err(Rule::InFlight);
        }
    }
    let names = &policy.performance.as_ref().ok_or(Rule::NotGoverned)?.attributes_classes;
    let place = |class: &Option<String>| class.as_ref().and_then(|class| names.iter().position(|name| name == class));
    let to = place(&record.to).ok_or(Rule::NotListed)?;
    let moves_as_said = match (place(&record.from), record.reason) {
        (Some(from), Reason::Saturated) => to > from,
        (None, Reason::Saturated) => record.from.is_none(),
        (Some(from), Reason::Idle) => to + 1 == from,
        _ => false,
    };
    if !moves_as_said {
        return Err(Rule::NotListed);
    }
    within_slots(view, claim, policy, record)?;
    within_budgets(view, id, claim, record, given)
}

fn auto_policy<'a>(view: &'a View, id: &ClaimId, claim: &Claim) -> Option<&'a Policy> {
    let Governance::By(policy) = view.governance(id, claim) else { return None };
    view.policies.get(&policy).filter(|policy| policy.mode == Mode::Auto && policy.performance.is_some())
}

/// Only to what the volume has, only where the driver has refused, and only what was asked for by us.
fn taken_back(present: &ClassUse, previous: Option<&ClassChange>, record: &ClassChange) -> Result<(), Rule> {
    let refused = matches!(present.modification, Modification::Infeasible(_));
    let ours = previous.is_some_and(|last| last.to == present.requested && last.reason != Reason::ClassTakenBack);
    let remembers = record.refused.iter().any(|refused| Some(&refused.class) == present.requested.as_ref());
    let keeps_slots = previous.is_some_and(|last| record.earlier.contains(&last.decided));
    let is_right = refused && ours && remembers && keeps_slots && record.to == present.current;
    if is_right { Ok(()) } else { Err(Rule::NotRefused) }
}

/// At its time fewer slots may be taken than there are, beside the one that is kept for growth, and the record must keep
/// them all.
fn within_slots(view: &View, claim: &Claim, policy: &Policy, record: &ClassChange) -> Result<(), Rule> {
    let Some(rule) = view.abilities(claim).and_then(|abilities| abilities.modifications) else {
        return if record.earlier.is_empty() { Ok(()) } else { Err(Rule::Slots) };
    };
    let within = |at: &Timestamp, seconds: u64| {
        let age_ns = record.decided.as_nanosecond() - at.as_nanosecond();
        age_ns.unsigned_abs() < u128::from(seconds) * 1_000_000_000
    };
    let taken: Vec<_> =
        super::modifications(claim).into_iter().filter(|at| within(at, rule.window.as_secs())).collect();
    let cooling = rule.cooldown.is_some_and(|cooldown| taken.iter().any(|at| within(at, cooldown.as_secs())));
    let kept = usize::from(policy.capacity.is_some());
    if cooling || taken.len() + kept >= usize::try_from(rule.count).unwrap_or(usize::MAX) {
        return Err(Rule::NoSlot);
    }
    if record.earlier == taken { Ok(()) } else { Err(Rule::Slots) }
}

fn within_budgets(
    view: &View,
    id: &ClaimId,
    claim: &Claim,
    record: &ClassChange,
    given: &mut Given,
) -> Result<(), Rule> {
    let none = ClassUse::default();
    let present = claim.attributes.as_deref().unwrap_or(&none);
    let of = |class: &Option<String>| class.as_ref().map_or(0, |class| operations(view, class));
    let counted = of(&present.requested).max(of(&present.current)).max(view.budgets.asked_iops(id));
    let more = u128::from(of(&record.to).saturating_sub(counted));
    if more == 0 {
        return Ok(());
    }
    for (name, budget, account) in view.budgets.iter() {
        let labels = view.namespaces.get(&id.namespace);
        let in_namespace = labels.map_or(budget.namespaces.0.is_empty(), |labels| budget.namespaces.matches(labels));
        if !in_namespace || !budget.claims.matches(&claim.labels) {
            continue;
        }
        let given = given.0.entry(name.clone()).or_default();
        if budget.limits.iops.is_some_and(|limit| account.used.iops + *given + more > u128::from(limit)) {
            return Err(Rule::OverBudget(name.clone()));
        }
        *given += more;
    }
    Ok(())
}

/// The operations a second that a class gives, read from its parameters anew.
fn operations(view: &View, name: &str) -> u64 {
    let Some(class) = view.attributes_classes.get(name) else { return 0 };
    let limits = Limits::of(&class.parameters, &view.driver_profile(&class.driver).attribute_parameters);
    let both = limits.get(Dimension::ReadIops).unwrap_or(0) + limits.get(Dimension::WriteIops).unwrap_or(0);
    limits.get(Dimension::Iops).unwrap_or(both)
}
