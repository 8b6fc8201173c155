//! The latest decision about each claim, and what the policies' statuses are to say of them. Recording costs what
//! changed and not what there is; a status costs the claims that it lists.

mod condition;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::{
    PolicyStatus, StorageBudgetStatus,
    budget::WaitingClaim,
    names::{PerformanceReason, Reason},
    policy::{ClaimStatus, PerformanceStatus},
};

use crate::{
    budget::{self, Account, Budget, BudgetName, OverBudget, Queue},
    performance::{ClassMove, PerformanceDecision},
    report::{Decision, Outcome, Report},
    view::{ClaimId, Governance, PolicyId},
};

/// The latest decisions, by claim and by policy. It is made anew from the first pass after a start; only
/// `since` times are then those of that pass.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Boxed, because a tree that is filled in the order of its keys is little more than half full.
    claims: BTreeMap<ClaimId, Box<Entry>>,
    policies: BTreeMap<PolicyId, Tally>,
    queue: Queue,
}

/// What recording has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "who is told of a change is for the caller to say"]
pub struct Changes {
    /// The claims about which something else was decided than before, or for another reason, and those seen for the
    /// first time: what an Event may be worth.
    pub claims: BTreeSet<ClaimId>,
    /// The same of their VolumeAttributesClasses.
    pub classes: BTreeSet<ClaimId>,
    /// The policies whose status is no longer what [`Ledger::status`] last said.
    pub policies: BTreeSet<PolicyId>,
    /// The budgets for which claims wait otherwise than before.
    pub budgets: BTreeSet<BudgetName>,
}

#[derive(Debug, Clone)]
struct Entry {
    decision: Decision,
    since: Timestamp,
    performance: Option<Box<PerformanceEntry>>,
}

#[derive(Debug, Clone)]
struct PerformanceEntry {
    decision: PerformanceDecision,
    since: Timestamp,
}

impl Entry {
    /// How much the claim needs attention, for its size or for its class.
    fn urgency(&self) -> Urgency {
        let of_class = self.performance.as_ref().map(|it| Urgency::of_class(&it.decision));
        match (Urgency::of(&self.decision), of_class) {
            // The policy says nothing about the size.
            (Urgency::Off, Some(of_class)) => of_class,
            (of_size, Some(of_class)) => of_size.min(of_class),
            (of_size, None) => of_size,
        }
    }

    /// Must somebody look at it?
    fn is_problem(&self) -> bool {
        self.decision.is_problem() || self.performance.as_ref().is_some_and(|it| it.decision.is_problem())
    }

    /// The reason and the sentence of that of both decisions which needs attention more.
    fn headline(&self) -> (String, &str) {
        match &self.performance {
            Some(it) if self.urgency() != Urgency::of(&self.decision) => {
                (it.decision.reason.to_string(), &it.decision.message)
            }
            _ => (self.decision.reason.to_string(), &self.decision.message),
        }
    }
}

/// The claims of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    growing: usize,
    problems: usize,
    by_urgency: BTreeSet<(Urgency, ClaimId)>,
}

/// How much a claim needs somebody's attention, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The policy is not applied to the claim at all.
    Conflict,
    /// The claim runs full, and nothing is done about it.
    Stuck,
    /// In mode Recommend the claim runs full until somebody acts.
    Recommended,
    /// The claim's volume does all that its class gives, and nothing is done about it.
    Slow,
    /// It is not known how full the claim is, or what its volume does.
    Unmeasured,
    /// The claim cannot grow, once it has to.
    CannotGrow,
    /// A growth or another class is asked for or under way.
    Growing,
    /// The claim keeps what the policy promises.
    Kept,
    /// The policy has nothing to promise: the claim is unbound, unused, raw, or not yet measured.
    Idle,
    /// Somebody has paused the claim.
    Paused,
    /// The policy is Off.
    Off,
}

