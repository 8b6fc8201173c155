//! The Node service: mounting volumes where the kubelet wants them, growing them, measuring them. A request is checked for
//! what it lacks before its volume is looked for.

use std::path::PathBuf;

use orlop_api::Bytes;
use tonic::{Request, Response, Status};

use super::{
    Driver,
    controller::{signed, within_limit},
    request::{self, Sizes, Usage},
    status::Refusal,
};
use crate::rpc::csi_v1::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
    NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse, VolumeUsage,
    node_server::Node,
    node_service_capability::{Rpc, Type, rpc},
    volume_usage::Unit,
};

/// How many volumes the scheduler may put on a node. The kernel has loop devices for many more; each volume costs a mount
/// in every mount table and a worker thread under load, and the kubelet's own limit of pods comes first.
const MAX_VOLUMES: i64 = 1024;

#[tonic::async_trait]
impl Node for Driver {
    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let capabilities = [rpc::Type::StageUnstageVolume, rpc::Type::GetVolumeStats, rpc::Type::ExpandVolume]
            .map(|rpc| NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: rpc.into() })) })
            .into();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.node.clone(),
            max_volumes_per_node: MAX_VOLUMES,
            accessible_topology: Some(self.topology()),
        }))
    }

    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        self.change("NodeStageVolume", &request.volume_id.clone(), move |driver| {
            let at = request::path("staging_target_path", &request.staging_target_path)?;
            let usage = Usage::read(request.volume_capability.as_ref())?;
            let id = driver.volume_id(&request.volume_id)?;
            let present = driver.volumes.get(&id)?.filesystem;
            match usage.filesystem {
                Some(wanted) if wanted != present => {
                    return Err(Refusal::Invalid(format!("volume {id} is {present}, and {wanted} is asked for")));
                }
                _ => driver.volumes.stage(&id, &at, &usage.options)?,
            }
            Ok(NodeStageVolumeResponse {})
        })
        .await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        self.change("NodeUnstageVolume", &request.volume_id.clone(), move |driver| {
            let at = request::path("staging_target_path", &request.staging_target_path)?;
            let id = driver.volume_id(&request.volume_id)?;
            driver.volumes.unstage(&id, &at)?;
            Ok(NodeUnstageVolumeResponse {})
        })
        .await
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.change("NodePublishVolume", &request.volume_id.clone(), move |driver| {
            let target = request::path("target_path", &request.target_path)?;
            let usage = Usage::read(request.volume_capability.as_ref())?;
            let staged = request::path("staging_target_path", &request.staging_target_path)?;
            let id = driver.volume_id(&request.volume_id)?;
            driver.volumes.publish(&id, &staged, &target, request.readonly || usage.read_only)?;
            Ok(NodePublishVolumeResponse {})
        })
        .await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.change("NodeUnpublishVolume", &request.volume_id.clone(), move |driver| {
            let target = request::path("target_path", &request.target_path)?;
            let id = driver.volume_id(&request.volume_id)?;
            driver.volumes.unpublish(&id, &target)?;
            Ok(NodeUnpublishVolumeResponse {})
        })
        .await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        self.ask("NodeGetVolumeStats", &request.volume_id.clone(), move |driver| {
            // A path that is no path, too, is one at which the volume is not mounted.
            let path = PathBuf::from(request::given("volume_path", &request.volume_path)?);
            let id = driver.volume_id(&request.volume_id)?;
            let usage = driver.volumes.usage(&id, &path)?;
            let inodes_used = usage.total_inodes.saturating_sub(usage.free_inodes);
            let bytes = amounts(Unit::Bytes, usage.total.0, usage.available.0, usage.used.0);
            let inodes = amounts(Unit::Inodes, usage.total_inodes, usage.free_inodes, inodes_used);
            Ok(NodeGetVolumeStatsResponse { usage: vec![bytes, inodes] })
        })
        .await
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        self.change("NodeExpandVolume", &request.volume_id.clone(), move |driver| {
            request::given("volume_path", &request.volume_path)?;
            let id = driver.volume_id(&request.volume_id)?;
            let volume = driver.volumes.get(&id)?;
            // Without a range, what the volume has already been promised is completed.
            let size = match Sizes::read(request.capacity_range.as_ref())? {
                Some(sizes) => within_limit(&volume, sizes).map(|()| sizes.at_least)?,
                None => volume.size,
            };
            Ok(NodeExpandVolumeResponse { capacity_bytes: signed(driver.volumes.expand(&id, size)?) })
        })
        .await
    }
}

/// Amounts as they stand on the wire.
fn amounts(unit: Unit, total: u64, available: u64, used: u64) -> VolumeUsage {
    let [total, available, used] = [total, available, used].map(|amount| signed(Bytes(amount)));
    VolumeUsage { unit: unit.into(), total, available, used }
}

#[cfg(test)]
mod tests;
