//! What the sources of measurements (agents, kubelets) hand to the observer.

use jiff::Timestamp;
use orlop_api::Bytes;
use orlop_planner::{ClaimId, Exceeded, LoadReading, Usage};

/// News of volumes, in the order in which they came.
#[derive(Debug, Clone, PartialEq)]
pub enum Measurement {
    /// A volume was measured on a node.
    Sampled {
        /// The node.
        node: String,
        /// The PersistentVolume's name.
        volume: String,
        /// What was measured.
        usage: Usage,
    },
    /// The volume of a claim was measured, by a source that does not know the volume's name.
    SampledClaim {
        /// The node; empty where it is not known.
        node: String,
        /// The claim.
        claim: ClaimId,
        /// What was measured.
        usage: Usage,
    },
    /// A volume's I/O was measured on a node.
    Load {
        /// The node.
        node: String,
        /// The PersistentVolume's name.
        volume: String,
        /// What was measured.
        reading: Box<LoadReading>,
    },
    /// The driver's counters of a volume were read.
    Exceeded {
        /// The PersistentVolume's name.
        volume: String,
        /// When.
        at: Timestamp,
        /// For which share of the time since they were read before its limits were exceeded.
        shares: Exceeded,
    },
    /// Every volume of the node that its agent last sampled still is as it was, but for less than was asked for.
    Confirmed {
        /// The node.
        node: String,
        /// By the node's clock.
        at: Timestamp,
    },
    /// The agent of the node no longer measures the volume: it is not mounted there, or the agent is gone.
    Gone {
        /// The node.
        node: String,
        /// The PersistentVolume's name.
        volume: String,
    },
}

/// How a claim has filled, as somebody else has measured it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The claim.
    pub claim: ClaimId,
    /// A time in each hour that was measured, and the most that was used in it, the earliest first. All counts as used that is
    /// not available.
    pub hours: Vec<(Timestamp, Bytes)>,
}
