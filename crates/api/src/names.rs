//! Every name that Orlop writes into a cluster: labels, annotations, conditions, reasons. They are an interface, and
//! changing one breaks whoever reads it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name under which Orlop owns the fields that it writes, and reports its Events.
pub const FIELD_MANAGER: &str = "orlop";

/// The local CSI driver's name.
pub const LOCAL_DRIVER: &str = "local.orlop.dev";

/// On a claim: the last growth that Orlop asked for, as JSON (`planner::GrowthRecord`). Written in the same request
/// as the new size, so that neither is ever there without the other.
pub const GROWTH_ANNOTATION: &str = "orlop.dev/growth";

/// On a claim: the last change of its VolumeAttributesClass that Orlop asked for, as JSON (`planner::ClassChange`). Written
/// in the same request as the class, so that neither is ever there without the other.
pub const CLASS_ANNOTATION: &str = "orlop.dev/attributes-class";

/// On a claim: with any value but `false`, nothing is asked for. The value may say why, for whoever reads the report.
pub const PAUSED_ANNOTATION: &str = "orlop.dev/paused";

/// On a StatefulSet or a Deployment: what it was scaled from, as JSON (`planner::maintenance::ScaledFrom`), while it is scaled to
/// zero so that a driver can expand its volumes. Written and taken off by the requests that scale it.
pub const SCALED_ANNOTATION: &str = "orlop.dev/scaled-from";

/// On a StatefulSet or a Deployment: for which claims it was last scaled to zero in vain, as JSON
/// (`planner::maintenance::InVain`). Written by the request that scales it back. While they wait, it is not scaled to zero again
/// for the better part of a day; who has mended the cause takes it off.
pub const IN_VAIN_ANNOTATION: &str = "orlop.dev/stopped-in-vain";

/// On a pod: which size of which claim its kubelet has been told of. Changing a pod's annotation makes its kubelet
/// sync it at once, and so notice a grown volume without waiting for its next periodic sync (a minute by default).
pub const SYNC_ANNOTATION: &str = "orlop.dev/volume-sync";

/// On what Orlop makes: what it is for.
pub const PURPOSE_LABEL: &str = "orlop.dev/purpose";

/// The purpose of a ConfigMap with the manifest of a StatefulSet that is being made anew.
pub const STORED_SET_PURPOSE: &str = "statefulset-template";

/// On such a ConfigMap: the StatefulSet, as `NAMESPACE/NAME`.
pub const STORED_SET_ANNOTATION: &str = "orlop.dev/statefulset";

/// On a StatefulSet: the UID of the ConfigMap with its manifest from which it is not made anew after all.
pub const GIVEN_UP_ANNOTATION: &str = "orlop.dev/template-sync-given-up";

/// On a PersistentVolume of the local driver: since when there has been no Node object of the node that it is on, as a
/// time in RFC 3339.
pub const LOST_ANNOTATION: &str = "orlop.dev/node-lost-since";

/// The ConfigMap, in the namespace of the operator, in which the leader publishes where the agents find it.
pub const AGENTS_CONFIG_MAP: &str = "orlop-agents";

/// In that ConfigMap: the address and port that the leader listens on.
pub const AGENTS_ENDPOINT_KEY: &str = "endpoint";

/// In that ConfigMap: the certificate by which the agents know the leader, PEM.
pub const AGENTS_CERTIFICATE_KEY: &str = "ca.crt";

/// The name that the leader's certificate is for, whatever its address.
pub const OPERATOR_TLS_NAME: &str = "orlop-operator";

/// The audience of the tokens that agents authenticate with: a token for anything else is refused.
pub const OPERATOR_AUDIENCE: &str = "orlop.dev/operator";

/// The conditions in the status of a policy or a budget.
pub mod condition {
    /// Is the policy or the budget valid and in force?
    pub const READY: &str = "Ready";
    /// Does every selected claim keep what the policy promises? Has the budget room for growth?
    pub const HEALTHY: &str = "Healthy";
}

/// How a budget stands: the reason of its condition `Healthy`, and of the Event when that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetReason {
    /// Claims wait for room.
    Exhausted,
    /// More is used than a limit allows.
    Exceeded,
    /// Little is left of what claims may use that are not about to be full.
    NearlyUsedUp,
    /// There is a limit for the cost, and claims whose price is not known.
    PriceUnknown,
    /// There is room.
    WithinLimits,
}

