//! What the local driver's own sidecars cannot do, because each sees its node only: volumes whose node is gone are
//! reported and, if asked for, cleaned up ([`volumes`]), and snapshots are handed to the sidecar of the node that has
//! them ([`snapshots`]). It has watches of its own, which run only where the driver is installed.

mod groups;
mod kept;
mod objects;
mod snapshots;
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
use tokio::{sync::Notify, task::JoinSet};

use self::kept::{Kept, Kind};
use super::{events::Notices, lease::Leadership, metrics::Metrics};

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

/// Looks after the local driver, from when this operator leads, and without end.
pub(super) async fn run(config: LocalConfig, mut means: Means) {
    means.leadership.begins().await;
    let mut parts = JoinSet::new();
    parts.spawn(volumes::look_after(means.clone(), config));
    parts.spawn(snapshots::hand_out(means));
    // Neither ends; a panic in one of them ends the operator, as one anywhere else would.
    let _ = parts.join_next().await;
}

/// The nodes of the cluster, by what stands for them in the handles of volumes and snapshots.
type Nodes = BTreeMap<NodeTag, String>;

/// Watches the cluster's nodes.
fn nodes(means: &Means, news: &Arc<Notify>) -> Kept<PartialObjectMeta<Node>> {
    let kind = Kind { name: "nodes", wanted: |_| true, optional: false };
    let events = watcher(Api::<PartialObjectMeta<Node>>::all(means.client.clone()), watcher::Config::default());
    Kept::start(kind, (), events, Arc::clone(news), means.metrics.clone())
}

fn tagged(nodes: &Kept<PartialObjectMeta<Node>>) -> Nodes {
    nodes.all().iter().map(|node| (NodeTag::of(&node.name_any()), node.name_any())).collect()
}
