//! How much room there is: what the scheduler is told, and what becomes of claims that do not fit.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use kube::{Api, api::ListParams};
use orlop_api::Bytes;
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace, claim, pod},
    site::{SYSTEM, Site},
};
use serde_json::json;

use super::mib;

/// What the scheduler is told that a node has for a class.
async fn told(site: &Site, node: &str, class: &str) -> anyhow::Result<Option<Bytes>> {
    let capacities: Api<CSIStorageCapacity> = Api::namespaced(site.client.clone(), SYSTEM);
    let all = capacities.list(&ListParams::default()).await?;
    let capacity = all.into_iter().find(|capacity| {
        let topology = capacity.node_topology.as_ref().and_then(|topology| topology.match_labels.as_ref());
        let here = topology.and_then(|labels| labels.get(orlop::csi::TOPOLOGY_KEY)).is_some_and(|name| name == node);
        here && capacity.storage_class_name == class
    });
    capacity.and_then(|capacity| capacity.capacity).map(|quantity| Ok(quantity.0.parse()?)).transpose()
}

/// What a node's pool has in its filesystem.
fn free(site: &Site, node: &str) -> anyhow::Result<Bytes> {
    let stat = rustix::fs::statvfs(site.bed.pool_dir(site.node(node)?))?;
    Ok(Bytes(stat.f_bavail * stat.f_frsize))
}

pub(crate) async fn the_room_that_the_scheduler_knows_of_is_there_and_a_pod_goes_where_it_is(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-room").await?;
    for node in ["node-1", "node-2", "node-3"] {
        for class in ["orlop-local", "e2e-xfs-thick"] {
            let known = eventually("the capacity of a class", LIMIT, || told(site, node, class)).await?;
            let free = free(site, node)?;
            ensure!(known <= free, "{node} has {} for {class}, and its pool {}", known.human(), free.human());
            ensure!(known.0 > free.0 / 4 * 3, "{node} has {} for {class}, its pool {}", known.human(), free.human());
        }
    }

    // Nearly all of a pool, in one volume whose bytes are taken at once.
    let before = told(site, "node-1", "e2e-xfs-thick").await?.context("a capacity")?;
    let large = Bytes(before.0 - mib(2048).0).round_down(mib(1));
    let filler = claim("filler", "e2e-xfs-thick", &large.to_string());
    namespace.apply([filler.clone(), orlop_e2e::namespace::on_node(pod("filler", &[&filler]), "node-1")]).await?;
    namespace.ready("filler").await?;
    let left = eventually("the scheduler to know what is left", LIMIT, || async {
        Ok(told(site, "node-1", "e2e-xfs-thick").await?.filter(|left| *left < mib(4096)))
    })
    .await?;
    println!("of {} on node-1 {} are left", before.human(), left.human());

    // A pod that would rather be there goes elsewhere.
    let more = claim("more", "orlop-local", "4Gi");
    let mut elsewhere = pod("elsewhere", &[&more]);
    elsewhere["spec"]["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]},
    }]}});
    namespace.apply([more, elsewhere]).await?;
    let node = namespace.ready("elsewhere").await?;
    ensure!(node != "node-1", "it is on the node that is full");

    // What is there cannot grow beyond the pool, and the claim says so.
    namespace.resize("filler", &Bytes(before.0 * 2).to_string()).await?;
    let note = eventually("an Event of the claim that says that there is no room", LIMIT, || async {
        let events = site.events(namespace.name, "filler", "VolumeResizeFailed").await?;
        Ok(events.into_iter().filter_map(|event| event.message).find(|note| note.contains("room for")))
    })
    .await?;
    println!("a claim that is too large says: {note}");
    namespace.remove().await?;
    eventually("the room to be there again", LIMIT, || async {
        Ok(told(site, "node-1", "e2e-xfs-thick").await?.filter(|room| room.0 > before.0 / 100 * 99).map(drop))
    })
    .await
}
