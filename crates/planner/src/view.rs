//! What is observed, as plain data. Whoever fills a view leaves out what it does not know: nothing here stands for
//! "unknown" by a zero.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use jiff::Timestamp;
use orlop_api::{
    Abilities, Bytes, CapacitySpec, Count, DriverProfileSpec, Mode, PerformanceSpec,
    driver::{built_in, profile_name},
};
use serde::{Deserialize, Serialize};

use crate::{
    budget::Budgets,
    claims::Claims,
    forecast::Outlook,
    groups::Groups,
    labels::Labels,
    maintenance::Windows,
    owner::{Belonging, Owner, SetId, StatefulSet},
    performance::{AttributesClass, ClassUse, Load, LoadWatch},
    resources::Resources,
    template::StoredSet,
    workload::{Deployment, DeploymentId, WorkloadId},
};

/// Everything that a decision may depend on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Every PersistentVolumeClaim.
    pub claims: Claims,
    /// The policies of both kinds.
    pub policies: BTreeMap<PolicyId, Policy>,
    /// The labels of each namespace.
    pub namespaces: BTreeMap<NamespaceName, Labels>,
    /// Each StorageClass by its name.
    pub classes: BTreeMap<String, Class>,
    /// Each VolumeAttributesClass by its name.
    pub attributes_classes: BTreeMap<String, AttributesClass>,
    /// Profiles that override the built-in ones, by their names.
    pub drivers: BTreeMap<String, DriverProfileSpec>,
    /// Which claims are to stay equal, by [`View::regroup`]: whoever fills a view by hand calls that for all its claims.
    pub groups: Groups,
    /// The budgets, with what their claims have.
    pub budgets: Budgets,
    /// Every StatefulSet.
    pub sets: BTreeMap<SetId, StatefulSet>,
    /// The Deployments whose templates name claims; none where workloads may not be scaled.
    pub deployments: BTreeMap<DeploymentId, Deployment>,
    /// Which workloads are scaled to zero, by the claim for which they are.
    pub scaled: BTreeMap<ClaimId, BTreeSet<WorkloadId>>,
    /// Which workloads a HorizontalPodAutoscaler scales, with its name.
    pub autoscalers: BTreeMap<WorkloadId, Box<str>>,
    /// What is stored of StatefulSets that are being made anew.
    pub stored: BTreeMap<SetId, StoredSet>,
    /// What the operator's rights let it do to workloads.
    pub allowed: Allowed,
    /// The custom resources whose operators make claims.
    pub resources: Resources,
}

/// What the operator's rights let it do to workloads: nothing, where nobody has said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Scale StatefulSets and Deployments to zero and back, in the windows that policies name.
    pub scaling: bool,
    /// Make StatefulSets anew; without it, only what should be done is said.
    pub template_sync: bool,
}

impl View {
    /// What the driver can do: by its profile object, or else by what is built in.
    pub(crate) fn driver_profile(&self, driver: &str) -> &DriverProfileSpec {
        self.drivers.get(&*profile_name(driver)).unwrap_or_else(|| built_in::of(driver))
    }

    /// The claims of a namespace, in the order of their names.
    pub fn claims_in<'a>(
        &'a self,
        namespace: &NamespaceName,
    ) -> impl Iterator<Item = (&'a ClaimId, &'a Claim)> + use<'a> {
        self.claims_from(namespace, "")
    }

    /// The claims of a namespace whose names begin so, in their order.
    pub(crate) fn claims_from<'a>(
        &'a self,
        namespace: &NamespaceName,
        prefix: &str,
    ) -> impl Iterator<Item = (&'a ClaimId, &'a Claim)> + use<'a> {
        let (namespace, prefix) = (namespace.clone(), prefix.to_owned());
        let first = ClaimId { namespace: namespace.clone(), name: prefix.as_str().into() };
        let of_these = move |id: &ClaimId| id.namespace == namespace && id.name.starts_with(&prefix);
        self.claims.range(first..).take_while(move |(id, _)| of_these(id))
    }

    /// The claim's StorageClass, where it has one that is there.
    pub fn class_of(&self, claim: &Claim) -> Option<&Class> {
        self.classes.get(claim.class.as_deref()?)
    }

    /// The claim's driver: its volume's, or else its class's.
    pub fn driver_of<'a>(&'a self, claim: &'a Claim) -> Option<&'a str> {
        claim.driver.as_deref().or_else(|| Some(&*self.class_of(claim)?.provisioner))
    }

    /// What can be done with the claim's volume; none where its class is not there, which says of what kind it is.
    pub fn abilities(&self, claim: &Claim) -> Option<Abilities<'_>> {
        let parameters = &self.class_of(claim)?.parameters;
        Some(self.driver_profile(self.driver_of(claim)?).abilities(parameters))
    }
}

