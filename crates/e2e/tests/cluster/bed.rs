//! The bed itself: what `orlop up` promises.

use std::time::Duration;

use anyhow::ensure;
use kube::{Api, ResourceExt as _};
use orlop_e2e::{eventually, site::Site};

pub(crate) async fn a_second_up_changes_nothing_and_a_killed_component_comes_back(site: &Site) -> anyhow::Result<()> {
    let components = site.bed.components();
    let pids = || components.iter().map(|component| site.bed.pid(*component)).collect::<Vec<_>>();
    let before = pids();
    site.repair().await?;
    let after = pids();
    ensure!(before == after, "a second up restarted something: {before:?} and {after:?}");
    for component in components.clone() {
        site.kill(component)?;
        site.repair().await?;
        ensure!(site.bed.pid(component).is_some(), "{component} did not come back");
    }
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(site.client.clone());
    for node in site.bed.nodes() {
        eventually(&format!("{node} to be ready"), Duration::from_secs(90), || async {
            let conditions =
                nodes.get(&node.to_string()).await?.status.unwrap_or_default().conditions.unwrap_or_default();
            Ok(conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
                .then_some(()))
        })
        .await?;
    }
    let pods = site.pods("").await?;
    ensure!(!pods.is_empty(), "no pods of Orlop are left");
    for pod in pods {
        ensure!(pod.metadata.deletion_timestamp.is_none(), "{} is being deleted", pod.name_any());
    }
    Ok(())
}
