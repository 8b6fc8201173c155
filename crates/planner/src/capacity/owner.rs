//! A claim whose size its owner writes is never changed itself: its operator would change it back. The owner's field is
//! written, and the operator follows. First the growth is recorded on the claim, so that slots and budgets count it and
//! no restart writes twice; then the field is written, once: an owner that somebody has set back since is left to them.
//!
//! Before a claim itself is changed it is known that it has no such owner, with one exception: a volume that is about to be
//! full while its owner cannot be found out about. Then the claim is grown, once: a full disk is worse than an owner
//! that asks for less than its claims have, and what has grown can no longer be set back.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, Mode, names::Reason};

use super::{Case, Verdict, growth::OVERDUE_AFTER, later, target};
use crate::{
    budget::Short,
    plan::Action,
    report::{Decision, Outcome, Report},
    resources::{Knowledge, WriteBack},
    view::{Claim, ClaimId, GrowthRecord, OwnerGrowth, Uid},
};

/// When a claim is decided again that waits for another whose size is in the same field.
const AFTER_A_SIBLING: SignedDuration = SignedDuration::from_secs(10);

/// So long an owner must have been unknown before a claim of it that is about to be full is grown itself: an API server that
/// starts anew refuses for a moment what it allows.
pub(crate) const UNKNOWN_FOR: SignedDuration = SignedDuration::from_mins(1);

/// What is to be changed for a claim to become larger.
pub(super) enum Hand<'a> {
    /// The claim. Why in spite of its owner, where it has one, as it goes on in a sentence.
    Claim(String),
    /// Its owner.
    Owner(&'a WriteBack),
    /// It is being found out.
    NotKnownYet(Verdict),
}

/// Whether the claim itself may be made larger, which needs room.
pub(super) fn hand<'a>(case: &Case<'_>, owner: Option<&'a WriteBack>, is_emergency: bool) -> Hand<'a> {
    let Some(owner) = owner else {
        // Of a paused claim nothing depends on it.
        let is_paused = case.claim.paused.is_some();
        let unasked = if is_paused { None } else { case.view.unasked_owner(case.id, case.claim, case.now) };
        return unasked.map_or(Hand::Claim(String::new()), |named| {
            let (kind, name) = (&named.kind, &named.id.name);
            let message = format!(
                "the volume needs more room than {}, the claim names {kind} {name}, and it is being asked whether the \
                 cluster has {}",
                case.claim.requested, named.id.definition
            );
            Hand::NotKnownYet(Verdict::wait(Reason::AwaitingOwner, message))
        });
    };
    match owner.knowledge {
        Knowledge::Awaited => {
            let message = format!(
                "the volume needs more room than {}, and it is being found out how {owner} makes the claim larger: the {} \
                 are being listed",
                case.claim.requested, owner.id.definition
            );
            Hand::NotKnownYet(Verdict::wait(Reason::AwaitingOwner, message))
        }
        Knowledge::Unknown(since) if is_emergency && !was_set_back(case.claim) => {
            let passed_over_at = since.map_or(case.now, |since| later(since, UNKNOWN_FOR));
            let why = owner.obstacle.as_deref().unwrap_or_default();
            if passed_over_at > case.now {
                let message = format!(
                    "the volume is about to be full, {owner} says how large the claim is, and Orlop does not know it, \
                     because {why}; in a minute the claim itself is grown"
                );
                let verdict = Verdict::wait(Reason::AwaitingOwner, message).again_at(Some(passed_over_at));
                return Hand::NotKnownYet(verdict);
            }
            Hand::Claim(format!(
                "; the claim itself, because the volume is about to be full and Orlop does not know {owner}: {why}"
            ))
        }
        Knowledge::Known | Knowledge::Unknown(_) => Hand::Owner(owner),
    }
}

/// Has somebody set back a growth of the claim itself?
fn was_set_back(claim: &Claim) -> bool {
    claim.growth.as_ref().is_some_and(|record| {
        record.owner.is_none() && record.usable.is_none() && record.to > claim.requested.max(claim.capacity)
    })
}

