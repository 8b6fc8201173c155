//! Snapshots of volumes in use, what is made of them, clones, and snapshots of several volumes at one moment.

use anyhow::{Context as _, ensure};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace, block_claim, claim, from_source, on_node, pod, snapshot},
    site::Site,
};
use serde_json::{Value, json};

use super::{mib, node_of, pooled};

/// Objects of snapshots in a namespace.
fn objects(site: &Site, namespace: &str, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(site.client.clone(), namespace, &resource)
}

/// Waits until a snapshot, or a group of them, can be used, and returns its status.
async fn usable(api: &Api<DynamicObject>, name: &str) -> anyhow::Result<Value> {
    eventually(&format!("snapshot {name} to be ready"), LIMIT, || async {
        let status = api.get(name).await?.data["status"].take();
        Ok((status["readyToUse"] == json!(true)).then_some(status))
    })
    .await
}

/// Counts up in a file of each of these directories, in their order, as fast as it goes; each file is never half written.
fn counter(directories: &[&str]) -> Value {
    let steps: String = directories.iter().map(|at| format!("echo $n > {at}/.n; mv {at}/.n {at}/n; ")).collect();
    json!(["sh", "-c", format!("n=0; while :; do n=$((n+1)); {steps}done")])
}

pub(crate) async fn a_volume_in_use_is_restored_larger_on_its_node_and_its_snapshot_outlives_it(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-restore").await?;
    let (files, raw) = (claim("files", "orlop-local", "320Mi"), block_claim("raw", "orlop-local", "64Mi"));
    namespace.apply([files.clone(), raw.clone(), on_node(pod("user", &[&files, &raw]), "node-2")]).await?;
    namespace.ready("user").await?;
    let write = "head -c 16777216 /dev/urandom > /tmp/data; cp /tmp/data /files/data; sync -f /files; \
                 dd if=/tmp/data of=/dev/raw bs=1M oflag=direct status=none; sha256sum < /tmp/data";
    let checksum = namespace.run("user", write).await?;
    // It goes on being written to: after the snapshot nothing is as it was.
    namespace.apply([snapshot("files", "files"), snapshot("raw", "raw")]).await?;
    let snapshots = objects(site, namespace.name, "snapshot.storage.k8s.io", "VolumeSnapshot");
    for name in ["files", "raw"] {
        usable(&snapshots, name).await?;
    }
    namespace.run("user", "head -c 16777216 /dev/zero > /files/data; sync -f /files").await?;
    namespace.run("user", "dd if=/dev/zero of=/dev/raw bs=1M count=16 oflag=direct status=none").await?;

    let restored = from_source(claim("files-again", "orlop-local", "448Mi"), ("VolumeSnapshot", "files"));
    let restored_raw = from_source(block_claim("raw-again", "orlop-local", "96Mi"), ("VolumeSnapshot", "raw"));
    // Nobody says where: the other nodes refuse, until the scheduler comes to the one that has the snapshot.
    namespace.apply([restored.clone(), restored_raw.clone(), pod("again", &[&restored, &restored_raw])]).await?;
    ensure!(namespace.ready("again").await? == "node-2", "it was restored on another node");
    let read = "sha256sum < /files-again/data; dd if=/dev/raw-again bs=1M count=16 status=none | sha256sum";
    for found in namespace.run("again", read).await?.lines() {
        ensure!(found == checksum, "what was restored is not what was snapshotted");
    }
    let size: u64 = namespace.run("again", "df -B1 --output=size /files-again | tail -n1").await?.trim().parse()?;
    // What the filesystem keeps for itself aside.
    ensure!(size > mib(360).0, "the restored filesystem has {size} bytes");
    let size = namespace.run("again", "blockdev --getsize64 /dev/raw-again").await?;
    ensure!(size == mib(96).0.to_string(), "the restored device has {size} bytes");

    // The source goes, and then the snapshot: what was made of it stays.
    namespace.delete_pod("user").await?;
    site.kubectl(&["-n", namespace.name, "delete", "pvc", "files", "raw"], "").await?;
    let late = from_source(claim("late", "orlop-local", "320Mi"), ("VolumeSnapshot", "files"));
    namespace.apply([late.clone(), on_node(pod("late", &[&late]), "node-2")]).await?;
    namespace.ready("late").await?;
    ensure!(
        namespace.run("late", "sha256sum < /late/data").await? == checksum,
        "restored after its source was deleted"
    );
    site.kubectl(&["-n", namespace.name, "delete", "volumesnapshot", "files", "raw"], "").await?;
    eventually("the snapshots to be gone from the pool", LIMIT, || async {
        Ok(pooled(site, "node-2", "snapshots")?.is_empty().then_some(()))
    })
    .await?;
    ensure!(namespace.run("again", read).await?.lines().all(|found| found == checksum), "without its snapshot");
    namespace.remove().await
}

