//! A scenario: what there is, what happens to it, and for how long. It is read from a file like a story, or made from a
//! seed by [`chance`](crate::chance).

use std::collections::{BTreeMap, BTreeSet};

use orlop_api::{BudgetLimits, Bytes, CapacitySpec, DriverProfileSpec, Mode, Period, Threshold};
use serde::{Deserialize, Serialize};

use crate::workload::Workload;

/// A scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, for its reader.
    pub story: String,
    /// Everything that is left to chance follows from this.
    #[serde(default)]
    pub seed: u64,
    /// How long it lasts.
    pub lasts: Period,
    /// How many operators run; one leads, the others stand by.
    #[serde(default = "one")]
    pub operators: usize,
    /// How many nodes there are, each with an agent and a kubelet.
    #[serde(default = "one")]
    pub nodes: usize,
    /// The nodes that have no agent after all, counted from 0.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agentless: BTreeSet<usize>,
    /// How often the operator asks the kubelet of a node whose agent is not there; never where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet_interval: Option<Period>,
    /// Each StorageClass with the driver behind it.
    pub classes: BTreeMap<String, Class>,
    /// Each StoragePolicy; all are in the one namespace that there is.
    pub policies: BTreeMap<String, Policy>,
    /// Each StorageBudget.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, Budget>,
    /// The claims, each used by one pod.
    pub claims: BTreeMap<String, Claim>,
    /// What goes wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// What users do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

const fn one() -> usize {
    1
}

/// A StorageClass, and what its driver really does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Class {
    /// `allowVolumeExpansion`.
    #[serde(default = "yes")]
    pub expandable: bool,
    /// What the driver can do. It is also what a DriverProfile tells the operator.
    #[serde(default)]
    pub driver: DriverProfileSpec,
    /// How long the driver takes to expand a volume.
    #[serde(default = "two_seconds")]
    pub takes: Period,
}

const fn yes() -> bool {
    true
}

fn two_seconds() -> Period {
    Period::from_secs(2)
}

/// A StoragePolicy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// What the operator may do.
    #[serde(default = "auto")]
    pub mode: Mode,
    /// The claims with these labels; without any, all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When a claim is grown, by how much, and where growth ends.
    pub capacity: CapacitySpec,
}

const fn auto() -> Mode {
    Mode::Auto
}

/// A StorageBudget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// The claims with these labels; without any, all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How much they may have.
    pub limits: BudgetLimits,
    /// The part of it that is for claims which are about to be full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency_reserve: Option<Threshold<Bytes>>,
}

/// A claim, its volume, and the pod that writes to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// Its size at first.
    pub size: Bytes,
    /// Its StorageClass.
    pub class: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The node of its pod, counted from 0.
    #[serde(default)]
    pub node: usize,
    /// How much is written at first.
    #[serde(default)]
    pub used: Bytes,
    /// The inodes of its filesystem; none where it does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<Inodes>,
    /// What is written and deleted.
    pub workload: Workload,
}

/// A filesystem's inodes, of which each file takes one. Where files are smaller than what there is an inode for, the inodes
/// run out before the bytes do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inodes {
    /// There is an inode for so many bytes of the filesystem, as `mkfs.ext4 -i` says it.
    pub bytes_each: Bytes,
    /// What each file takes of the filesystem.
    pub file_size: Bytes,
}

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
    /// All workloads of this claim end: nothing is written any more.
    Quiet {
        /// The claim.
        claim: String,
    },
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is no YAML.
    #[error("it is not YAML")]
    NoYaml(#[from] serde_yaml_ng::Error),
    /// It is none.
    #[error("it cannot be read as a scenario")]
    Unreadable(#[from] serde_json::Error),
    /// It names something that is not in it.
    #[error("{0} is not in the scenario: write it under {1}, or correct the name")]
    Unknown(String, &'static str),
}

impl Scenario {
    /// Reads a scenario from YAML, and checks that everything it names is in it.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        // By way of JSON, in which a variant is written as a map and not as a tag.
        let value: serde_json::Value = serde_yaml_ng::from_str(text)?;
        let scenario: Self = serde_json::from_value(value)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The scenario as YAML, in the form that [`Scenario::parse`] reads.
    pub fn to_yaml(&self) -> String {
        // In the order of a story, and not of the alphabet.
        const SECTIONS: [&str; 13] = [
            "story",
            "seed",
            "lasts",
            "operators",
            "nodes",
            "agentless",
            "kubeletInterval",
            "classes",
            "policies",
            "budgets",
            "claims",
            "faults",
            "changes",
        ];
        let scenario = serde_json::json!(self);
        let sections = SECTIONS.into_iter().filter_map(|name| Some((name, scenario.get(name)?)));
        sections
            .map(|(name, section)| {
                serde_yaml_ng::to_string(&serde_json::json!({ name: section }))
                    .unwrap_or_else(|error| format!("# {name} cannot be written: {error}\n"))
            })
            .collect()
    }

    /// Do users do anything but end their workloads?
    pub fn has_deeds(&self) -> bool {
        self.changes.iter().any(|change| !matches!(change.what, Deed::Quiet { .. }))
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let unknown = |what: String, place| Err(ScenarioError::Unknown(what, place));
        for (name, claim) in &self.claims {
            if !self.classes.contains_key(&claim.class) {
                return unknown(format!("class {} of claim {name}", claim.class), "classes");
            }
            self.check_node(claim.node)?;
        }
        self.agentless.iter().try_for_each(|node| self.check_node(*node))?;
        for fault in &self.faults {
            match &fault.what {
                Trouble::Kill { operator }
                | Trouble::KillAtRequest { operator, .. }
                | Trouble::Pause { operator }
                | Trouble::OperatorClock { operator, .. }
                    if *operator >= self.operators =>
                {
                    return unknown(format!("operator {operator}"), "operators");
                }
                Trouble::NodeClock { node, .. } | Trouble::AgentDown { node } | Trouble::KubeletDown { node } => {
                    self.check_node(*node)?;
                }
                Trouble::CrashLoop { claim } if !self.claims.contains_key(claim) => {
                    return unknown(format!("claim {claim}"), "claims");
                }
                _ => {}
            }
        }
        for change in &self.changes {
            match &change.what {
                Deed::Request { claim, .. }
                | Deed::Recreate { claim }
                | Deed::Stop { claim }
                | Deed::Start { claim, .. }
                | Deed::Pause { claim, .. }
                | Deed::Resume { claim }
                | Deed::Quiet { claim }
                    if !self.claims.contains_key(claim) =>
                {
                    return unknown(format!("claim {claim}"), "claims");
                }
                Deed::Policy { name, .. } if !self.policies.contains_key(name) => {
                    return unknown(format!("policy {name}"), "policies");
                }
                Deed::Budget { name, .. } if !self.budgets.contains_key(name) => {
                    return unknown(format!("budget {name}"), "budgets");
                }
                Deed::Start { node, .. } => self.check_node(*node)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_node(&self, node: usize) -> Result<(), ScenarioError> {
        if node < self.nodes { Ok(()) } else { Err(ScenarioError::Unknown(format!("node {node}"), "nodes")) }
    }
}
