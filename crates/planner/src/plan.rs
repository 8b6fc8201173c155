//! What is to be done. An action leaves whoever applies it no choice: it names its object by UID, the state that it
//! expects, and the state that it leaves, and doing it twice is doing it once.

use std::fmt;

use orlop_api::{Bytes, owner::Field};

use crate::{
    maintenance::{InVain, ScaledFrom},
    performance::ClassChange,
    resources::ResourceId,
    view::{ClaimId, GrowthRecord, PodId, Uid},
    workload::WorkloadId,
};

/// The actions, in the order of their claims; those of one claim in the order in which they are to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The actions.
    pub actions: Vec<Action>,
}

/// One request to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Request a larger size for a claim, and write the record of it, in one request; only where the claim still has
    /// this UID, still requests `record.from`, and its growth annotation still is `previous`.
    Grow {
        /// The claim.
        claim: ClaimId,
        /// The claim's UID.
        uid: Uid,
        /// The growth annotation as it was observed.
        previous: Option<GrowthRecord>,
        /// What is written; `record.to` is the new size.
        record: GrowthRecord,
    },
    /// Write on a claim that it is to become larger by way of its owner, or that its owner was seen to ask for that; only
    /// where the claim still has this UID and `previous`, and requests `record.from`.
    RecordGrowth {
        /// The claim.
        claim: ClaimId,
        /// The claim's UID.
        uid: Uid,
        /// The growth annotation as it was observed.
        previous: Option<GrowthRecord>,
        /// What is written; `record.to` is what the owner is to ask for.
        record: GrowthRecord,
    },
    /// Write the size of a claim, and of all whose size is in the same field, into its owner; only where the owner still has
    /// this UID, and the field is where it was and has the size that it had. The growth is on record on the claim.
    WriteOwner {
        /// The claim.
        claim: ClaimId,
        /// The claim's UID.
        uid: Uid,
        /// The owner.
        owner: ResourceId,
        /// The owner's UID.
        owner_uid: Uid,
        /// The field as it was observed.
        field: Field,
        /// The size that is written.
        to: Bytes,
    },
    /// Lower a request that the driver has refused, and write the record of it, in one request; only where the claim still
    /// has this UID, requests `previous.to`, has `previous` as its growth annotation, and its resize still is infeasible.
    TakeBack {
        /// The claim.
        claim: ClaimId,
        /// The claim's UID.
        uid: Uid,
        /// The growth annotation as it was observed.
        previous: GrowthRecord,
        /// What is written; `record.to` is the smaller size, above what the claim and its volume have.
        record: GrowthRecord,
    },
    /// Write on a claim that its last growth has become usable; only where it still has this UID and `previous`.
    RecordUsable {
        /// The claim.
        claim: ClaimId,
        /// The claim's UID.
        uid: Uid,
        /// The growth annotation as it was observed.
        previous: GrowthRecord,
        /// The same with `usable` set.
        record: GrowthRecord,
    },
    /// Request another VolumeAttributesClass for a claim, and write the record of it, in one request; only where the claim
    /// still has this UID, still requests `record.from`, and its annotations of both kinds still are as they were observed.
    SetClass {
        /// The claim.
        claim: ClaimId,
        /// The claim's UID.
        uid: Uid,
        /// The annotation as it was observed.
        previous: Option<ClassChange>,
        /// What is written; `record.to` is the new class.
        record: ClassChange,
    },
    /// Set a pod's `orlop.dev/volume-sync` annotation, so that its kubelet notices a grown volume at once; only where
    /// the pod still has this UID.
    SyncPod {
        /// The claim whose volume has grown.
        claim: ClaimId,
        /// The pod.
        pod: PodId,
        /// The pod's UID.
        uid: Uid,
        /// The annotation's new value.
        value: String,
    },
    /// Scale a workload to zero, and write on it what it had, in one request; only where it is still as it was observed.
    ScaleToZero {
        /// The claim that is to be expanded.
        claim: ClaimId,
        /// The workload whose pods use it.
        workload: WorkloadId,
        /// The workload's UID.
        uid: Uid,
        /// What is written.
        scaled: ScaledFrom,
    },
    /// Scale a workload back that was scaled to zero, take off what was written then, and write what came of it, in one request;
    /// only where it is still as it was observed. One that somebody has scaled meanwhile keeps its replicas.
    ScaleBack {
        /// The claim for which it was scaled; it may be gone.
        claim: ClaimId,
        /// The workload.
        workload: WorkloadId,
        /// The workload's UID.
        uid: Uid,
        /// What is written on it.
        scaled: ScaledFrom,
        /// The replicas that it has now.
        replicas: u32,
        /// What is written on it instead, where volumes of it have not been expanded.
        in_vain: Option<InVain>,
    },
}

