//! To whom a claim belongs: the StatefulSet from whose template it was made, the custom resource whose operator made that
//! or the claim itself, and what applies the manifest of the outermost of them. A change below such an owner may be taken
//! back by it, so whoever decides about a claim can ask. Here is only who there is; what follows from it is for others.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use orlop_api::Bytes;

use crate::maintenance::{InVain, ScaledFrom};
use crate::view::{Claim, ClaimId, NamespaceName, PodUse, Uid, View};

/// An object that others name in their `metadata.ownerReferences`. It is in the namespace of those that name it, or in none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its group and version: `postgresql.cnpg.io/v1`.
    pub api_version: Arc<str>,
    /// Its kind: `Cluster`.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its UID.
    pub uid: Uid,
}

impl Owner {
    /// Is it of the workloads that come with Kubernetes, by its group and version?
    pub(crate) fn comes_with_kubernetes(api_version: &str) -> bool {
        matches!(api_version.split('/').next(), Some("v1" | "apps" | "batch"))
    }
}

/// What applies an object's manifest, again and again, so that a change made elsewhere does not last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Manager {
    /// Helm, by the release of this name. It changes an object only when somebody upgrades the release.
    Helm(Box<str>),
    /// Flux, by the Kustomization of this name.
    FluxKustomization(Box<str>),
    /// Flux, by the HelmRelease of this name.
    FluxHelmRelease(Box<str>),
    /// Argo CD, by the Application of this name.
    ArgoCd(Box<str>),
    /// What the label `app.kubernetes.io/managed-by` names.
    Other(Box<str>),
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helm(release) => write!(f, "Helm release {release}"),
            Self::FluxKustomization(name) => write!(f, "Flux Kustomization {name}"),
            Self::FluxHelmRelease(name) => write!(f, "Flux HelmRelease {name}"),
            Self::ArgoCd(application) => write!(f, "Argo CD Application {application}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// What the metadata of an object says of whom it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Belonging {
    /// The object that controls it, or else the first that owns it. None of a StatefulSet and of a pod: that a claim belongs
    /// to these its name says, and they own it only so that it is deleted with them.
    pub owner: Option<Owner>,
    /// What applies its manifest.
    pub manager: Option<Manager>,
}

/// A StatefulSet's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId {
    /// The StatefulSet's namespace.
    pub namespace: NamespaceName,
    /// The StatefulSet's name.
    pub name: Arc<str>,
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatefulSet {}/{}", self.namespace.0, self.name)
    }
}

/// A StatefulSet, as far as its volumes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatefulSet {
    /// The StatefulSet's UID.
    pub uid: Uid,
    /// To whom it belongs.
    pub belonging: Belonging,
    /// `spec.replicas`.
    pub replicas: u32,
    /// What it was scaled from, where it is scaled to zero so that its volumes can be expanded.
    pub scaled: Option<Box<ScaledFrom>>,
    /// The last time that it was scaled to zero, where that was in vain.
    pub in_vain: Option<Box<InVain>>,
    /// `spec.volumeClaimTemplates`, in their order.
    pub templates: Box<[ClaimTemplate]>,
    /// Are all its pods ready, and is no rollout under way?
    pub settled: bool,
    /// Is it being deleted?
    pub deleting: bool,
    /// When its claims stay.
    pub keeps_claims: KeepsClaims,
    /// Which state of it this is: its `resourceVersion`, where that is a number.
    pub version: Option<u64>,
}

/// When the claims of a StatefulSet stay, by its `persistentVolumeClaimRetentionPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepsClaims {
    /// When it is deleted.
    pub when_deleted: bool,
    /// When their pods are scaled away.
    pub when_scaled: bool,
}

/// As it is where a StatefulSet says nothing of it: always.
impl Default for KeepsClaims {
    fn default() -> Self {
        Self { when_deleted: true, when_scaled: true }
    }
}

/// One of a StatefulSet's `volumeClaimTemplates`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTemplate {
    /// Its name, with which the names of its claims begin.
    pub name: Box<str>,
    /// The size that it asks for; none where it asks for none that can be read.
    pub size: Option<Bytes>,
    /// The StorageClass that it names.
    pub class: Option<Box<str>>,
}

/// A claim's place in a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership<'a> {
    /// The StatefulSet.
    pub id: &'a SetId,
    /// What is known of it.
    pub set: &'a StatefulSet,
    /// Which of its templates the claim is from.
    pub template: usize,
    /// Of which of its pods the claim is.
    pub ordinal: u32,
}

/// An owner in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link<'a> {
    /// Its group and version.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a Uid,
}

impl<'a> From<&'a Owner> for Link<'a> {
    fn from(owner: &'a Owner) -> Self {
        Self { api_version: &owner.api_version, kind: &owner.kind, name: &owner.name, uid: &owner.uid }
    }
}