impl Urgency {
    /// How much the claim needs attention of which this was decided.
    pub const fn of(decision: &Decision) -> Self {
        match decision.reason {
            Reason::PolicyConflict => Self::Conflict,
            Reason::GrowthFailed
            | Reason::GrowthOverdue
            | Reason::AtMaximum
            | Reason::OfflineOnly
            | Reason::AwaitingMaintenance
            | Reason::NoModificationSlot
            | Reason::OverBudget
            | Reason::OwnedElsewhere
            | Reason::OwnerNotFollowing => Self::Stuck,
            Reason::NoMeasurement | Reason::StaleMeasurement | Reason::ContradictoryMeasurement => Self::Unmeasured,
            Reason::NotExpandable | Reason::DriverCannotExpand => Self::CannotGrow,
            Reason::BelowMinFree
            | Reason::BelowMinFreeInodes
            | Reason::FillsTooSoon
            | Reason::FullWithinHorizon
            | Reason::GroupGrowth => match decision.outcome {
                Outcome::Recommend(_) => Self::Recommended,
                _ => Self::Growing,
            },
            Reason::AwaitingMeasurement if matches!(decision.outcome, Outcome::Wait) => Self::Idle,
            Reason::Growing | Reason::GrowthReduced | Reason::AwaitingMeasurement | Reason::AwaitingOwner => {
                Self::Growing
            }
            Reason::EnoughRoom => Self::Kept,
            Reason::NotBound | Reason::RawBlock | Reason::NotInUse => Self::Idle,
            Reason::Off => Self::Off,
            Reason::Paused => Self::Paused,
        }
    }
}

impl Urgency {
    /// How much the claim needs attention about whose class this was decided.
    pub const fn of_class(decision: &PerformanceDecision) -> Self {
        match decision.reason {
            PerformanceReason::ClassRefused
            | PerformanceReason::ModificationOverdue
            | PerformanceReason::FastestClass
            | PerformanceReason::NoSlotForClass
            | PerformanceReason::OverIopsBudget
            | PerformanceReason::ClassUnknown => Self::Slow,
            PerformanceReason::NoLoad => Self::Unmeasured,
            PerformanceReason::Saturated => match decision.outcome {
                ClassMove::Recommend(_) => Self::Recommended,
                _ => Self::Growing,
            },
            PerformanceReason::Idle => match decision.outcome {
                ClassMove::Recommend(_) => Self::Kept,
                _ => Self::Growing,
            },
            PerformanceReason::Modifying | PerformanceReason::ClassTakenBack | PerformanceReason::AwaitingGrowth => {
                Self::Growing
            }
            PerformanceReason::Adequate => Self::Kept,
            PerformanceReason::ClassNotListed | PerformanceReason::Unused | PerformanceReason::AwaitingLoad => {
                Self::Idle
            }
            PerformanceReason::ClassPaused => Self::Paused,
        }
    }
}

impl Tally {
    fn add(&mut self, id: &ClaimId, entry: &Entry) {
        self.growing += usize::from(is_growing(&entry.decision));
        self.problems += usize::from(entry.is_problem());
        self.by_urgency.insert((entry.urgency(), id.clone()));
    }

    fn remove(&mut self, id: &ClaimId, entry: &Entry) {
        self.growing -= usize::from(is_growing(&entry.decision));
        self.problems -= usize::from(entry.is_problem());
        self.by_urgency.remove(&(entry.urgency(), id.clone()));
    }
}

const fn is_growing(decision: &Decision) -> bool {
    matches!(decision.outcome, Outcome::Grow(_) | Outcome::Growing(_))
}

impl Ledger {
    /// Takes in the decisions of one pass. A claim that no policy governs any more is forgotten.
    pub fn record(&mut self, report: Report, now: Timestamp) -> Changes {
        let mut changes = Changes::default();
        let Report { decisions, mut performance } = report;
        for (id, decision) in decisions {
            let performance = performance.remove(&id);
            self.queue.note(&id, over_budget(&decision, performance.as_ref()).as_deref(), &mut changes.budgets);
            if decision.governance == Governance::None {
                self.forget(&id, &mut changes);
            } else {
                self.take(id, decision, performance, now, &mut changes);
            }
        }
        changes
    }

    /// Forgets a claim that is no more.
    pub fn remove(&mut self, id: &ClaimId) -> Changes {
        let mut changes = Changes::default();
        self.queue.note(id, None, &mut changes.budgets);
        self.forget(id, &mut changes);
        changes
    }

    /// What was last decided about a claim, with the numbers of when it was first decided so; none where no policy
    /// governs the claim.
    pub fn decision(&self, id: &ClaimId) -> Option<&Decision> {
        self.claims.get(id).map(|entry| &entry.decision)
    }

    /// What was last decided about a claim's VolumeAttributesClass, and since when its reason has been this one; none where
    /// no policy says anything about it.
    pub fn performance(&self, id: &ClaimId) -> Option<(&PerformanceDecision, Timestamp)> {
        self.claims.get(id)?.performance.as_ref().map(|it| (&it.decision, it.since))
    }

    /// Since when the reason of the latest decision about a claim has been this one.
    pub fn since(&self, id: &ClaimId) -> Option<Timestamp> {
        self.claims.get(id).map(|entry| entry.since)
    }

