//! The channels between the event loop and the sources of measurements (agents, kubelets).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use orlop_operator::Measurement;
use orlop_planner::Watch;
use tokio::sync::{mpsc, watch};

/// Where sources put what they measure. Bounded: a source waits when the observer is behind.
pub type Measurements = mpsc::Sender<Vec<Measurement>>;

/// What should be reported at once, by the PersistentVolume's name: written by the operator after each pass, read by
/// whoever serves the agents.
pub type Watches = watch::Sender<BTreeMap<Arc<str>, Watch>>;

/// The nodes whose agent is connected: written by whoever serves the agents, read by the kubelet source, which asks
/// only the others.
pub type ConnectedNodes = watch::Sender<BTreeSet<String>>;
