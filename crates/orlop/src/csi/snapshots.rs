//! What the Controller service does with snapshots.
//!
//! A snapshot is on its volume's node, and only a volume there can start with it. CSI 1.13 lets a driver say so (in its
//! alpha capability `SNAPSHOT_ACCESSIBILITY_CONSTRAINTS`), which no sidecar reads yet: this driver says it by the code
//! with which it refuses a restore on another node, which sends the scheduler on.

use orlop_volume::{Snapshot, SnapshotId, VolumeId};

use super::{
    Driver,
    page::Page,
    parameters, request,
    status::Refusal,
    wire::{signed, timestamp},
};
use crate::rpc::csi_v1::{
    self as csi, CreateSnapshotRequest, CreateSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse,
    list_snapshots_response::Entry,
};

impl Driver {
    pub(super) fn take_snapshot(&self, request: &CreateSnapshotRequest) -> Result<CreateSnapshotResponse, Refusal> {
        let name = request::name(&request.name)?;
        request::given("source_volume_id", &request.source_volume_id)?;
        parameters::none(&request.parameters)?;
        let volume = self.volume_id(&request.source_volume_id)?;
        let snapshot = self.volumes.snapshot(name, &volume)?;
        Ok(CreateSnapshotResponse { snapshot: Some(described(&snapshot)) })
    }

    /// Lists what matches the filters. What no driver ever made, and what is on another node, is not in the list.
    pub(super) fn find_snapshots(&self, request: &ListSnapshotsRequest) -> Result<ListSnapshotsResponse, Refusal> {
        let page = Page::<SnapshotId>::read(&request.starting_token, request.max_entries)?;
        let mut snapshots = match request.snapshot_id.as_str() {
            "" => self.volumes.list_snapshots()?,
            id => self.find_snapshot(id)?.into_iter().collect(),
        };
        if !request.source_volume_id.is_empty() {
            let volume = request.source_volume_id.parse::<VolumeId>().ok();
            snapshots.retain(|snapshot| Some(&snapshot.volume) == volume.as_ref());
        }
        let (snapshots, next_token) = page.of(snapshots, |snapshot| &snapshot.id);
        let entries = snapshots.iter().map(|snapshot| Entry { snapshot: Some(described(snapshot)) });
        Ok(ListSnapshotsResponse { entries: entries.collect(), next_token })
    }

    fn find_snapshot(&self, id: &str) -> Result<Option<Snapshot>, Refusal> {
        let Ok(id) = id.parse::<SnapshotId>() else { return Ok(None) };
        match self.volumes.get_snapshot(&id) {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(orlop_volume::Error::NoSnapshot(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A snapshot as callers are told of it.
pub(super) fn described(snapshot: &Snapshot) -> csi::Snapshot {
    csi::Snapshot {
        size_bytes: signed(snapshot.size),
        snapshot_id: snapshot.id.to_string(),
        source_volume_id: snapshot.volume.to_string(),
        creation_time: Some(timestamp(snapshot.taken)),
        ready_to_use: true,
        group_snapshot_id: snapshot.group.as_ref().map(ToString::to_string).unwrap_or_default(),
        accessible_topology: Vec::new(),
    }
}
