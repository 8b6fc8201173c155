//! The statuses: each is compared with what it should say when something has changed, and written where that differs.

use orlop_api::{PolicyStatus, StorageBudgetStatus, names::condition};
use orlop_planner::{BudgetName, PolicyId};

use super::{Core, StatusWrite};
use crate::{
    moment::Moment,
    notice,
    request::{self, StatusId},
    status,
};

impl Core {
    pub(super) fn write_due_statuses(&mut self, now: Moment) {
        // Claims that are still to be decided in this turn may be waiting for a budget: its status would leave them out.
        let is_partial = self.plan_at.is_some_and(|at| at <= now.instant);
        for id in self.pace.take_due(now.instant) {
            if self.unsettled.contains(&id) {
                continue;
            }
            match &id {
                StatusId::Policy(policy) => self.write_policy(policy, &id, now),
                StatusId::Budget(_) if is_partial => self.pace.mark(id, now.instant),
                StatusId::Budget(budget) => self.write_budget(budget, &id, now),
            }
        }
    }

    fn write_policy(&mut self, policy: &PolicyId, id: &StatusId, now: Moment) {
        let Some(known) = self.observer.known_policy(policy) else {
            self.metrics.policy_gone(policy);
            return self.pace.forget(id);
        };
        let before = known.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let status = match &known.invalid {
            Some(why) => PolicyStatus {
                observed_generation: known.generation,
                conditions: status::of_invalid("policy", known.generation, before, why, now.time),
                ..PolicyStatus::default()
            },
            None => PolicyStatus {
                templates: self.template_statuses(policy),
                ..self.ledger.status(policy, known.generation, known.status.as_ref(), now.time)
            },
        };
        if !status::is_news(known.status.as_ref(), &status) {
            return;
        }
        if let Some(condition) = status::newly_not_ready(before, &status.conditions) {
            self.effects.notices.push(notice::not_ready(id, &known.uid, known.generation, condition));
        }
        let request = request::status(id, &known.uid, known.status.as_ref(), &status);
        self.write(id, request);
    }

    fn write_budget(&mut self, name: &BudgetName, id: &StatusId, now: Moment) {
        let Some(known) = self.observer.known_budget(name) else {
            self.metrics.budget_gone(name);
            return self.pace.forget(id);
        };
        let before = known.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let budget = self.observer.view().budgets.get(name).filter(|_| known.invalid.is_none());
        let status = if let Some((budget, account)) = budget {
            let status =
                self.ledger.budget_status(name, (budget, account), known.generation, known.status.as_ref(), now.time);
            self.metrics.budget(name, budget, account, self.ledger.waiting(name).len());
            status
        } else {
            self.metrics.budget_gone(name);
            let why = known.invalid.as_deref().unwrap_or_default();
            StorageBudgetStatus {
                observed_generation: known.generation,
                conditions: status::of_invalid("budget", known.generation, before, why, now.time),
                ..StorageBudgetStatus::default()
            }
        };
        if !status::is_news(known.status.as_ref(), &status) {
            return;
        }
        if let Some(condition) = status::newly_not_ready(before, &status.conditions) {
            self.effects.notices.push(notice::not_ready(id, &known.uid, known.generation, condition));
        } else if let Some(condition) = status::newly(condition::HEALTHY, before, &status.conditions) {
            self.effects.notices.push(notice::of_budget(id, &known.uid, &status, condition));
        }
        let request = request::status(id, &known.uid, known.status.as_ref(), &status);
        self.write(id, request);
    }

    fn write(&mut self, id: &StatusId, request: request::Request) {
        self.pace.begin(id.clone());
        self.effects.statuses.push(StatusWrite { of: id.clone(), request });
    }
}