pub(crate) async fn a_claim_in_use_is_cloned_and_the_clone_outlives_it(site: &Site) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-clone").await?;
    let sources = [
        claim("xfs", "orlop-local", "320Mi"),
        claim("ext4", "e2e-ext4", "320Mi"),
        claim("btrfs", "e2e-btrfs", "320Mi"),
    ];
    let user = pod("user", &sources.iter().collect::<Vec<_>>());
    namespace.apply(sources.iter().cloned().chain([on_node(user, "node-3")])).await?;
    namespace.ready("user").await?;
    let write = "head -c 8388608 /dev/urandom > /tmp/data; \
                 for at in xfs ext4 btrfs; do cp /tmp/data /$at/data; sync -f /$at; done; sha256sum < /tmp/data";
    let checksum = namespace.run("user", write).await?;
    let clones = sources.each_ref().map(|source| {
        let (name, class) = (source["metadata"]["name"].as_str(), source["spec"]["storageClassName"].as_str());
        let (name, class) = (name.unwrap_or_default(), class.unwrap_or_default());
        from_source(claim(&format!("{name}-clone"), class, "384Mi"), ("PersistentVolumeClaim", name))
    });
    let pods = pod("clones", &clones.iter().collect::<Vec<_>>());
    namespace.apply(clones.iter().cloned().chain([pods])).await?;
    // Both are mounted on one node at the same time, though one is the other's copy.
    ensure!(namespace.ready("clones").await? == "node-3", "a clone is on another node than its source");
    namespace.run("user", "for at in xfs ext4 btrfs; do echo other > /$at/data; sync -f /$at; done").await?;
    let read = "for at in xfs ext4 btrfs; do sha256sum < /$at-clone/data; done";
    let holds = async |when: &str| -> anyhow::Result<()> {
        let found = namespace.run("clones", read).await?;
        ensure!(found.lines().count() == 3 && found.lines().all(|line| line == checksum), "{when}: {found}");
        Ok(())
    };
    holds("after the source was overwritten").await?;
    namespace.delete_pod("user").await?;
    site.kubectl(&["-n", namespace.name, "delete", "pvc", "xfs", "ext4", "btrfs"], "").await?;
    holds("after the source was deleted").await?;
    namespace.remove().await
}

pub(crate) async fn a_group_of_claims_is_snapshotted_at_one_moment(site: &Site) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-group").await?;
    let labelled = |mut claim: Value| {
        claim["metadata"]["labels"] = json!({"group": "one"});
        claim
    };
    let (a, b) = (labelled(claim("a", "orlop-local", "320Mi")), labelled(claim("b", "orlop-local", "320Mi")));
    let mut writer = pod("writer", &[&a, &b]);
    writer["spec"]["containers"][0]["command"] = counter(&["/a", "/b"]);
    namespace.apply([a, b, on_node(writer, "node-1")]).await?;
    namespace.ready("writer").await?;
    let group = json!({
        "apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshot", "metadata": {"name": "moment"},
        "spec": {"source": {"selector": {"matchLabels": {"group": "one"}}}},
    });
    namespace.apply([group]).await?;
    usable(&objects(site, namespace.name, "groupsnapshot.storage.k8s.io", "VolumeGroupSnapshot"), "moment").await?;
    let members = members(site, &namespace).await?;
    let restore = |name: &'static str| {
        let source = members.iter().find(|(claim, _)| claim == name).map(|(_, snapshot)| snapshot.as_str());
        from_source(
            claim(&format!("{name}-then"), "orlop-local", "320Mi"),
            ("VolumeSnapshot", source.unwrap_or_default()),
        )
    };
    let restored = [restore("a"), restore("b")];
    let reader = on_node(pod("reader", &restored.iter().collect::<Vec<_>>()), "node-1");
    namespace.apply(restored.iter().cloned().chain([reader])).await?;
    namespace.ready("reader").await?;
    let counts = namespace.run("reader", "cat /a-then/n /b-then/n").await?;
    let counts: Vec<i64> = counts.lines().map(|line| Ok(line.parse()?)).collect::<anyhow::Result<_>>()?;
    let [a, b] = counts[..] else { anyhow::bail!("two counts, not {counts:?}") };
    // The writer may have been held up between the one and the other.
    ensure!(a == b || a == b + 1, "the volumes are of two moments: {a} and {b}");
    let now: i64 = namespace.run("writer", "cat /b/n").await?.parse()?;
    ensure!(now > b, "the writer does not go on");

    site.kubectl(&["-n", namespace.name, "delete", "volumegroupsnapshot", "moment", "--timeout=60s"], "").await?;
    eventually("the group to be gone from the pool", LIMIT, || async {
        Ok(pooled(site, "node-1", "snapshots")?.is_empty().then_some(()))
    })
    .await?;
    namespace.remove().await
}

