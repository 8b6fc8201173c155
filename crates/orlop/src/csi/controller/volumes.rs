//! What the Controller service does with volumes.

use orlop_api::Bytes;
use orlop_volume::{Content, Limits, NewVolume, PoolState, Provisioning, SIZE_INCREMENT, Source, Volume, VolumeId};
use tonic::Status;

use crate::{
    csi::{
        Driver, ephemeral,
        page::Page,
        parameters::{self, NewLimits},
        request::{self, DEFAULT_SIZE, Sizes, Usage, Wanted},
        status::Refusal,
        wire::signed,
    },
    rpc::{
        csi_v1::{
            self as csi, ControllerExpandVolumeRequest, ControllerModifyVolumeRequest, CreateVolumeRequest,
            CreateVolumeResponse, GetCapacityRequest, GetCapacityResponse, ListVolumesRequest, ListVolumesResponse,
            TopologyRequirement, ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse,
            VolumeContentSource,
            list_volumes_response::Entry,
            validate_volume_capabilities_response::Confirmed,
            volume_content_source::{SnapshotSource, Type as SourceType, VolumeSource},
        },
        router_v1::Change,
    },
};

impl Driver {
    pub(super) fn create(&self, request: &CreateVolumeRequest) -> Result<CreateVolumeResponse, Refusal> {
        let name = request::name(&request.name)?.to_owned();
        ephemeral::refuse_name(&name)?;
        let wanted = Usage::read_all(&request.volume_capabilities)?;
        let provisioning = parameters::provisioning(&request.parameters)?;
        let limits = NewLimits::read(&request.mutable_parameters)?.applied_to(Limits::default());
        // First, because a range that is none stays none on every node.
        Sizes::read(request.capacity_range.as_ref())?;
        self.require_here(request.accessibility_requirements.as_ref())?;
        let held = request.volume_content_source.as_ref().map(|source| self.source(source)).transpose()?;
        let (least, held_content) = match &held {
            Some(held) => (held.size, Some(held.content)),
            None => (DEFAULT_SIZE, None),
        };
        let Sizes { at_least, at_most } = Sizes::or_default(least, request.capacity_range.as_ref())?;
        let volume = self.volumes.create(&NewVolume {
            name,
            at_least,
            at_most,
            content: wanted.choose(held_content),
            provisioning,
            source: held.map(|held| held.source),
            limits,
        })?;
        Ok(CreateVolumeResponse { volume: Some(self.described(&volume)) })
    }

    /// Refuses a volume that may not be on this node. All nodes that will do are in `requisite`; without one, `preferred` has the
    /// wishes.
    fn require_here(&self, requirement: Option<&TopologyRequirement>) -> Result<(), Refusal> {
        let Some(TopologyRequirement { requisite, preferred }) = requirement else { return Ok(()) };
        let listed = if requisite.is_empty() { preferred } else { requisite };
        if listed.is_empty() || listed.iter().any(|topology| self.is_here(topology)) {
            Ok(())
        } else {
            Err(Refusal::Elsewhere { node: self.node.clone() })
        }
    }

