//! The Controller service, for the volumes of this node. What concerns the volume of another node is refused, except for
//! expansion: the resizer asks one driver for all nodes, and the node that has the volume does the growing.

use orlop_api::Bytes;
use orlop_volume::{NewVolume, SIZE_INCREMENT, Volume, VolumeId};
use tonic::{Request, Response, Status};

use super::{
    Driver,
    request::{self, Sizes, Usage},
    status::Refusal,
};
use crate::rpc::csi_v1::{
    self as csi, ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetCapabilitiesRequest,
    ControllerGetCapabilitiesResponse, ControllerServiceCapability, CreateVolumeRequest, CreateVolumeResponse,
    DeleteVolumeRequest, DeleteVolumeResponse, GetCapacityRequest, GetCapacityResponse, ListVolumesRequest,
    ListVolumesResponse, TopologyRequirement, ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse,
    controller_server::Controller,
    controller_service_capability::{Rpc, Type, rpc},
    list_volumes_response::Entry,
    validate_volume_capabilities_response::Confirmed,
};

#[tonic::async_trait]
impl Controller for Driver {
    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let capabilities =
            [rpc::Type::CreateDeleteVolume, rpc::Type::ListVolumes, rpc::Type::GetCapacity, rpc::Type::ExpandVolume]
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
        self.change("DeleteVolume", &id.clone(), move |driver| match driver.volume_id(&id) {
            Ok(id) => Ok(driver.volumes.delete(&id).map(|()| DeleteVolumeResponse {})?),
            // No driver ever made a volume of such an id, so it is not there: deleting is done.
            Err(Refusal::UnknownId(_)) => Ok(DeleteVolumeResponse {}),
            Err(refusal) => Err(refusal),
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
        self.ask("ControllerExpandVolume", &id, move |driver| driver.check_expansion(&request)).await
    }
}

impl Driver {
    fn create(&self, request: &CreateVolumeRequest) -> Result<CreateVolumeResponse, Refusal> {
        let name = request::given("name", &request.name)?.to_owned();
        let filesystem = Usage::read_all(&request.volume_capabilities)?.unwrap_or_default();
        request::no_parameters(&request.parameters)?;
        request::no_parameters(&request.mutable_parameters)?;
        if request.volume_content_source.is_some() {
            return Err(Refusal::Invalid("volumes are made empty: remove the claim's dataSource".into()));
        }
        if !self.is_reachable(request.accessibility_requirements.as_ref()) {
            return Err(Refusal::Elsewhere { node: self.node.clone() });
        }
        let Sizes { at_least, at_most } = Sizes::or_default(request.capacity_range.as_ref())?;
        let volume = self.volumes.create(&NewVolume { name, at_least, at_most, filesystem })?;
        Ok(CreateVolumeResponse { volume: Some(self.described(&volume)) })
    }

    /// May a volume of this node be made, for whoever has these requirements? All nodes that will do are in `requisite`;
    /// without one, `preferred` has the wishes.
    fn is_reachable(&self, requirement: Option<&TopologyRequirement>) -> bool {
        let Some(TopologyRequirement { requisite, preferred }) = requirement else { return true };
        let listed = if requisite.is_empty() { preferred } else { requisite };
        listed.is_empty() || listed.iter().any(|topology| self.is_here(topology))
    }

    fn described(&self, volume: &Volume) -> csi::Volume {
        csi::Volume {
            capacity_bytes: signed(volume.size),
            volume_id: volume.id.to_string(),
            accessible_topology: vec![self.topology()],
            ..Default::default()
        }
    }

