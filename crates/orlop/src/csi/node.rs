//! The Node service: mounting volumes where the kubelet wants them, growing them, measuring them. A request is checked for
//! what it lacks before its volume is looked for.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use orlop_api::Bytes;
use orlop_volume::{Content, VolumeId};
use tonic::{Request, Response, Status};

use super::{
    Driver,
    controller::{require, within_limit},
    ephemeral,
    request::{self, Sizes, Usage},
    status::Refusal,
    wire::signed,
};
use crate::rpc::csi_v1::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
    NodeGetInfoRequest, NodeGetInfoResponse, NodeGetStorageHealthRequest, NodeGetStorageHealthResponse,
    NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse, VolumeHealth, VolumeUsage,
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
        let capabilities = [
            rpc::Type::StageUnstageVolume,
            rpc::Type::GetVolumeStats,
            rpc::Type::ExpandVolume,
            rpc::Type::SingleNodeMultiWriter,
            rpc::Type::GetVolumeHealth,
            rpc::Type::GetStorageHealth,
            rpc::Type::VolumeCondition,
        ]
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
            require(&driver.volumes.get(&id)?, usage.wanted)?;
            driver.volumes.stage(&id, &at, &usage.options)?;
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
            if ephemeral::is_asked_for(&request) {
                driver.publish_ephemeral(&request, &target, &usage)?;
            } else {
                driver.publish(&request, &target, &usage)?;
            }
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
            match driver.ephemeral_id(&request.volume_id) {
                Some(id) => driver.unpublish_ephemeral(&id, &target)?,
                None => driver.volumes.unpublish(&driver.volume_id(&request.volume_id)?, &target)?,
            }
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
            let id = driver.node_volume_id(&request.volume_id)?;
            let usage = driver.usage(&id, &path)?;
            Ok(NodeGetVolumeStatsResponse { usage, volume_condition: Some(driver.condition_of(&id)?) })
        })
        .await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        let id = request.into_inner().volume_id;
        self.ask("NodeGetVolumeHealth", &id.clone(), move |driver| {
            let health = driver.health_of(&driver.node_volume_id(&id)?)?;
            // An ephemeral volume is known to its kubelet by another id.
            Ok(NodeGetVolumeHealthResponse { volume_health: Some(VolumeHealth { volume_id: id, ..health }) })
        })
        .await
    }

    async fn node_get_storage_health(
        &self,
        _: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        self.ask("NodeGetStorageHealth", "", |driver| Ok(driver.storage_health())).await
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

impl Driver {
    /// Publishes a volume that is staged.
    fn publish(&self, request: &NodePublishVolumeRequest, target: &Path, usage: &Usage) -> Result<(), Refusal> {
        if request.staging_target_path.is_empty() {
            request::given("volume_id", &request.volume_id)?;
            return Err(Refusal::NotStaged);
        }
        let staged = request::path("staging_target_path", &request.staging_target_path)?;
        let id = self.volume_id(&request.volume_id)?;
        require(&self.volumes.get(&id)?, usage.wanted)?;
        let publish = || self.volumes.publish(&id, &staged, target, request.readonly || usage.read_only);
        if usage.alone {
            // Together, so that of two who look at the same time only one finds the volume free.
            let _turn = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
            self.require_free(&id, &staged, target)?;
            publish()?;
        } else {
            publish()?;
        }
        Ok(())
    }

    /// Refuses a volume that is published elsewhere than at `target`.
    fn require_free(&self, id: &VolumeId, staged: &Path, target: &Path) -> Result<(), Refusal> {
        let own = [staged, target].map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
        match self.volumes.paths(id)?.into_iter().find(|path| !own.contains(path)) {
            Some(path) => Err(Refusal::InUseAlone { id: id.clone(), path }),
            None => Ok(()),
        }
    }

    /// How full a volume is; of a block volume only its size is known.
    fn usage(&self, id: &VolumeId, path: &Path) -> Result<Vec<VolumeUsage>, Refusal> {
        let volume = self.volumes.get(id)?;
        if volume.content == Content::Block {
            let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            if !self.volumes.paths(id)?.contains(&canonical) {
                return Err(orlop_volume::Error::NotMounted { id: id.clone(), path: path.to_owned() }.into());
            }
            return Ok(vec![VolumeUsage {
                unit: Unit::Bytes.into(),
                total: signed(volume.size),
                ..Default::default()
            }]);
        }
        let usage = self.volumes.usage(id, path)?;
        let bytes = amounts(Unit::Bytes, usage.total.0, usage.available.0, usage.used.0);
        if usage.total_inodes == 0 {
            // A filesystem without a fixed number of inodes never runs out of them.
            return Ok(vec![bytes]);
        }
        let inodes_used = usage.total_inodes.saturating_sub(usage.free_inodes);
        Ok(vec![bytes, amounts(Unit::Inodes, usage.total_inodes, usage.free_inodes, inodes_used)])
    }
}

/// Amounts as they stand on the wire.
fn amounts(unit: Unit, total: u64, available: u64, used: u64) -> VolumeUsage {
    let [total, available, used] = [total, available, used].map(|amount| signed(Bytes(amount)));
    VolumeUsage { unit: unit.into(), total, available, used }
}

#[cfg(test)]
mod tests;
