//! What users do.

use orlop_api::{Bytes, Period};
use serde::{Deserialize, Serialize};

use super::{Budget, Policy};
use crate::io::Demand;

/// Something that a user does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When.
    pub at: Period,
    /// What.
    #[serde(flatten)]
    pub what: Deed,
}

/// What users do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    /// Request another size for a claim.
    Request {
        /// The claim.
        claim: String,
        /// The size.
        size: Bytes,
    },
    /// Delete a claim with its pod and volume, and make another of the same name and size.
    Recreate {
        /// The claim.
        claim: String,
    },
    /// Stop the pod of a claim.
    Stop {
        /// The claim.
        claim: String,
    },
    /// Start the pod of a claim again, on this node.
    Start {
        /// The claim.
        claim: String,
        /// The node.
        node: usize,
    },
    /// Keep Orlop from changing a claim, by its annotation.
    Pause {
        /// The claim.
        claim: String,
        /// Why.
        why: String,
    },
    /// Take that annotation away again.
    Resume {
        /// The claim.
        claim: String,
    },
    /// Replace a policy's spec.
    Policy {
        /// The policy.
        name: String,
        /// Its spec.
        spec: Policy,
    },
    /// Replace a budget's spec.
    Budget {
        /// The budget.
        name: String,
        /// Its spec.
        spec: Budget,
    },
    /// Scale a StatefulSet.
    Scale {
        /// The StatefulSet.
        set: String,
        /// To so many replicas.
        replicas: u32,
    },
    /// The pod of a claim would do another number of operations from now on.
    Demand {
        /// The claim.
        claim: String,
        /// How many.
        demand: Demand,
    },
    /// All workloads of this claim end: nothing is written any more.
    Quiet {
        /// The claim.
        claim: String,
    },
}

impl Deed {
    /// The claim that it is done to, where it is one.
    pub const fn claim(&self) -> Option<&String> {
        match self {
            Self::Request { claim, .. }
            | Self::Recreate { claim }
            | Self::Stop { claim }
            | Self::Start { claim, .. }
            | Self::Pause { claim, .. }
            | Self::Resume { claim }
            | Self::Demand { claim, .. }
            | Self::Quiet { claim } => Some(claim),
            Self::Policy { .. } | Self::Budget { .. } | Self::Scale { .. } => None,
        }
    }
}
