//! A node that is gone, and comes back.

use anyhow::ensure;
use orlop::bed::Component;
use orlop_api::names::LOST_ANNOTATION;
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace, claim, on_node, pod},
    site::Site,
};

pub(crate) async fn a_volume_whose_node_is_gone_is_reported_until_the_node_is_back(site: &Site) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-lost").await?;
    let data = claim("data", "orlop-local", "320Mi");
    namespace.apply([data.clone(), on_node(pod("user", &[&data]), "node-3")]).await?;
    namespace.ready("user").await?;
    let checksum = namespace
        .run("user", "head -c 4194304 /dev/urandom > /data/file; sync -f /data; sha256sum < /data/file")
        .await?;

    site.kill(Component::Kubelet(site.node("node-3")?))?;
    site.kubectl(&["delete", "node", "node-3"], "").await?;
    let noted = || async {
        Ok(namespace.volume("data").await?.metadata.annotations.and_then(|mut all| all.remove(LOST_ANNOTATION)))
    };
    eventually("the volume to be noted as lost", LIMIT, noted).await?;
    let note = eventually("an Event on the claim", LIMIT, || async {
        Ok(site.events(namespace.name, "data", "NodeLost").await?.into_iter().find_map(|event| event.message))
    })
    .await?;
    ensure!(note.contains("node-3"), "the Event does not name the node: {note}");

    site.repair().await?;
    eventually("the note to be taken away", LIMIT, || async { Ok(noted().await?.is_none().then_some(())) }).await?;
    // The cluster deletes a pod with its node, unless the node is back before.
    if namespace.pods().get_opt("user").await?.is_some() {
        namespace.delete_pod("user").await?;
    }
    namespace.apply([on_node(pod("again", &[&data]), "node-3")]).await?;
    namespace.ready("again").await?;
    ensure!(namespace.run("again", "sha256sum < /data/file").await? == checksum, "the data is not what it was");
    namespace.remove().await
}
