//! A node that is gone, and comes back.

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{Api, ResourceExt as _};
use orlop::bed::Component;
use orlop_api::names::LOST_ANNOTATION;
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace, claim, on_node, pod},
    site::Site,
};
use serde_json::json;

use super::{image, unstaged};

/// How long the node must be gone until a volume is deleted that no claim has.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn volumes_of_a_node_that_is_gone_are_reported_and_those_without_a_claim_cleaned_up(
    site: &Site,
) -> anyhow::Result<()> {
    let result = node_is_gone(site).await;
    site.roll_back().await?;
    result
}

async fn node_is_gone(site: &Site) -> anyhow::Result<()> {
    site.upgrade(&json!({"local": {"lostNodes": {"cleanUpAfter": format!("{}s", GRACE.as_secs())}}})).await?;
    let namespace = Namespace::create(site, "local-lost").await?;
    let spare = claim("spare", "orlop-local", "320Mi");
    namespace.apply([spare.clone(), on_node(pod("brief", &[&spare]), "node-3")]).await?;
    namespace.ready("brief").await?;
    let (volume, id) = (namespace.volume("spare").await?.name_any(), namespace.volume_id("spare").await?);
    namespace.delete_pod("brief").await?;
    unstaged(site, "node-3").await?;
    let data = claim("data", "orlop-local", "320Mi");
    namespace.apply([data.clone(), on_node(pod("user", &[&data]), "node-3")]).await?;
    namespace.ready("user").await?;
    let checksum = namespace
        .run("user", "head -c 4194304 /dev/urandom > /data/file; sync -f /data; sha256sum < /data/file")
        .await?;

    site.kill(Component::Kubelet(site.node("node-3")?))?;
    // Without it its sidecars end too, and nobody is left there to delete a volume.
    site.kill_driver(site.node("node-3")?)?;
    site.kubectl(&["delete", "node", "node-3"], "").await?;
    let noted = || async {
        Ok(namespace.volume("data").await?.metadata.annotations.and_then(|mut all| all.remove(LOST_ANNOTATION)))
    };
    let since: Timestamp = eventually("the volume to be noted as lost", LIMIT, noted).await?.parse()?;
    let note = eventually("an Event on the claim", LIMIT, || async {
        Ok(site.events(namespace.name, "data", "NodeLost").await?.into_iter().find_map(|event| event.message))
    })
    .await?;
    ensure!(note.contains("node-3"), "the Event does not name the node: {note}");

    site.kubectl(&["-n", namespace.name, "delete", "pvc", "spare"], "").await?;
    let volumes: Api<PersistentVolume> = Api::all(site.client.clone());
    eventually("the volume without a claim to be cleaned up", LIMIT, || async {
        Ok(volumes.get_opt(&volume).await?.is_none().then_some(()))
    })
    .await?;
    let after = Timestamp::now().duration_since(since);
    ensure!(after >= SignedDuration::try_from(GRACE)?, "it was deleted {after:#} after its node was gone");

    site.repair().await?;
    eventually("the note to be taken away", LIMIT, || async { Ok(noted().await?.is_none().then_some(())) }).await?;
    // The cluster deletes a pod with its node, unless the node is back before.
    if namespace.pods().get_opt("user").await?.is_some() {
        namespace.delete_pod("user").await?;
    }
    namespace.apply([on_node(pod("again", &[&data]), "node-3")]).await?;
    namespace.ready("again").await?;
    ensure!(namespace.run("again", "sha256sum < /data/file").await? == checksum, "the data is not what it was");
    namespace.remove().await?;
    // Nobody could delete its data, which is left to whoever brings the node back.
    let left = image(site, "node-3", &id)?;
    fs::remove_dir_all(left.parent().context("an image in a directory")?).context("the data of the lost volume")
}
