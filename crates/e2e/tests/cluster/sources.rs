//! The sources of measurements are lost, one, two or all of them: what is left serves, and without any nothing is done.

use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, api::PostParams};
use orlop_api::Bytes;
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, claim, on_node, pod},
    prometheus::Prometheus,
    site::Site,
    volume::Volume,
};
use serde_json::json;

use crate::{growth::policy, inspect::explained};

const NAMESPACE: &str = "sources";

/// What is left on each node where its agent is lost. The kubelet may not be asked on the first, and Prometheus does not
/// read that of the second.
const LEFT: [(&str, &str); 3] = [("node-1", "Prometheus"), ("node-2", "Kubelet"), ("node-3", "Kubelet")];

/// The kubelets that Prometheus reads, and those that may be asked.
const READ: [&str; 2] = ["node-1", "node-3"];
const ASKED: [&str; 2] = ["node-2", "node-3"];

/// An agent is believed for half a minute after its last word, and on a bed a kubelet measures every 10 to 20 seconds.
const SLOWLY: Duration = Duration::from_mins(3);

/// Long enough for a forbidden growth to happen.
const QUIET: Duration = Duration::from_secs(6);

pub(crate) async fn a_volume_grows_by_what_source_is_left_and_without_any_nothing_is_done(
    site: &Site,
) -> anyhow::Result<()> {
    let prometheus = Prometheus::start(site, &READ).await?;
    let result = lose_them(site, prometheus).await;
    site.switch_daemon_sets("agent", true).await?;
    ask_kubelets_of(site, None).await?;
    site.roll_back().await?;
    result?;
    site.remove_namespace(NAMESPACE).await
}

async fn lose_them(site: &Site, prometheus: Prometheus) -> anyhow::Result<()> {
    let often = "3s";
    site.upgrade(&json!({"operator": {
        "kubeletSource": {"interval": often},
        "prometheus": {"servers": [{"url": prometheus.url()}], "interval": often},
    }}))
    .await?;
    site.namespace(NAMESPACE).await?;
    let capacity = json!({"minFree": "64Mi", "increase": "64Mi", "maximum": "2Gi"});
    site.apply(&policy(NAMESPACE, "data", "Auto", &capacity)).await?;
    let volumes = try_join_all(LEFT.map(|(node, _)| volume_on(site, node))).await?;

    // The agents are lost: of one node with its kubelet, of one with Prometheus, of one alone.
    ask_kubelets_of(site, Some(&ASKED)).await?;
    site.switch_daemon_sets("agent", false).await?;
    grow_to(&volumes, Bytes(384 << 20), SLOWLY).await?;
    for (volume, (_, source)) in volumes.iter().zip(LEFT) {
        measured_by(site, volume, source).await?;
    }

    // They are back, and the others lost.
    site.switch_daemon_sets("agent", true).await?;
    ask_kubelets_of(site, Some(&[])).await?;
    prometheus.kill().await?;
    grow_to(&volumes, Bytes(448 << 20), LIMIT).await?;
    for volume in &volumes {
        measured_by(site, volume, "Agent").await?;
    }

    // All are lost.
    site.switch_daemon_sets("agent", false).await?;
    fill(&volumes).await?;
    for volume in &volumes {
        unmeasured(site, volume).await?;
    }
    tokio::time::sleep(QUIET).await;
    for volume in &volumes {
        let standing = volume.standing().await?;
        ensure!(standing.requested == Bytes(448 << 20), "it grew by what nobody has measured: {standing:?}");
    }

    // And one is back.
    site.switch_daemon_sets("agent", true).await?;
    try_join_all(volumes.iter().map(|volume| volume.grown_to(Bytes(512 << 20), LIMIT))).await?;
    Ok(())
}

/// A volume on that node, for a claim of that name.
async fn volume_on<'a>(site: &'a Site, node: &str) -> anyhow::Result<Volume<'a>> {
    let mut claim = claim(node, "orlop-local", "320Mi");
    let mut pod = on_node(pod(node, &[&claim]), node);
    claim["metadata"]["labels"] = json!({"app": "data"});
    for object in [&mut claim, &mut pod] {
        object["metadata"]["namespace"] = json!(NAMESPACE);
        site.apply(&object.to_string()).await?;
    }
    Volume::of_pod(site, NAMESPACE, node, node).await
}

/// Lets the operator ask these kubelets and no others for their summaries; all of them, where it is not said which.
async fn ask_kubelets_of(site: &Site, nodes: Option<&[&str]>) -> anyhow::Result<()> {
    // An empty list would be one of all nodes.
    let names = nodes.map(|nodes| nodes.iter().copied().chain(["no-node"]).map(str::to_owned).collect::<Vec<_>>());
    let roles: Api<ClusterRole> = Api::all(site.client.clone());
    let mut role = roles.get("orlop-operator").await?;
    let is_it = |resources: &Option<Vec<String>>| resources.iter().flatten().any(|resource| resource == "nodes/proxy");
    for rule in role.rules.iter_mut().flatten().filter(|rule| is_it(&rule.resources)) {
        rule.resource_names.clone_from(&names);
    }
    roles.replace("orlop-operator", &PostParams::default(), &role).await?;
    Ok(())
}

/// Fills all of them until they are to grow.
async fn fill(volumes: &[Volume<'_>]) -> anyhow::Result<()> {
    try_join_all(volumes.iter().map(|volume| volume.fill_until_free(Bytes(48 << 20)))).await.map(drop)
}

async fn grow_to(volumes: &[Volume<'_>], target: Bytes, limit: Duration) -> anyhow::Result<()> {
    fill(volumes).await?;
    try_join_all(volumes.iter().map(|volume| volume.grown_to(target, limit))).await.map(drop)
}

/// Waits until `orlop explain` names that source of the latest measurement.
async fn measured_by(site: &Site, volume: &Volume<'_>, source: &str) -> anyhow::Result<()> {
    eventually(&format!("{} to be measured by {source}", volume.name), LIMIT, || async {
        let account = explained(site, NAMESPACE, &volume.name).await?;
        ensure!(account["usage"]["source"] == source, "it is measured by {}", account["usage"]["source"]);
        Ok(Some(()))
    })
    .await
}

/// Waits until `orlop explain` says that nobody measures the volume, and whose work that would be.
async fn unmeasured(site: &Site, volume: &Volume<'_>) -> anyhow::Result<()> {
    eventually(&format!("{} to be reported as measured by nobody", volume.name), SLOWLY, || async {
        let decision = explained(site, NAMESPACE, &volume.name).await?["decision"].take();
        let reason = decision["reason"].as_str().unwrap_or_default();
        ensure!(matches!(reason, "StaleMeasurement" | "NoMeasurement"), "the reason is {reason}");
        ensure!(decision["message"].as_str().is_some_and(|text| text.contains("agent")), "it says {decision}");
        Ok(Some(()))
    })
    .await
}
