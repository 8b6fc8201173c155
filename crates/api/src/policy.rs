//! `StoragePolicy` and `ClusterStoragePolicy`: what is promised for the claims that a selector picks. The namespaced
//! kind wins over the cluster-wide one where both select a claim.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{
    Days,
    maintenance::Maintenance,
    names::{PerformanceReason, Reason},
    performance::PerformanceSpec,
    units::{Bytes, Count, Percent, Period, Threshold},
};

/// What Orlop may do about a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Neither decide nor report.
    Off,
    /// Decide and write the decision with its reason into the status; change nothing.
    #[default]
    Recommend,
    /// Decide and do it.
    Auto,
}

/// What is promised for the PersistentVolumeClaims of one namespace that `selector` picks.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "orlop.dev",
    version = "v1alpha1",
    kind = "StoragePolicy",
    plural = "storagepolicies",
    namespaced,
    doc = "How the volumes of one namespace's PersistentVolumeClaims are to be kept.",
    status = "PolicyStatus",
    derive = "PartialEq",
    shortname = "spol",
    category = "orlop",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Claims", type_ = "integer", json_path = ".status.claimCount"),
    printcolumn(name = "Growing", type_ = "integer", json_path = ".status.growingCount"),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.conditions[?(@.type=='Healthy')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Healthy')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct StoragePolicySpec {
    /// What Orlop may do: Auto, Recommend (decide and report, change nothing; the default) or "Off" (in quotes, which YAML
    /// reads as a boolean otherwise).
    #[serde(default)]
    pub mode: Mode,
    /// The claims that the policy is for, by their labels. An empty selector picks every claim of the namespace.
    pub selector: LabelSelector,
    /// How full the claims may get, and how far they may grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacitySpec>,
    /// Between which VolumeAttributesClasses the claims move, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<PerformanceSpec>,
}

/// What is promised for the PersistentVolumeClaims of all namespaces that the two selectors pick. A StoragePolicy
/// that selects the same claim takes precedence.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "orlop.dev",
    version = "v1alpha1",
    kind = "ClusterStoragePolicy",
    plural = "clusterstoragepolicies",
    doc = "How the volumes of PersistentVolumeClaims in many namespaces are to be kept.",
    status = "PolicyStatus",
    derive = "PartialEq",
    shortname = "cspol",
    category = "orlop",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Claims", type_ = "integer", json_path = ".status.claimCount"),
    printcolumn(name = "Growing", type_ = "integer", json_path = ".status.growingCount"),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.conditions[?(@.type=='Healthy')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Healthy')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStoragePolicySpec {
    /// What Orlop may do: Auto, Recommend (decide and report, change nothing; the default) or "Off" (in quotes, which YAML
    /// reads as a boolean otherwise).
    #[serde(default)]
    pub mode: Mode,
    /// The namespaces that the policy is for, by their labels. An empty selector picks every namespace.
    #[serde(default)]
    pub namespace_selector: LabelSelector,
    /// The claims that the policy is for, by their labels. An empty selector picks every claim.
    pub selector: LabelSelector,
    /// How full the claims may get, and how far they may grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacitySpec>,
    /// Between which VolumeAttributesClasses the claims move, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<PerformanceSpec>,
}

/// What is done about a StatefulSet whose templates ask for less than its claims have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TemplateSync {
    /// Report it, with the change that its author can make.
    #[default]
    Report,
    /// Make the StatefulSet anew with larger templates; its pods and claims stay as they are.
    Recreate,
}

/// When a claim is grown, by how much, and where growth ends.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.targetUtilization) || !has(self.minFree) || !self.minFree.matches('^[1-9][0-9]?%$') \
         || !self.targetUtilization.matches('^[1-9][0-9]?%$') \
         || int(self.targetUtilization.replace('%', '')) + int(self.minFree.replace('%', '')) < 100",
    ).message(
        "targetUtilization leaves no more free than minFree, 20% where it is left out, so that the next growth would follow \
         at once: make one of them smaller, so that together they are below 100%",
    ),
)]
pub struct CapacitySpec {
    /// Grow when fewer bytes are free than this: a size, or a percentage of the filesystem.
    #[serde(default = "default_min_free")]
    pub min_free: Threshold<Bytes>,
    /// Grow when fewer inodes are free than this: a count, or a percentage of the filesystem's.
    #[serde(default = "default_min_free_inodes")]
    pub min_free_inodes: Threshold<Count>,
    /// Grow when, at the rate at which the volume is filling now, it would be full sooner than this.
    #[serde(default = "default_time_to_full")]
    pub time_to_full: Period,
    /// Grow when, as the volume has risen from day to day lately, it would be full sooner than this: a number of days, such as
    /// 7d. Without it nothing is forecast. A forecast needs three days of measurements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon: Option<Days>,
    /// Grow by at least this much at a time: a size, or a percentage of the claim's present size. A growth is larger
    /// where less would leave the volume below `minFree`, or full within `timeToFull` or `horizon`.
    #[serde(default = "default_increase")]
    pub increase: Threshold<Bytes>,
    /// Make each growth so large that no more than this share of the filesystem's bytes is used afterwards, such as 60%.
    /// Without it a growth is as large as the other fields ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_utilization: Option<Percent>,
    /// The key of a label. Claims of one namespace that the policy governs and that have the same value of it are kept
    /// equal: when one of them is grown, by whomever, the others are grown to the same size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_key")]
    pub group_by: Option<String>,
    /// When pods may be stopped, where the claim's driver expands only volumes that no pod uses. Without it such a claim is left
    /// to its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// What is done when the claim template of a StatefulSet asks for less than its claims have, so that the claim of the next
    /// replica would be small: Report it in the status (the default), or Recreate the StatefulSet with a larger template, which
    /// leaves its pods and claims as they are. It is recreated in mode Auto only, where the chart's operator.templateSync allows
    /// it, and never where an operator, Helm, Flux or Argo CD has made it.
    #[serde(default)]
    pub template_sync: TemplateSync,
    /// Never request more than this, after the driver's rounding. A volume cannot be made smaller again.
    pub maximum: Bytes,
}

