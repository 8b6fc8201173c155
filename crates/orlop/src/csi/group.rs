//! The `GroupController` service: snapshots of several volumes of this node, taken at one moment.

use std::collections::BTreeSet;

use orlop_volume::{Group, VolumeId};
use tonic::{Request, Response, Status};

use super::{Driver, parameters, request, snapshots, status::Refusal, wire::timestamp};
use crate::rpc::csi_v1::{
    CreateVolumeGroupSnapshotRequest, CreateVolumeGroupSnapshotResponse, DeleteVolumeGroupSnapshotRequest,
    DeleteVolumeGroupSnapshotResponse, GetVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest, GroupControllerGetCapabilitiesResponse, GroupControllerServiceCapability,
    VolumeGroupSnapshot,
    group_controller_server::GroupController,
    group_controller_service_capability::{Rpc, Type, rpc},
};

#[tonic::async_trait]
impl GroupController for Driver {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<GroupControllerGetCapabilitiesResponse>, Status> {
        let rpc = Rpc { r#type: rpc::Type::CreateDeleteGetVolumeGroupSnapshot.into() };
        let capabilities = vec![GroupControllerServiceCapability { r#type: Some(Type::Rpc(rpc)) }];
        Ok(Response::new(GroupControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<CreateVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let name = request.name.clone();
        self.change("CreateVolumeGroupSnapshot", &name, move |driver| {
            let name = request::name(&request.name)?;
            parameters::none(&request.parameters)?;
            let volumes = driver.group_members(&request.source_volume_ids)?;
            let group = driver.volumes.snapshot_group(name, &volumes)?;
            Ok(CreateVolumeGroupSnapshotResponse { group_snapshot: Some(described(&group)) })
        })
        .await
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let id = request.group_snapshot_id.clone();
        self.change("DeleteVolumeGroupSnapshot", &id, move |driver| {
            let Some(id) = Self::unless_unknown(driver.group_id(&request.group_snapshot_id))? else {
                return Ok(DeleteVolumeGroupSnapshotResponse {});
            };
            match driver.volumes.get_group(&id) {
                Ok(group) => require_members(&group, &request.snapshot_ids)?,
                Err(orlop_volume::Error::NoGroup(_)) => {}
                Err(error) => return Err(error.into()),
            }
            driver.volumes.delete_group(&id)?;
            Ok(DeleteVolumeGroupSnapshotResponse {})
        })
        .await
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<GetVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let id = request.group_snapshot_id.clone();
        self.ask("GetVolumeGroupSnapshot", &id, move |driver| {
            let group = driver.volumes.get_group(&driver.group_id(&request.group_snapshot_id)?)?;
            require_members(&group, &request.snapshot_ids)?;
            Ok(GetVolumeGroupSnapshotResponse { group_snapshot: Some(described(&group)) })
        })
        .await
    }
}

impl Driver {
    /// The volumes of a group, all of which must be on this node. The refusal names each that is not, because whoever
    /// chose them by a label must find out which to leave out.
    fn group_members(&self, ids: &[String]) -> Result<Vec<VolumeId>, Refusal> {
        if ids.is_empty() {
            return Err(Refusal::Missing("source_volume_ids"));
        }
        let volumes = ids
            .iter()
            .map(|id| Ok(request::given("source_volume_ids", id)?.parse()?))
            .collect::<Result<Vec<VolumeId>, Refusal>>()?;
        let elsewhere: Vec<_> = volumes.iter().filter(|id| !id.is_on(&self.tag)).map(VolumeId::as_str).collect();
        match elsewhere.as_slice() {
            [] => Ok(volumes),
            _ if elsewhere.len() == volumes.len() => Err(self.other_node(&elsewhere.join(", "))),
            _ => Err(Refusal::Scattered(ids.join(", "))),
        }
    }
}

/// A group as callers are told of it.
fn described(group: &Group) -> VolumeGroupSnapshot {
    VolumeGroupSnapshot {
        group_snapshot_id: group.id.to_string(),
        snapshots: group.snapshots.iter().map(snapshots::described).collect(),
        creation_time: Some(timestamp(group.taken)),
        ready_to_use: true,
    }
}

/// Refuses a list of snapshots that is not the group's. The driver knows the group without it, so it may be left out.
fn require_members(group: &Group, snapshot_ids: &[String]) -> Result<(), Refusal> {
    let asked: BTreeSet<_> = snapshot_ids.iter().map(String::as_str).collect();
    let present: BTreeSet<_> = group.snapshots.iter().map(|snapshot| snapshot.id.as_str()).collect();
    if asked.is_empty() || asked == present {
        Ok(())
    } else {
        let present: Vec<_> = present.into_iter().collect();
        Err(Refusal::Invalid(format!(
            "the snapshots of {} are {}, and others are listed",
            group.id,
            present.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests;