/// The snapshots of a group: the claim of each, and its name.
async fn members(site: &Site, namespace: &Namespace<'_>) -> anyhow::Result<Vec<(String, String)>> {
    let snapshots = objects(site, namespace.name, "snapshot.storage.k8s.io", "VolumeSnapshot");
    eventually("the snapshots of the group", LIMIT, || async {
        let found = snapshots.list(&kube::api::ListParams::default()).await?.items;
        let members = found.iter().filter(|snapshot| snapshot.data["status"]["readyToUse"] == json!(true));
        let named = members.filter_map(|snapshot| {
            let claim = snapshot.data["spec"]["source"]["persistentVolumeClaimName"].as_str()?;
            Some((claim.to_owned(), snapshot.metadata.name.clone()?))
        });
        Ok(Some(named.collect::<Vec<_>>()).filter(|members| members.len() == 2))
    })
    .await
}

pub(crate) async fn a_group_on_two_nodes_is_refused_with_the_reason_and_can_be_deleted(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-span").await?;
    for node in ["node-1", "node-2"] {
        let mut part = claim(node, "orlop-local", "320Mi");
        part["metadata"]["labels"] = json!({"group": "two"});
        namespace.apply([part.clone(), on_node(pod(node, &[&part]), node)]).await?;
    }
    for node in ["node-1", "node-2"] {
        ensure!(namespace.ready(node).await? == node, "a pod on another node");
        ensure!(node_of(&namespace.volume(node).await?)? == node, "a volume on another node");
    }
    let group = json!({
        "apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshot", "metadata": {"name": "wide"},
        "spec": {"source": {"selector": {"matchLabels": {"group": "two"}}}},
    });
    namespace.apply([group]).await?;
    let note = eventually("an Event that says why", LIMIT, || async {
        let events = site.events(namespace.name, "wide", "GroupSpansNodes").await?;
        Ok(events.into_iter().find_map(|event| event.message))
    })
    .await?;
    ensure!(note.contains("node-1") && note.contains("node-2"), "the nodes are not named: {note}");
    let groups = objects(site, namespace.name, "groupsnapshot.storage.k8s.io", "VolumeGroupSnapshot");
    eventually("the group's status to say why", LIMIT, || async {
        let status = groups.get("wide").await?.data["status"].take();
        Ok(status["error"]["message"].is_string().then_some(()))
    })
    .await?;
    site.kubectl(&["-n", namespace.name, "delete", "volumegroupsnapshot", "wide", "--timeout=60s"], "").await?;
    namespace.remove().await
}

pub(crate) async fn a_snapshot_that_was_brought_from_outside_finds_its_node(site: &Site) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-brought").await?;
    let source = claim("source", "orlop-local", "320Mi");
    namespace.apply([source.clone(), on_node(pod("user", &[&source]), "node-3")]).await?;
    namespace.ready("user").await?;
    namespace.run("user", "echo brought > /source/file; sync -f /source").await?;
    namespace.apply([snapshot("taken", "source")]).await?;
    let snapshots = objects(site, namespace.name, "snapshot.storage.k8s.io", "VolumeSnapshot");
    let status = usable(&snapshots, "taken").await?;
    let content = status["boundVolumeSnapshotContentName"].as_str().context("a snapshot without content")?;
    let handle =
        site.kubectl(&["get", "volumesnapshotcontent", content, "-o", "jsonpath={.status.snapshotHandle}"], "").await?;
    // As after a cluster was rebuilt over the disks of the old one: nobody labels this content with its node.
    let brought = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": "e2e-brought"},
        "spec": {
            "driver": "local.orlop.dev", "deletionPolicy": "Retain", "source": {"snapshotHandle": handle},
            "volumeSnapshotRef": {"namespace": namespace.name, "name": "brought"},
        },
    });
    site.apply(&brought.to_string()).await?;
    let bound = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": "brought"},
        "spec": {"source": {"volumeSnapshotContentName": "e2e-brought"}},
    });
    namespace.apply([bound]).await?;
    usable(&snapshots, "brought").await?;
    let again = from_source(claim("again", "orlop-local", "320Mi"), ("VolumeSnapshot", "brought"));
    namespace.apply([again.clone(), on_node(pod("again", &[&again]), "node-3")]).await?;
    namespace.ready("again").await?;
    let read = namespace.run("again", "cat /again/file").await?;
    ensure!(read == "brought", "it holds {read:?}");
    namespace.remove().await?;
    site.kubectl(&["delete", "volumesnapshotcontent", "e2e-brought", "--ignore-not-found", "--timeout=60s"], "")
        .await?;
    Ok(())
}
