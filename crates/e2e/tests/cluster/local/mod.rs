//! The local driver, through what its users write: claims, classes, snapshots, pods. Whatever is written is read back and
//! compared by checksum, along every path that it can take.

pub(crate) mod kinds;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod nodes;
pub(crate) mod performance;
pub(crate) mod pools;
pub(crate) mod room;
pub(crate) mod snapshots;

use std::path::PathBuf;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::PersistentVolume;
use orlop_api::Bytes;
use orlop_e2e::{eventually, namespace::LIMIT, site::Site};

/// The classes that the tests use beside the chart's.
pub(crate) const CLASSES: &str = "
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: e2e-xfs-thick}, provisioner: local.orlop.dev,
 volumeBindingMode: WaitForFirstConsumer, allowVolumeExpansion: true,
 parameters: {csi.storage.k8s.io/fstype: xfs, provisioning: thick}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: e2e-ext4-thick}, provisioner: local.orlop.dev,
 volumeBindingMode: WaitForFirstConsumer, allowVolumeExpansion: true,
 parameters: {csi.storage.k8s.io/fstype: ext4, provisioning: thick}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: e2e-btrfs}, provisioner: local.orlop.dev,
 volumeBindingMode: WaitForFirstConsumer, allowVolumeExpansion: true,
 parameters: {csi.storage.k8s.io/fstype: btrfs, provisioning: thin}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: e2e-btrfs-thick}, provisioner: local.orlop.dev,
 volumeBindingMode: WaitForFirstConsumer, allowVolumeExpansion: true,
 parameters: {csi.storage.k8s.io/fstype: btrfs, provisioning: thick}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: e2e-options}, provisioner: local.orlop.dev,
 volumeBindingMode: WaitForFirstConsumer, allowVolumeExpansion: true, mountOptions: [noatime, nodev, logbsize=256k]}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: e2e-unknown}, provisioner: local.orlop.dev,
 volumeBindingMode: WaitForFirstConsumer, parameters: {compression: zstd}}
---
{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: e2e-slow}, driverName: local.orlop.dev,
 parameters: {writeBandwidth: 8Mi, writeIOPS: none}}
---
{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: e2e-few}, driverName: local.orlop.dev,
 parameters: {writeBandwidth: none, writeIOPS: '40'}}
---
{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: e2e-free}, driverName: local.orlop.dev,
 parameters: {writeBandwidth: none, writeIOPS: none}}
";

/// Where the driver keeps a volume.
fn image(site: &Site, node: &str, id: &str) -> anyhow::Result<PathBuf> {
    Ok(site.bed.pool_dir(site.node(node)?).join("volumes").join(id).join("image"))
}

/// The ids of the volumes, or of the `snapshots`, that a node's pool holds.
fn pooled(site: &Site, node: &str, what: &str) -> anyhow::Result<Vec<String>> {
    let directory = site.bed.pool_dir(site.node(node)?).join(what);
    let entries = std::fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Waits until no filesystem of the driver's is mounted on a node: a pod that is then created has its volumes staged anew.
async fn unstaged(site: &Site, node: &str) -> anyhow::Result<()> {
    let staging = site.bed.kubelet_dir(site.node(node)?).join("plugins/kubernetes.io/csi/local.orlop.dev");
    let staging = staging.to_string_lossy().into_owned();
    eventually(&format!("nothing to be staged on {node}"), LIMIT, || async {
        Ok((!std::fs::read_to_string("/proc/self/mountinfo")?.contains(&staging)).then_some(()))
    })
    .await
}

/// The node that a volume is on.
fn node_of(volume: &PersistentVolume) -> anyhow::Result<String> {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let terms = affinity.map(|required| &required.node_selector_terms[..]).unwrap_or_default();
    let mut expressions = terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
    let node = expressions.find(|expression| expression.key == orlop::csi::TOPOLOGY_KEY);
    node.and_then(|node| node.values.as_ref()?.first().cloned()).context("a local volume that is not bound to a node")
}

const fn mib(count: u64) -> Bytes {
    Bytes(count << 20)
}
