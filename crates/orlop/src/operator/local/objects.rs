//! The parts of objects that are read.

use k8s_openapi::{
    api::core::v1::{
        ObjectReference, PersistentVolume, PersistentVolumeClaim, TypedLocalObjectReference, VolumeNodeAffinity,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Resource,
    core::{ApiResource, GroupVersionKind, Object},
};
use orlop_api::names;
use orlop_volume::{GroupId, NodeTag, SnapshotId, VolumeId};
use serde::{Deserialize, Serialize};

use crate::csi::TOPOLOGY_KEY;

/// By this label a node's snapshotter knows what is its own. The snapshot controller of a cluster sets it on the
/// content of a single snapshot, if it was told to, and on nothing else (external-snapshotter v8.7).
pub(super) const MANAGED_BY: &str = "snapshot.storage.kubernetes.io/managed-by";

/// A PersistentVolume as far as its node goes.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = PersistentVolume)]
pub(super) struct VolumeObject {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: VolumeSpec,
    #[serde(default)]
    pub(super) status: VolumeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeSpec {
    csi: Option<CsiSource>,
    node_affinity: Option<VolumeNodeAffinity>,
    pub(super) claim_ref: Option<ObjectReference>,
    pub(super) persistent_volume_reclaim_policy: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CsiSource {
    driver: String,
    volume_handle: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct VolumeStatus {
    pub(super) phase: Option<String>,
}

impl VolumeObject {
    /// Is it of the local driver, and can its node be known?
    pub(super) fn is_local(&self) -> bool {
        self.tag().is_some()
    }

    /// What stands for the node of a volume of the local driver.
    pub(super) fn tag(&self) -> Option<NodeTag> {
        let source = self.spec.csi.as_ref().filter(|source| source.driver == names::LOCAL_DRIVER)?;
        source.volume_handle.parse().ok().map(|id: VolumeId| id.tag())
    }

    /// The name of the node that the volume can be used on.
    pub(super) fn node(&self) -> Option<&str> {
        let terms = &self.spec.node_affinity.as_ref()?.required.as_ref()?.node_selector_terms;
        let mut expressions = terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
        let node = expressions.find(|expression| expression.key == TOPOLOGY_KEY)?;
        node.values.as_ref()?.first().map(String::as_str)
    }
}

/// A claim as far as it starts with something.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = PersistentVolumeClaim)]
pub(super) struct ClaimObject {
    pub(super) metadata: ObjectMeta,
    spec: ClaimSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec {
    volume_name: Option<String>,
    data_source: Option<TypedLocalObjectReference>,
}

/// What a claim starts with, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataSource {
    /// A VolumeSnapshot.
    Snapshot(String),
    /// Another claim.
    Claim(String),
}

impl ClaimObject {
    /// What a volume yet to be made for the claim starts with.
    pub(super) fn source(&self) -> Option<DataSource> {
        let source = self.spec.data_source.as_ref().filter(|_| self.spec.volume_name.is_none())?;
        match (source.api_group.as_deref().unwrap_or_default(), source.kind.as_str()) {
            ("snapshot.storage.k8s.io", "VolumeSnapshot") => Some(DataSource::Snapshot(source.name.clone())),
            ("", "PersistentVolumeClaim") => Some(DataSource::Claim(source.name.clone())),
            _ => None,
        }
    }
}

/// A part of an object that nothing is read of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Unread {}

/// A snapshot as its user has it.
pub(super) type Snapshot = Object<Unread, SnapshotStatus>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotStatus {
    pub(super) bound_volume_snapshot_content_name: Option<String>,
}

/// What a snapshot controller wants to have of a driver: one snapshot.
pub(super) type SnapshotContent = Object<SnapshotContentSpec, Unread>;

/// The same for a group.
pub(super) type GroupContent = Object<GroupContentSpec, GroupContentStatus>;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SnapshotContentSpec {
    driver: String,
    source: SnapshotSource,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotSource {
    volume_handle: Option<String>,
    snapshot_handle: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupContentSpec {
    driver: String,
    source: GroupSource,
    pub(super) volume_group_snapshot_class_name: Option<String>,
    pub(super) volume_group_snapshot_ref: ObjectReference,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupSource {
    #[serde(default)]
    volume_handles: Vec<String>,
    group_snapshot_handles: Option<GroupHandles>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupHandles {
    volume_group_snapshot_handle: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupContentStatus {
    pub(super) ready_to_use: Option<bool>,
}

/// What the API server calls snapshots.
pub(super) fn snapshots() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshot"))
}

/// What the API server calls the contents of snapshots.
pub(super) fn snapshot_contents() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshotContent"))
}

/// What the API server calls the contents of groups of snapshots.
pub(super) fn group_contents() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("groupsnapshot.storage.k8s.io", "v1", "VolumeGroupSnapshotContent"))
}

/// What the API server calls the classes of groups of snapshots.
pub(super) fn group_classes() -> ApiResource {
    let gvk = GroupVersionKind::gvk("groupsnapshot.storage.k8s.io", "v1", "VolumeGroupSnapshotClass");
    ApiResource::from_gvk_with_plural(&gvk, "volumegroupsnapshotclasses")
}

impl SnapshotContentSpec {
    /// What stands for the node that has the snapshot, if it is one of the local driver.
    pub(super) fn tag(&self) -> Option<NodeTag> {
        if self.driver != names::LOCAL_DRIVER {
            return None;
        }
        let of_volume = |handle: &String| handle.parse().ok().map(|id: VolumeId| id.tag());
        let of_snapshot = |handle: &String| handle.parse().ok().map(|id: SnapshotId| id.tag());
        let SnapshotSource { volume_handle, snapshot_handle } = &self.source;
        volume_handle.as_ref().and_then(of_volume).or_else(|| snapshot_handle.as_ref().and_then(of_snapshot))
    }
}

impl GroupContentSpec {
    /// What stands for the nodes that have the volumes of the group, in the volumes' order; none, if they are not those
    /// of the local driver.
    pub(super) fn tags(&self) -> Vec<NodeTag> {
        if self.driver != names::LOCAL_DRIVER {
            return Vec::new();
        }
        let of_volumes =
            self.source.volume_handles.iter().filter_map(|handle| Some(handle.parse::<VolumeId>().ok()?.tag()));
        let handles = self.source.group_snapshot_handles.iter();
        let of_group =
            handles.filter_map(|handles| Some(handles.volume_group_snapshot_handle.parse::<GroupId>().ok()?.tag()));
        of_volumes.chain(of_group).collect()
    }

    /// Is the group yet to be taken, by the parameters of its class?
    pub(super) fn is_to_be_taken(&self) -> bool {
        !self.source.volume_handles.is_empty()
    }
}