    /// What a new volume is to start with. What is on another node is left to it.
    fn source(&self, source: &VolumeContentSource) -> Result<Held, Refusal> {
        let elsewhere = |refusal| match refusal {
            Refusal::OtherNode { id, node } => Refusal::SourceElsewhere { id, node },
            refusal => refusal,
        };
        match &source.r#type {
            Some(SourceType::Snapshot(SnapshotSource { snapshot_id })) => {
                let id = self.snapshot_id("volume_content_source.snapshot_id", snapshot_id).map_err(elsewhere)?;
                let snapshot = self.volumes.get_snapshot(&id)?;
                Ok(Held { content: snapshot.content, size: snapshot.size, source: Source::Snapshot(id) })
            }
            Some(SourceType::Volume(VolumeSource { volume_id })) => {
                let id = self.volume_id(volume_id).map_err(elsewhere)?;
                let volume = self.volumes.get(&id)?;
                Ok(Held { content: volume.content, size: volume.size, source: Source::Volume(id) })
            }
            None => Err(Refusal::Missing("volume_content_source.type")),
        }
    }

    pub(super) fn described(&self, volume: &Volume) -> csi::Volume {
        let source = volume.source.as_ref().map(|source| match source {
            Source::Snapshot(id) => SourceType::Snapshot(SnapshotSource { snapshot_id: id.to_string() }),
            Source::Volume(id) => SourceType::Volume(VolumeSource { volume_id: id.to_string() }),
        });
        csi::Volume {
            capacity_bytes: signed(volume.size),
            volume_id: volume.id.to_string(),
            content_source: source.map(|source| VolumeContentSource { r#type: Some(source) }),
            accessible_topology: vec![self.topology()],
            ..Default::default()
        }
    }

    pub(super) fn validate(
        &self,
        request: ValidateVolumeCapabilitiesRequest,
    ) -> Result<ValidateVolumeCapabilitiesResponse, Refusal> {
        let id = self.volume_id(&request.volume_id)?;
        if request.volume_capabilities.is_empty() {
            return Err(Refusal::Missing("volume_capabilities"));
        }
        let present = self.volumes.get(&id)?;
        let checked = Usage::read_all(&request.volume_capabilities)
            .and_then(|wanted| require(&present, wanted))
            .and_then(|()| parameters::provisioning(&request.parameters))
            .and_then(|provisioning| match provisioning {
                // A class that does not say is content with either.
                wanted if request.parameters.is_empty() || wanted == present.provisioning => Ok(()),
                wanted => Err(Refusal::Invalid(format!("volume {id} is {}, and not {wanted}", present.provisioning))),
            })
            .and_then(|()| NewLimits::read(&request.mutable_parameters));
        Ok(match checked {
            Ok(_) => ValidateVolumeCapabilitiesResponse {
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

    pub(super) fn list(&self, request: &ListVolumesRequest) -> Result<ListVolumesResponse, Refusal> {
        let page = Page::<VolumeId>::read(&request.starting_token, request.max_entries)?;
        let (volumes, next_token) = page.of(self.volumes.list()?, |volume| &volume.id);
        let entries = volumes.iter().map(|volume| Entry { volume: Some(self.described(volume)), status: None });
        Ok(ListVolumesResponse { entries: entries.collect(), next_token })
    }

    /// What the pool has for volumes such as are asked about; nothing, where there cannot be any.
    pub(super) fn capacity(&self, request: &GetCapacityRequest) -> Result<GetCapacityResponse, Refusal> {
        let here = request.accessible_topology.as_ref().is_none_or(|topology| self.is_here(topology));
        let wanted = match request.volume_capabilities.as_slice() {
            [] => Some(Wanted::AnyFilesystem),
            capabilities => Usage::read_all(capabilities).ok(),
        };
        // A class with a parameter that is unknown has room like any other: otherwise no pod would be scheduled with it,
        // nobody would ask for a volume, and nobody would be told which parameter it is.
        let provisioning = parameters::provisioning(&request.parameters).unwrap_or_default();
        let (available, minimum) = match wanted {
            Some(wanted) if here => {
                (available(&self.volumes.pool()?, provisioning), Some(signed(wanted.choose(None).minimum())))
            }
            _ => (Bytes(0), None),
        };
        Ok(GetCapacityResponse {
            available_capacity: signed(available),
            // One volume may take it all.
            maximum_volume_size: Some(signed(available)),
            minimum_volume_size: minimum,
        })
    }

    /// Says which size the node will grow the volume to. Nothing is touched, and the volume of another node cannot even be
    /// looked at: its node may still find that there is no room.
    pub(super) fn check_expansion(&self, request: &ControllerExpandVolumeRequest) -> Result<Bytes, Refusal> {
        let sizes = Sizes::read(request.capacity_range.as_ref())?.ok_or(Refusal::Missing("capacity_range"))?;
        match self.volume_id(&request.volume_id) {
            Ok(id) => self.check_growth(&self.volumes.get(&id)?, sizes),
            Err(Refusal::OtherNode { .. }) => Ok(sizes.at_least),
            Err(refusal) => Err(refusal),
        }
    }

    /// The size to which a volume of this node would grow.
    fn check_growth(&self, volume: &Volume, sizes: Sizes) -> Result<Bytes, Refusal> {
        within_limit(volume, sizes)?;
        let asked = Bytes(sizes.at_least.0.saturating_sub(volume.size.0));
        let available = available(&self.volumes.pool()?, volume.provisioning);
        if asked > available {
            return Err(orlop_volume::Error::NoRoom { asked, available }.into());
        }
        Ok(volume.size.max(sizes.at_least))
    }

    /// Sets new limits, or has the driver of another node set them.
    pub(super) async fn modify(&self, request: ControllerModifyVolumeRequest) -> Result<(), Status> {
        const RPC: &str = "ControllerModifyVolume";
        let read = self.read_change(&request);
        let (new, target) = read.map_err(|refusal| refusal.reported(RPC, &request.volume_id))?;
        match (target, &self.peers) {
            (Ok(id), _) => {
                let set = move |driver: &Self| driver.set_limits(&id, new);
                self.change(RPC, &request.volume_id, set).await.map(|_| ())
            }
            (Err(id), Some(peers)) => {
                tracing::info!(rpc = RPC, object = %id, "handing on to the volume's node");
                peers.modify(new.to_change(&id)).await
            }
            (Err(id), None) => Err(Refusal::NoOperator { id }.reported(RPC, &request.volume_id)),
        }
    }

    /// What is to be changed, and the volume: of this node, or of another one as the error.
    fn read_change(
        &self,
        request: &ControllerModifyVolumeRequest,
    ) -> Result<(NewLimits, Result<VolumeId, VolumeId>), Refusal> {
        let id: VolumeId = request::given("volume_id", &request.volume_id)?.parse()?;
        if request.mutable_parameters.is_empty() {
            return Err(Refusal::Missing("mutable_parameters"));
        }
        let new = NewLimits::read(&request.mutable_parameters)?;
        Ok((new, if id.is_on(&self.tag) { Ok(id) } else { Err(id) }))
    }

    /// Sets the limits that the driver of another node has handed on.
    pub(in crate::csi) async fn modify_here(&self, change: Change) -> Result<(), Status> {
        let set = move |driver: &Self| {
            let id = driver.volume_id(&change.volume_id)?;
            driver.set_limits(&id, NewLimits::from_change(&change))
        };
        self.change("Modify", "", set).await.map(|_| ())
    }

    fn set_limits(&self, id: &VolumeId, new: NewLimits) -> Result<(), Refusal> {
        let limits = new.applied_to(self.volumes.get(id)?.limits);
        Ok(self.volumes.limit(id, &limits)?)
    }
}

/// What a new volume is to start with.
struct Held {
    source: Source,
    content: Content,
    size: Bytes,
}

/// How large one more volume may be.
fn available(pool: &PoolState, provisioning: Provisioning) -> Bytes {
    match provisioning {
        Provisioning::Thin => pool.available_thin,
        Provisioning::Thick => pool.available_thick,
    }
    .round_down(SIZE_INCREMENT)
}

/// Refuses a volume that is not what is wanted.
pub(in crate::csi) fn require(present: &Volume, wanted: Wanted) -> Result<(), Refusal> {
    if wanted.accepts(present.content) {
        Ok(())
    } else {
        Err(Refusal::Invalid(format!("volume {} is {}, and {wanted} is asked for", present.id, present.content)))
    }
}

/// A volume that is larger than the caller's limit stays that large.
pub(in crate::csi) fn within_limit(volume: &Volume, sizes: Sizes) -> Result<(), Refusal> {
    match sizes.at_most {
        Some(limit) if volume.size > limit => Err(Refusal::OutOfRange(format!(
            "volume {} has {}, and a volume is never shrunk: ask for that or more",
            volume.id, volume.size
        ))),
        _ => Ok(()),
    }
}
