//! Pods are stopped in a window alone, for a growth of ours, all that use the volume at once, and come back as many as they
//! were; and what was in vain is not done again at once.

use jiff::Timestamp;
use orlop_api::{Expansion, Mode};

use super::Rule;
use crate::{
    maintenance::{InVain, Open, ScaledFrom},
    view::{Claim, ClaimId, Governance, PodUse, Uid, View},
    workload::{Workload, WorkloadId},
};

/// So much of a window must be left, in seconds.
const LEFT_S: i64 = 15 * 60;

/// For so long pods are stopped at most, in seconds.
const STOPPED_S: i64 = 60 * 60;

/// After pods were stopped in vain for so long they are not again, in seconds.
const IN_VAIN_S: i64 = 20 * 60 * 60;

/// Is a window open in which the claim's pods may be stopped, or are they being stopped?
pub(super) fn may_stop(view: &View, id: &ClaimId, claim: &Claim, now: Timestamp) -> bool {
    let Some((workload_id, workload)) = alone(view, id, claim) else { return false };
    let is_stopped = workload.scaled.is_some() && workload.replicas == 0;
    let is_open = || left_s(view, id, claim, now).is_some_and(|left| left >= LEFT_S);
    is_stopped || is_open() && may_again(view, id, claim, &workload_id, now)
}

/// The workload that alone uses the claim, where nothing else scales it and it loses nothing by that.
fn alone<'a>(view: &'a View, id: &ClaimId, claim: &Claim) -> Option<(WorkloadId, Workload<'a>)> {
    let workload_id = view.workload_of(id, claim)?;
    let workload = view.workload(&workload_id)?;
    let owners = view.ownership(id, claim).chain;
    let is_its_own = match &workload_id {
        WorkloadId::StatefulSet(_) => owners.len() == 1,
        WorkloadId::Deployment(_) => {
            let is_custom = |api_version: &str| !matches!(api_version, "apps/v1" | "batch/v1" | "v1");
            workload.owner.is_none() && !owners.iter().any(|link| is_custom(link.api_version))
        }
    };
    let may = view.allowed.scaling && is_its_own && !view.autoscalers.contains_key(&workload_id);
    let is_whole = claim.pods.iter().all(|pod| is_its_pod(&workload_id, id, pod));
    (may && is_whole && workload.keeps_claims && !workload.deleting).then_some((workload_id, workload))
}

/// Is it the pod of a StatefulSet that has the claim, or one of a Deployment?
fn is_its_pod(workload: &WorkloadId, id: &ClaimId, pod: &PodUse) -> bool {
    match workload {
        WorkloadId::StatefulSet(set) => {
            id.name.rsplit('-').next().is_some_and(|number| *pod.id.name == format!("{}-{number}", set.name))
        }
        WorkloadId::Deployment(deployment) => {
            let prefix = format!("{}-", deployment.name);
            let set = pod.controller.as_ref().map(|controller| &controller.name);
            set.and_then(|name| name.strip_prefix(&*prefix)).is_some_and(|hash| !hash.contains('-'))
        }
    }
}

/// The policy's windows that are open.
fn open(view: &View, id: &ClaimId, claim: &Claim, now: Timestamp) -> Vec<Open> {
    let Governance::By(policy) = view.governance(id, claim) else { return Vec::new() };
    let policy = view.policies.get(&policy).filter(|policy| policy.mode == Mode::Auto);
    let windows = policy.and_then(|policy| policy.maintenance.as_ref());
    windows.map_or_else(Vec::new, |windows| windows.open_at(now).collect())
}

/// How much is left of the one of them that is open for longest.
fn left_s(view: &View, id: &ClaimId, claim: &Claim, now: Timestamp) -> Option<i64> {
    let ends = open(view, id, claim, now).into_iter().map(|open| open.until.as_second());
    Some(ends.max()? - now.as_second())
}

/// Where the workload was stopped in vain and what was wanted still is: is it long enough ago, and another window?
fn may_again(view: &View, id: &ClaimId, claim: &Claim, workload_id: &WorkloadId, now: Timestamp) -> bool {
    let Some(before) = view.workload(workload_id).and_then(|workload| workload.in_vain) else { return true };
    let waits = |name: &str| {
        let claim = view.claims.get(&workload_id.claim(name));
        claim.is_some_and(|claim| claim.bound && claim.requested > claim.volume_capacity)
    };
    let is_wanted = before.at <= now && before.claims.iter().any(|name| waits(name));
    let is_another = || {
        let enough = |open: &Open| open.until.as_second() - now.as_second() >= LEFT_S;
        open(view, id, claim, now).iter().filter(|open| enough(open)).any(|open| open.from > before.at)
    };
    !is_wanted || now.as_second() - before.at.as_second() >= IN_VAIN_S && is_another()
}

fn known<'a>(view: &'a View, workload: &WorkloadId, uid: &Uid) -> Result<Workload<'a>, Rule> {
    view.workload(workload).filter(|workload| workload.uid == uid).ok_or_else(|| Rule::Uid(uid.clone()))
}

pub(super) fn scaled_to_zero(
    view: &View,
    id: &ClaimId,
    workload_id: &WorkloadId,
    uid: &Uid,
    scaled: &ScaledFrom,
) -> Result<(), Rule> {
    let workload = known(view, workload_id, uid)?;
    let claim = view.claims.get(id).ok_or_else(|| Rule::Uid(uid.clone()))?;
    super::not_paused(claim)?;
    let is_offline = view.abilities(claim).ok_or(Rule::NotExpandable)?.expansion == Expansion::Offline;
    let is_its_own = view.workload_of(id, claim).as_ref() == Some(workload_id);
    let as_observed = workload.scaled.is_none() && workload.replicas > 0 && scaled.replicas == workload.replicas;
    if !as_observed || *scaled.claim != *id.name {
        return Err(Rule::Precondition);
    }
    let may = is_offline && is_awaited(claim) && is_its_own && may_stop(view, id, claim, scaled.at);
    let lasts = scaled.until.as_second() - scaled.at.as_second();
    let ends = left_s(view, id, claim, scaled.at).is_some_and(|left| lasts <= left && lasts <= STOPPED_S);
    if may && ends { Ok(()) } else { Err(Rule::NoWindow) }
}

/// Has a growth been asked for that the driver has not carried out?
fn is_awaited(claim: &Claim) -> bool {
    let is_ours = claim.growth.as_ref().is_some_and(|last| last.to == claim.requested && last.usable.is_none());
    is_ours && claim.volume_capacity < claim.requested
}

/// Whatever else has become of claim and policy.
pub(super) fn scaled_back(
    view: &View,
    id: &ClaimId,
    workload_id: &WorkloadId,
    uid: &Uid,
    (scaled, replicas, in_vain): (&ScaledFrom, u32, Option<&InVain>),
) -> Result<(), Rule> {
    let workload = known(view, workload_id, uid)?;
    let as_noted = workload.scaled == Some(scaled) && workload.replicas == replicas;
    if !as_noted || *scaled.claim != *id.name || *workload_id.namespace() != id.namespace {
        return Err(Rule::ScaledOtherwise);
    }
    // Whoever forgets that it was in vain stops the pods again at once.
    let of = view.claims_in(workload_id.namespace()).filter(|(id, _)| view.is_claim_of(workload_id, id));
    let is_in_vain = of.into_iter().any(|(_, claim)| claim.bound && is_awaited(claim));
    let is_noted = in_vain.is_some_and(|it| it.at == scaled.at && !it.claims.is_empty());
    if is_in_vain == is_noted { Ok(()) } else { Err(Rule::Record) }
}
