//! What is written into the owners of claims, and on record of it.

use jiff::Timestamp;
use orlop_api::{Bytes, owner::Field};

use super::{Rule, auto_maximum, budgets::Sums, expected, growth, in_flight, larger, measurable, not_paused};
use crate::{
    resources::{Knowledge, ResourceId, WriteBack},
    view::{Claim, ClaimId, GrowthRecord, OwnerGrowth, Uid, View},
};

/// A claim itself is made larger only where it is known to have no owner that says how large it is, or where its volume is
/// about to be full and that owner has been unknown for a minute.
pub(super) fn claim_itself(view: &View, id: &ClaimId, claim: &Claim, now: Timestamp) -> Result<(), Rule> {
    let Some(owner) = view.write_back(id, claim) else {
        return if view.unasked_owner(id, claim, now).is_none() { Ok(()) } else { Err(Rule::OwnerNotAskedFor) };
    };
    let is_unknown = match owner.knowledge {
        Knowledge::Unknown(since) => since.is_none_or(|since| now.as_second() - since.as_second() >= 60),
        Knowledge::Known | Knowledge::Awaited => false,
    };
    let is_nearly_full = claim.usage.as_ref().is_some_and(|usage| {
        let is_short = |free: u64, total: u64| u128::from(free) * 20 < u128::from(total);
        let filled = u128::from(usage.fill_bytes_per_second) * 600;
        is_short(usage.available.0, usage.total.0)
            || usage.inodes.is_some_and(|inodes| is_short(inodes.free.0, inodes.total.0))
            || u128::from(usage.available.0) < filled
    });
    if is_unknown && is_nearly_full { Ok(()) } else { Err(Rule::OwnedElsewhere) }
}

/// A size that is to be written into an owner.
pub(super) struct Write<'a> {
    pub(super) owner: &'a ResourceId,
    pub(super) owner_uid: &'a Uid,
    pub(super) field: &'a Field,
    pub(super) to: Bytes,
    /// What is on record of the claim by then.
    pub(super) record: Option<&'a GrowthRecord>,
}

/// A growth by way of the owner is recorded: one that is to be written, one that somebody else has written, or that one that
/// was to be written has been.
pub(super) fn recorded(
    view: &View,
    id: &ClaimId,
    claim: &Claim,
    previous: Option<&GrowthRecord>,
    record: &GrowthRecord,
    sums: &mut Sums,
) -> Result<(), Rule> {
    let owner = view.write_back(id, claim).ok_or(Rule::NotItsOwner)?;
    let by = record.owner.as_ref().filter(|by| owner.is_field(&by.uid, &by.field)).ok_or(Rule::NotItsOwner)?;
    let asked = owner.size().ok_or(Rule::NotItsOwner)?;
    if by.written.is_none() {
        writable(&owner)?;
        let abilities = growth(view, id, claim, previous, record)?;
        for (sibling, claim) in view.siblings(&owner) {
            let price = if sibling == id { abilities.price } else { view.price(claim) };
            sums.add(view, sibling, claim, price, record.to.round_up(abilities.size_increment))?;
        }
        return Ok(());
    }
    not_paused(claim)?;
    auto_maximum(view, id, claim).ok_or(Rule::NotGoverned)?;
    if asked < record.to {
        return Err(Rule::NotItsOwner);
    }
    let unwritten = GrowthRecord { owner: Some(OwnerGrowth { written: None, ..by.clone() }), ..record.clone() };
    if previous == Some(&unwritten) {
        return if claim.growth.as_deref() == previous { Ok(()) } else { Err(Rule::Precondition) };
    }
    measurable(claim)?;
    in_flight(claim)?;
    expected(previous, record, claim)?;
    larger(claim, record.to)?;
    if asked == record.to { Ok(()) } else { Err(Rule::Record) }
}

/// An owner is written: once, to what is on record, and never to less than it asks for.
pub(super) fn written(view: &View, id: &ClaimId, claim: &Claim, write: &Write<'_>) -> Result<(), Rule> {
    not_paused(claim)?;
    let maximum = auto_maximum(view, id, claim).ok_or(Rule::NotGoverned)?;
    let owner = view.write_back(id, claim).ok_or(Rule::NotItsOwner)?;
    writable(&owner)?;
    let is_it = owner.id == *write.owner
        && owner.uid.as_ref() == Some(write.owner_uid)
        && owner.field.as_ref() == Some(write.field);
    let is_recorded = write.record.is_some_and(|record| {
        let by = record.owner.as_ref().filter(|by| by.written.is_none() && owner.is_field(&by.uid, &by.field));
        by.is_some() && record.to == write.to && record.usable.is_none()
    });
    if !is_it || !is_recorded {
        return Err(Rule::NotItsOwner);
    }
    if write.to > maximum {
        return Err(Rule::AboveMaximum { to: write.to, maximum });
    }
    let present = claim.requested.max(claim.capacity).max(write.field.size);
    if write.to > present { Ok(()) } else { Err(Rule::NotLarger { present, to: write.to }) }
}

fn writable(owner: &WriteBack) -> Result<(), Rule> {
    if owner.obstacle.is_none() { Ok(()) } else { Err(Rule::NotItsOwner) }
}
