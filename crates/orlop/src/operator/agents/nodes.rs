//! Which nodes have an agent connected, and which volumes were reported from each: of a node the newest stream counts,
//! and what its agent no longer reports after a pause is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use orlop_operator::Measurement;

use crate::operator::measure::{ConnectedNodes, Measurements};

/// How many volumes one node may report: far more than can be mounted on one.
const VOLUMES_MAX: usize = 10_000;

/// The nodes.
pub(super) struct Nodes {
    known: Mutex<BTreeMap<String, Known>>,
    connected: ConnectedNodes,
    measurements: Measurements,
    /// An agent that restarts is back within this time. If it is not, its volumes are given up.
    grace: Duration,
}

#[derive(Default)]
struct Known {
    /// Counts the streams of this node.
    stream: u64,
    /// Ends the present stream.
    end: CancellationToken,
    /// What was reported and not taken back.
    volumes: BTreeSet<String>,
}

/// A stream of a node's agent. When it is dropped, the node is without its agent, unless a newer stream is there.
pub(super) struct Presence {
    nodes: Arc<Nodes>,
    pub(super) node: String,
    stream: u64,
    /// Is cancelled when a newer stream of the same node takes over.
    pub(super) superseded: CancellationToken,
}

impl Nodes {
    pub(super) fn new(connected: ConnectedNodes, measurements: Measurements, grace: Duration) -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), connected, measurements, grace })
    }

    /// A node's agent has opened a stream.
    pub(super) fn arrive(self: &Arc<Self>, node: String) -> Presence {
        let mut known = self.lock();
        let entry = known.entry(node.clone()).or_default();
        entry.end.cancel();
        entry.end = CancellationToken::new();
        entry.stream += 1;
        let presence = Presence {
            nodes: Arc::clone(self),
            node: node.clone(),
            stream: entry.stream,
            superseded: entry.end.clone(),
        };
        self.connected.send_if_modified(|nodes| nodes.insert(node));
        presence
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up a node's volumes, unless its agent is back.
    async fn give_up(self: Arc<Self>, node: String, stream: u64) {
        tokio::time::sleep(self.grace).await;
        let volumes = {
            let mut known = self.lock();
            match known.get(&node) {
                Some(entry) if entry.stream == stream => known.remove(&node).unwrap_or_default().volumes,
                _ => return,
            }
        };
        let gone = volumes.into_iter().map(|volume| Measurement::Gone { node: node.clone(), volume }).collect();
        // Without an observer there is nobody to tell.
        let _ = self.measurements.send(gone).await;
    }
}

impl Presence {
    /// The volumes that earlier streams of this node have reported.
    pub(super) fn reported_before(&self) -> BTreeSet<String> {
        self.with(|known| known.volumes.clone()).unwrap_or_default()
    }

    /// The agent reports a volume. False when it reports too many, or when this stream is no longer the node's.
    pub(super) fn reports(&self, volume: &str) -> bool {
        let add = |known: &mut Known| {
            known.volumes.contains(volume)
                || (known.volumes.len() < VOLUMES_MAX && known.volumes.insert(volume.to_owned()))
        };
        self.with(add).unwrap_or(false)
    }

    /// The agent takes a volume back. False when nobody had reported it from this node.
    pub(super) fn takes_back(&self, volume: &str) -> bool {
        self.with(|known| known.volumes.remove(volume)).unwrap_or(false)
    }

    /// Does something to what is known of the node, while this stream is the node's.
    fn with<T>(&self, f: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.nodes.lock().get_mut(&self.node).filter(|known| known.stream == self.stream).map(f)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // Under the lock, so that a newer stream cannot arrive in between and be taken for absent.
        let known = self.nodes.lock();
        if known.get(&self.node).is_none_or(|known| known.stream != self.stream) {
            return;
        }
        self.nodes.connected.send_if_modified(|nodes| nodes.remove(&self.node));
        // Without a runtime the process is ending, and nobody is left to tell.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Arc::clone(&self.nodes).give_up(self.node.clone(), self.stream));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::*;

    const GRACE: Duration = Duration::from_millis(200);

    type Observed = mpsc::Receiver<Vec<Measurement>>;

    fn nodes() -> (Arc<Nodes>, ConnectedNodes, Observed) {
        let (measurements, observed) = mpsc::channel(4);
        let connected = watch::Sender::new(BTreeSet::new());
        (Nodes::new(connected.clone(), measurements, GRACE), connected, observed)
    }

    fn connected(nodes: &ConnectedNodes) -> Vec<String> {
        nodes.borrow().iter().cloned().collect()
    }

    #[tokio::test]
    async fn a_newer_stream_takes_over_with_what_was_reported() {
        let (nodes, connections, mut observed) = nodes();
        let old = nodes.arrive("n".to_owned());
        assert!(old.reports("a") && old.reports("b"));
        let new = nodes.arrive("n".to_owned());
        assert!(old.superseded.is_cancelled() && !new.superseded.is_cancelled());
        assert!(!old.reports("c") && !old.takes_back("a"), "it is no longer the node's stream");
        assert_eq!(new.reported_before(), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        drop(old);
        assert_eq!(connected(&connections), ["n"]);
        tokio::time::sleep(GRACE * 2).await;
        assert!(observed.try_recv().is_err(), "nothing was given up");
    }

    #[tokio::test]
    async fn volumes_of_an_agent_that_does_not_come_back_are_given_up_after_a_while() {
        let (nodes, connections, mut observed) = nodes();
        let stream = nodes.arrive("n".to_owned());
        assert!(stream.reports("a") && stream.reports("b") && stream.takes_back("b"));
        drop(stream);
        assert_eq!(connected(&connections), Vec::<String>::new());
        assert!(observed.try_recv().is_err(), "not at once");
        let gone = Measurement::Gone { node: "n".to_owned(), volume: "a".to_owned() };
        assert_eq!(observed.recv().await.unwrap(), [gone]);
        assert!(nodes.lock().is_empty());
    }

    #[tokio::test]
    async fn an_agent_that_comes_back_in_time_loses_nothing() {
        let (nodes, _, mut observed) = nodes();
        let stream = nodes.arrive("n".to_owned());
        assert!(stream.reports("a"));
        drop(stream);
        let stream = nodes.arrive("n".to_owned());
        tokio::time::sleep(GRACE * 2).await;
        assert!(observed.try_recv().is_err());
        assert_eq!(stream.reported_before(), BTreeSet::from(["a".to_owned()]));
    }

    #[tokio::test]
    async fn a_node_cannot_report_volumes_without_end() {
        let (nodes, ..) = nodes();
        let stream = nodes.arrive("n".to_owned());
        assert!((0..VOLUMES_MAX).all(|number| stream.reports(&number.to_string())));
        assert!(!stream.reports("one more"));
        assert!(stream.reports("0"));
    }
}
