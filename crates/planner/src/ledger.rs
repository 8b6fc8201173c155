//! The latest decision about each claim, and what the policies' statuses are to say of them. Recording costs what
//! changed and not what there is; a status costs the claims that it lists.

mod condition;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::{PolicyStatus, StorageBudgetStatus, budget::WaitingClaim, names::Reason, policy::ClaimStatus};

use crate::{
    budget::{self, Account, Budget, BudgetName, Queue},
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
    /// The policies whose status is no longer what [`Ledger::status`] last said.
    pub policies: BTreeSet<PolicyId>,
    /// The budgets for which claims wait otherwise than before.
    pub budgets: BTreeSet<BudgetName>,
}

#[derive(Debug, Clone)]
struct Entry {
    decision: Decision,
    since: Timestamp,
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
    /// It is not known how full the claim is.
    Unmeasured,
    /// The claim cannot grow, once it has to.
    CannotGrow,
    /// A growth is asked for or under way.
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
            Reason::Growing | Reason::GrowthReduced | Reason::AwaitingMeasurement => Self::Growing,
            Reason::EnoughRoom => Self::Kept,
            Reason::NotBound | Reason::RawBlock | Reason::NotInUse => Self::Idle,
            Reason::Off => Self::Off,
            Reason::Paused => Self::Paused,
        }
    }
}

impl Tally {
    fn add(&mut self, id: &ClaimId, decision: &Decision) {
        self.growing += usize::from(is_growing(decision));
        self.problems += usize::from(decision.is_problem());
        self.by_urgency.insert((Urgency::of(decision), id.clone()));
    }

    fn remove(&mut self, id: &ClaimId, decision: &Decision) {
        self.growing -= usize::from(is_growing(decision));
        self.problems -= usize::from(decision.is_problem());
        self.by_urgency.remove(&(Urgency::of(decision), id.clone()));
    }
}

const fn is_growing(decision: &Decision) -> bool {
    matches!(decision.outcome, Outcome::Grow(_) | Outcome::Growing(_))
}

impl Ledger {
    /// Takes in the decisions of one pass. A claim that no policy governs any more is forgotten.
    pub fn record(&mut self, report: Report, now: Timestamp) -> Changes {
        let mut changes = Changes::default();
        for (id, decision) in report.decisions {
            self.queue.note(&id, decision.over_budget.as_deref(), &mut changes.budgets);
            if decision.governance == Governance::None {
                self.forget(&id, &mut changes);
            } else {
                self.take(id, decision, now, &mut changes);
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
        let listed = listed.map(|(id, entry)| waiting_claim(id, entry)).collect();
        let previous = previous.map_or(&[][..], |status| &status.conditions);
        budget::status((budget, account), (listed, count), generation, previous, now)
    }

    fn most_urgent<'a>(&'a self, tally: &'a Tally) -> impl Iterator<Item = (&'a ClaimId, &'a Entry)> {
        tally.by_urgency.iter().filter_map(|(_, id)| {
            let (id, entry) = self.claims.get_key_value(id)?;
            Some((id, &**entry))
        })
    }

    fn take(&mut self, id: ClaimId, decision: Decision, now: Timestamp, changes: &mut Changes) {
        let before = self.claims.get_mut(&id);
        if !before.as_ref().is_some_and(|entry| is_same_event(&entry.decision, &decision)) {
            changes.claims.insert(id.clone());
        }
        let mut since = now;
        if let Some(entry) = before {
            if reads_the_same(&entry.decision, &decision) {
                entry.decision.again_at = decision.again_at;
                return;
            }
            if entry.decision.reason == decision.reason {
                since = entry.since;
            }
        }
        if let Some(before) = self.claims.remove(&id) {
            self.untally(&id, &before.decision, &mut changes.policies);
        }
        for policy in policies(&decision.governance) {
            self.policies.entry(policy.clone()).or_default().add(&id, &decision);
            changes.policies.insert(policy.clone());
        }
        self.claims.insert(id, Box::new(Entry { decision, since }));
    }

    fn forget(&mut self, id: &ClaimId, changes: &mut Changes) {
        if let Some(entry) = self.claims.remove(id) {
            self.untally(id, &entry.decision, &mut changes.policies);
        }
    }

    fn untally(&mut self, id: &ClaimId, decision: &Decision, changed: &mut BTreeSet<PolicyId>) {
        for policy in policies(&decision.governance) {
            let Some(tally) = self.policies.get_mut(policy) else { continue };
            tally.remove(id, decision);
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
    }
}

fn waiting_claim(id: &ClaimId, entry: &Entry) -> WaitingClaim {
    WaitingClaim {
        namespace: id.namespace.0.to_string(),
        name: id.name.to_string(),
        size: entry.decision.size,
        message: entry.decision.message.clone(),
        since: Time(entry.since),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
