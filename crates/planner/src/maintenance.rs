//! Stopping the pods of a claim whose driver expands only volumes that no pod uses, within the windows that its policy names.
//! The resizer of such a driver does not ask it again while any pod uses the claim, a pending one too
//! (kubernetes-csi/external-resizer 2.3, `pkg/controller/controller.go`), so that restarting a pod does not do: its
//! workload is scaled to zero, and back. What it had is written on it by the same request, so that whoever comes after a
//! crash knows it, and scales it back whatever else has become of policy, claim and window. What came of it is written on it
//! by the request that scales it back, so that pods are not stopped again and again for a driver that does nothing.
//!
//! [`stoppable`] says whose pods may be stopped, [`chance`] when.

mod chance;
mod stoppable;
#[cfg(test)]
mod tests;
mod windows;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Expansion, Mode};
use serde::{Deserialize, Serialize};

use self::stoppable::Stoppable;
pub use self::windows::{InvalidWindow, Open, Windows};
pub(crate) use self::{
    chance::{Chance, chance},
    stoppable::stoppable,
};
use crate::{
    capacity::{SMALLER_MAX, later},
    plan::Action,
    view::{Claim, ClaimId, Governance, Resize, View},
    workload::{Workload, WorkloadId},
};

/// A workload is scaled to zero only while so much of a window is left: ten minutes, after which a growth is overdue, for the
/// driver, and five for its pods to stop.
pub const NEEDS: SignedDuration = SignedDuration::from_mins(15);

/// So long before the end of a window it is scaled back, whatever has become of the growth: its pods take that long to start.
const STARTS_BEFORE_END: SignedDuration = SignedDuration::from_mins(5);

/// However long the window is, pods are not kept stopped for longer than this: a driver that has not done it by then hangs.
const STOPPED_AT_MOST: SignedDuration = SignedDuration::from_hours(1);

/// So many claims are named that had not grown; whoever has more of them learns as much from these.
const IN_VAIN_CLAIMS_MAX: usize = 100;

/// What is written on a workload by the request that scales it to zero, and taken off by the one that scales it back.
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

/// What is written on a workload by the request that scales it back, where volumes of it had not been expanded by then; and
/// taken off by the next one where they had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InVain {
    /// When it had been scaled to zero.
    pub at: Timestamp,
    /// The claims whose volumes had not been expanded, by their names.
    pub claims: Box<[Box<str>]>,
}

impl InVain {
    /// The claims, as they stand in a sentence: `claim data-db-0`, or some of many.
    pub fn in_words(&self) -> String {
        const NAMED: usize = 3;
        let (noun, more) = match self.claims.len() {
            0 | 1 => ("claim", String::new()),
            count if count <= NAMED => ("claims", String::new()),
            count => ("claims", format!(" and {} more", count - NAMED)),
        };
        let names = self.claims.iter().take(NAMED).map(|name| &**name).collect::<Vec<_>>().join(", ");
        format!("{noun} {names}{more}")
    }
}

/// What scales the workload to zero.
pub(crate) fn stop(id: &ClaimId, it: &Stoppable<'_>, open: Open, now: Timestamp) -> Action {
    let ends = open.until.checked_sub(STARTS_BEFORE_END).unwrap_or(open.until);
    let until = later(now, STOPPED_AT_MOST).min(ends);
    Action::ScaleToZero {
        claim: id.clone(),
        workload: it.id.clone(),
        uid: it.workload.uid.clone(),
        scaled: ScaledFrom { replicas: it.workload.replicas, claim: (*id.name).into(), at: now, until },
    }
}

/// What scales each workload back that was scaled to zero for this claim: when its volumes have their sizes or will not get
/// them, nobody wants it stopped any more, or it is time. Also of a claim that is gone. None where there is nothing to do yet.
pub(crate) fn restore<'a>(view: &'a View, id: &'a ClaimId, now: Timestamp) -> impl Iterator<Item = Action> + use<'a> {
    view.scaled_for(id).filter_map(move |(workload_id, workload, scaled)| {
        // A time that is further away than any window lasts is none that was written here.
        let is_over = now >= scaled.until || scaled.until.duration_since(now) > DAY;
        let claims = || view.claims_of_workload(workload_id).into_iter();
        // Where somebody has scaled it meanwhile the note stays for as long, so that it is not stopped again in this window.
        let is_done = workload.replicas == 0 && !claims().any(|(id, claim)| is_awaited(view, id, claim));
        (is_over || is_done).then(|| {
            let waiting = claims().filter(|(_, claim)| waits(claim)).map(|(id, _)| (*id.name).into());
            let waiting: Box<[_]> = waiting.take(IN_VAIN_CLAIMS_MAX).collect();
            Action::ScaleBack {
                claim: id.clone(),
                workload: workload_id.clone(),
                uid: workload.uid.clone(),
                scaled: scaled.clone(),
                replicas: workload.replicas,
                in_vain: (!waiting.is_empty()).then_some(InVain { at: scaled.at, claims: waiting }),
            }
        })
    })
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Is its driver still to expand it, under a policy for which pods may be stopped?
fn is_awaited(view: &View, id: &ClaimId, claim: &Claim) -> bool {
    waits(claim) && claim.paused.is_none() && !is_refused(claim) && is_wanted(view, id, claim)
}

/// Has a growth of ours been asked for that its driver has not carried out?
fn waits(claim: &Claim) -> bool {
    claim.bound
        && claim.growth.as_ref().is_some_and(|record| record.to == claim.requested && record.usable.is_none())
        && claim.volume_capacity < claim.requested
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
    /// The workloads that were scaled to zero for a claim: one, where nobody has copied it with what is written on it.
    pub fn scaled_for<'a>(
        &'a self,
        id: &ClaimId,
    ) -> impl Iterator<Item = (&'a WorkloadId, Workload<'a>, &'a ScaledFrom)> + use<'a> {
        self.scaled.get(id).into_iter().flatten().filter_map(|id| {
            let workload = self.workload(id)?;
            Some((id, workload, workload.scaled?))
        })
    }
}
