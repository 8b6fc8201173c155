//! Who waits for which budget, the most urgent first.

use std::collections::{BTreeMap, BTreeSet};

use super::{BudgetName, OverBudget, Precedence};
use crate::view::ClaimId;

/// The claims that wait for budgets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    claims: BTreeMap<ClaimId, OverBudget>,
    budgets: BTreeMap<BudgetName, BTreeSet<(Precedence, ClaimId)>>,
}

impl Queue {
    /// Takes in what a claim waits for now; none where it waits for no budget. `changed` takes the budgets whose claims
    /// wait otherwise than before.
    pub(crate) fn note(&mut self, id: &ClaimId, over: Option<&OverBudget>, changed: &mut BTreeSet<BudgetName>) {
        if self.claims.get(id) == over {
            return;
        }
        if let Some(before) = self.claims.remove(id) {
            for name in before.budgets {
                if let Some(waiting) = self.budgets.get_mut(&name) {
                    waiting.remove(&(before.urgency, id.clone()));
                    if waiting.is_empty() {
                        self.budgets.remove(&name);
                    }
                }
                changed.insert(name);
            }
        }
        let Some(over) = over else { return };
        for name in &over.budgets {
            self.budgets.entry(name.clone()).or_default().insert((over.urgency, id.clone()));
            changed.insert(name.clone());
        }
        self.claims.insert(id.clone(), over.clone());
    }

    /// The claims that wait for a budget, the most urgent first.
    pub(crate) fn waiting(&self, budget: &BudgetName) -> impl ExactSizeIterator<Item = &ClaimId> {
        self.budgets.get(budget).unwrap_or(&NOBODY).iter().map(|(_, id)| id)
    }
}

static NOBODY: BTreeSet<(Precedence, ClaimId)> = BTreeSet::new();
