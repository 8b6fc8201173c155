//! Whose pods may be stopped: those of one workload alone that nothing else scales, and that loses nothing by it.

use super::Windows;
use crate::{
    owner::{Link, Owner, SetId},
    view::{Claim, ClaimId, PodUse, Policy, View},
    workload::{Workload, WorkloadId, deployment_of},
};

/// Why the pods of a claim cannot be stopped for it, as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unstoppable {
    #[error("the policy names no maintenance window in which they may be stopped")]
    NoWindow,
    #[error("the operator may not scale workloads: set operator.maintenance in the chart")]
    NotAllowed,
    #[error(
        "they are of no StatefulSet from whose template the claim was made, and of no Deployment whose template names it"
    )]
    NoWorkload,
    #[error("{0} belongs to {1}, which would scale it again")]
    Owned(WorkloadId, String),
    #[error("{0} is scaled by HorizontalPodAutoscaler {1}, which would scale it again")]
    Autoscaled(WorkloadId, Box<str>),
    #[error("{1} uses it beside {0}")]
    Shared(WorkloadId, String),
    #[error(
        "{0} deletes the claims of pods that are scaled away, by its persistentVolumeClaimRetentionPolicy.whenScaled"
    )]
    LosesClaims(SetId),
    #[error("{0} has no replicas: its pods are ending, or something else has started them")]
    NoReplicas(WorkloadId),
    #[error("{0} is being deleted")]
    Leaving(WorkloadId),
}

/// A workload whose pods may be stopped in these windows.
pub(crate) struct Stoppable<'a> {
    pub(crate) id: WorkloadId,
    pub(crate) workload: Workload<'a>,
    pub(crate) windows: &'a Windows,
}

/// The workload whose pods use the claim, if they may be stopped in a window of the policy.
pub(crate) fn stoppable<'a>(
    view: &'a View,
    id: &ClaimId,
    claim: &'a Claim,
    policy: &'a Policy,
) -> Result<Stoppable<'a>, Unstoppable> {
    let windows = policy.maintenance.as_deref().ok_or(Unstoppable::NoWindow)?;
    if !view.allowed.scaling {
        return Err(Unstoppable::NotAllowed);
    }
    let found = view.workload_of(id, claim).and_then(|id| Some((view.workload(&id)?, id)));
    let (workload, workload_id) = found.ok_or(Unstoppable::NoWorkload)?;
    if let Some(above) = above(view, id, claim, &workload_id, &workload) {
        return Err(Unstoppable::Owned(workload_id, above));
    }
    if let Some(name) = view.autoscalers.get(&workload_id) {
        return Err(Unstoppable::Autoscaled(workload_id, name.clone()));
    }
    if let Some(other) = beside(view, id, claim, &workload_id) {
        return Err(Unstoppable::Shared(workload_id, other));
    }
    match workload_id {
        WorkloadId::StatefulSet(set) if !workload.keeps_claims => Err(Unstoppable::LosesClaims(set)),
        id if workload.deleting => Err(Unstoppable::Leaving(id)),
        id if workload.replicas == 0 && workload.scaled.is_none() => Err(Unstoppable::NoReplicas(id)),
        id => Ok(Stoppable { id, workload, windows }),
    }
}

/// What has made the workload, or the custom resource that has made the claim.
fn above(
    view: &View,
    id: &ClaimId,
    claim: &Claim,
    workload_id: &WorkloadId,
    workload: &Workload<'_>,
) -> Option<String> {
    let ownership = view.ownership(id, claim);
    let link = match workload_id {
        WorkloadId::StatefulSet(_) => ownership.chain.first().copied().filter(|_| ownership.chain.len() > 1),
        // A claim may be owned by a Deployment, so that it is deleted with it.
        WorkloadId::Deployment(_) => workload.owner.map(Link::from).or_else(|| {
            ownership.chain.first().copied().filter(|link| !Owner::comes_with_kubernetes(link.api_version))
        }),
    }?;
    Some(format!("{} {}", link.kind, link.name))
}

/// What uses the claim beside the workload, whose pods would still be there.
fn beside(view: &View, id: &ClaimId, claim: &Claim, workload: &WorkloadId) -> Option<String> {
    let membership = view.membership(id, &claim.pods);
    let runs = |pod: &PodUse| match workload {
        WorkloadId::StatefulSet(_) => membership.as_ref().is_some_and(|it| it.is_pod(pod)),
        WorkloadId::Deployment(deployment) => deployment_of(pod) == Some(&*deployment.name),
    };
    let pod = claim.pods.iter().find(|pod| !runs(pod));
    let pod = pod.map(|pod| format!("pod {}/{}", pod.id.namespace.0, pod.id.name));
    // Pods of one workload have come to use it while another was stopped for it.
    pod.or_else(|| view.scaled_for(id).find(|(other, ..)| *other != workload).map(|(other, ..)| other.to_string()))
}
