//! What the local driver's own sidecars cannot do, because each sees its node only: volumes whose node is gone are
//! reported and, if asked for, cleaned up ([`volumes`]), snapshots are handed to the sidecar of the node that has them
//! ([`snapshots`]), and claims that start with a snapshot or a volume are made on its node ([`sources`]). It has watches
//! of its own, which run only where the driver is installed.

mod groups;
mod kept;
mod objects;
mod snapshots;
mod sources;
mod volumes;

use std::{collections::BTreeMap, sync::Arc};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::watcher::{self, watcher},
};
use orlop_volume::NodeTag;
use tokio::task::JoinSet;

use self::{
    kept::{Kept, Kind, News},
    objects::VolumeObject,
};
use orlop_operator::Metrics;

use super::{events::Notices, lease::Leadership};

/// How the local driver is looked after.
#[derive(Debug, Clone, Copy)]
pub struct LocalConfig {
    /// For how long a node must be gone until volumes are deleted that were on it and that no claim has. Without it they
    /// are only reported.
    pub clean_up_after: Option<SignedDuration>,
}

/// What it works with.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) client: Client,
    pub(super) leadership: Leadership,
    pub(super) notices: Notices,
    pub(super) metrics: Metrics,
}

/// What all parts look at.
struct World {
    nodes: Kept<PartialObjectMeta<Node>>,
    /// The PersistentVolumes of the local driver.
    volumes: Kept<VolumeObject>,
}

/// The nodes of the cluster, by what stands for them in the handles of volumes and snapshots.
type Nodes = BTreeMap<NodeTag, String>;

impl World {
    fn nodes(&self) -> Nodes {
        self.nodes.all().iter().map(|node| (NodeTag::of(&node.name_any()), node.name_any())).collect()
    }
}

/// Looks after the local driver, from when this operator leads, and without end.
pub(super) async fn run(config: LocalConfig, mut means: Means) {
    means.leadership.begins().await;
    let news = News::default();
    let nodes = Kind { name: "nodes", wanted: |_| true, optional: false };
    let volumes = Kind { name: "local persistentvolumes", wanted: VolumeObject::is_local, optional: false };
    let node_events = watcher(Api::<PartialObjectMeta<Node>>::all(means.client.clone()), watcher::Config::default());
    let volume_events = watcher(Api::<VolumeObject>::all(means.client.clone()), watcher::Config::default());
    let world = Arc::new(World {
        nodes: Kept::start(nodes, (), node_events, news.clone(), means.metrics.clone()),
        volumes: Kept::start(volumes, (), volume_events, news.clone(), means.metrics.clone()),
    });
    // A node that has not been listed yet is not gone.
    world.nodes.complete().await;
    world.volumes.complete().await;
    let mut parts = JoinSet::new();
    parts.spawn(volumes::look_after(means.clone(), config, Arc::clone(&world), news.subscribe()));
    parts.spawn(snapshots::hand_out(means.clone(), Arc::clone(&world), news.clone()));
    parts.spawn(sources::lead(means, world, news));
    // None of them ends; a panic in one of them ends the operator, as one anywhere else would.
    let _ = parts.join_next().await;
}