impl Action {
    /// The claim that the action is for.
    pub const fn claim(&self) -> &ClaimId {
        match self {
            Self::Grow { claim, .. }
            | Self::RecordGrowth { claim, .. }
            | Self::WriteOwner { claim, .. }
            | Self::TakeBack { claim, .. }
            | Self::RecordUsable { claim, .. }
            | Self::SetClass { claim, .. }
            | Self::SyncPod { claim, .. }
            | Self::ScaleToZero { claim, .. }
            | Self::ScaleBack { claim, .. } => claim,
        }
    }

    /// The size that the action requests, where it requests one.
    pub fn requests(&self) -> Option<Bytes> {
        match self {
            Self::Grow { record, .. } | Self::TakeBack { record, .. } => Some(record.to),
            Self::WriteOwner { to, .. } => Some(*to),
            Self::RecordGrowth { record, .. } => {
                record.owner.as_ref().filter(|by| by.written.is_none()).map(|_| record.to)
            }
            Self::RecordUsable { .. }
            | Self::SetClass { .. }
            | Self::SyncPod { .. }
            | Self::ScaleToZero { .. }
            | Self::ScaleBack { .. } => None,
        }
    }

    /// The change of VolumeAttributesClass that the action asks for, where it asks for one.
    pub const fn sets_class(&self) -> Option<&ClassChange> {
        match self {
            Self::SetClass { record, .. } => Some(record),
            Self::Grow { .. }
            | Self::RecordGrowth { .. }
            | Self::WriteOwner { .. }
            | Self::TakeBack { .. }
            | Self::RecordUsable { .. }
            | Self::SyncPod { .. }
            | Self::ScaleToZero { .. }
            | Self::ScaleBack { .. } => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grow { claim, record, .. } => {
                write!(f, "grow claim {claim} from {} to {} ({})", record.from, record.to, record.reason)
            }
            Self::RecordGrowth { claim, record, .. } => {
                write!(
                    f,
                    "record that claim {claim} is to grow to {} by way of its owner ({})",
                    record.to, record.reason
                )
            }
            Self::WriteOwner { claim, owner, field, to, .. } => {
                write!(f, "set {} of {owner} from {} to {to} for claim {claim}", field.path, field.size)
            }
            Self::TakeBack { claim, previous, record, .. } => {
                write!(f, "ask {} for claim {claim} in place of {}, which its driver refused", record.to, previous.to)
            }
            Self::RecordUsable { claim, record, .. } => {
                write!(f, "record that the growth of claim {claim} to {} is usable", record.to)
            }
            Self::SetClass { claim, record, .. } => {
                let (from, to) = (record.before_in_words(), record.after_in_words());
                write!(f, "give claim {claim} {to} in place of {from} ({})", record.reason)
            }
            Self::SyncPod { claim, pod, .. } => {
                write!(f, "touch pod {}/{}, which uses claim {claim}", pod.namespace.0, pod.name)
            }
            Self::ScaleToZero { claim, workload, scaled, .. } => {
                write!(
                    f,
                    "scale {workload} from {} to 0, so that the volume of claim {claim} can be expanded",
                    scaled.replicas
                )
            }
            Self::ScaleBack { workload, scaled, replicas, in_vain, .. } => {
                match replicas {
                    0 => write!(f, "scale {workload} back to {}", scaled.replicas)?,
                    _ => write!(f, "leave {workload} at {replicas}, to which somebody has scaled it")?,
                }
                match in_vain {
                    Some(in_vain) => write!(f, "; the driver has not expanded {}", in_vain.in_words()),
                    None => Ok(()),
                }
            }
        }
    }
}