impl CapacitySpec {
    /// What a section says that has nothing but a maximum.
    pub fn up_to(maximum: Bytes) -> Self {
        Self {
            min_free: default_min_free(),
            min_free_inodes: default_min_free_inodes(),
            time_to_full: default_time_to_full(),
            horizon: None,
            increase: default_increase(),
            target_utilization: None,
            group_by: None,
            maintenance: None,
            template_sync: TemplateSync::default(),
            maximum,
        }
    }
}

/// The key of a label, as the API server knows it: a name, which may have a prefix.
fn label_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 317,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",
            "message": "is not the key of a label: write it as it stands on the claims, such as app.kubernetes.io/instance",
        }],
    })
}

fn default_min_free() -> Threshold<Bytes> {
    Threshold::Percent(20)
}

fn default_min_free_inodes() -> Threshold<Count> {
    Threshold::Percent(5)
}

fn default_time_to_full() -> Period {
    Period::from_secs(60)
}

fn default_increase() -> Threshold<Bytes> {
    Threshold::Percent(25)
}

/// What Orlop makes of a policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the policy is valid and in force. `Healthy`: every selected claim keeps what it promises.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many claims the policy governs.
    // Declared as the API server knows integers: it warns of every format that is not one of its own.
    #[schemars(with = "i32")]
    pub claim_count: u32,
    /// How many of them are growing now.
    #[schemars(with = "i32")]
    pub growing_count: u32,
    /// How many of them somebody must look at.
    #[schemars(with = "i32")]
    pub problem_count: u32,
    /// The claims that most need attention, the most urgent first; at most 20 are listed.
    // Without a bound the API server refuses the schema: it multiplies the cost of the rules for sizes by it.
    #[schemars(length(max = "Self::CLAIMS_MAX"))]
    pub claims: Vec<ClaimStatus>,
    /// The claim templates of StatefulSets that ask for less than their claims have, by name; at most 20 are listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = "Self::TEMPLATES_MAX"))]
    pub templates: Vec<TemplateStatus>,
}

impl PolicyStatus {
    /// How many claims a status lists at most: enough to act on, and a size that the API server does not mind.
    pub const CLAIMS_MAX: usize = 20;

    /// How many templates a status lists at most.
    pub const TEMPLATES_MAX: usize = 20;
}

/// What was last decided about one claim, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStatus {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// The size that is requested for the claim now.
    pub size: Bytes,
    /// The size that the policy calls for, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Bytes>,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with the numbers that led to it.
    pub message: String,
    /// Since when the reason has been this one.
    pub since: Time,
    /// What was last decided about the claim's VolumeAttributesClass, where the policy has a `performance` section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<PerformanceStatus>,
}

/// What was last decided about one claim's VolumeAttributesClass, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PerformanceStatus {
    /// The VolumeAttributesClass that is requested for the claim now, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The VolumeAttributesClass that the policy calls for, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why.
    pub reason: PerformanceReason,
    /// Why, in a sentence with the numbers that led to it.
    pub message: String,
    /// Since when the reason has been this one.
    pub since: Time,
}

/// A claim template of a StatefulSet that asks for less than its claims have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStatus {
    /// The StatefulSet's namespace.
    pub namespace: String,
    /// The StatefulSet's name.
    pub stateful_set: String,
    /// The template's name.
    pub template: String,
    /// How much it asks for.
    pub size: Bytes,
    /// How much it is to ask for: what the largest of its claims has, within the policy's maximum.
    pub target: Bytes,
    /// What is done about it, or what is to be done, in a sentence.
    pub message: String,
    /// The change of the StatefulSet's manifest, as a JSON patch.
    pub patch: String,
    /// Since when this has been so.
    pub since: Time,
}
