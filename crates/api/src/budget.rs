//! `StorageBudget`: what a set of claims may hold and cost together, in whichever namespaces they are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Decimal, Threshold};

/// The currency of every budget, by its code in ISO 4217: that of the built-in profiles. A price in another one is not
/// converted, and counts as one that is not known.
pub const CURRENCY: &str = "USD";

/// What the PersistentVolumeClaims that the two selectors pick may hold and cost together. Growth beyond it waits; a claim
/// that somebody makes or enlarges is counted and never held up.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "orlop.dev",
    version = "v1alpha1",
    kind = "StorageBudget",
    plural = "storagebudgets",
    doc = "What the PersistentVolumeClaims of a set of namespaces may hold and cost together.",
    status = "StorageBudgetStatus",
    derive = "PartialEq",
    shortname = "sbud",
    category = "orlop",
    printcolumn(name = "Used", type_ = "string", json_path = ".status.used.bytes"),
    printcolumn(name = "Limit", type_ = "string", json_path = ".spec.limits.bytes"),
    printcolumn(name = "Cost", type_ = "string", json_path = ".status.used.monthlyCost"),
    printcolumn(name = "Cost limit", type_ = "string", json_path = ".spec.limits.monthlyCost"),
    printcolumn(name = "Share", type_ = "string", json_path = ".status.share"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.waitingCount"),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.conditions[?(@.type=='Healthy')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Healthy')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.emergencyReserve) || !isQuantity(self.emergencyReserve) || has(self.limits.bytes)",
    ).message("emergencyReserve is a size, and limits has no bytes that it could be a part of: write a percentage"),
    validation = Rule::new(
        "!has(self.emergencyReserve) || !isQuantity(self.emergencyReserve) || !has(self.limits.bytes) \
         || !isQuantity(self.limits.bytes) \
         || quantity(self.emergencyReserve).isLessThan(quantity(self.limits.bytes))",
    ).message("emergencyReserve leaves nothing of limits.bytes for other claims: make it smaller, or raise limits.bytes"),
)]
pub struct StorageBudgetSpec {
    /// The namespaces whose claims count, by their labels. An empty selector, and none, pick every namespace.
    #[serde(default)]
    pub namespace_selector: LabelSelector,
    /// The claims that count, by their labels. An empty selector, and none, pick every claim of those namespaces.
    #[serde(default)]
    pub selector: LabelSelector,
    /// How much the claims may have together.
    pub limits: BudgetLimits,
    /// The part of the limits that only claims may use which are about to be full: a percentage of each limit, or a size,
    /// which is a part of `bytes` alone. Without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency_reserve: Option<Threshold<Bytes>>,
}

/// The limits of a budget. At least one must be there, and all must hold.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.bytes) || has(self.iops) || has(self.monthlyCost)")
        .message("there is no limit: write bytes, iops or monthlyCost, or several of them"),
    validation = Rule::new("!has(self.monthlyCost) || !self.monthlyCost.matches('^0+([.]0+)?$')")
        .message("monthlyCost is zero, with which nothing could grow: write an amount above zero, or leave it out"),
)]
pub struct BudgetLimits {
    /// The sum of the claims' sizes: of each the larger of what it requests and what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
    /// The sum of the I/O operations a second that the claims' VolumeAttributesClasses give. A claim without a class, or with
    /// one that does not limit operations, is not counted. Only a faster class waits for it, never growth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1))]
    pub iops: Option<u64>,
    /// What the claims may cost a month, in US dollars, by the prices for each GiB in the drivers' profiles. A claim whose
    /// price is not known is not held up by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_cost: Option<Decimal>,
}

/// What Orlop makes of a budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageBudgetStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the budget is valid and in force. `Healthy`: there is room left for growth.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many claims count.
    // Declared as the API server knows integers: it warns of every format that is not one of its own.
    #[schemars(with = "i32")]
    pub claim_count: u32,
    /// What they have together.
    pub used: BudgetUse,
    /// How much of its limit is used, of the limit of which that is more: a percentage, rounded down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// How many of the claims have a price that is not known. They are not in `used.monthlyCost`.
    #[schemars(with = "i32")]
    pub unpriced_count: u32,
    /// How many claims wait for room in the budget.
    #[schemars(with = "i32")]
    pub waiting_count: u32,
    /// The claims that wait for room in the budget, the most urgent first; at most 20 are listed.
    // Without a bound the API server refuses the schema: it multiplies the cost of the rules for sizes by it.
    #[schemars(length(max = "Self::WAITING_MAX"))]
    pub waiting: Vec<WaitingClaim>,
}

impl StorageBudgetStatus {
    /// How many waiting claims a status lists at most: enough to act on, and a size that the API server does not mind.
    pub const WAITING_MAX: usize = 20;
}

/// What the claims of a budget have together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetUse {
    /// The sum of their sizes.
    // A plain text: unlike every other size it can be zero, which the rules for sizes refuse.
    #[schemars(with = "String")]
    pub bytes: Bytes,
    /// The sum of the I/O operations a second that their VolumeAttributesClasses give, where the budget limits them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub iops: Option<u64>,
    /// What those of them cost a month whose price is known, in US dollars, rounded up to the hundredth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_cost: Option<Decimal>,
}

/// A claim that would grow if there were room in the budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingClaim {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// The size that is requested for the claim now.
    pub size: Bytes,
    /// Why it waits, in a sentence with the numbers that led to it.
    pub message: String,
    /// Since when it has been waiting.
    pub since: Time,
}
