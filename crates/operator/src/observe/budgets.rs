//! Budgets, and what their claims have: the account in the view follows every change that it depends on.

use std::collections::BTreeSet;

use orlop_api::Bytes;
use orlop_planner::{BudgetName, ClaimId};

use super::{BudgetFacts, Change, KnownBudget, Observer};

impl Observer {
    pub(super) fn budget(&mut self, change: Change<BudgetName, BudgetFacts>) {
        for (name, facts) in self.lists.budgets.resolve(change, self.budgets.keys()) {
            self.set_budget(name, facts);
        }
    }

    fn set_budget(&mut self, name: BudgetName, facts: Option<BudgetFacts>) {
        // Whatever else has changed of it, its status is to be compared.
        self.dirty.budgets.insert(name.clone());
        let Some(BudgetFacts { uid, generation, budget, status }) = facts else {
            self.budgets.remove(&name);
            let changed = self.view.set_budget(&name, None);
            self.changed(changed);
            return;
        };
        let (budget, invalid) = match budget {
            Ok(budget) => (Some(budget), None),
            Err(why) => (None, Some(why)),
        };
        let changed = self.view.set_budget(&name, budget);
        self.changed(changed);
        self.budgets.insert(name, KnownBudget { uid, generation, invalid, status });
    }

    /// Has the accounts follow a change of a claim, or of what its price or its budgets depend on.
    pub(super) fn charge(&mut self, claim: &ClaimId) {
        let changed = self.view.charge(claim);
        self.changed(changed);
    }

    /// Has the claim counted as if it had this size already: it was asked for. None when it is known what came of that.
    pub fn ask(&mut self, claim: &ClaimId, size: Option<Bytes>) {
        let changed = self.view.ask(claim, size);
        self.changed(changed);
    }

    /// The same of a VolumeAttributesClass.
    pub fn ask_class(&mut self, claim: &ClaimId, class: Option<&str>) {
        let changed = self.view.ask_class(claim, class);
        self.changed(changed);
    }

    fn changed(&mut self, budgets: BTreeSet<BudgetName>) {
        self.dirty.budgets.extend(budgets.iter().cloned());
        self.dirty.accounts.extend(budgets);
    }
}
