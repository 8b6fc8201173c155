//! All claims, a line each, and what they come to together, for `orlop status` and `orlop top`.

use std::collections::BTreeMap;

use orlop_api::{Bytes, Mode, names::Reason};
use serde::{Deserialize, Serialize};

use super::{DecisionAccount, ForecastAccount, UsageAccount};

/// A part of the claims, in the order of their namespaces and names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimPage {
    /// The claims.
    pub claims: Vec<ClaimRow>,
    /// What to ask the next page with, as `continue`; none on the last.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A claim in one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRow {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// The size that is requested now.
    pub size: Bytes,
    /// The policy that governs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// What was decided; none where no policy governs it, or nothing was decided yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionAccount>,
    /// The latest measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageAccount>,
    /// How it will fill over days, where its policy has a horizon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastAccount>,
}

/// The claims of the cluster, or of one namespace, as a whole. They are counted while the operator works: one that changes
/// meanwhile is counted as it was before or after.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// The namespace that it is about; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How many, and how large.
    pub totals: Totals,
    /// The governed claims by the reason of the latest decision.
    pub reasons: BTreeMap<Reason, u64>,
    /// The policies, those with the most problems first; at most 200.
    pub policies: Vec<PolicyRow>,
    /// The drivers, the largest first; at most 50.
    pub drivers: Vec<DriverRow>,
    /// Who measures.
    pub measured: Measured,
    /// The nodes and their agents.
    #[serde(default)]
    pub agents: Agents,
    /// What has grown within the last hour.
    pub growths: Growths,
    /// The claims that were asked for, in the order that was asked for.
    pub claims: Vec<ClaimRow>,
    /// How many claims are as was asked for: where this is more than are listed, the rest was left out.
    pub matching: u64,
}

impl Fleet {
    /// How much needs a hand: the claims with problems, and the policies that cannot be read.
    pub fn needs_a_hand(&self) -> u64 {
        let invalid = self.policies.iter().filter(|policy| policy.invalid.is_some()).count();
        self.totals.problems + u64::try_from(invalid).unwrap_or(u64::MAX)
    }
}

/// How many claims there are, and how large they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// The claims.
    pub claims: u64,
    /// Those that no policy governs.
    pub ungoverned: u64,
    /// Those that a policy governs and about which nothing was decided yet: just after the operator's start.
    pub undecided: u64,
    /// Those that somebody must look at.
    pub problems: u64,
    /// Those that are growing.
    pub growing: u64,
    /// The requested bytes of all.
    pub requested: Bytes,
    /// The used bytes of those that are measured.
    pub used: Bytes,
    /// All bytes of the filesystems of those that are measured.
    pub measured: Bytes,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRow {
    /// Its kind and name.
    pub policy: String,
    /// Its mode; none where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The claims that it governs, or would but for a conflict.
    pub claims: u64,
    /// Those of them that are growing.
    pub growing: u64,
    /// Those of them that somebody must look at.
    pub problems: u64,
    /// Why it cannot be read, where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
}

/// The volumes of a driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriverRow {
    /// The driver.
    pub driver: String,
    /// The claims.
    pub claims: u64,
    /// Their requested bytes.
    pub requested: Bytes,
    /// The used bytes of those that are measured.
    pub used: Bytes,
    /// What those cost whose price is known, by currency.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub monthly: Vec<Cost>,
}

/// What some volumes cost a month by their list price and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The currency's code.
    pub currency: String,
    /// The amount, to the hundredth.
    pub amount: String,
    /// How many claims it is of.
    pub claims: u64,
}

/// Who has measured the claims that a pod uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// By source.
    pub sources: BTreeMap<String, SourceRow>,
    /// Claims that a pod uses, whose fill counts and that nobody has measured.
    pub unmeasured: u64,
}

/// The measurements of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRow {
    /// Recent enough to decide by.
    pub fresh: u64,
    /// Too old, or dated in the future.
    pub stale: u64,
}

/// The nodes and their agents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agents {
    /// The nodes.
    pub nodes: u64,
    /// Those whose agent is connected.
    pub connected: u64,
    /// Those whose agent is not; at most 20 are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// What has grown within the last hour. A claim remembers its last growth, so one that grew twice is counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Growths {
    /// The claims.
    pub claims: u64,
    /// What was added to them.
    pub added: Bytes,
    /// Those whose new bytes no measurement has shown yet.
    pub under_way: u64,
    /// The longest time from a threshold crossed to usable bytes, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_ms: Option<u64>,
}
