//! A scenario: what there is, what happens to it, and for how long. It is read from a file like a story, or made from a
//! seed by [`chance`](crate::chance).

mod check;
mod deed;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};

use orlop_api::{
    BudgetLimits, Bytes, CapacitySpec, DriverProfileSpec, Limits, Mode, PerformanceSpec, Period, Threshold,
};
use serde::{Deserialize, Serialize};

pub use self::{deed::*, trouble::*};
use crate::{io::Demand, workload::Workload};

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
    /// Each VolumeAttributesClass.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes_classes: BTreeMap<String, AttributesClass>,
    /// Each StoragePolicy; all are in the one namespace that there is.
    pub policies: BTreeMap<String, Policy>,
    /// Each StorageBudget.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, Budget>,
    /// The claims, each used by one pod.
    #[serde(default)]
    pub claims: BTreeMap<String, Claim>,
    /// The StatefulSets, each with one template, which is called `data`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<String, StatefulSet>,
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

/// A VolumeAttributesClass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttributesClass {
    /// The StorageClass whose driver it is of.
    pub class: String,
    /// Its parameters. What they limit the driver's `attributeParameters` say.
    pub parameters: BTreeMap<String, String>,
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
    /// Between which VolumeAttributesClasses a claim moves, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<PerformanceSpec>,
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
    /// Its VolumeAttributesClass at first, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes_class: Option<String>,
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
    /// How many operations a second the pod would do, beside that; none where it would do none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demand: Option<Demand>,
}

/// A StatefulSet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatefulSet {
    /// How many replicas it has at first. Their claims are called `data-SET-NUMBER`, and are spread over the nodes.
    pub replicas: u32,
    /// What the claims of all replicas are made from, with what their pods do.
    pub template: Claim,
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
        const SECTIONS: [&str; 15] = [
            "story",
            "seed",
            "lasts",
            "operators",
            "nodes",
            "agentless",
            "kubeletInterval",
            "classes",
            "attributesClasses",
            "policies",
            "budgets",
            "claims",
            "sets",
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

    /// What a volume of a StorageClass may do a second with this VolumeAttributesClass: without one, what the driver gives every
    /// volume. Empty where nothing limits it.
    pub fn limits(&self, class: &str, attributes_class: Option<&str>) -> Limits {
        let Some(driver) = self.classes.get(class).map(|class| &class.driver) else { return Limits::default() };
        let Some(name) = attributes_class else {
            let mut limits = Limits::default();
            if let Some(iops) = driver.iops.as_ref().and_then(|iops| iops.baseline) {
                limits.set(orlop_api::Dimension::Iops, iops.into());
            }
            if let Some(mib) = driver.throughput.as_ref().and_then(|throughput| throughput.baseline) {
                limits.set(orlop_api::Dimension::Throughput, u64::from(mib) << 20);
            }
            return limits;
        };
        self.attributes_classes
            .get(name)
            .map_or_else(Limits::default, |class| Limits::of(&class.parameters, &driver.attribute_parameters))
    }

    /// Do users do anything but end their workloads?
    pub fn has_deeds(&self) -> bool {
        self.changes.iter().any(|change| !matches!(change.what, Deed::Quiet { .. }))
    }
}
