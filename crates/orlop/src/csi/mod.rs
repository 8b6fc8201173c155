//! The local CSI driver, `local.orlop.dev`: the Container Storage Interface in front of `orlop-volume`, which does the
//! work. One driver runs on each node, with the provisioner beside it in node-deployment mode, and has the volumes of
//! its own node only. It keeps nothing in memory, and asks the API server only where the operator is, which hands on what
//! concerns another node's volume.

mod authority;
mod controller;
mod ephemeral;
mod group;
mod health;
mod identity;
mod metadata;
pub mod metrics;
mod node;
mod page;
mod parameters;
pub mod peers;
mod registration;
mod request;
mod serve;
mod snapshots;
mod status;
pub mod upkeep;
mod wire;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Instant,
};

use orlop_volume::{GroupId, NodeTag, SnapshotId, Storage, VolumeId};
use tonic::{Response, Status};

use crate::rpc::csi_v1::Topology;

use self::peers::Peers;
pub use self::serve::{Endpoints, ServeError, serve};
use self::status::Refusal;

/// The label by which a volume is bound to its node.
pub const TOPOLOGY_KEY: &str = "topology.local.orlop.dev/node";

/// The label by which a StorageClass may choose among zones. Its prefix is that of the other one, as CSI demands, and not
/// that of the zone label of Kubernetes, from which its value comes.
pub const ZONE_KEY: &str = "topology.local.orlop.dev/zone";

/// The driver of one node.
#[derive(Clone)]
pub struct Driver {
    node: String,
    zone: Option<String>,
    tag: NodeTag,
    volumes: Arc<dyn Storage>,
    /// Where ephemeral volumes are staged: a directory below the kubelet's, so that they stay mounted when the driver's
    /// container ends.
    ephemeral_dir: PathBuf,
    peers: Option<Arc<dyn Peers>>,
    /// Held while a volume for one pod is published.
    alone: Arc<Mutex<()>>,
}

impl Driver {
    /// The driver of the node of that name, with its volumes. Ephemeral ones are staged in `ephemeral_dir`, which is made
    /// when it is needed.
    pub fn new(node: String, volumes: Arc<dyn Storage>, ephemeral_dir: PathBuf) -> Self {
        Self { tag: NodeTag::of(&node), node, zone: None, volumes, ephemeral_dir, peers: None, alone: Arc::default() }
    }

    /// In a zone.
    #[must_use]
    pub fn in_zone(self, zone: String) -> Self {
        Self { zone: Some(zone), ..self }
    }

    /// With somebody who hands on what concerns the volumes of other nodes.
    #[must_use]
    pub fn with_peers(self, peers: Arc<dyn Peers>) -> Self {
        Self { peers: Some(peers), ..self }
    }

    /// Where this node is, as the scheduler is told.
    fn topology(&self) -> Topology {
        let zone = self.zone.iter().map(|zone| (ZONE_KEY.to_owned(), zone.clone()));
        Topology { segments: zone.chain([(TOPOLOGY_KEY.to_owned(), self.node.clone())]).collect() }
    }

    fn is_here(&self, topology: &Topology) -> bool {
        let here = self.topology().segments;
        // What this driver does not know of, it cannot be asked about.
        topology.segments.iter().all(|(key, value)| here.get(key).is_none_or(|present| present == value))
    }

    /// The id of a volume of this node. A text that is no id of this driver's names no volume at all.
    fn volume_id(&self, text: &str) -> Result<VolumeId, Refusal> {
        let id: VolumeId = request::given("volume_id", text)?.parse()?;
        if id.is_on(&self.tag) { Ok(id) } else { Err(self.other_node(&id)) }
    }

    /// The id of a snapshot of this node.
    fn snapshot_id(&self, field: &'static str, text: &str) -> Result<SnapshotId, Refusal> {
        let id: SnapshotId = request::given(field, text)?.parse()?;
        if id.is_on(&self.tag) { Ok(id) } else { Err(self.other_node(&id)) }
    }

    /// The id of a group of this node.
    fn group_id(&self, text: &str) -> Result<GroupId, Refusal> {
        let id: GroupId = request::given("group_snapshot_id", text)?.parse()?;
        if id.is_on(&self.tag) { Ok(id) } else { Err(self.other_node(&id)) }
    }

    /// The id of what is to be deleted. No driver ever made anything of an unknown id, so it is not there, and deleting it
    /// is done: `None`.
    fn unless_unknown<Id>(id: Result<Id, Refusal>) -> Result<Option<Id>, Refusal> {
        match id {
            Err(Refusal::UnknownId(_)) => Ok(None),
            id => id.map(Some),
        }
    }

    fn other_node(&self, id: &impl ToString) -> Refusal {
        Refusal::OtherNode { id: id.to_string(), node: self.node.clone() }
    }

    /// Carries out a call that changes something, and logs it.
    async fn change<T: Send + 'static>(
        &self,
        rpc: &'static str,
        object: &str,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let start = Instant::now();
        let result = self.ask(rpc, object, work).await;
        if result.is_ok() {
            tracing::info!(rpc, object, duration_ms = start.elapsed().as_millis(), "done");
        }
        result
    }

    /// Answers a call on a thread of its own, because the work blocks. The work goes on when the caller gives up: the
    /// caller asks again, and is told that it is under way.
    async fn ask<T: Send + 'static>(
        &self,
        rpc: &'static str,
        object: &str,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let driver = self.clone();
        let result = tokio::task::spawn_blocking(move || work(&driver)).await;
        let result = result.unwrap_or_else(|panic| Err(Refusal::Panicked(panic.to_string())));
        result.map(Response::new).map_err(|refusal| refusal.reported(rpc, object))
    }
}
