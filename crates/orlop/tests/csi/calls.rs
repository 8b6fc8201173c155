//! The calls of the sidecars and the kubelet, as the tests make them.

use std::fs;

use orlop::rpc::csi_v1::{
    CapacityRange, CreateSnapshotRequest, CreateVolumeRequest, DeleteSnapshotRequest, DeleteVolumeRequest,
    NodeExpandVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest, Snapshot, VolumeCapability, VolumeContentSource,
    volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
    volume_content_source::{SnapshotSource, Type, VolumeSource},
};
use tonic::Status;

use crate::driver::Node;

pub const GIB: i64 = 1 << 30;

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A filesystem for one node.
pub fn filesystem(fs_type: &str) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() })),
    }
}

/// A raw block device for one node.
pub fn block() -> VolumeCapability {
    VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..filesystem("") }
}

pub fn at_least(required_bytes: i64) -> CapacityRange {
    CapacityRange { required_bytes, limit_bytes: 0 }
}

/// A volume of 1 GiB.
pub fn request(name: &str, capability: VolumeCapability) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: Some(at_least(GIB)),
        volume_capabilities: vec![capability],
        ..Default::default()
    }
}

pub fn from_snapshot(id: &str) -> VolumeContentSource {
    VolumeContentSource { r#type: Some(Type::Snapshot(SnapshotSource { snapshot_id: id.into() })) }
}

pub fn from_volume(id: &str) -> VolumeContentSource {
    VolumeContentSource { r#type: Some(Type::Volume(VolumeSource { volume_id: id.into() })) }
}

/// Makes a volume, and returns its id.
pub async fn make(node: &Node, request: CreateVolumeRequest) -> Result<String, Status> {
    Ok(node.controller().await.create_volume(request).await?.into_inner().volume.unwrap().volume_id)
}

/// Makes a filesystem of 1 GiB, and returns its id.
pub async fn create(node: &Node, name: &str) -> Result<String, Status> {
    make(node, request(name, filesystem(""))).await
}

/// Mounts a filesystem at a place in the node's directory.
pub async fn mount(node: &Node, id: &str, place: &str) -> Result<(), Status> {
    publish(node, id, place, filesystem("")).await
}

/// Stages and publishes a volume at a place in the node's directory.
pub async fn publish(node: &Node, id: &str, place: &str, capability: VolumeCapability) -> Result<(), Status> {
    let [staged, target] = places(node, place);
    fs::create_dir_all(&staged).unwrap();
    let stage = NodeStageVolumeRequest {
        volume_id: id.into(),
        staging_target_path: staged.clone(),
        volume_capability: Some(capability.clone()),
        ..Default::default()
    };
    node.node().await.node_stage_volume(stage).await?;
    let publish = NodePublishVolumeRequest {
        volume_id: id.into(),
        staging_target_path: staged,
        target_path: target,
        volume_capability: Some(capability),
        ..Default::default()
    };
    node.node().await.node_publish_volume(publish).await.map(drop)
}

/// Where a volume is staged and published.
fn places(node: &Node, place: &str) -> [String; 2] {
    [format!("{place}-staged"), place.to_owned()].map(|name| node.path(&name).display().to_string())
}

pub async fn grow(node: &Node, id: &str, place: &str, to: i64) -> Result<i64, Status> {
    let request = NodeExpandVolumeRequest {
        volume_id: id.into(),
        volume_path: node.path(place).display().to_string(),
        capacity_range: Some(at_least(to)),
        ..Default::default()
    };
    Ok(node.node().await.node_expand_volume(request).await?.into_inner().capacity_bytes)
}

pub async fn unmount(node: &Node, id: &str, place: &str) -> Result<(), Status> {
    let [staging_target_path, target_path] = places(node, place);
    let unpublish = NodeUnpublishVolumeRequest { volume_id: id.into(), target_path };
    node.node().await.node_unpublish_volume(unpublish).await?;
    let unstage = NodeUnstageVolumeRequest { volume_id: id.into(), staging_target_path };
    node.node().await.node_unstage_volume(unstage).await.map(drop)
}

pub async fn delete(node: &Node, id: &str) -> Result<(), Status> {
    let request = DeleteVolumeRequest { volume_id: id.into(), ..Default::default() };
    node.controller().await.delete_volume(request).await.map(drop)
}

pub async fn take_snapshot(node: &Node, name: &str, volume: &str) -> Result<Snapshot, Status> {
    let request = CreateSnapshotRequest { name: name.into(), source_volume_id: volume.into(), ..Default::default() };
    Ok(node.controller().await.create_snapshot(request).await?.into_inner().snapshot.unwrap())
}

pub async fn delete_snapshot(node: &Node, id: &str) -> Result<(), Status> {
    let request = DeleteSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
    node.controller().await.delete_snapshot(request).await.map(drop)
}