    /// What the status of a policy of this generation is to say, also where it governs nothing. `previous` is what
    /// the status says now: a condition keeps the time of its last transition unless its status changes.
    pub fn status(
        &self,
        policy: &PolicyId,
        generation: Option<i64>,
        previous: Option<&PolicyStatus>,
        now: Timestamp,
    ) -> PolicyStatus {
        let none = Tally::default();
        let tally = self.policies.get(policy).unwrap_or(&none);
        let worst: Vec<_> = self.most_urgent(tally).take(PolicyStatus::CLAIMS_MAX).collect();
        let previous = previous.map_or(&[][..], |status| &status.conditions);
        let conditions = condition::Draft::all(policy, &worst, tally.by_urgency.len(), tally.problems)
            .map(|draft| draft.complete(generation, previous, now));
        PolicyStatus {
            observed_generation: generation,
            conditions: conditions.into(),
            claim_count: count(tally.by_urgency.len()),
            growing_count: count(tally.growing),
            problem_count: count(tally.problems),
            claims: worst.into_iter().map(|(id, entry)| claim_status(id, entry)).collect(),
            templates: Vec::new(),
        }
    }

    /// The claims that wait for room in a budget, the most urgent first.
    pub fn waiting(&self, budget: &BudgetName) -> impl ExactSizeIterator<Item = &ClaimId> {
        self.queue.waiting(budget)
    }

    /// What the status of a budget of this generation is to say, also where it covers nothing. `previous` is what the
    /// status says now, as for [`Ledger::status`].
    pub fn budget_status(
        &self,
        name: &BudgetName,
        (budget, account): (&Budget, &Account),
        generation: Option<i64>,
        previous: Option<&StorageBudgetStatus>,
        now: Timestamp,
    ) -> StorageBudgetStatus {
        let waiting = self.waiting(name);
        let count = waiting.len();
        let listed = waiting.take(StorageBudgetStatus::WAITING_MAX).filter_map(|id| self.claims.get_key_value(id));
        let listed = listed.map(|(id, entry)| waiting_claim(id, entry, name)).collect();
        let previous = previous.map_or(&[][..], |status| &status.conditions);
        budget::status((budget, account), (listed, count), generation, previous, now)
    }

    fn most_urgent<'a>(&'a self, tally: &'a Tally) -> impl Iterator<Item = (&'a ClaimId, &'a Entry)> {
        tally.by_urgency.iter().filter_map(|(_, id)| {
            let (id, entry) = self.claims.get_key_value(id)?;
            Some((id, &**entry))
        })
    }

    fn take(
        &mut self,
        id: ClaimId,
        decision: Decision,
        performance: Option<PerformanceDecision>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let before = self.claims.get_mut(&id);
        if !before.as_ref().is_some_and(|entry| is_same_event(&entry.decision, &decision)) {
            changes.claims.insert(id.clone());
        }
        let class_before = before.as_ref().and_then(|entry| entry.performance.as_ref()).map(|it| &it.decision);
        if performance.as_ref().is_some_and(|after| !class_before.is_some_and(|it| is_same_class_event(it, after))) {
            changes.classes.insert(id.clone());
        }
        let (mut since, mut class_since) = (now, now);
        if let Some(entry) = before {
            if reads_the_same(&entry.decision, &decision)
                && class_reads_the_same(entry.performance.as_ref().map(|it| &it.decision), performance.as_ref())
            {
                entry.decision.again_at = decision.again_at;
                return;
            }
            if entry.decision.reason == decision.reason {
                since = entry.since;
            }
            if let Some((before, after)) = entry.performance.as_ref().zip(performance.as_ref())
                && before.decision.reason == after.reason
            {
                class_since = before.since;
            }
        }
        if let Some(before) = self.claims.remove(&id) {
            self.untally(&id, &before, &mut changes.policies);
        }
        let performance = performance.map(|decision| Box::new(PerformanceEntry { decision, since: class_since }));
        let mut entry = Entry { decision, since, performance };
        for policy in policies(&entry.decision.governance) {
            self.policies.entry(policy.clone()).or_default().add(&id, &entry);
            changes.policies.insert(policy.clone());
        }
        // A sentence is put together in more room than it takes.
        entry.decision.message.shrink_to_fit();
        self.claims.insert(id, Box::new(entry));
    }

    fn forget(&mut self, id: &ClaimId, changes: &mut Changes) {
        if let Some(entry) = self.claims.remove(id) {
            self.untally(id, &entry, &mut changes.policies);
        }
    }

    fn untally(&mut self, id: &ClaimId, entry: &Entry, changed: &mut BTreeSet<PolicyId>) {
        for policy in policies(&entry.decision.governance) {
            let Some(tally) = self.policies.get_mut(policy) else { continue };
            tally.remove(id, entry);
            if tally.by_urgency.is_empty() {
                self.policies.remove(policy);
            }
            changed.insert(policy.clone());
        }
    }
}

