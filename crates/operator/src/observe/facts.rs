//! What the watches tell the observer of each object: plain data, converted where the object was read, so that the
//! rest of an object is never kept.

use std::sync::Arc;

use jiff::Timestamp;
use orlop_api::{Bytes, DriverProfileSpec, OwnerProfileSpec, PolicyStatus, StorageBudgetStatus};
use orlop_planner::{
    AttributesClass, Belonging, Budget, BudgetName, ClaimId, Class, ClassUse, Deployment, DeploymentId, GrowthRecord,
    Labels, NamespaceName, Owner, OwnerKind, PodId, Policy, PolicyId, Resize, Resource, ResourceId, SetId, StatefulSet,
    StoredSet, Uid, WorkloadId,
};

/// News of the objects of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<K, T> {
    /// A list begins: what it has not named when it is complete is gone.
    ListBegins,
    /// The object is as said.
    Is(K, T),
    /// The object is gone, is none of those that matter, or cannot be read. What cannot be read is not known, and
    /// what is not known is never acted on.
    Gone(K),
    /// The list that began is complete.
    ListComplete,
}

/// News of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A PersistentVolumeClaim.
    Claim(Change<ClaimId, ClaimFacts>),
    /// A PersistentVolume.
    Volume(Change<Arc<str>, VolumeFacts>),
    /// A pod that uses claims.
    Pod(Change<PodId, PodFacts>),
    /// The labels of a namespace.
    Namespace(Change<NamespaceName, Labels>),
    /// A StorageClass.
    Class(Change<String, Class>),
    /// A VolumeAttributesClass.
    AttributesClass(Change<String, AttributesClass>),
    /// A StoragePolicy.
    Policy(Change<PolicyId, PolicyFacts>),
    /// A ClusterStoragePolicy.
    ClusterPolicy(Change<PolicyId, PolicyFacts>),
    /// A StorageBudget.
    Budget(Change<BudgetName, BudgetFacts>),
    /// A DriverProfile.
    Driver(Change<String, DriverProfileSpec>),
    /// A StatefulSet.
    Set(Change<SetId, StatefulSet>),
    /// A Deployment whose template names claims.
    Deployment(Change<DeploymentId, Deployment>),
    /// A HorizontalPodAutoscaler, by its namespace and name, with the workload that it scales.
    Autoscaler(Change<SetId, WorkloadId>),
    /// What is stored of a StatefulSet that is being made anew.
    Stored(Change<SetId, StoredSet>),
    /// A kind of custom resource of which there is an OwnerProfile, by the name of its definition. The first list says of each
    /// whether the cluster has it.
    OwnerKind(Change<String, OwnerKind>),
    /// An OwnerProfile that overrides what is built in.
    OwnerProfile(Change<String, Arc<OwnerProfileSpec>>),
    /// A custom resource of such a kind, which is named by its definition.
    Resource(Arc<str>, Change<ResourceId, ResourceFacts>),
    /// A node.
    Node(Change<String, ()>),
}

/// An object's `resourceVersion` as a number: of two states of one object the newer has the higher. None where it
/// cannot be read as one; such a state is taken as it comes.
pub type Version = Option<u64>;

/// What matters of a PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimFacts {
    /// The claim's UID.
    pub uid: Uid,
    /// Which state of the claim this is.
    pub version: Version,
    /// The claim's labels.
    pub labels: Labels,
    /// To whom it belongs by its own metadata, where that says anything.
    pub belonging: Option<Arc<Belonging>>,
    /// Its StorageClass.
    pub class: Option<Arc<str>>,
    /// The volume that it is bound to, where it is bound and not being deleted.
    pub volume: Option<Arc<str>>,
    /// `volumeMode: Block`.
    pub raw_block: bool,
    /// `spec.resources.requests.storage`.
    pub requested: Bytes,
    /// `status.capacity.storage`; none before it is bound.
    pub capacity: Option<Bytes>,
    /// How a resize stands.
    pub resize: Resize,
    /// The value of its `orlop.dev/paused` annotation, unless that is `false`.
    pub paused: Option<Box<str>>,
    /// The growth annotation; none where there is none, or one that does not parse.
    pub growth: Option<Box<GrowthRecord>>,
    /// Its VolumeAttributesClass; none where it has none, never had one, and none was asked for.
    pub attributes: Option<Box<ClassUse>>,
    /// What a patch's preconditions have to repeat.
    pub spelling: Spelling,
}

/// A claim's fields to the letter. A quantity can be written in many ways, and a JSON patch compares texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling {
    /// `spec.resources.requests.storage`.
    pub requested: Box<str>,
    /// The growth annotation.
    pub growth: Option<Box<str>>,
    /// The `orlop.dev/paused` annotation.
    pub paused: Option<Box<str>>,
    /// `spec.volumeAttributesClassName`.
    pub class: Option<Box<str>>,
    /// The annotation of the last change of class.
    pub change: Option<Box<str>>,
    /// Does the claim have any annotation?
    pub annotated: bool,
}

/// What matters of a PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFacts {
    /// `spec.capacity.storage`.
    pub capacity: Bytes,
    /// The CSI driver.
    pub driver: Option<Arc<str>>,
    /// `spec.csi.volumeHandle`, where it is not the volume's own name, as it is with many drivers.
    pub handle: Option<Box<str>>,
    /// The claim that it is bound to. Both must name each other: a claim alone can name any volume.
    pub claim: Option<(ClaimId, Uid)>,
}

/// What matters of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// The pod's UID.
    pub uid: Uid,
    /// Which state of the pod this is.
    pub version: Version,
    /// When it was created; none once it is being deleted.
    pub since: Option<Timestamp>,
    /// The value of its `orlop.dev/volume-sync` annotation.
    pub synced: Option<String>,
    /// What controls it, where that is no StatefulSet.
    pub controller: Option<Arc<Owner>>,
    /// The names of the claims that it uses, in its namespace.
    pub claims: Vec<Arc<str>>,
}

/// What matters of a custom resource.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceFacts {
    /// Which state of the object this is.
    pub version: Version,
    /// What is kept of it.
    pub resource: Resource,
}

/// What matters of a policy of either kind.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFacts {
    /// The policy's UID.
    pub uid: Uid,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// The policy, or why it cannot be read, in a sentence for its author.
    pub policy: Result<Policy, String>,
    /// Its status as it is.
    pub status: Option<PolicyStatus>,
}

/// What matters of a budget.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetFacts {
    /// The budget's UID.
    pub uid: Uid,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// The budget, or why it cannot be read, in a sentence for its author.
    pub budget: Result<Budget, String>,
    /// Its status as it is.
    pub status: Option<StorageBudgetStatus>,
}