/// The record of a growth by way of the owner that the claim does not request yet.
pub(super) fn pending(case: &Case<'_>) -> Option<(GrowthRecord, OwnerGrowth)> {
    let claim = case.claim;
    let record = claim.growth.as_deref().filter(|record| record.usable.is_none())?;
    let by = record.owner.clone()?;
    (record.to > claim.requested.max(claim.capacity)).then(|| (record.clone(), by))
}

/// Passes when no growth by way of the owner is under way.
pub(super) fn settled(case: &Case<'_>) -> Result<(), Verdict> {
    let Some((record, by)) = pending(case) else { return Ok(()) };
    // What was asked of an owner that is no more, or of another field, was asked of nobody.
    let Some(owner) = case.view.write_back(case.id, case.claim).filter(|owner| owner.is_field(&by.uid, &by.field))
    else {
        return Ok(());
    };
    let asked = owner.size().unwrap_or_default();
    match (asked >= record.to, by.written) {
        (true, _) => Err(follow(case, &owner, &record, &by)),
        (false, Some(_)) => Err(set_back(&owner, &record, &by)),
        // Not written, and not to be written any more: it is decided anew.
        (false, None) if !may(case) || owner.obstacle.is_some() || asked < record.from => Ok(()),
        (false, None) => {
            let step = format!("set {} of {owner} from {asked} to {}, as it was decided", by.field, record.to);
            let mut verdict = Verdict::new(Outcome::Grow(record.to), record.reason, step);
            verdict.actions.extend(write(case, &owner, record.to));
            Err(verdict.by(&owner))
        }
    }
}

fn may(case: &Case<'_>) -> bool {
    case.policy.mode == Mode::Auto && case.claim.paused.is_none()
}

/// The owner asks for it: has its operator passed it on?
fn follow(case: &Case<'_>, owner: &WriteBack, record: &GrowthRecord, by: &OwnerGrowth) -> Verdict {
    let to = record.to;
    let outcome = Outcome::Growing(to);
    let overdue_at = later(by.written.unwrap_or(record.decided), OVERDUE_AFTER);
    let mut verdict = if case.now >= overdue_at {
        let message = format!(
            "{} of {owner} has asked for {to} for {}m, and its operator has not passed it on to the claim: read the \
             operator's log and the object's status",
            by.field,
            OVERDUE_AFTER.as_mins()
        );
        Verdict::new(outcome, Reason::OwnerNotFollowing, message)
    } else {
        let message = format!("{} of {owner} asks for {to}, and its operator is to pass it on to the claim", by.field);
        Verdict::new(outcome, Reason::Growing, message).again_at(Some(overdue_at))
    };
    if by.written.is_none() && may(case) {
        let written = OwnerGrowth { written: Some(case.now), ..by.clone() };
        verdict.actions.push(Action::RecordGrowth {
            claim: case.id.clone(),
            uid: case.claim.uid.clone(),
            previous: Some(record.clone()),
            record: GrowthRecord { owner: Some(written), ..record.clone() },
        });
    }
    verdict
}

/// Somebody has set the field back after it was written: whoever that is would do so again.
fn set_back(owner: &WriteBack, record: &GrowthRecord, by: &OwnerGrowth) -> Verdict {
    let asked = owner.size().map_or_else(|| "nothing".to_owned(), |size| size.to_string());
    let message = format!(
        "{} of {owner} was set to {}, and somebody has set it back to {asked}: write it where that comes from; or take the \
         annotation {} off the claim, and Orlop tries it again",
        by.field,
        record.to,
        orlop_api::names::GROWTH_ANNOTATION
    );
    Verdict::new(Outcome::Recommend(record.to), Reason::OwnedElsewhere, message).by(owner)
}

/// A growth that is called for.
pub(super) struct Wanted {
    pub(super) need: Reason,
    /// Why, in words.
    pub(super) why: String,
    /// The size, as the budgets of the claim itself allow it.
    pub(super) to: Bytes,
    /// The least that helps.
    pub(super) least: Bytes,
    /// What is to be recorded.
    pub(super) record: GrowthRecord,
}