/// The name as it stands in an Event or a condition.
impl fmt::Display for BudgetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a claim is grown, or is not: the reason of the decision, of the Event, and of the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    // Nothing to do.
    /// There is enough room.
    EnoughRoom,
    /// The policy's mode is Off, or it has no capacity section.
    Off,
    /// The claim's annotation `orlop.dev/paused` says that nothing is to be asked for.
    Paused,
    // Growth is called for.
    /// Fewer bytes are free than `minFree`.
    BelowMinFree,
    /// Fewer inodes are free than `minFreeInodes`.
    BelowMinFreeInodes,
    /// At the present rate the volume is full within `timeToFull`.
    FillsTooSoon,
    /// As it rises from day to day the volume is full within `horizon`.
    FullWithinHorizon,
    /// Another claim of its group, by the policy's `groupBy`, requests more.
    GroupGrowth,
    // A growth is under way.
    /// The driver or the kubelet has not yet carried out the growth that was asked for.
    Growing,
    /// A measurement is due shortly: the claim has its new size and none shows it yet, or a pod has just been given it.
    AwaitingMeasurement,
    /// The driver refused a growth, and a smaller one is asked for in its place.
    GrowthReduced,
    /// Growth is called for, and it is being found out by whose field: a matter of seconds, a minute at most.
    AwaitingOwner,
    /// A growth that was asked for has been under way for too long.
    GrowthOverdue,
    /// The driver refused the growth.
    GrowthFailed,
    /// The claim's owner has asked for the size for too long, and its operator has not passed it on.
    OwnerNotFollowing,
    // Growth is called for and cannot be.
    /// The claim has the policy's maximum size.
    AtMaximum,
    /// The claim's StorageClass does not allow expansion, or it has none.
    NotExpandable,
    /// The driver cannot expand volumes.
    DriverCannotExpand,
    /// The driver expands only volumes that are not in use.
    OfflineOnly,
    /// The driver expands only volumes that are not in use, and the policy's next maintenance window is awaited.
    AwaitingMaintenance,
    /// The driver allows no further modification of the volume yet.
    NoModificationSlot,
    /// A budget has too little left.
    OverBudget,
    /// The claim's size is written in its owner, where it is not for Orlop to write.
    OwnedElsewhere,
    // Nothing can be decided.
    /// Several policies of the same kind select the claim.
    PolicyConflict,
    /// The claim is not bound to a volume, or is being deleted.
    NotBound,
    /// A raw block volume: no filesystem whose fill could be measured.
    RawBlock,
    /// No running pod uses the claim: nothing fills the volume, and nothing can measure it.
    NotInUse,
    /// No measurement of the volume has been received.
    NoMeasurement,
    /// The latest measurement is too old.
    StaleMeasurement,
    /// The measurement contradicts itself or the claim.
    ContradictoryMeasurement,
}

impl Reason {
    /// Must somebody look at it? True for what keeps a policy from being healthy.
    pub const fn is_problem(self) -> bool {
        match self {
            Self::EnoughRoom
            | Self::Off
            | Self::Paused
            | Self::BelowMinFree
            | Self::BelowMinFreeInodes
            | Self::FillsTooSoon
            | Self::FullWithinHorizon
            | Self::GroupGrowth
            | Self::Growing
            | Self::GrowthReduced
            | Self::AwaitingMeasurement
            | Self::AwaitingOwner
            | Self::NotBound
            | Self::RawBlock
            | Self::NotInUse => false,
            Self::GrowthOverdue
            | Self::GrowthFailed
            | Self::OwnerNotFollowing
            | Self::AtMaximum
            | Self::NotExpandable
            | Self::DriverCannotExpand
            | Self::OfflineOnly
            | Self::AwaitingMaintenance
            | Self::NoModificationSlot
            | Self::OverBudget
            | Self::OwnedElsewhere
            | Self::PolicyConflict
            | Self::NoMeasurement
            | Self::StaleMeasurement
            | Self::ContradictoryMeasurement => true,
        }
    }
}

/// The name as it stands in an Event or a condition: `BelowMinFree`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a claim gets another VolumeAttributesClass, or does not: the reason of the decision, of the Event, and of the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PerformanceReason {
    // Nothing to do.
    /// The class is neither too slow nor too fast.
    Adequate,
    /// The claim's annotation `orlop.dev/paused` says that nothing is to be asked for.
    ClassPaused,
    /// The claim's class is none of those that the policy names.
    ClassNotListed,
    /// No pod uses the claim: there is no I/O that could be measured.
    Unused,
    // Another class is called for.
    /// The volume does nearly all that its class gives.
    Saturated,
    /// The volume does little of what the next slower class gives.
    Idle,
    // A change is under way.
    /// The driver has not yet carried out the change of class that was asked for.
    Modifying,
    /// The driver refused a class, and the class that the volume has is asked for in its place.
    ClassTakenBack,
    /// The claim is growing: its class is decided about when that is done.
    AwaitingGrowth,
    /// The volume's I/O has been asked for, and the first measurement is due.
    AwaitingLoad,
    // Another class is called for and cannot be.
    /// The volume is saturated, and the policy names no faster class.
    FastestClass,
    /// The driver allows no further modification of the volume yet, or only the one that is kept for growth.
    NoSlotForClass,
    /// A budget has too few IOPS left.
    OverIopsBudget,
    /// The driver or the API server refused the class.
    ClassRefused,
    /// A change of class that was asked for has been under way for too long.
    ModificationOverdue,
    // Nothing can be decided.
    /// It is not known what a class gives: there is none of that name, it is another driver's, or says nothing that the
    /// driver's profile knows.
    ClassUnknown,
    /// No I/O of the volume has been measured lately.
    NoLoad,
}

impl PerformanceReason {
    /// Must somebody look at it? True for what keeps a policy from being healthy.
    pub const fn is_problem(self) -> bool {
        match self {
            Self::Adequate
            | Self::ClassPaused
            | Self::ClassNotListed
            | Self::Unused
            | Self::Saturated
            | Self::Idle
            | Self::Modifying
            | Self::ClassTakenBack
            | Self::AwaitingGrowth
            | Self::AwaitingLoad => false,
            Self::FastestClass
            | Self::NoSlotForClass
            | Self::OverIopsBudget
            | Self::ClassRefused
            | Self::ModificationOverdue
            | Self::ClassUnknown
            | Self::NoLoad => true,
        }
    }
}

/// The name as it stands in an Event or a condition: `Saturated`.
impl fmt::Display for PerformanceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
