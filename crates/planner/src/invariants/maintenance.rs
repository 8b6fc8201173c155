//! Pods are stopped in a window alone, for a growth of ours, and come back as many as they were.

use jiff::Timestamp;
use orlop_api::{Expansion, Mode};

use super::Rule;
use crate::{
    maintenance::ScaledFrom,
    owner::{SetId, StatefulSet},
    view::{Claim, ClaimId, Governance, Uid, View},
};

/// So much of a window must be left, in seconds.
const LEFT_S: i64 = 15 * 60;

/// Is a window open in which the claim's pods may be stopped?
pub(super) fn may_stop(view: &View, id: &ClaimId, claim: &Claim, now: Timestamp) -> bool {
    let Some(membership) = view.membership(id, &claim.pods) else { return false };
    let is_its_own = view.ownership(id, claim).chain.len() == 1;
    let may = view.allowed.scaling && is_its_own && !view.autoscalers.contains_key(membership.id);
    may && (membership.set.scaled.is_some() || left_s(view, id, claim, now).is_some_and(|left| left >= LEFT_S))
}

/// How much is left of the policy's window that is open.
fn left_s(view: &View, id: &ClaimId, claim: &Claim, now: Timestamp) -> Option<i64> {
    let Governance::By(policy) = view.governance(id, claim) else { return None };
    let policy = view.policies.get(&policy).filter(|policy| policy.mode == Mode::Auto)?;
    let open = policy.maintenance.as_ref()?.open_at(now)?;
    Some(open.until.as_second() - now.as_second())
}

fn known<'a>(view: &'a View, set: &SetId, uid: &Uid) -> Result<&'a StatefulSet, Rule> {
    view.sets.get(set).filter(|set| set.uid == *uid).ok_or_else(|| Rule::Uid(uid.clone()))
}

pub(super) fn scaled_to_zero(
    view: &View,
    id: &ClaimId,
    set_id: &SetId,
    uid: &Uid,
    scaled: &ScaledFrom,
) -> Result<(), Rule> {
    let set = known(view, set_id, uid)?;
    let claim = view.claims.get(id).ok_or_else(|| Rule::Uid(uid.clone()))?;
    super::not_paused(claim)?;
    let is_offline = view.abilities(claim).ok_or(Rule::NotExpandable)?.expansion == Expansion::Offline;
    let is_growing =
        claim.growth.as_ref().is_some_and(|record| record.to == claim.requested && record.usable.is_none())
            && claim.volume_capacity < claim.requested;
    let is_its_own = view.membership(id, &claim.pods).is_some_and(|it| it.id == set_id);
    let as_observed = set.scaled.is_none() && set.replicas > 0 && scaled.replicas == set.replicas;
    if !as_observed || *scaled.claim != *id.name {
        return Err(Rule::Precondition);
    }
    let open = is_offline && is_growing && is_its_own && may_stop(view, id, claim, scaled.at);
    let ends =
        left_s(view, id, claim, scaled.at).is_some_and(|left| scaled.until.as_second() - scaled.at.as_second() <= left);
    if open && ends { Ok(()) } else { Err(Rule::NoWindow) }
}

/// Whatever else has become of claim and policy.
pub(super) fn scaled_back(
    view: &View,
    id: &ClaimId,
    set_id: &SetId,
    uid: &Uid,
    scaled: &ScaledFrom,
    replicas: u32,
) -> Result<(), Rule> {
    let set = known(view, set_id, uid)?;
    let as_noted = set.scaled.as_deref() == Some(scaled) && set.replicas == replicas;
    if as_noted && *scaled.claim == *id.name && set_id.namespace == id.namespace {
        Ok(())
    } else {
        Err(Rule::ScaledOtherwise)
    }
}
