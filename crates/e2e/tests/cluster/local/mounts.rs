//! How volumes are mounted: options, ownership, read-only, sub-paths, one pod at a time, and volumes that live and die
//! with their pod.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace, claim, on_node, pod},
    site::{IMAGE, Site},
};
use serde_json::json;

use super::pooled;

pub(crate) async fn mount_options_ownership_read_only_and_sub_paths_are_as_asked_for(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-mounts").await?;
    let data = claim("data", "e2e-options", "320Mi");
    let mut pod = pod("user", &[&data]);
    pod["spec"]["securityContext"] = json!({"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000});
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/part", "subPath": "a/b"}]);
    let reader = json!({
        "name": "reader", "image": IMAGE, "command": ["sh", "-c", "touch /data/no 2> /dev/null && exit 1; sleep infinity"],
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}],
    });
    pod["spec"]["containers"].as_array_mut().context("a pod with containers")?.push(reader);
    namespace.apply([data, pod]).await?;
    namespace.ready("user").await?;

    let mount = namespace.run("user", "grep ' /data ' /proc/mounts").await?;
    for option in ["noatime", "nodev", "logbsize=256k"] {
        ensure!(mount.contains(option), "{option} is not among the mount's options: {mount}");
    }
    let owned = namespace.run("user", "touch /data/file; stat -c '%u %g' /data/file").await?;
    ensure!(owned == "1000 2000", "a new file is of {owned}");
    let part = namespace.run("user", "echo sub > /part/file; cat /data/a/b/file").await?;
    ensure!(part == "sub", "a sub-path holds {part:?}");
    let pods = namespace.pods().get("user").await?;
    let running = pods.status.and_then(|status| status.container_statuses).unwrap_or_default();
    ensure!(running.iter().all(|container| container.restart_count == 0), "a read-only mount could be written to");
    namespace.remove().await
}

pub(crate) async fn a_claim_for_one_pod_admits_no_second_and_a_second_pod_of_a_node_shares_another(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-once").await?;
    let mut once = claim("once", "orlop-local", "320Mi");
    once["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    let shared = claim("shared", "orlop-local", "320Mi");
    let mut late = pod("late", &[&once]);
    late["spec"]["affinity"] = json!({});
    namespace.apply([once.clone(), shared.clone(), pod("first", &[&once, &shared])]).await?;
    let node = namespace.ready("first").await?;
    namespace.run("first", "echo shared > /shared/file; sync -f /shared").await?;
    namespace.apply([on_node(late, &node), on_node(pod("second", &[&shared]), &node)]).await?;
    namespace.ready("second").await?;
    let read = namespace.run("second", "cat /shared/file").await?;
    ensure!(read == "shared", "a second pod reads {read:?}");
    let waits = namespace.pods().get("late").await?;
    ensure!(!orlop_e2e::site::is_ready(&waits), "two pods have a claim that is for one");
    namespace.delete_pod("first").await?;
    namespace.ready("late").await?;
    namespace.remove().await
}

pub(crate) async fn ephemeral_volumes_come_and_go_with_their_pod(site: &Site) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-ephemeral").await?;
    let before = pooled(site, "node-2", "volumes")?;
    let mut pod = pod("brief", &[]);
    pod["spec"]["volumes"] = json!([
        {"name": "generic", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "storageClassName": "orlop-local", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "320Mi"}},
        }}}},
        {"name": "inline", "csi": {
            "driver": "local.orlop.dev", "fsType": "ext4", "volumeAttributes": {"size": "64Mi"},
        }},
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "generic", "mountPath": "/generic"}, {"name": "inline", "mountPath": "/inline"}]);
    namespace.apply([on_node(pod.clone(), "node-2")]).await?;
    namespace.ready("brief").await?;
    let types = namespace.run("brief", "stat -f -c %T /generic /inline").await?;
    ensure!(types.lines().eq(["xfs", "ext2/ext3"]), "the volumes are {types:?}");
    namespace.run("brief", "for at in generic inline; do echo $at > /$at/file; sync -f /$at; done").await?;
    ensure!(pooled(site, "node-2", "volumes")?.len() == before.len() + 2, "there are not two volumes more");
    site.kill_pods("csi").await?;
    let read = namespace.run("brief", "cat /generic/file /inline/file").await?;
    ensure!(read == "generic\ninline", "after a restart of the driver they hold {read:?}");
    namespace.delete_pod("brief").await?;
    eventually("the volumes of the pod to be gone", LIMIT, || async {
        Ok((pooled(site, "node-2", "volumes")?.len() == before.len()).then_some(()))
    })
    .await?;
    namespace.remove().await
}

pub(crate) async fn an_unknown_parameter_is_named_on_the_claim(site: &Site) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-unknown").await?;
    let odd = claim("odd", "e2e-unknown", "320Mi");
    namespace.apply([odd.clone(), pod("waits", &[&odd])]).await?;
    let note = eventually("an Event that names the parameter", Duration::from_secs(30), || async {
        let events = site.events(namespace.name, "odd", "ProvisioningFailed").await?;
        Ok(events.into_iter().filter_map(|event| event.message).find(|note| note.contains("compression")))
    })
    .await?;
    ensure!(note.contains("provisioning"), "the Event does not say what is known: {note}");
    let waits: Pod = namespace.pods().get("waits").await?;
    ensure!(!orlop_e2e::site::is_ready(&waits), "a pod runs with a volume that cannot be");
    namespace.remove().await
}
