//! Parts that are not there, end, or come back.

use std::time::Duration;

use orlop::bed::Component;
use orlop_api::Bytes;
use orlop_e2e::{
    site::Site,
    volume::{Volume, Wanted},
};
use serde_json::json;

use crate::growth::{LIMIT, policy};

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
