//! By which metrics a driver says for how long more was asked of a volume than its limits allow.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Dimension;

/// The metrics by which the driver says for how long more was asked of its volumes than their limits allow. They are read from
/// the Prometheus servers that the operator asks.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saturation {
    /// The label that has the volume's handle, as in `spec.csi.volumeHandle` of its PersistentVolume.
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')")
        .message("is not the name of a label of Prometheus: write letters, digits and underscores, and no digit first"))]
    pub volume_label: String,
    /// The metrics.
    #[schemars(length(min = 1, max = 6), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["metric"]))]
    pub counters: Vec<ExceededCounter>,
    /// Where they are described: the title of a page, or a file of the driver's source.
    #[schemars(length(min = 1, max = 256))]
    pub source: String,
    /// The day on which the source said so, as 2026-01-31.
    #[schemars(schema_with = "super::day")]
    pub as_of: String,
}

/// A counter of the time in which more was asked of a volume than one of its limits allows.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExceededCounter {
    /// The metric's name.
    #[schemars(length(max = 127))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z_:][a-zA-Z0-9_:]*$')")
        .message("is not the name of a metric of Prometheus: write letters, digits, underscores and colons, and no digit first"))]
    pub metric: String,
    /// Which limit was exceeded.
    pub exceeds: Dimension,
    /// In which unit the time is counted; seconds where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<TimeUnit>,
}

/// In which unit a metric counts time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimeUnit {
    /// Seconds, as is usual for metrics of Prometheus.
    #[default]
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
}

impl TimeUnit {
    /// How many of it are in a second.
    pub const fn in_a_second(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Milliseconds => 1e3,
            Self::Microseconds => 1e6,
        }
    }
}
