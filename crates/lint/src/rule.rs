//! What a rule is, and all that there are.

use std::fmt;

use crate::rules::{
    budgets, claims, classes, databases, manifests, operator, performance, policies, snapshots, statefulsets, workloads,
};

/// How bad a finding is. The worst is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing, and often as it should be.
    Info,
    /// Works until the day on which it does not.
    Warning,
    /// Is refused, never works, or cannot do what it says.
    Error,
}

impl Severity {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Something to be found in manifests.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What it is called, in output and in comments that allow it.
    pub id: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// What is found, in a few words.
    pub finds: &'static str,
    /// What happens.
    pub why: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// From where it is known, in Markdown: links are relative to `docs/`.
    pub source: &'static str,
}

/// Every rule, in the order in which they are documented.
pub static RULES: &[&Rule] = &[
    &manifests::BROKEN_YAML,
    &manifests::HELM_TEMPLATE,
    &manifests::INVALID_RESOURCE,
    &manifests::UNKNOWN_RULE,
    &classes::CLASS_NOT_EXPANDABLE,
    &classes::IMMEDIATE_BINDING,
    &classes::RECLAIM_DELETE,
    &classes::UNKNOWN_DRIVER,
    &claims::INVALID_SIZE,
    &claims::TINY_SIZE,
    &claims::DECIMAL_SIZE,
    &claims::SIZE_ABOVE_MAXIMUM,
    &claims::SIZE_BELOW_MINIMUM,
    &claims::SIZE_ROUNDED_UP,
    &claims::NO_CLASS,
    &claims::UNKNOWN_CLASS,
    &claims::ACCESS_MODE_UNSUPPORTED,
    &claims::ATTRIBUTES_CLASS_OF_ANOTHER_DRIVER,
    &policies::POLICY_CANNOT_GROW,
    &policies::POLICY_GROWS_OFFLINE,
    &policies::POLICY_AT_MAXIMUM,
    &policies::MIN_FREE_ABOVE_MAXIMUM,
    &policies::MIN_FREE_ABOVE_SIZE,
    &policies::POLICY_CONFLICT,
    &policies::POLICY_SELECTS_NOTHING,
    &policies::POLICY_PROMISES_NOTHING,
    &policies::MAINTENANCE_WITHOUT_NEED,
    &performance::ATTRIBUTES_CLASSES_OF_SEVERAL_DRIVERS,
    &performance::ATTRIBUTES_CLASSES_OUT_OF_ORDER,
    &performance::UNKNOWN_ATTRIBUTES_CLASS,
    &operator::TEMPLATE_SYNC_NOT_ALLOWED,
    &operator::MAINTENANCE_NOT_ALLOWED,
    &operator::HORIZON_WITHOUT_HISTORY,
    &budgets::BUDGET_BELOW_REQUESTS,
    &workloads::SHARED_CLAIM,
    &workloads::ROLLING_UPDATE_WAITS,
    &workloads::NO_FS_GROUP,
    &databases::DATABASE_WITHOUT_VOLUME,
    &statefulsets::TEMPLATE_MISMATCH,
    &statefulsets::CLAIMS_DELETED,
    &statefulsets::NO_DISRUPTION_BUDGET,
    &snapshots::SNAPSHOT_CLASS_OF_ANOTHER_DRIVER,
];

/// The rule that is called so.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id).copied()
}
