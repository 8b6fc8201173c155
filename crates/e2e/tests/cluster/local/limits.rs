//! I/O limits by VolumeAttributesClass, changed under a running pod.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use orlop_api::Bytes;
use orlop_e2e::{
    namespace::{Namespace, claim, on_node, pod},
    site::Site,
};
use serde_json::json;

use super::mib;

/// How soon a change must show. A second is the aim; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Writes `count` MiB past the page cache, and returns the bytes written a second.
async fn write_rate(namespace: &Namespace<'_>, count: u64) -> anyhow::Result<Bytes> {
    let begun = Instant::now();
    let write = format!("dd if=/dev/zero of=/data/speed bs=1M count={count} oflag=direct conv=notrunc status=none");
    namespace.run("user", &write).await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rate")]
    Ok(Bytes((mib(count).0 as f64 / begun.elapsed().as_secs_f64()) as u64))
}

/// Waits until `shows` is true of the rate of a short write. Returns how long after `begun` that write began.
async fn seen(
    namespace: &Namespace<'_>,
    count: u64,
    begun: Instant,
    shows: impl Fn(Bytes) -> bool,
) -> anyhow::Result<Duration> {
    loop {
        let since = begun.elapsed();
        let rate = write_rate(namespace, count).await?;
        if shows(rate) {
            return Ok(since);
        }
        ensure!(since < SOON, "after {since:?} it writes {} a second", rate.human());
    }
}

/// Changes the claim's class, and waits until it shows.
async fn change(
    namespace: &Namespace<'_>,
    class: &str,
    count: u64,
    shows: impl Fn(Bytes) -> bool,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    namespace.patch("data", &json!({"spec": {"volumeAttributesClassName": class}})).await?;
    seen(namespace, count, begun, shows).await.with_context(|| format!("class {class} shows no effect"))
}

pub(crate) async fn the_limits_of_a_running_volume_follow_its_attributes_class(site: &Site) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-limits").await?;
    let mut data = claim("data", "orlop-local", "320Mi");
    data["spec"]["volumeAttributesClassName"] = json!("e2e-slow");
    // The resizer that works for all is most likely on another node than two volumes are both.
    for node in ["node-1", "node-3"] {
        namespace.apply([data.clone(), on_node(pod("user", &[&data]), node)]).await?;
        namespace.ready("user").await?;
        // With cgroup v1 a new container has its limits a moment after it has begun.
        let born = seen(&namespace, 8, Instant::now(), |rate| rate < mib(12)).await?;
        let freed = change(&namespace, "e2e-free", 16, |rate| rate > mib(24)).await?;
        let slowed = change(&namespace, "e2e-slow", 4, |rate| rate < mib(12)).await?;
        let few = change(&namespace, "e2e-few", 40, |rate| rate < mib(60)).await?;
        println!(
            "{node}: limited {born:?} after its pod was ready, limits lifted after {freed:?}, lowered after {slowed:?}, in operations after {few:?}"
        );

        change(&namespace, "e2e-slow", 4, |rate| rate < mib(12)).await?;
        site.kill_pods("csi").await?;
        seen(&namespace, 8, Instant::now(), |rate| rate < mib(12)).await.context("after a restart of the driver")?;
        namespace.delete_pod("user").await?;
        site.kubectl(&["-n", namespace.name, "delete", "pvc", "data"], "").await?;
    }
    namespace.remove().await
}
