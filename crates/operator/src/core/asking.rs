//! What is asked for counts in the budgets from when it is asked for until it is known what came of it. And what is asked
//! before anything is asked for: which kinds of owner the cluster has.

use std::time::Instant;

use orlop_api::{Bytes, names::Reason};
use orlop_planner::{Action, ClaimId, Report};

use super::Core;
use crate::moment::Moment;

impl Core {
    /// A size was asked for a claim, and for all whose size is in the same field of its owner.
    pub(super) fn ask(&mut self, claim: &ClaimId, to: Bytes) {
        self.unanswered.forget(claim);
        // Of two that were asked for, either may be the one that is carried out.
        let before = self.observer.view().budgets.asked(claim);
        self.observer.ask(claim, Some(before.map_or(to, |before| before.max(to))));
        let view = self.observer.view();
        let owner =
            view.claims.get(claim).filter(|_| !view.budgets.is_empty()).and_then(|it| view.write_back(claim, it));
        let siblings = owner.iter().flat_map(|owner| view.siblings(owner)).map(|(id, _)| id);
        let siblings: Vec<_> = siblings.filter(|id| *id != claim).cloned().collect();
        for id in &siblings {
            self.observer.ask(id, Some(to));
        }
        if !siblings.is_empty() {
            self.together.insert(claim.clone(), siblings);
        }
    }

    /// What was asked for a claim shows in the view, or came to nothing.
    pub(super) fn settled(&mut self, claim: &ClaimId) {
        self.observer.ask(claim, None);
        self.observer.ask_class(claim, None);
        for sibling in self.together.remove(claim).unwrap_or_default() {
            self.observer.ask(&sibling, None);
        }
    }

    /// A growth or a class counts in the budgets from when it is asked for until it is known what came of it.
    pub(super) fn answered(&mut self, claim: &ClaimId, is_known: bool, now: Instant) {
        if is_known {
            self.unanswered.forget(claim);
            self.settled(claim);
        } else {
            self.unanswered.note(claim.clone(), now);
        }
    }

    /// Has it asked which kinds of owner the cluster has, for claims that wait for that.
    pub(super) fn ask_for_kinds(&mut self, report: &Report, now: Moment) {
        let waiting = report.decisions.iter().filter(|(_, decision)| decision.reason == Reason::AwaitingOwner);
        let named = waiting.filter_map(|(id, _)| {
            let view = self.observer.view();
            Some((id.clone(), view.unasked_owner(id, view.claims.get(id)?, now.time)?))
        });
        for (claim, owner) in named.collect::<Vec<_>>() {
            self.observer.ask_for_kind(&owner.id.definition, claim);
        }
    }
}

/// Does the action ask for something that counts in the budgets?
pub(super) fn asks(action: &Action) -> bool {
    action.requests().is_some() || action.sets_class().is_some()
}
