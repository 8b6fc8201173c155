//! Classes by what a volume does: up when it is saturated or its pod waits, down when it is idle, within a budget.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use jiff::Timestamp;
use kube::Api;
use orlop_api::{StoragePolicy, names::CLASS_ANNOTATION, names::PerformanceReason, policy::PerformanceStatus};
use orlop_e2e::{
    eventually,
    namespace::{Namespace, claim, pod},
    site::Site,
};
use serde_json::{Value, json};

use crate::inspect::explained;

const NAMESPACE: &str = "performance";

/// The writes a second of the slowest class.
const SLOWEST: u32 = 40;

/// Rates are over ten seconds, and the driver's resizer has its pauses: two steps up take half a minute, two steps down two.
const PATIENCE: Duration = Duration::from_mins(5);

/// Writes past the page cache for as long as there is a file `go`; with a file `pulse` in bursts of so many writes as that says,
/// two seconds apart.
const WRITER: &str = "write() { dd if=/dev/zero of=/data/load bs=4k count=$1 oflag=direct conv=notrunc status=none; }; \
                      while true; do if [ -e /data/go ]; then write 100; \
                      elif [ -e /data/pulse ]; then write $(cat /data/pulse); sleep 2; \
                      else sleep 1; fi; done";

fn class(name: &str, writes: u32) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": name},
        "driverName": "local.orlop.dev", "parameters": {"writeIOPS": writes.to_string()},
    })
}

fn policy(lower_after: &str) -> Value {
    json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy", "metadata": {"name": NAMESPACE},
        "spec": {"mode": "Auto", "selector": {}, "performance": {
            "attributesClasses": ["e2e-io-1", "e2e-io-2", "e2e-io-3"], "raiseAfter": "5s", "lowerAfter": lower_after,
        }},
    })
}

/// Does this machine's kernel count for how long a cgroup waits?
fn counts_pressure() -> bool {
    ["/sys/fs/cgroup/io.pressure", "/sys/fs/cgroup/unified/io.pressure"].iter().any(|file| Path::new(file).exists())
}

/// Since when the claim's volume has been quiet, as the operator that leads knows.
async fn quiet_since(site: &Site) -> anyhow::Result<Timestamp> {
    eventually("the volume to be quiet", PATIENCE, || async {
        let account = explained(site, NAMESPACE, "data").await?;
        Ok(serde_json::from_value(account["performance"]["load"]["quietSince"].clone())?)
    })
    .await
}

fn budget(iops: u32) -> String {
    json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "StorageBudget", "metadata": {"name": NAMESPACE},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "limits": {"iops": iops},
        },
    })
    .to_string()
}

/// What the driver has made of the claim's class.
async fn has_class(namespace: &Namespace<'_>, class: &str) -> anyhow::Result<()> {
    eventually(&format!("the volume to have the class {class}"), PATIENCE, || async {
        let status = namespace.claims().get("data").await?.status.unwrap_or_default();
        let current = status.current_volume_attributes_class_name;
        Ok((current.as_deref() == Some(class) && status.modify_volume_status.is_none()).then_some(()))
    })
    .await
}

/// Waits until the policy's status says this of the claim's class.
async fn reported(site: &Site, reason: PerformanceReason) -> anyhow::Result<PerformanceStatus> {
    let policies: Api<StoragePolicy> = Api::namespaced(site.client.clone(), NAMESPACE);
    eventually(&format!("the policy's status to say {reason}"), PATIENCE, || async {
        let claims = policies.get(NAMESPACE).await?.status.unwrap_or_default().claims;
        let of_class = claims.into_iter().find_map(|claim| claim.performance);
        Ok(of_class.filter(|status| status.reason == reason))
    })
    .await
}

pub(crate) async fn a_saturated_volume_gets_a_faster_class_and_an_idle_one_a_slower(site: &Site) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, NAMESPACE).await?;
    for (name, writes) in [("e2e-io-1", SLOWEST), ("e2e-io-2", 3 * SLOWEST), ("e2e-io-3", 10 * SLOWEST)] {
        site.apply(&class(name, writes).to_string()).await?;
    }
    let mut data = claim("data", "orlop-local", "320Mi");
    data["spec"]["volumeAttributesClassName"] = json!("e2e-io-1");
    let mut user = pod("user", &[&data]);
    user["spec"]["containers"][0]["command"] = json!(["sh", "-c", WRITER]);
    namespace.apply([policy("1h"), data, user]).await?;
    namespace.ready("user").await?;
    reported(site, PerformanceReason::Adequate).await?;

    namespace.run("user", "touch /data/go").await?;
    has_class(&namespace, "e2e-io-3").await?;
    let raised = reported(site, PerformanceReason::FastestClass).await;
    if counts_pressure() {
        let load = &explained(site, NAMESPACE, "data").await?["performance"]["load"];
        ensure!(load["pressure"]["full"].as_u64() > Some(0), "the pod writes all the time, and does not wait: {load}");
    }
    namespace.run("user", "rm /data/go").await?;
    if let Err(error) = raised {
        // A disk that does not do four hundred writes a second is not held back by the class.
        println!("the fastest class is not used up: {error:#}");
    }
    let begun = Instant::now();
    namespace
        .run("user", "dd if=/dev/zero of=/data/load bs=4k count=200 oflag=direct conv=notrunc status=none")
        .await?;
    let took = begun.elapsed();
    ensure!(
        took < Duration::from_secs(u64::from(200 / SLOWEST)),
        "200 writes took {took:?}, as with the slowest class"
    );
    let annotations = namespace.claims().get("data").await?.metadata.annotations.unwrap_or_default();
    let record = annotations.get(CLASS_ANNOTATION).map(String::as_str).unwrap_or_default();
    ensure!(record.contains("e2e-io-3"), "the record on the claim is `{record}`");
    ensure!(!site.events(NAMESPACE, "data", "Saturated").await?.is_empty(), "no Event tells of the faster class");

    let idle = quiet_since(site).await?;
    let before = Timestamp::now();
    site.kill_pods("operator").await?;
    let known = quiet_since(site).await?;
    ensure!(
        known < before,
        "quiet since {idle}, and by the next operator since {known}, though it came after {before}"
    );

    namespace.apply([policy("20s")]).await?;
    has_class(&namespace, "e2e-io-1").await?;
    ensure!(!site.events(NAMESPACE, "data", "Idle").await?.is_empty(), "no Event tells of the slower class");

    site.apply(&budget(3 * SLOWEST - 1)).await?;
    namespace.run("user", "touch /data/go").await?;
    let waits = reported(site, PerformanceReason::OverIopsBudget).await?;
    ensure!(waits.class.as_deref() == Some("e2e-io-1"), "{waits:?}");
    site.apply(&budget(3 * SLOWEST)).await?;
    has_class(&namespace, "e2e-io-2").await?;
    reported(site, PerformanceReason::OverIopsBudget).await?;

    // Eight seconds of ten the volume does all that it may, which is too little for `raiseAbove`.
    namespace.run("user", &format!("echo {} > /data/pulse; rm /data/go", 8 * 3 * SLOWEST)).await?;
    if counts_pressure() {
        eventually("the pod to be seen to wait", PATIENCE, || async {
            let status = reported(site, PerformanceReason::OverIopsBudget).await?;
            Ok(status.message.contains("waited for I/O").then_some(()))
        })
        .await?;
    }
    site.kubectl(&["delete", "storagebudget", NAMESPACE], "").await?;
    if counts_pressure() {
        has_class(&namespace, "e2e-io-3").await?;
    }
    namespace.remove().await
}