/// To whom a claim belongs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership<'a> {
    /// Its owners, the outermost first: a custom resource, where there is one, and then the StatefulSet, where there is one.
    pub chain: Vec<Link<'a>>,
    /// The claim's place in that StatefulSet.
    pub set: Option<Membership<'a>>,
    /// What applies the manifest of the outermost of all that say so: of an owner, or of the claim itself.
    pub manager: Option<&'a Manager>,
}

impl Ownership<'_> {
    /// Does the claim belong to nobody, as one that a user has created by hand?
    pub const fn is_none(&self) -> bool {
        self.chain.is_empty() && self.manager.is_none()
    }
}

/// As it stands in a sentence: `StatefulSet db of PostgresCluster hippo, which Flux Kustomization apps applies`.
impl fmt::Display for Ownership<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, link) in self.chain.iter().rev().enumerate() {
            let of = if index == 0 { "" } else { " of " };
            write!(f, "{of}{} {}", link.kind, link.name)?;
        }
        match self.manager {
            Some(manager) if self.chain.is_empty() => write!(f, "a claim that {manager} applies"),
            Some(manager) => write!(f, ", which {manager} applies"),
            None => Ok(()),
        }
    }
}

impl View {
    /// The StatefulSet that a claim is of, by its name `TEMPLATE-SET-ORDINAL`, which is how the StatefulSet itself finds it.
    /// `pods` are the pods that use the claim: where there are any, one of them must be the StatefulSet's.
    pub fn membership(&self, id: &ClaimId, pods: &[PodUse]) -> Option<Membership<'_>> {
        if self.sets.is_empty() {
            return None;
        }
        let (stem, ordinal) = id.name.rsplit_once('-')?;
        // Written as a StatefulSet writes it: `01` is none of its numbers.
        let ordinal: u32 = ordinal.parse().ok().filter(|number: &u32| number.to_string() == ordinal)?;
        let candidates = stem.match_indices('-').filter_map(|(dash, _)| {
            let (template, name) = (&stem[..dash], &stem[dash + 1..]);
            let (id, set) = self.set(&id.namespace, name)?;
            let template = set.templates.iter().position(|it| *it.name == *template)?;
            Some(Membership { id, set, template, ordinal })
        });
        candidates.into_iter().find(|it| pods.is_empty() || pods.iter().any(|pod| it.is_pod(pod)))
    }

    fn set(&self, namespace: &NamespaceName, name: &str) -> Option<(&SetId, &StatefulSet)> {
        self.sets.get_key_value(&SetId { namespace: namespace.clone(), name: name.into() })
    }

    /// To whom the claim belongs.
    pub fn ownership<'a>(&'a self, id: &ClaimId, claim: &'a Claim) -> Ownership<'a> {
        let own = claim.belonging.as_deref();
        let set = self.membership(id, &claim.pods);
        let above = set.as_ref().and_then(|it| it.set.belonging.owner.as_ref());
        let controllers = || claim.pods.iter().filter_map(|pod| pod.controller.as_deref());
        let outermost = above.or_else(|| own?.owner.as_ref()).or_else(|| {
            // A Deployment or a Job only uses the claim. An operator that makes pods itself has made their claims, too.
            controllers().find(|_| set.is_none()).filter(|it| !Owner::comes_with_kubernetes(&it.api_version))
        });
        let set_link = set.as_ref().map(|it| Link {
            api_version: "apps/v1",
            kind: "StatefulSet",
            name: &it.id.name,
            uid: &it.set.uid,
        });
        let managers =
            [set.as_ref().and_then(|it| it.set.belonging.manager.as_ref()), own.and_then(|own| own.manager.as_ref())];
        Ownership {
            chain: outermost.map(Link::from).into_iter().chain(set_link).collect(),
            manager: managers.into_iter().flatten().next(),
            set,
        }
    }

    /// The claims of a StatefulSet by its template of this name, with their numbers, in the order of their names.
    pub fn claims_of<'a>(
        &'a self,
        set: &'a SetId,
        template: &str,
    ) -> impl Iterator<Item = (u32, &'a ClaimId, &'a Claim)> + use<'a> {
        let prefix = format!("{template}-{}-", set.name);
        self.claims_from(&set.namespace, &prefix).filter_map(move |(id, claim)| {
            let membership = self.membership(id, &claim.pods)?;
            let is_its_own = *membership.id == *set && id.name.len() == prefix.len() + digits(membership.ordinal);
            is_its_own.then_some((membership.ordinal, id, claim))
        })
    }
}

impl Membership<'_> {
    /// Is it the pod of the StatefulSet that has the claim?
    pub(crate) fn is_pod(&self, pod: &PodUse) -> bool {
        let number = pod.id.name.strip_prefix(&*self.id.name).and_then(|rest| rest.strip_prefix('-'));
        number.is_some_and(|number| number == self.ordinal.to_string())
    }
}

fn digits(number: u32) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}
