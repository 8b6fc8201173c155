//! Stopping the pods of a claim whose driver expands only volumes that no pod uses, within the windows that its policy names.
//! The resizer of such a driver does not ask it again while any pod uses the claim, a pending one too
//! (kubernetes-csi/external-resizer 2.3, `pkg/controller/controller.go`), so that restarting a pod does not do: its
//! StatefulSet is scaled to zero, and back. What it had is written on it by the same request, so that whoever comes after a
//! crash knows it, and scales it back whatever else has become of policy, claim and window.

#[cfg(test)]
mod tests;
mod windows;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Expansion, Mode};
use serde::{Deserialize, Serialize};

pub use self::windows::{InvalidWindow, Open, Windows};
use crate::{
    capacity::SMALLER_MAX,
    owner::{SetId, StatefulSet},
    plan::Action,
    view::{Claim, ClaimId, Governance, Policy, Resize, View},
};

/// A StatefulSet is scaled to zero only while so much of a window is left: ten minutes, after which a growth is overdue, for the
/// driver, and five for its pods to stop.
pub const NEEDS: SignedDuration = SignedDuration::from_mins(15);

/// So long before the end of a window it is scaled back, whatever has become of the growth: its pods take that long to start.
const STARTS_BEFORE_END: SignedDuration = SignedDuration::from_mins(5);

/// What is written on a StatefulSet by the request that scales it to zero, and taken off by the one that scales it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaledFrom {
    /// The replicas that it had.
    pub replicas: u32,
    /// The claim for which it was scaled, by its name.
    pub claim: Box<str>,
    /// When.
    pub at: Timestamp,
    /// It is scaled back then at the latest.
    pub until: Timestamp,
}

/// Why the pods of a claim cannot be stopped for it, as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unstoppable {
    #[error("the policy names no maintenance window in which they may be stopped")]
    NoWindow,
    #[error("the operator may not scale StatefulSets: set operator.maintenance in the chart")]
    NotAllowed,
    #[error("they are of no StatefulSet from whose template the claim was made")]
    NoSet,
    #[error("{0} belongs to {1}, which would scale it again")]
    Owned(SetId, String),
    #[error("{0} is scaled by HorizontalPodAutoscaler {1}, which would scale it again")]
    Autoscaled(SetId, Box<str>),
}

/// The StatefulSet whose pods use the claim, if they may be stopped in a window of the policy.
pub(crate) fn stoppable<'a>(
    view: &'a View,
    id: &ClaimId,
    claim: &'a Claim,
    policy: &'a Policy,
) -> Result<(&'a SetId, &'a StatefulSet, &'a Windows), Unstoppable> {
    let windows = policy.maintenance.as_deref().ok_or(Unstoppable::NoWindow)?;
    if !view.allowed.scaling {
        return Err(Unstoppable::NotAllowed);
    }
    let ownership = view.ownership(id, claim);
    let membership = ownership.set.as_ref().ok_or(Unstoppable::NoSet)?;
    if let [above, _, ..] = &ownership.chain[..] {
        let above = format!("{} {}", above.kind, above.name);
        return Err(Unstoppable::Owned(membership.id.clone(), above));
    }
    match view.autoscalers.get(membership.id) {
        Some(name) => Err(Unstoppable::Autoscaled(membership.id.clone(), name.clone())),
        None => Ok((membership.id, membership.set, windows)),
    }
}

/// The window that is open and long enough still.
pub(crate) fn long_enough(windows: &Windows, now: Timestamp) -> Option<Open> {
    windows.open_at(now).filter(|open| open.until.duration_since(now) >= NEEDS)
}

/// What scales the StatefulSet to zero.
pub(crate) fn stop(id: &ClaimId, set_id: &SetId, set: &StatefulSet, open: Open, now: Timestamp) -> Action {
    let until = open.until.checked_sub(STARTS_BEFORE_END).unwrap_or(open.until);
    Action::ScaleToZero {
        claim: id.clone(),
        set: set_id.clone(),
        uid: set.uid.clone(),
        scaled: ScaledFrom { replicas: set.replicas, claim: (*id.name).into(), at: now, until },
    }
}

/// What scales a StatefulSet back that was scaled to zero for this claim: when its volumes have their sizes or will not get
/// them, nobody wants it stopped any more, or it is time. Also of a claim that is gone. None where there is nothing to do yet.
pub(crate) fn restore(view: &View, id: &ClaimId, now: Timestamp) -> Option<Action> {
    let (set_id, set, scaled) = view.scaled_for(id)?;
    let action = Action::ScaleBack {
        claim: id.clone(),
        set: set_id.clone(),
        uid: set.uid.clone(),
        scaled: scaled.clone(),
        replicas: set.replicas,
    };
    // A time that is further away than any window lasts is none that was written here.
    let is_over = now >= scaled.until || scaled.until.duration_since(now) > DAY;
    // Where somebody has scaled it meanwhile the note stays for as long, so that it is not stopped again in this window.
    let is_done = set.replicas == 0 && !is_awaited(view, set_id, set);
    (is_over || is_done).then_some(action)
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Is there still a claim of the StatefulSet that a pod uses, or that waits for its driver, under a policy that may do so?
fn is_awaited(view: &View, set_id: &SetId, set: &StatefulSet) -> bool {
    let mut claims = set.templates.iter().flat_map(|template| view.claims_of(set_id, &template.name));
    claims.any(|(_, id, claim)| {
        let waits = claim.bound
            && claim.paused.is_none()
            && claim.growth.as_ref().is_some_and(|record| record.to == claim.requested)
            && claim.volume_capacity < claim.requested
            && !is_refused(claim);
        (waits || !claim.pods.is_empty() && is_offline(view, claim)) && is_wanted(view, id, claim)
    })
}

/// Has its driver refused the growth, and all smaller ones that are asked for in its place?
fn is_refused(claim: &Claim) -> bool {
    let refused = claim.growth.as_ref().map_or(0, |record| record.refused.len());
    match claim.resize {
        Resize::Idle | Resize::Controller | Resize::Node => false,
        Resize::Infeasible(_) => refused >= SMALLER_MAX,
        Resize::NodeInfeasible(_) => true,
    }
}

/// Does the policy still let the claim's pods be stopped?
fn is_wanted(view: &View, id: &ClaimId, claim: &Claim) -> bool {
    let Governance::By(policy) = view.governance(id, claim) else { return false };
    let policy = view.policies.get(&policy);
    policy.is_some_and(|policy| policy.mode == Mode::Auto && policy.maintenance.is_some())
}

/// Does its driver expand only volumes that no pod uses?
pub(crate) fn is_offline(view: &View, claim: &Claim) -> bool {
    view.abilities(claim).is_some_and(|abilities| abilities.expansion == Expansion::Offline)
}

impl View {
    /// The StatefulSet that was scaled to zero for a claim.
    pub fn scaled_for(&self, id: &ClaimId) -> Option<(&SetId, &StatefulSet, &ScaledFrom)> {
        let (set_id, set) = self.sets.get_key_value(self.scaled.get(id)?)?;
        Some((set_id, set, set.scaled.as_deref()?))
    }
}
