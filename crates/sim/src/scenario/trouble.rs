//! What goes wrong.

use orlop_api::{Bytes, Period};
use serde::{Deserialize, Serialize};

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// When it begins.
    pub at: Period,
    /// How long it lasts.
    pub lasting: Period,
    /// What it is.
    #[serde(flatten)]
    pub what: Trouble,
}

/// What goes wrong. Operators and nodes are counted from 0; a share is of all that could be hit, in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trouble {
    /// An operator is killed, and started again when the fault is over.
    Kill {
        /// Which.
        operator: usize,
    },
    /// An operator is killed just before or just after its next request leaves it, and started again when the fault is
    /// over.
    KillAtRequest {
        /// Which.
        operator: usize,
        /// After the request has left?
        after: bool,
    },
    /// An operator stands still, and then goes on as if no time had passed.
    Pause {
        /// Which.
        operator: usize,
    },
    /// An operator's wall clock is ahead by so many seconds, or behind.
    OperatorClock {
        /// Which.
        operator: usize,
        /// Seconds; negative where it is behind.
        ahead: i64,
    },
    /// A node's wall clock is ahead by so many seconds, or behind.
    NodeClock {
        /// Which.
        node: usize,
        /// Seconds; negative where it is behind.
        ahead: i64,
    },
    /// The API server answers nobody, and ends all watches.
    ServerDown {},
    /// Requests of the operators go wrong.
    Requests {
        /// How.
        fate: RequestFate,
        /// How many, in percent.
        share: u8,
    },
    /// Watch events go wrong.
    Watches {
        /// How.
        fate: WatchFate,
        /// How many, in percent.
        share: u8,
    },
    /// The agent of a node does not run.
    AgentDown {
        /// Which.
        node: usize,
    },
    /// No agent runs, on no node: their image cannot be pulled, or somebody has deleted them.
    AgentsDown {},
    /// What agents report goes wrong.
    Measurements {
        /// How.
        fate: MeasurementFate,
        /// How many, in percent.
        share: u8,
    },
    /// The drivers' controllers do not run.
    ResizerDown {},
    /// The drivers fail to expand volumes, and are asked again later and later.
    DriverFails {},
    /// The drivers refuse to expand volumes, for good as they say.
    DriverRefuses {
        /// Only beyond this size; without it, at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        above: Option<Bytes>,
    },
    /// The drivers take so many times as long.
    DriverSlow {
        /// How many times.
        times: u32,
    },
    /// The drivers fail to change the VolumeAttributesClass of volumes, and are asked again later and later.
    ModificationFails {},
    /// The drivers refuse VolumeAttributesClasses, for good as they say.
    ModificationRefused {
        /// Only this one; without it, all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<String>,
    },
    /// The controllers of the cluster do not run: nobody starts the pods of StatefulSets, or lets go of them.
    ControllersDown {},
    /// The API server refuses to create StatefulSets, as by a quota.
    SetsRefused {},
    /// The kubelet of a node syncs no pod, and answers nobody.
    KubeletDown {
        /// Which.
        node: usize,
    },
    /// The container of a claim's pod crashes again and again, and writes nothing. The volume stays mounted.
    CrashLoop {
        /// The claim.
        claim: String,
    },
}

/// What becomes of a request to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestFate {
    /// It does not arrive.
    Lost,
    /// It is carried out, and the answer does not arrive.
    AnswerLost,
    /// It arrives half a minute later, long after it was given up.
    Late,
    /// It arrives twice.
    Twice,
    /// It is answered with this code and not carried out.
    Answered(u16),
}

/// What becomes of a watch event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WatchFate {
    /// The watch ends with it, and its kind is listed anew some seconds later.
    Broken,
    /// The watch ends with it, and its kind is listed anew from a cache that is a minute old.
    BrokenAndStale,
    /// It and all after it come half a minute later.
    Delayed,
    /// It comes twice, the second time after what came in between.
    Twice,
}

/// What becomes of a report of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MeasurementFate {
    /// It does not arrive.
    Lost,
    /// It arrives twenty seconds later, after newer ones.
    Late,
    /// It arrives twice.
    Twice,
    /// It says that there are no bytes at all.
    Nonsense,
}

impl Trouble {
    /// The operator that it befalls, where it is one.
    pub const fn operator(&self) -> Option<usize> {
        match self {
            Self::Kill { operator }
            | Self::KillAtRequest { operator, .. }
            | Self::Pause { operator }
            | Self::OperatorClock { operator, .. } => Some(*operator),
            _ => None,
        }
    }

    /// The node that it befalls, where it is one.
    pub const fn node(&self) -> Option<usize> {
        match self {
            Self::NodeClock { node, .. } | Self::AgentDown { node } | Self::KubeletDown { node } => Some(*node),
            _ => None,
        }
    }
}