/// The owner asks for more already than the claim requests, whoever has written that: its operator is to follow. None where
/// it does not.
pub(super) fn join(
    case: &Case<'_>,
    owner: &WriteBack,
    why: &str,
    record: &dyn Fn(Bytes) -> GrowthRecord,
) -> Option<Verdict> {
    let to = owner.ahead_of(case.claim)?;
    let (field, uid) = (owner.field.as_ref()?, owner.uid.as_ref()?);
    let path = &field.path;
    let message =
        format!("{why}; {path} of {owner} asks for {to} already, and its operator is to pass it on to the claim");
    let mut verdict = Verdict::new(Outcome::Growing(to), Reason::Growing, message);
    if may(case) {
        let by = OwnerGrowth { uid: uid.0.to_string(), field: path.clone(), written: Some(case.now) };
        verdict.actions.push(Action::RecordGrowth {
            claim: case.id.clone(),
            uid: case.claim.uid.clone(),
            previous: case.claim.growth.as_deref().cloned(),
            record: GrowthRecord { owner: Some(by), ..record(to) },
        });
    }
    Some(verdict)
}

/// Writes the owner's field, or says who is to.
pub(super) fn grow(case: &Case<'_>, owner: &WriteBack, wanted: Wanted) -> Verdict {
    by_its_field(case, owner, wanted).by(owner)
}

fn by_its_field(case: &Case<'_>, owner: &WriteBack, wanted: Wanted) -> Verdict {
    let Wanted { need, why, to: wanted, least, record } = wanted;
    let set = |to: Bytes| match &owner.field {
        Some(field) => format!("set {} of {owner} to {to}", field.path),
        None => format!("have {owner} make the claim {to}"),
    };
    if let Some(obstacle) = &owner.obstacle {
        let message = format!(
            "the volume needs more room than {}; {}: Orlop does not, because {obstacle}",
            case.claim.requested,
            set(wanted)
        );
        return Verdict::new(Outcome::Recommend(wanted), Reason::OwnedElsewhere, message);
    }
    let to = match together(case, owner, wanted, least) {
        Ok(to) => to,
        Err(short) => {
            let message =
                format!("{why}, and all claims of the same field of {owner} would grow, and {}", short.sentence);
            let verdict = Verdict::wait(Reason::OverBudget, message);
            return Verdict { over_budget: Some(Box::new(short.over)), ..verdict };
        }
    };
    if case.policy.mode != Mode::Auto {
        let message = format!("{why}; in mode Auto it would {}", set(to));
        return Verdict::new(Outcome::Recommend(to), need, message);
    }
    if let Some(verdict) = after_a_sibling(case, owner, to) {
        return verdict;
    }
    let (Some(field), Some(uid)) = (&owner.field, &owner.uid) else {
        return Verdict::new(Outcome::Recommend(to), Reason::OwnedElsewhere, format!("{why}; {}", set(to)));
    };
    let by = OwnerGrowth { uid: uid.0.to_string(), field: field.path.clone(), written: None };
    let record = GrowthRecord { to, owner: Some(by), ..record };
    let mut verdict = Verdict::new(Outcome::Grow(to), need, format!("{why}; {}", set(to)));
    verdict.actions.push(Action::RecordGrowth {
        claim: case.id.clone(),
        uid: case.claim.uid.clone(),
        previous: case.claim.growth.as_deref().cloned(),
        record,
    });
    verdict.actions.extend(write(case, owner, to));
    verdict
}

fn write(case: &Case<'_>, owner: &WriteBack, to: Bytes) -> Option<Action> {
    Some(Action::WriteOwner {
        claim: case.id.clone(),
        uid: case.claim.uid.clone(),
        owner: owner.id.clone(),
        owner_uid: owner.uid.clone()?,
        field: owner.field.clone()?,
        to,
    })
}

