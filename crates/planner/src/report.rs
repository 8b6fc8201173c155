//! Why: for each claim what was decided, with the numbers that led to it, for doing something and for waiting.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_api::{Bytes, Mode, names::Reason};

use crate::{
    budget::OverBudget,
    view::{ClaimId, Governance, Uid},
};

/// The decisions of one pass.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "an unread report is of no use to anyone: it goes into statuses, Events and metrics"]
pub struct Report {
    /// By claim.
    pub decisions: BTreeMap<ClaimId, Decision>,
}

/// What was decided about one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The claim's UID.
    pub uid: Uid,
    /// Which policy governs the claim.
    pub governance: Governance,
    /// The mode of that policy; Off where there is none.
    pub mode: Mode,
    /// The size that is requested for the claim now.
    pub size: Bytes,
    /// What is done.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with the numbers that led to it, such as "81.2 MiB (17%) of 478 MiB are free, below minFree
    /// 20%; grow from 512Mi to 640Mi". Numbers that change all the time are only in it where something is to be done.
    pub message: String,
    /// When the decision may change without anything being observed: a measurement becomes stale, a growth overdue,
    /// a modification slot free, a pod is to be touched again. Whoever plans must plan this claim again by then.
    pub again_at: Option<Timestamp>,
    /// The budgets that hold up a growth, where the reason is `OverBudget`: when one of them or its account changes, the
    /// claim is to be decided again.
    pub over_budget: Option<Box<OverBudget>>,
    /// Of a growth that is called for: the owner by whose field the claim is to become larger, such as `Cluster db`.
    pub by_owner: Option<Box<str>>,
}

/// What is done about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is to be done.
    Keep,
    /// A larger size is requested now.
    Grow(Bytes),
    /// A larger size would be requested, were the mode Auto and the claim not paused.
    Recommend(Bytes),
    /// A growth that was requested is under way.
    Growing(Bytes),
    /// Nothing can be done or decided; the reason says what stands in the way.
    Wait,
}

impl Decision {
    /// Must somebody look at it? A recommended growth, too, happens only if somebody does. That nothing is done about a
    /// paused claim is what somebody wants.
    pub const fn is_problem(&self) -> bool {
        let recommended = matches!(self.outcome, Outcome::Recommend(_)) && !matches!(self.reason, Reason::Paused);
        self.reason.is_problem() || recommended
    }

    /// The size that the policy calls for, where it is not the present one.
    pub const fn target(&self) -> Option<Bytes> {
        match self.outcome {
            Outcome::Grow(to) | Outcome::Recommend(to) | Outcome::Growing(to) => Some(to),
            Outcome::Keep | Outcome::Wait => None,
        }
    }
}