    fn validate(
        &self,
        request: ValidateVolumeCapabilitiesRequest,
    ) -> Result<ValidateVolumeCapabilitiesResponse, Refusal> {
        let id = self.volume_id(&request.volume_id)?;
        if request.volume_capabilities.is_empty() {
            return Err(Refusal::Missing("volume_capabilities"));
        }
        let present = self.volumes.get(&id)?.filesystem;
        let checked = Usage::read_all(&request.volume_capabilities)
            .and_then(|filesystem| match filesystem {
                Some(wanted) if wanted != present => Err(Refusal::Invalid(format!("the volume is {present}"))),
                _ => Ok(()),
            })
            .and_then(|()| request::no_parameters(&request.parameters));
        Ok(match checked {
            Ok(()) => ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                    parameters: request.parameters,
                    mutable_parameters: request.mutable_parameters,
                }),
                message: String::new(),
            },
            Err(refusal) => ValidateVolumeCapabilitiesResponse { confirmed: None, message: refusal.to_string() },
        })
    }

    /// A page starts with the volume whose id the token is, or with the one that follows it by now.
    fn list(&self, request: &ListVolumesRequest) -> Result<ListVolumesResponse, Refusal> {
        let first: Option<VolumeId> = match request.starting_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| Refusal::Token(token.to_owned()))?),
        };
        let most = match usize::try_from(request.max_entries) {
            Ok(0) => usize::MAX,
            Ok(most) => most,
            Err(_) => return Err(Refusal::Invalid("`max_entries` is negative".into())),
        };
        let volumes = self.volumes.list()?;
        let mut rest = volumes.into_iter().filter(|volume| first.as_ref().is_none_or(|first| volume.id >= *first));
        let page = rest.by_ref().take(most);
        let entries =
            page.map(|volume| Entry { volume: Some(self.described(&volume)), ..Default::default() }).collect();
        Ok(ListVolumesResponse {
            entries,
            next_token: rest.next().map_or_else(String::new, |next| next.id.to_string()),
        })
    }

    fn capacity(&self, request: &GetCapacityRequest) -> Result<GetCapacityResponse, Refusal> {
        let here = request.accessible_topology.as_ref().is_none_or(|topology| self.is_here(topology));
        let offered = request.volume_capabilities.is_empty() || Usage::read_all(&request.volume_capabilities).is_ok();
        let available = if here && offered && request::no_parameters(&request.parameters).is_ok() {
            self.volumes.available()?.round_down(SIZE_INCREMENT)
        } else {
            Bytes(0)
        };
        Ok(GetCapacityResponse {
            available_capacity: signed(available),
            // One volume may take it all.
            maximum_volume_size: Some(signed(available)),
            minimum_volume_size: None,
        })
    }

    /// Says which size the node will grow the volume to. Nothing is touched, and the volume of another node cannot even be
    /// looked at: its node may still find that there is no room.
    fn check_expansion(
        &self,
        request: &ControllerExpandVolumeRequest,
    ) -> Result<ControllerExpandVolumeResponse, Refusal> {
        let sizes = Sizes::read(request.capacity_range.as_ref())?.ok_or(Refusal::Missing("capacity_range"))?;
        let size = match self.volume_id(&request.volume_id) {
            Ok(id) => self.check_growth(&self.volumes.get(&id)?, sizes)?,
            Err(Refusal::OtherNode { .. }) => sizes.at_least,
            Err(refusal) => return Err(refusal),
        };
        Ok(ControllerExpandVolumeResponse { capacity_bytes: signed(size), node_expansion_required: true })
    }

    /// The size to which a volume of this node would grow.
    fn check_growth(&self, volume: &Volume, sizes: Sizes) -> Result<Bytes, Refusal> {
        within_limit(volume, sizes)?;
        let asked = Bytes(sizes.at_least.0.saturating_sub(volume.size.0));
        let available = self.volumes.available()?;
        if asked > available {
            return Err(orlop_volume::Error::NoRoom { asked, available }.into());
        }
        Ok(volume.size.max(sizes.at_least))
    }
}

/// A volume that is larger than the caller's limit stays that large.
pub(super) fn within_limit(volume: &Volume, sizes: Sizes) -> Result<(), Refusal> {
    match sizes.at_most {
        Some(limit) if volume.size > limit => Err(Refusal::OutOfRange(format!(
            "volume {} has {}, and a volume is never shrunk: ask for that or more",
            volume.id, volume.size
        ))),
        _ => Ok(()),
    }
}

/// A size as it stands on the wire; sizes there end at 2^63 - 1.
pub(super) fn signed(size: Bytes) -> i64 {
    i64::try_from(size.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