/// An object's UID: what makes it this object and not a later one of the same name.
///
/// This and every name below is shared and not copied: a large cluster has many, and each is kept in several places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub Arc<str>);

/// A namespace's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceName(pub Arc<str>);

/// A claim's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId {
    /// The claim's namespace.
    pub namespace: NamespaceName,
    /// The claim's name.
    pub name: Arc<str>,
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace.0, self.name)
    }
}

/// A pod's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// The pod's namespace.
    pub namespace: NamespaceName,
    /// The pod's name.
    pub name: Arc<str>,
}

/// Which of the two kinds a policy is. The namespaced kind wins over the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `StoragePolicy`, for the claims of this namespace.
    Namespaced(NamespaceName),
    /// `ClusterStoragePolicy`.
    Cluster,
}

/// A policy's kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// The policy's kind, and its namespace where it has one.
    pub kind: PolicyKind,
    /// The policy's name.
    pub name: Arc<str>,
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            PolicyKind::Namespaced(namespace) => write!(f, "StoragePolicy {}/{}", namespace.0, self.name),
            PolicyKind::Cluster => write!(f, "ClusterStoragePolicy {}", self.name),
        }
    }
}

/// A policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What may be done about a decision.
    pub mode: Mode,
    /// The namespaces it is for; ignored for the namespaced kind.
    pub namespaces: Selector,
    /// The claims it is for.
    pub claims: Selector,
    /// How full the claims may get. Without it the policy says nothing about capacity.
    pub capacity: Option<CapacitySpec>,
    /// Between which VolumeAttributesClasses the claims move. Without it the policy says nothing about performance.
    pub performance: Option<PerformanceSpec>,
    /// When pods may be stopped, as the capacity section has it.
    pub maintenance: Option<Arc<Windows>>,
}

/// A label selector, every requirement of which must hold; without any it selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(pub Vec<Requirement>);

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there with one of these values.
    In(String, Vec<String>),
    /// The label is not there, or with none of these values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

/// A StorageClass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// `provisioner`: the CSI driver's name.
    pub provisioner: String,
    /// `allowVolumeExpansion`.
    pub expandable: bool,
    /// `parameters`, by which the driver makes one kind of volume or another.
    pub parameters: BTreeMap<String, String>,
}

/// A PersistentVolumeClaim with its volume, the pods that use it, and how full it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The claim's UID.
    pub uid: Uid,
    /// The claim's labels, for selectors.
    pub labels: Labels,
    /// What its own metadata says of whom it belongs to, where that says anything. [`View::ownership`] has the whole chain.
    pub belonging: Option<Arc<Belonging>>,
    /// The name of its StorageClass, where it has one.
    pub class: Option<Arc<str>>,
    /// The driver of its bound PersistentVolume, where that is a CSI volume.
    pub driver: Option<Arc<str>>,
    /// Bound to a volume, and not being deleted?
    pub bound: bool,
    /// `volumeMode: Block`: there is no filesystem to measure.
    pub raw_block: bool,
    /// `spec.resources.requests.storage`.
    pub requested: Bytes,
    /// `status.capacity.storage`: what the claim has, as its kubelet last said.
    pub capacity: Bytes,
    /// The PersistentVolume's `spec.capacity.storage`: what the driver's controller has made it.
    pub volume_capacity: Bytes,
    /// How a resize stands.
    pub resize: Resize,
    /// The value of its `orlop.dev/paused` annotation, where that keeps Orlop from asking for anything: why, or `true`.
    pub paused: Option<Box<str>>,
    /// The last growth that Orlop asked for, from the claim's annotation.
    pub growth: Option<Box<GrowthRecord>>,
    /// The running pods that use the claim.
    pub pods: Vec<PodUse>,
    /// The latest measurement.
    pub usage: Option<Usage>,
    /// What was measured when the claim's capacity was last seen to grow.
    pub outgrown: Option<Outgrown>,
    /// Its VolumeAttributesClass; none where it has none and never had one.
    pub attributes: Option<Box<ClassUse>>,
    /// What I/O the volume does, where that is asked for.
    pub load: Option<Box<Load>>,
    /// How its volume will fill over days; none where no policy with a horizon governs it, or it was never measured.
    pub outlook: Option<Box<Outlook>>,
}

/// What a volume was measured to be just before it was seen to grow: a measurement that says the same need not be newer
/// than the growth, whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgrown {
    /// The filesystem's total bytes.
    pub total: Bytes,
    /// A measurement of the same total that is dated before this, by the source's own clock, may be from before.
    pub until: Timestamp,
}