/// The policies that are to speak of a claim: each of those that conflict, too.
fn policies(governance: &Governance) -> &[PolicyId] {
    match governance {
        Governance::None => &[],
        Governance::By(policy) => std::slice::from_ref(policy),
        Governance::Conflict(policies) => policies,
    }
}

/// Is it what the claim's latest Event has said? A recommendation whose size creeps with what is written is one.
fn is_same_event(before: &Decision, after: &Decision) -> bool {
    let same_outcome = match (before.outcome, after.outcome) {
        (Outcome::Recommend(_), Outcome::Recommend(_)) => true,
        (before, after) => before == after,
    };
    same_outcome && before.reason == after.reason && before.uid == after.uid
}

/// The same of a change of class.
fn is_same_class_event(before: &PerformanceDecision, after: &PerformanceDecision) -> bool {
    (&before.outcome, before.reason, &before.uid) == (&after.outcome, after.reason, &after.uid)
}

/// The same of a change of class.
fn class_reads_the_same(before: Option<&PerformanceDecision>, after: Option<&PerformanceDecision>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return before.is_none() && after.is_none() };
    let numbers_change = matches!(after.outcome, ClassMove::Set(_) | ClassMove::Recommend(_));
    (&before.outcome, before.reason, &before.class, before.mode, &before.uid)
        == (&after.outcome, after.reason, &after.class, after.mode, &after.uid)
        && (numbers_change || before.message == after.message)
}

/// The budgets that a claim waits for, for room or for a faster class.
fn over_budget<'a>(
    decision: &'a Decision,
    performance: Option<&'a PerformanceDecision>,
) -> Option<Cow<'a, OverBudget>> {
    let of_class = performance.and_then(|it| it.over_budget.as_deref());
    match (decision.over_budget.as_deref(), of_class) {
        (Some(of_size), Some(of_class)) => {
            let names: BTreeSet<_> = of_size.budgets.iter().chain(&of_class.budgets).cloned().collect();
            Some(Cow::Owned(OverBudget { budgets: names.into_iter().collect(), ..of_size.clone() }))
        }
        (of_size, of_class) => of_size.or(of_class).map(Cow::Borrowed),
    }
}

/// Would a status say the same of both? The numbers in the message of a growth that is called for change with each
/// measurement, and a status that followed them would be written without end: those of the first stay.
fn reads_the_same(before: &Decision, after: &Decision) -> bool {
    // What stands in the way of writing an owner has no such numbers.
    let numbers_change =
        matches!(after.outcome, Outcome::Grow(_) | Outcome::Recommend(_)) && after.reason != Reason::OwnedElsewhere;
    (before.outcome, before.reason, before.size, before.mode, &before.governance, &before.uid, &before.by_owner)
        == (after.outcome, after.reason, after.size, after.mode, &after.governance, &after.uid, &after.by_owner)
        && (numbers_change || before.message == after.message)
}

fn claim_status(id: &ClaimId, entry: &Entry) -> ClaimStatus {
    let Decision { size, reason, message, .. } = &entry.decision;
    ClaimStatus {
        namespace: id.namespace.0.to_string(),
        name: id.name.to_string(),
        size: *size,
        target: entry.decision.target().filter(|target| target != size),
        reason: *reason,
        message: message.clone(),
        since: Time(entry.since),
        performance: entry.performance.as_ref().map(|it| performance_status(it)),
    }
}

fn performance_status(entry: &PerformanceEntry) -> PerformanceStatus {
    let PerformanceDecision { class, reason, message, .. } = &entry.decision;
    let target = entry.decision.target().filter(|target| Some(*target) != class.as_deref());
    PerformanceStatus {
        class: class.clone(),
        target: target.map(str::to_owned),
        reason: *reason,
        message: message.clone(),
        since: Time(entry.since),
    }
}

fn waiting_claim(id: &ClaimId, entry: &Entry, budget: &BudgetName) -> WaitingClaim {
    let for_room = entry.decision.over_budget.as_ref().is_some_and(|over| over.budgets.contains(budget));
    let for_class = entry.performance.as_ref().filter(|_| !for_room);
    let (message, since) =
        for_class.map_or((&entry.decision.message, entry.since), |it| (&it.decision.message, it.since));
    WaitingClaim {
        namespace: id.namespace.0.to_string(),
        name: id.name.to_string(),
        size: entry.decision.size,
        message: message.clone(),
        since: Time(since),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
