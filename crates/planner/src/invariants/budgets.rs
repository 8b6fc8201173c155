//! Do the growths of a plan keep every budget together? Whatever their order: what claims that are not about to be full
//! take must fit beside the reserve, and what all take into the whole.

use std::collections::BTreeMap;

use orlop_api::{BudgetLimits, Bytes, Price, Threshold, budget::CURRENCY};

use super::Rule;
use crate::{
    budget::{Budget, BudgetName},
    view::{Claim, ClaimId, Usage, View},
};

/// What the growths of a plan take of each budget.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<BudgetName, [Taken; 2]>);

/// Bytes, and millionths of a US dollar a month.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    bytes: u128,
    cost: u128,
}

/// The indexes of what is taken: by all, and by claims that are not about to be full.
const ALL: usize = 0;
const ORDINARY: usize = 1;

impl Sums {
    /// Takes in a growth. The rule that is broken is that of the first budget that it is too much for; then nothing is
    /// taken in.
    pub(super) fn add(
        &mut self,
        view: &View,
        id: &ClaimId,
        claim: &Claim,
        price: Option<&Price>,
        to: Bytes,
    ) -> Result<(), Rule> {
        let sizes = [claim.requested, claim.capacity, claim.volume_capacity];
        let asked = view.budgets.asked(id).into_iter().chain([view.asked_by_owner(id, claim)]);
        let counted = sizes.into_iter().chain(asked).max().unwrap_or_default();
        // What counts already cannot be too much anew.
        if to <= counted {
            return Ok(());
        }
        let cost = |size: Bytes| {
            let price =
                price.filter(|price| price.currency == CURRENCY).map_or(0, |price| price.per_gib_month.millionths());
            (u128::from(size.0) * u128::from(price)).div_ceil(1 << 30)
        };
        let growth = Taken { bytes: u128::from(to.0 - counted.0), cost: cost(to) - cost(counted) };
        let kinds = if about_to_be_full(claim.usage.as_ref()) { &[ALL][..] } else { &[ALL, ORDINARY] };
        let covers = |budget: &Budget| {
            let labels = view.namespaces.get(&id.namespace);
            let in_namespace =
                labels.map_or(budget.namespaces.0.is_empty(), |labels| budget.namespaces.matches(labels));
            in_namespace && budget.claims.matches(&claim.labels)
        };
        let mut added = Vec::new();
        for (name, budget, account) in view.budgets.iter().filter(|(_, budget, _)| covers(budget)) {
            let mut taken = self.0.get(name).copied().unwrap_or_default();
            for kind in kinds {
                taken[*kind].bytes += growth.bytes;
                taken[*kind].cost += growth.cost;
                let reserve = if *kind == ORDINARY { budget.reserve } else { None };
                let used = Taken {
                    bytes: account.used.bytes + taken[*kind].bytes,
                    cost: account.used.cost.saturating_add(taken[*kind].cost),
                };
                // A limit of money says nothing of what has no price.
                let costs = growth.cost > 0;
                if !is_within(&budget.limits, reserve, used, costs) {
                    return Err(Rule::OverBudget(name.clone()));
                }
            }
            added.push((name.clone(), taken));
        }
        self.0.extend(added);
        Ok(())
    }
}

fn is_within(limits: &BudgetLimits, reserve: Option<Threshold<Bytes>>, used: Taken, costs: bool) -> bool {
    let (of_bytes, of_cost) = match reserve {
        None => (0, 0),
        Some(Threshold::Absolute(size)) => (size.0.into(), 0),
        Some(Threshold::Percent(percent)) => {
            let part = |limit: u64| (u128::from(limit) * u128::from(percent)).div_ceil(100);
            (limits.bytes.map_or(0, |limit| part(limit.0)), limits.monthly_cost.map_or(0, |it| part(it.millionths())))
        }
    };
    limits.bytes.is_none_or(|limit| used.bytes.saturating_add(of_bytes) <= limit.0.into())
        && (!costs
            || limits.monthly_cost.is_none_or(|limit| used.cost.saturating_add(of_cost) <= limit.millionths().into()))
}

/// Full within ten minutes at the present rate, or with less than 5 % of its bytes or inodes free.
fn about_to_be_full(usage: Option<&Usage>) -> bool {
    let Some(usage) = usage else { return false };
    let few = |free: u64, total: u64| u128::from(free) * 20 < u128::from(total);
    u128::from(usage.available.0) < u128::from(usage.fill_bytes_per_second) * 600
        || few(usage.available.0, usage.total.0)
        || usage.inodes.is_some_and(|inodes| inodes.total.0 > 0 && few(inodes.free.0, inodes.total.0))
}