/// The size to which the budgets let all claims grow whose size is in the field: as much as is wanted, or as little as
/// helps.
fn together(case: &Case<'_>, owner: &WriteBack, wanted: Bytes, least: Bytes) -> Result<Bytes, Short> {
    let fits = |to: Bytes| {
        let mut bookings = case.bookings.clone();
        for (id, claim) in case.view.siblings(owner) {
            bookings.room(case.view, id, claim).fit(to, to, Bytes(1))?;
            bookings.book(case.view, id, claim, to);
        }
        Ok(to)
    };
    if case.view.budgets.is_empty() {
        return Ok(wanted);
    }
    fits(wanted).or_else(|short| if least < wanted { fits(least) } else { Err(short) })
}

/// A claim whose size is in the same field is about to have at least as much written there.
fn after_a_sibling(case: &Case<'_>, owner: &WriteBack, to: Bytes) -> Option<Verdict> {
    let leads = |claim: &Claim| {
        let record = claim.growth.as_deref().filter(|record| record.usable.is_none() && record.to >= to)?;
        let by = record.owner.as_ref().filter(|by| by.written.is_none())?;
        (record.to > claim.requested && owner.is_field(&by.uid, &by.field)).then_some(record.to)
    };
    let mut siblings = case.view.siblings(owner).filter(|(id, _)| *id != case.id);
    let (id, to) = siblings.find_map(|(id, claim)| Some((id, leads(claim)?)))?;
    Some(waits_for(&id.name, owner, to, case.now))
}

/// The claim grows by what is written for another.
fn waits_for(leader: &str, owner: &WriteBack, to: Bytes, now: Timestamp) -> Verdict {
    let path = owner.field.as_ref().map_or("the field", |field| &field.path);
    let message = with_a_sibling(path, &owner.to_string(), leader, to);
    Verdict::new(Outcome::Growing(to), Reason::Growing, message).again_at(Some(later(now, AFTER_A_SIBLING)))
}

/// What is written into owners in one pass: of several claims whose size is in one field, the one that asks for the most
/// has it written, and the others wait for it.
#[derive(Default)]
pub(crate) struct OwnerWrites(BTreeMap<(Uid, String), (ClaimId, Bytes)>);

impl OwnerWrites {
    /// Takes in what was decided about a claim. Either its actions are taken away and its decision says that it waits, or
    /// those of the claim that was there before.
    pub(crate) fn take<'a>(
        &mut self,
        id: &'a ClaimId,
        decided: &mut Vec<Action>,
        decision: &mut Decision,
        actions: &mut BTreeMap<&'a ClaimId, Vec<Action>>,
        report: &mut Report,
        now: Timestamp,
    ) {
        let writes = decided.iter().find_map(|action| match action {
            Action::WriteOwner { owner_uid, field, to, .. } => Some((owner_uid.clone(), field.path.clone(), *to)),
            _ => None,
        });
        let Some((uid, field, to)) = writes else { return };
        let yields = |decision: &mut Decision, leader: &ClaimId, to: Bytes| {
            decision.outcome = Outcome::Growing(to);
            decision.reason = Reason::Growing;
            decision.message = with_a_sibling(&field, "its owner", &leader.name, to);
            decision.again_at = Some(later(now, AFTER_A_SIBLING));
        };
        let key = (uid, field.clone());
        match self.0.get(&key) {
            Some((leader, most)) if *most >= to => {
                decided.clear();
                yields(decision, leader, *most);
            }
            Some((smaller, _)) => {
                actions.remove(smaller);
                if let Some(decision) = report.decisions.get_mut(smaller) {
                    yields(decision, id, to);
                }
                self.0.insert(key, (id.clone(), to));
            }
            None => drop(self.0.insert(key, (id.clone(), to))),
        }
    }
}

fn with_a_sibling(field: &str, owner: &str, leader: &str, to: Bytes) -> String {
    format!("{field} of {owner} is being set to {to} for claim {leader}, and this claim grows with it")
}

/// What is to be done about a growth that the driver has refused, where the owner has asked for it.
pub(super) fn remedy(case: &Case<'_>) -> Option<String> {
    let owner = case.view.write_back(case.id, case.claim)?;
    let field = owner.field.as_ref()?;
    let least = target::present(case.claim).min(case.claim.capacity);
    Some(format!("make room for it, or set {} of {owner} to a size above {least} that the driver can make", field.path))
}
