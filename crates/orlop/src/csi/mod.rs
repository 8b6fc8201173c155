//! The local CSI driver, `local.orlop.dev`: the Container Storage Interface in front of `orlop-volume`, which does the
//! work. One driver runs on each node, with the provisioner beside it in node-deployment mode, and has the volumes of
//! its own node only. It keeps nothing in memory and asks nothing of the API server.

mod authority;
mod controller;
mod identity;
mod node;
mod registration;
mod request;
mod serve;
mod status;

use std::{sync::Arc, time::Instant};

use orlop_volume::{NodeTag, VolumeId, Volumes};
use tonic::{Response, Status};

use crate::rpc::csi_v1::Topology;

pub use serve::{Endpoints, ServeError, serve};
use status::Refusal;

/// The label by which a volume is bound to its node.
pub const TOPOLOGY_KEY: &str = "topology.local.orlop.dev/node";

/// The driver of one node.
#[derive(Clone)]
pub struct Driver {
    node: String,
    tag: NodeTag,
    volumes: Arc<dyn Volumes>,
}

impl Driver {
    /// The driver of the node of that name, with its volumes.
    pub fn new(node: String, volumes: Arc<dyn Volumes>) -> Self {
        Self { tag: NodeTag::of(&node), node, volumes }
    }

    /// Where this node is, as the scheduler is told.
    fn topology(&self) -> Topology {
        Topology { segments: [(TOPOLOGY_KEY.to_owned(), self.node.clone())].into() }
    }

    fn is_here(&self, topology: &Topology) -> bool {
        topology.segments.get(TOPOLOGY_KEY).is_none_or(|node| *node == self.node)
    }

    /// The id of a volume of this node. A text that is no id of this driver's names no volume at all.
    fn volume_id(&self, text: &str) -> Result<VolumeId, Refusal> {
        let id: VolumeId = request::given("volume_id", text)?.parse()?;
        if id.is_on(&self.tag) { Ok(id) } else { Err(Refusal::OtherNode { id, node: self.node.clone() }) }
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
        result.map(Response::new).map_err(|refusal| {
            let status = Status::from(refusal);
            tracing::warn!(rpc, object, code = ?status.code(), "refused: {}", status.message());
            status
        })
    }
}
