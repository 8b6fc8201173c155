//! Where `orlop backtest` has its history and its world from: files in several formats, Prometheus, and manifests. What is
//! made of them is in the crate `orlop-backtest`, which does no I/O.

mod columns;
mod comma;
mod exposition;
mod feed;
mod file;
mod manifests;
pub mod prometheus;
mod query;

pub use self::{
    feed::{Feed, InputError},
    file::read,
    manifests::{ManifestError, Manifests},
};

use self::columns::Measure;

/// The kubelet's metrics of volumes (kubernetes/kubernetes, `pkg/kubelet/metrics/collectors/volume_stats.go`), and what each
/// of them measures.
const METRICS: [(&str, Measure); 6] = [
    ("kubelet_volume_stats_capacity_bytes", Measure::Capacity),
    ("kubelet_volume_stats_used_bytes", Measure::Used),
    ("kubelet_volume_stats_available_bytes", Measure::Available),
    ("kubelet_volume_stats_inodes", Measure::Inodes),
    ("kubelet_volume_stats_inodes_used", Measure::InodesUsed),
    ("kubelet_volume_stats_inodes_free", Measure::InodesFree),
];

/// The labels of these metrics that name the claim.
const NAMESPACE_LABEL: &str = "namespace";
const CLAIM_LABEL: &str = "persistentvolumeclaim";

fn measure(metric: &str) -> Option<Measure> {
    METRICS.iter().find(|(name, _)| *name == metric).map(|(_, measure)| *measure)
}