/// How a resize stands, from the claim's `status.allocatedResourceStatuses` and conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resize {
    /// Nothing is reported.
    #[default]
    Idle,
    /// The driver's controller is at it.
    Controller,
    /// The kubelet is to do its part, or is at it.
    Node,
    /// The driver's controller refused for good the size that is requested now; the text is the driver's.
    Infeasible(String),
    /// The driver's controller has grown the volume, and its node plugin refuses for good to grow the filesystem.
    NodeInfeasible(String),
}

/// What is written on a claim, in the same request as its new size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrowthRecord {
    /// The size that was requested before.
    pub from: Bytes,
    /// The size that was requested then, or after the driver had refused that, in its place.
    pub to: Bytes,
    /// The filesystem's total bytes by the measurement that led to the decision: a later measurement that is no
    /// larger does not show the growth yet.
    pub filesystem: Bytes,
    /// When the threshold was seen to be crossed.
    pub crossed: Timestamp,
    /// When this size was decided: much later than `crossed` where something had stood in its way.
    pub decided: Timestamp,
    /// Why, as in the report.
    pub reason: orlop_api::names::Reason,
    /// When the growths before this one were decided that took a modification slot of the driver still at that time, the
    /// oldest first; fewer than the driver has slots, and none where its profile does not limit modifications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Timestamp>,
    /// The larger sizes that the driver has refused of this growth, the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Bytes>,
    /// When a measurement first showed the new bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable: Option<Timestamp>,
    /// By whose field the claim is to become larger, where that is how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerGrowth>,
}

/// The field of a claim's owner by which the claim is to become larger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerGrowth {
    /// The owner's UID.
    pub uid: String,
    /// The path of the field.
    pub field: String,
    /// When the field was first seen to have the size. Before that it may not have been written; after it, it is not
    /// written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Timestamp>,
}

/// A pod that uses a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodUse {
    /// The pod's namespace and name.
    pub id: PodId,
    /// The pod's UID.
    pub uid: Uid,
    /// When the pod was created; none once it is being deleted, when its volumes may be unmounted at any moment and a
    /// measurement is no longer to be expected.
    pub since: Option<Timestamp>,
    /// The value of its `orlop.dev/volume-sync` annotation.
    pub synced: Option<String>,
    /// What controls the pod, where that is no StatefulSet: that it is of one, its name says.
    pub controller: Option<Arc<Owner>>,
}

/// Where a measurement comes from, the most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The node agent's statvfs.
    Agent,
    /// The kubelet's summary.
    Kubelet,
    /// What Prometheus has read from the kubelet. It is dated when it was read, and the kubelet measures once a minute.
    Prometheus,
}

impl Source {
    /// The name, as in metrics and documents: `agent`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Kubelet => "kubelet",
            Self::Prometheus => "prometheus",
        }
    }
}

/// A measurement of a filesystem.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// When it was measured, or was last confirmed to be as it was.
    pub at: Timestamp,
    /// Where it comes from.
    pub source: Source,
    /// All bytes of the filesystem.
    pub total: Bytes,
    /// The bytes that an unprivileged writer may still write.
    pub available: Bytes,
    /// All inodes; none for a filesystem that does not count them.
    pub inodes: Option<Capacity<Count>>,
    /// How fast the available bytes shrink, bytes a second; zero where they do not.
    pub fill_bytes_per_second: u64,
    /// When a watched threshold was crossed, where the source saw it.
    pub crossed: Option<Timestamp>,
}

impl Usage {
    /// The inodes of a filesystem that counts them. One that makes them as they are needed may also say that it has
    /// none at all, which is not a shortage.
    pub fn counted_inodes(&self) -> Option<Capacity<Count>> {
        self.inodes.filter(|inodes| inodes.total > Count(0))
    }
}

/// Of how many, how many are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity<T> {
    /// All of them.
    pub total: T,
    /// The free ones.
    pub free: T,
}

/// Which policy governs a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Governance {
    /// None selects it.
    None,
    /// This one does.
    By(PolicyId),
    /// These do, all of one kind: none of them is applied.
    Conflict(Vec<PolicyId>),
}

/// What a source of measurements should report at once for a claim's volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Fewer available bytes than this.
    pub available_below: Bytes,
    /// Fewer free inodes than this.
    pub free_inodes_below: Count,
    /// Full sooner than this many seconds at the present rate.
    pub seconds_to_full_below: u64,
    /// What of the volume's I/O is asked for; none where nothing is.
    pub load: Option<Arc<LoadWatch>>,
}

impl Watch {
    /// Is the measurement one to be reported at once?
    pub fn is_crossed_by(&self, usage: &Usage) -> bool {
        let filled = u128::from(usage.fill_bytes_per_second) * u128::from(self.seconds_to_full_below);
        usage.available < self.available_below
            || usage.counted_inodes().is_some_and(|inodes| inodes.free < self.free_inodes_below)
            || u128::from(usage.available.0) < filled
    }
}
