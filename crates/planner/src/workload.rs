//! What keeps the pods running that use a claim, and can be scaled: the StatefulSet from whose template the claim was made, or
//! a Deployment whose template names it. Between a Deployment and its pods is a ReplicaSet, which is not watched, for there are
//! several of each Deployment: a Deployment calls them by its own name and a hash without a dash (Kubernetes 1.36,
//! `pkg/controller/deployment/sync.go`, `generateReplicaSetName`), and a pod names the one that controls it. A ReplicaSet that
//! somebody has given such a name keeps its pods when the Deployment is scaled, and that is all that comes of it.

use std::{fmt, sync::Arc};

use crate::{
    maintenance::{InVain, ScaledFrom},
    owner::{Belonging, Owner, SetId},
    view::{Claim, ClaimId, NamespaceName, PodUse, Uid, View},
};

/// A Deployment's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId {
    /// The Deployment's namespace.
    pub namespace: NamespaceName,
    /// The Deployment's name.
    pub name: Arc<str>,
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deployment {}/{}", self.namespace.0, self.name)
    }
}

/// A Deployment whose pods use claims, as far as these go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The Deployment's UID.
    pub uid: Uid,
    /// To whom it belongs.
    pub belonging: Belonging,
    /// `spec.replicas`.
    pub replicas: u32,
    /// What it was scaled from, where it is scaled to zero so that its volumes can be expanded.
    pub scaled: Option<Box<ScaledFrom>>,
    /// The last time that it was scaled to zero, where that was in vain.
    pub in_vain: Option<Box<InVain>>,
    /// The claims that its template names. Those of generic ephemeral volumes are none: they go with their pods.
    pub claims: Box<[Arc<str>]>,
    /// Is it being deleted?
    pub deleting: bool,
    /// Which state of it this is: its `resourceVersion`, where that is a number.
    pub version: Option<u64>,
}

/// Which workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadId {
    /// A Deployment.
    Deployment(DeploymentId),
    /// A StatefulSet.
    StatefulSet(SetId),
}

impl WorkloadId {
    /// The workload's namespace, which its claims share.
    pub const fn namespace(&self) -> &NamespaceName {
        match self {
            Self::Deployment(id) => &id.namespace,
            Self::StatefulSet(id) => &id.namespace,
        }
    }

    /// Its kind, as Kubernetes spells it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Deployment(_) => "Deployment",
            Self::StatefulSet(_) => "StatefulSet",
        }
    }

    /// The claim of this name in its namespace.
    pub fn claim(&self, name: &str) -> ClaimId {
        ClaimId { namespace: self.namespace().clone(), name: name.into() }
    }
}

/// As it stands in a sentence: `Deployment shop/web`.
impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deployment(id) => id.fmt(f),
            Self::StatefulSet(id) => id.fmt(f),
        }
    }
}

/// A workload of either kind, as far as scaling it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload<'a> {
    /// Its UID.
    pub uid: &'a Uid,
    /// What has made it.
    pub owner: Option<&'a Owner>,
    /// `spec.replicas`.
    pub replicas: u32,
    /// What it was scaled from.
    pub scaled: Option<&'a ScaledFrom>,
    /// The last time that it was scaled to zero, where that was in vain.
    pub in_vain: Option<&'a InVain>,
    /// Is it being deleted?
    pub deleting: bool,
    /// Do its claims stay when it is scaled?
    pub keeps_claims: bool,
    /// Its `resourceVersion`, where that is a number.
    pub version: Option<u64>,
}

impl View {
    /// What is known of a workload.
    pub fn workload(&self, id: &WorkloadId) -> Option<Workload<'_>> {
        Some(match id {
            WorkloadId::Deployment(id) => {
                let Deployment { uid, belonging, replicas, scaled, in_vain, claims: _, deleting, version } =
                    self.deployments.get(id)?;
                Workload {
                    uid,
                    owner: belonging.owner.as_ref(),
                    replicas: *replicas,
                    scaled: scaled.as_deref(),
                    in_vain: in_vain.as_deref(),
                    deleting: *deleting,
                    keeps_claims: true,
                    version: *version,
                }
            }
            WorkloadId::StatefulSet(id) => {
                let set = self.sets.get(id)?;
                Workload {
                    uid: &set.uid,
                    owner: set.belonging.owner.as_ref(),
                    replicas: set.replicas,
                    scaled: set.scaled.as_deref(),
                    in_vain: set.in_vain.as_deref(),
                    deleting: set.deleting,
                    keeps_claims: set.keeps_claims.when_scaled,
                    version: set.version,
                }
            }
        })
    }

    /// The workload whose claim it is: a StatefulSet by the claim's name, a Deployment by a pod that uses the claim.
    pub fn workload_of(&self, id: &ClaimId, claim: &Claim) -> Option<WorkloadId> {
        if let Some(membership) = self.membership(id, &claim.pods) {
            return Some(WorkloadId::StatefulSet(membership.id.clone()));
        }
        let deployment = |pod: &PodUse| {
            let name = deployment_of(pod)?.into();
            self.deployments.get_key_value(&DeploymentId { namespace: id.namespace.clone(), name })
        };
        let mut deployments = claim.pods.iter().filter_map(deployment);
        let (found, _) = deployments.find(|(_, deployment)| deployment.claims.contains(&id.name))?;
        Some(WorkloadId::Deployment(found.clone()))
    }

    /// Is the claim one of the workload's, whatever pods there are?
    pub fn is_claim_of(&self, workload: &WorkloadId, id: &ClaimId) -> bool {
        *workload.namespace() == id.namespace
            && match workload {
                WorkloadId::Deployment(deployment) => {
                    self.deployments.get(deployment).is_some_and(|deployment| deployment.claims.contains(&id.name))
                }
                WorkloadId::StatefulSet(set) => {
                    let pods = self.claims.get(id).map_or(&[][..], |claim| &claim.pods);
                    self.membership(id, pods).is_some_and(|membership| membership.id == set)
                }
            }
    }

    /// The claims of the workload that there are, in the order of its templates and of their names.
    pub fn claims_of_workload<'a>(&'a self, workload: &'a WorkloadId) -> Vec<(&'a ClaimId, &'a Claim)> {
        match workload {
            WorkloadId::Deployment(id) => {
                let names = self.deployments.get(id).map_or(&[][..], |deployment| &deployment.claims);
                names.iter().filter_map(|name| self.claims.get_key_value(&workload.claim(name))).collect()
            }
            WorkloadId::StatefulSet(id) => {
                let templates = self.sets.get(id).map_or(&[][..], |set| &set.templates);
                let claims = templates.iter().flat_map(|template| self.claims_of(id, &template.name));
                claims.map(|(_, id, claim)| (id, claim)).collect()
            }
        }
    }
}

/// The Deployment of the ReplicaSet that controls the pod, by the names of both.
pub(crate) fn deployment_of(pod: &PodUse) -> Option<&str> {
    let controller = pod.controller.as_deref()?;
    let is_replica_set = &*controller.kind == "ReplicaSet" && controller.api_version.starts_with("apps/");
    let (deployment, _) = controller.name.rsplit_once('-').filter(|_| is_replica_set)?;
    Some(deployment)
}
