//! Budgets, beside what the claims among the files request.

use orlop_api::{Bytes, GROUP, StorageBudget};
use orlop_operator::objects;
use orlop_planner::Budget;

use super::statefulsets::is_made_of;
use crate::{
    Findings,
    rule::{Rule, Severity},
    world::{Claim, World, typed},
};

pub(crate) static BUDGET_BELOW_REQUESTS: Rule = Rule {
    id: "budget-below-requests",
    severity: Severity::Warning,
    finds: "a StorageBudget whose `bytes` are not above what its claims among the files request already",
    why: "A budget keeps nobody from making claims, and none of its claims can grow: they report `OverBudget`, and fill up.",
    remedy: "Raise `limits.bytes`, or request less.",
    source: "[budgets](budgets.md)",
};

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    for object in world.objects.iter().filter(|object| object.is(GROUP, "StorageBudget")) {
        let budget = typed::<StorageBudget>(*object).and_then(|budget| objects::budget(Ok(budget)).budget.ok());
        let Some((budget, limit)) = budget.and_then(|budget| budget.limits.bytes.map(|limit| (budget, limit))) else {
            continue;
        };
        let (requested, words) = requests(world, &budget);
        if requested < limit || words.is_empty() {
            continue;
        }
        let message = format!(
            "the claims among the files that {} covers request {requested} of its {limit} already, so that none of them can \
             grow: raise limits.bytes, or request less ({})",
            object.called(),
            words.join(", ")
        );
        found.add(&BUDGET_BELOW_REQUESTS, object.place("spec.limits.bytes"), message);
    }
}

/// What the claims that a budget covers request together, and each of it in words.
fn requests(world: &World<'_>, budget: &Budget) -> (Bytes, Vec<String>) {
    let covered = world.claims.iter().filter(|claim| world.covers(budget, claim));
    let known: Vec<_> = covered.filter_map(|claim| Some((claim, count(world, claim), claim.request()?))).collect();
    let sum = known.iter().fold(0_u64, |sum, (_, count, size)| sum.saturating_add(size.0.saturating_mul(*count)));
    let words = known.iter().filter(|(_, count, _)| *count > 0).map(|(claim, count, size)| match count {
        1 => format!("{} {size}", claim.called()),
        _ => format!("{} {count} times {size}", claim.called()),
    });
    (Bytes(sum), words.collect())
}

/// How many claims it stands for: a template for one of each replica, but for those that have a manifest themselves.
fn count(world: &World<'_>, claim: &Claim<'_>) -> u64 {
    if !claim.is_template {
        return 1;
    }
    let replicas = u64::try_from(claim.object.node.whole("spec.replicas").unwrap_or(1)).unwrap_or(0);
    let made = world.claims.iter().filter(|it| !it.is_template && is_made_of(it, claim)).count();
    replicas.saturating_sub(u64::try_from(made).unwrap_or(u64::MAX))
}
