//! What the driver says of its pool and its volumes, for Prometheus. The numbers are read when they are asked for; only the
//! times for which volumes were frozen are kept here.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};
use orlop_api::Bytes;
use orlop_volume::{Activity, Ailment, Limits, PoolState, Severity, Storage, Volume};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::net::TcpListener;

use super::{health::unreadable, wire::signed};

/// The driver's metrics. Clones count into the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    frozen: Histogram,
}

impl Default for Metrics {
    /// From a millisecond, which a small volume at rest takes, up to the watchdog's ten seconds.
    fn default() -> Self {
        Self { frozen: Histogram::new(exponential_buckets(0.001, 2.0, 14)) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VolumeLabels {
    /// The id of the volume.
    volume: String,
    /// The name that it was asked for by, which is that of its PersistentVolume.
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    volume: String,
    name: String,
    operation: Operation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Read,
    Write,
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
        .encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AilmentLabels {
    reason: &'static str,
    severity: &'static str,
}

impl Metrics {
    /// A volume was frozen for that long.
    pub(super) fn frozen(&self, time: Duration) {
        self.frozen.observe(time.as_secs_f64());
    }

    /// Everything, as it is now, in the text format of Prometheus. A pool that cannot be looked at is what an alarm is for,
    /// so it is told of as an ailment, and nothing else of it.
    fn encode(&self, volumes: &dyn Storage) -> String {
        let mut registry = Registry::with_prefix("orlop_local");
        registry.register_with_unit(
            "frozen",
            "For how long volumes were frozen for snapshots",
            Unit::Seconds,
            self.frozen.clone(),
        );
        let ailments = match volumes.pool() {
            Ok(pool) => register_pool(&mut registry, pool),
            Err(error) => vec![unreadable(&error)],
        };
        register_ailments(&mut registry, ailments);
        register_volumes(&mut registry, volumes);
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    /// Serves `/metrics`, and `/healthz` for as long as the process answers at all. Fails when the address cannot be
    /// listened on.
    pub async fn serve(self, volumes: Arc<dyn Storage>, address: SocketAddr) -> std::io::Result<()> {
        let metrics = async move || {
            let read = tokio::task::spawn_blocking(move || self.encode(&*volumes)).await;
            let head = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            read.map(|text| (head, text)).map_err(|panic| (StatusCode::INTERNAL_SERVER_ERROR, panic.to_string()))
        };
        let routes = Router::new().route("/metrics", get(metrics)).route("/healthz", get(async || "ok\n"));
        axum::serve(TcpListener::bind(address).await?, routes).await
    }
}

/// Returns what is wrong with the pool.
fn register_pool(registry: &mut Registry, pool: PoolState) -> Vec<Ailment> {
    for (name, help, value) in [
        ("pool_size", "The size of the pool's filesystem", pool.total),
        ("pool_free", "What is free in the pool's filesystem", pool.free),
        ("pool_promised", "The sizes of all volumes", pool.promised),
        ("pool_outstanding", "What volumes may yet take", pool.outstanding),
        ("pool_allocated", "What is allocated to volumes, shared bytes counted with each", pool.allocated),
        ("pool_shared", "What is allocated to volumes and shared with snapshots or other volumes", pool.shared),
        ("pool_ballast", "What is kept back for an emergency", pool.ballast),
        ("pool_available_thin", "How large one more thin volume may be", pool.available_thin),
        ("pool_available_thick", "How large one more thick volume may be", pool.available_thick),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(signed(value));
        registry.register_with_unit(name, help, Unit::Bytes, gauge);
    }
    let paused = Gauge::<i64>::default();
    paused.set(pool.paused.into());
    registry.register(
        "pool_paused",
        "Are the writers of volumes that may take more held up, because the pool is all but full",
        paused,
    );
    pool.ailments
}

fn register_ailments(registry: &mut Registry, ailments: Vec<Ailment>) {
    let family = Family::<AilmentLabels, Gauge>::default();
    for ailment in ailments {
        let labels = AilmentLabels { reason: ailment.reason, severity: word(ailment.severity) };
        family.get_or_create(&labels).set(1);
    }
    registry.register("pool_ailments", "What is wrong with the pool", family);
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Degraded => "degraded",
        Severity::Inaccessible => "inaccessible",
        Severity::DataLoss => "data_loss",
    }
}

/// The families of metrics of which each volume has its own.
#[derive(Default)]
struct Volumes {
    sizes: Family<VolumeLabels, Gauge>,
    ailments: Family<VolumeLabels, Gauge>,
    limits_operations: Family<OperationLabels, Gauge>,
    limits_bytes: Family<OperationLabels, Gauge>,
    operations: Family<OperationLabels, Counter>,
    bytes: Family<OperationLabels, Counter>,
    milliseconds: Family<OperationLabels, Counter>,
}

fn register_volumes(registry: &mut Registry, volumes: &dyn Storage) {
    let all = Volumes::default();
    let health = volumes.health_of_all().unwrap_or_default();
    // In a pool that cannot be looked at there are none to tell of.
    for volume in volumes.list().unwrap_or_default() {
        // A volume that is deleted meanwhile, or cannot be looked at, has no activity, and does not hide the others.
        all.add(&volume, volumes.activity(&volume.id).ok().flatten());
        let ailing = health.get(&volume.id).and_then(|health| health.as_ref().ok()).map_or(0, Vec::len);
        all.ailments.get_or_create(&labels(&volume)).set(i64::try_from(ailing).unwrap_or(i64::MAX));
    }
    registry.register_with_unit("volume_size", "The size of a volume", Unit::Bytes, all.sizes);
    registry.register("volume_ailments", "How much is wrong with a volume", all.ailments);
    registry.register(
        "volume_limit_operations_per_second",
        "How many operations a volume may do each second; absent without a limit",
        all.limits_operations,
    );
    registry.register(
        "volume_limit_bytes_per_second",
        "How many bytes a volume may read or write each second; absent without a limit",
        all.limits_bytes,
    );
    registry.register("volume_operations", "Operations done since a volume was attached", all.operations);
    registry.register_with_unit(
        "volume_transferred",
        "Read or written since a volume was attached",
        Unit::Bytes,
        all.bytes,
    );
    registry.register(
        "volume_operation_milliseconds",
        "How long the operations of a volume took, together",
        all.milliseconds,
    );
}

impl Volumes {
    fn add(&self, volume: &Volume, activity: Option<Activity>) {
        self.sizes.get_or_create(&labels(volume)).set(signed(volume.size));
        let of = |operation| OperationLabels { volume: volume.id.to_string(), name: volume.name.clone(), operation };
        let Limits { read_iops, write_iops, read_bandwidth, write_bandwidth } = volume.limits;
        for (family, operation, limit) in [
            (&self.limits_operations, Operation::Read, read_iops),
            (&self.limits_operations, Operation::Write, write_iops),
            (&self.limits_bytes, Operation::Read, read_bandwidth),
            (&self.limits_bytes, Operation::Write, write_bandwidth),
        ] {
            if let Some(limit) = limit {
                family.get_or_create(&of(operation)).set(signed(Bytes(limit.get())));
            }
        }
        let Some(Activity { reads, writes, read_bytes, written_bytes, read_ms, write_ms }) = activity else { return };
        for (family, operation, count) in [
            (&self.operations, Operation::Read, reads),
            (&self.operations, Operation::Write, writes),
            (&self.bytes, Operation::Read, read_bytes),
            (&self.bytes, Operation::Write, written_bytes),
            (&self.milliseconds, Operation::Read, read_ms),
            (&self.milliseconds, Operation::Write, write_ms),
        ] {
            family.get_or_create(&of(operation)).inc_by(count);
        }
    }
}

fn labels(volume: &Volume) -> VolumeLabels {
    VolumeLabels { volume: volume.id.to_string(), name: volume.name.clone() }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, path::Path};

    use orlop_volume::{
        Ailment, Content, FakeVolumes, Filesystem, MountOptions, NewVolume, NodeTag, Provisioning, Snapshots as _,
        Volumes as _,
    };

    use super::*;

    /// A pool that is low, with a volume that has a snapshot.
    fn told(limits: Limits) -> (String, String) {
        let volumes = FakeVolumes::new(NodeTag::of("a"), Bytes(10 << 30));
        let new = NewVolume {
            name: "pvc-1".into(),
            at_least: Bytes::GIB,
            at_most: None,
            content: Content::Filesystem(Filesystem::Xfs),
            provisioning: Provisioning::Thin,
            source: None,
            limits,
        };
        let id = volumes.create(&new).unwrap().id;
        let mounted = MountOptions::parse::<&str>(&[]).unwrap();
        volumes.stage(&id, Path::new("/staged"), &mounted).unwrap();
        volumes.snapshot("s", &id).unwrap();
        let low = Ailment { severity: Severity::Degraded, reason: "PoolLow", message: "it is low".into() };
        volumes.ail(None, vec![low]);

        let metrics = Metrics::default();
        metrics.frozen(Duration::from_millis(3));
        (id.to_string(), metrics.encode(&volumes))
    }

    #[test]
    fn the_pool_and_each_volume_are_told_of_with_their_names() {
        let (id, text) = told(Limits { read_iops: NonZeroU64::new(500), ..Limits::default() });
        for line in [
            "orlop_local_frozen_seconds_count 1".to_owned(),
            format!("orlop_local_pool_size_bytes {}", 10_u64 << 30),
            format!("orlop_local_pool_available_thin_bytes {}", 9_u64 << 30),
            "orlop_local_pool_paused 0".to_owned(),
            r#"orlop_local_pool_ailments{reason="PoolLow",severity="degraded"} 1"#.to_owned(),
            format!(r#"orlop_local_volume_size_bytes{{volume="{id}",name="pvc-1"}} {}"#, 1_u64 << 30),
            format!(
                r#"orlop_local_volume_limit_operations_per_second{{volume="{id}",name="pvc-1",operation="read"}} 500"#
            ),
            format!(r#"orlop_local_volume_operations_total{{volume="{id}",name="pvc-1",operation="write"}} 0"#),
        ] {
            assert!(text.lines().any(|present| present == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("limit_bytes_per_second{"), "there is none");
    }

    /// Alerts, dashboards and people go by it: the documentation, the rules and the dashboard are checked against this file.
    #[test]
    fn what_is_told_is_told_by_these_names() {
        let limits =
            Limits { read_iops: NonZeroU64::new(500), read_bandwidth: NonZeroU64::new(1 << 20), ..Limits::default() };
        let (id, text) = told(limits);
        // Reads and writes come in any order.
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n").replace(&id, "ID"));
    }
}
