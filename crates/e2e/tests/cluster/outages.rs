//! Parts that are not there, end, or come back.

use std::time::Duration;

use anyhow::ensure;
use orlop::bed::Component;
use orlop_api::Bytes;
use orlop_e2e::{
    eventually,
    namespace::LIMIT,
    site::Site,
    volume::{Volume, Wanted},
};
use serde_json::json;

use crate::growth::policy;

/// A volume with a policy that grows it by 64Mi as soon as fewer than 64Mi are free.
async fn governed<'a>(site: &'a Site, namespace: &str) -> anyhow::Result<Volume<'a>> {
    site.namespace(namespace).await?;
    let volume = Volume::create(site, &Wanted { namespace, name: "data", size: "320Mi", class: "orlop-local" }).await?;
    site.apply(&policy(namespace, "data", "Auto", &json!({"minFree": "64Mi", "increase": "64Mi", "maximum": "2Gi"})))
        .await?;
    Ok(volume)
}

pub(crate) async fn an_agent_that_is_killed_comes_back_and_the_volume_grows(site: &Site) -> anyhow::Result<()> {
    let namespace = "agent-killed";
    let volume = governed(site, namespace).await?;
    site.kill_pods("agent").await?;
    volume.fill_until_free(Bytes(48 << 20)).await?;
    volume.grown_to(Bytes(384 << 20), LIMIT).await?;
    site.remove_namespace(namespace).await
}

pub(crate) async fn the_api_server_restarts_and_the_volume_grows(site: &Site) -> anyhow::Result<()> {
    let namespace = "api-restart";
    let volume = governed(site, namespace).await?;
    for target in [384, 448] {
        site.kill(Component::ApiServer)?;
        volume.fill_until_free(Bytes(48 << 20)).await?;
        site.repair().await?;
        volume.grown_to(Bytes(target << 20), Duration::from_mins(2)).await?;
    }
    site.remove_namespace(namespace).await
}

pub(crate) async fn a_driver_killed_during_create_grow_and_delete_finishes_the_work(site: &Site) -> anyhow::Result<()> {
    let namespace = "driver-killed";
    site.namespace(namespace).await?;
    site.apply(&policy(namespace, "data", "Auto", &json!({"minFree": "64Mi", "increase": "64Mi", "maximum": "2Gi"})))
        .await?;
    // Each round ends the driver at another moment of the work: from at once to well after it is done.
    for round in 0..6_u64 {
        let moment = Duration::from_millis(round * 120);
        let wanted = Wanted { namespace, name: "data", size: "320Mi", class: "orlop-local" };
        let (volume, killed) = tokio::join!(Volume::create(site, &wanted), kill_drivers_after(site, moment));
        killed?;
        let volume = volume?;
        std::fs::write(volume.mount.join("kept"), "before the growth")?;
        volume.fill_until_free(Bytes(48 << 20)).await?;
        kill_drivers_after(site, moment).await?;
        volume.grown_to(Bytes(384 << 20), Duration::from_mins(2)).await?;
        ensure!(std::fs::read_to_string(volume.mount.join("kept"))? == "before the growth", "the data has changed");
        let image = site.bed.pool_dir(site.node(&volume.node)?).join("volumes");
        let deletion = async {
            site.kubectl(&["-n", namespace, "delete", "pod/data", "pvc/data", "--wait", "--timeout=120s"], "").await?;
            eventually("the volume to be deleted", Duration::from_mins(2), || async {
                let volumes = site.kubectl(&["get", "pv", &volume.volume, "--ignore-not-found"], "").await?;
                Ok(volumes.is_empty().then_some(()))
            })
            .await
        };
        let (deleted, killed) = tokio::join!(deletion, kill_drivers_after(site, moment));
        killed?;
        deleted?;
        let left: Vec<_> = std::fs::read_dir(&image)?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        ensure!(left.is_empty(), "the driver left {left:?} behind");
    }
    site.remove_namespace(namespace).await
}

/// Ends every driver process of the bed at once, after a moment; the kubelets start them again.
async fn kill_drivers_after(site: &Site, moment: Duration) -> anyhow::Result<()> {
    tokio::time::sleep(moment).await;
    site.bed.nodes().try_for_each(|node| site.kill_driver(node))
}
