//! The Controller service, for the volumes and snapshots of this node. What concerns those of another node is refused,
//! with two exceptions, because the resizer asks one driver for all nodes: an expansion, which the volume's node carries
//! out anyway, and new limits, which are handed on. Here is what each call does; how is in [`volumes`] and `snapshots`.

mod volumes;

use tonic::{Request, Response, Status};

use super::{Driver, snapshots, wire::signed};
use crate::rpc::csi_v1::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetCapabilitiesRequest,
    ControllerGetCapabilitiesResponse, ControllerGetVolumeHealthRequest, ControllerGetVolumeHealthResponse,
    ControllerGetVolumeRequest, ControllerGetVolumeResponse, ControllerListVolumeHealthRequest,
    ControllerListVolumeHealthResponse, ControllerModifyVolumeRequest, ControllerModifyVolumeResponse,
    ControllerServiceCapability, CreateSnapshotRequest, CreateSnapshotResponse, CreateVolumeRequest,
    CreateVolumeResponse, DeleteSnapshotRequest, DeleteSnapshotResponse, DeleteVolumeRequest, DeleteVolumeResponse,
    GetCapacityRequest, GetCapacityResponse, GetSnapshotRequest, GetSnapshotResponse, ListSnapshotsRequest,
    ListSnapshotsResponse, ListVolumesRequest, ListVolumesResponse, ValidateVolumeCapabilitiesRequest,
    ValidateVolumeCapabilitiesResponse,
    controller_get_volume_response::VolumeStatus,
    controller_server::Controller,
    controller_service_capability::{
        Rpc, Type,
        rpc::Type::{
            CloneVolume, CreateDeleteSnapshot, CreateDeleteVolume, ExpandVolume, GetCapacity, GetSnapshot, GetVolume,
            GetVolumeHealth, ListSnapshots, ListVolumeHealth, ListVolumes, ModifyVolume, SingleNodeMultiWriter,
        },
    },
};
pub(super) use volumes::{require, within_limit};

#[tonic::async_trait]
impl Controller for Driver {
    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let capabilities = [
            CreateDeleteVolume,
            ListVolumes,
            GetVolume,
            GetCapacity,
            ExpandVolume,
            ModifyVolume,
            CloneVolume,
            CreateDeleteSnapshot,
            ListSnapshots,
            GetSnapshot,
            SingleNodeMultiWriter,
            GetVolumeHealth,
            ListVolumeHealth,
        ]
        .map(|rpc| ControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: rpc.into() })) })
        .into();
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        let name = request.name.clone();
        self.change("CreateVolume", &name, move |driver| driver.create(&request)).await
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        self.change("DeleteVolume", &id.clone(), move |driver| {
            if let Some(id) = Self::unless_unknown(driver.volume_id(&id))? {
                driver.volumes.delete(&id)?;
            }
            Ok(DeleteVolumeResponse {})
        })
        .await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.ask("ValidateVolumeCapabilities", &id, move |driver| driver.validate(request)).await
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let request = request.into_inner();
        self.ask("ListVolumes", "", move |driver| driver.list(&request)).await
    }

    async fn controller_get_volume(
        &self,
        request: Request<ControllerGetVolumeRequest>,
    ) -> Result<Response<ControllerGetVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        self.ask("ControllerGetVolume", &id.clone(), move |driver| {
            let volume = driver.volumes.get(&driver.volume_id(&id)?)?;
            Ok(ControllerGetVolumeResponse {
                volume: Some(driver.described(&volume)),
                status: Some(VolumeStatus::default()),
            })
        })
        .await
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        let request = request.into_inner();
        self.ask("GetCapacity", "", move |driver| driver.capacity(&request)).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.ask("ControllerExpandVolume", &id, move |driver| {
            let size = driver.check_expansion(&request)?;
            Ok(ControllerExpandVolumeResponse { capacity_bytes: signed(size), node_expansion_required: true })
        })
        .await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<ControllerModifyVolumeRequest>,
    ) -> Result<Response<ControllerModifyVolumeResponse>, Status> {
        self.modify(request.into_inner()).await.map(|()| Response::new(ControllerModifyVolumeResponse {}))
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<ControllerGetVolumeHealthResponse>, Status> {
        let id = request.into_inner().volume_id;
        self.ask("ControllerGetVolumeHealth", &id.clone(), move |driver| {
            let health = driver.health_of(&driver.volume_id(&id)?)?;
            Ok(ControllerGetVolumeHealthResponse { volume_health: Some(health) })
        })
        .await
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<ControllerListVolumeHealthRequest>,
    ) -> Result<Response<ControllerListVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        self.ask("ControllerListVolumeHealth", "", move |driver| driver.list_health(&request)).await
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let request = request.into_inner();
        let name = request.name.clone();
        self.change("CreateSnapshot", &name, move |driver| driver.take_snapshot(&request)).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        self.change("DeleteSnapshot", &id.clone(), move |driver| {
            if let Some(id) = Self::unless_unknown(driver.snapshot_id("snapshot_id", &id))? {
                driver.volumes.delete_snapshot(&id)?;
            }
            Ok(DeleteSnapshotResponse {})
        })
        .await
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let request = request.into_inner();
        self.ask("ListSnapshots", "", move |driver| driver.find_snapshots(&request)).await
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        self.ask("GetSnapshot", &id.clone(), move |driver| {
            let snapshot = driver.volumes.get_snapshot(&driver.snapshot_id("snapshot_id", &id)?)?;
            Ok(GetSnapshotResponse { snapshot: Some(snapshots::described(&snapshot)) })
        })
        .await
    }
}

#[cfg(test)]
mod tests;
