//! Asks the kubelets of nodes that have no agent connected how full their volumes are: rarely, a few at a time, and
//! spread over the interval. A kubelet that does not answer is asked ever more rarely, and holds up nobody.

mod summary;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::stream::{FuturesUnordered, StreamExt as _};
use orlop_operator::kubelets::{Measured, Schedule};
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};

pub use summary::{ApiServer, Summaries, SummaryError};

use super::measure::Measurements;
use crate::spread::spread;

/// How many kubelets are asked at the same time.
const AT_ONCE: usize = 8;

/// How long a kubelet may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// With nobody to ask there is nothing to wake up for.
const IDLE: Duration = Duration::from_hours(1);

/// Whom to ask, and whom to tell.
pub struct Kubelets<S> {
    /// Asks them.
    pub summaries: S,
    /// All nodes.
    pub nodes: watch::Receiver<BTreeSet<String>>,
    /// Those that need not be asked, since their agent is connected.
    pub connected: watch::Receiver<BTreeSet<String>>,
    /// Where measurements go.
    pub measurements: Measurements,
    /// How often a kubelet is asked.
    pub interval: Duration,
}

/// Asks until nobody listens any more, or nobody says any more which nodes there are.
pub async fn run<S: Summaries>(kubelets: Kubelets<S>) {
    let Kubelets { summaries, mut nodes, mut connected, measurements, interval } = kubelets;
    let mut schedule = Schedule::new(interval);
    let mut asked = FuturesUnordered::new();
    schedule.set_nodes(&without(&mut nodes, &mut connected), spread, Instant::now());
    loop {
        let next_at = schedule.next_at().unwrap_or_else(|| Instant::now() + IDLE);
        let changed = tokio::select! {
            Some(answered) = asked.next() => {
                let (node, answer): (String, _) = answered;
                let news = schedule.answered(&node, answer, Instant::now());
                if !news.is_empty() && measurements.send(news).await.is_err() {
                    return;
                }
                continue;
            }
            () = sleep_until(next_at.into()), if asked.len() < AT_ONCE => {
                let due = schedule.take_due(AT_ONCE - asked.len(), Instant::now());
                asked.extend(due.into_iter().map(|node| ask(&summaries, node)));
                continue;
            }
            changed = nodes.changed() => changed,
            changed = connected.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        schedule.set_nodes(&without(&mut nodes, &mut connected), spread, Instant::now());
    }
}

/// The nodes that are not connected.
fn without(
    nodes: &mut watch::Receiver<BTreeSet<String>>,
    connected: &mut watch::Receiver<BTreeSet<String>>,
) -> BTreeSet<String> {
    let (nodes, connected) = (nodes.borrow_and_update(), connected.borrow_and_update());
    nodes.difference(&connected).cloned().collect()
}

async fn ask(summaries: &impl Summaries, node: String) -> (String, Result<Vec<Measured>, SummaryError>) {
    let answer = timeout(PATIENCE, summaries.summary(&node)).await;
    let answer = answer.unwrap_or(Err(SummaryError::Silent)).and_then(|summary| summary::parse(&summary));
    (node, answer)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use jiff::Timestamp;
    use orlop_operator::Measurement;
    use tokio::sync::mpsc;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn nodes_are_asked_once_in_the_interval_and_not_all_at_once() {
        let (mut schedule, start) = (Schedule::new(INTERVAL), Instant::now());
        let nodes: BTreeSet<String> = (0..300).map(|number| format!("node-{number}")).collect();
        schedule.set_nodes(&nodes, spread, start);
        let mut seen = BTreeSet::new();
        for second in 1..=30 {
            let now = start + Duration::from_secs(second);
            let due = schedule.take_due(usize::MAX, now);
            assert!(due.len() < 30, "{} in one second", due.len());
            for node in due {
                assert!(schedule.answered(&node, Ok::<_, SummaryError>(Vec::new()), now).is_empty());
                assert!(seen.insert(node), "it is asked twice");
            }
        }
        assert_eq!(seen, nodes);
    }

    /// One kubelet never answers; the others do, and count.
    struct OneIsDead(Arc<AtomicUsize>);

    impl Summaries for OneIsDead {
        async fn summary(&self, node: &str) -> Result<Vec<u8>, SummaryError> {
            if node == "dead" {
                std::future::pending::<()>().await;
            }
            let asked = self.0.fetch_add(1, Ordering::SeqCst);
            let time = Timestamp::from_second(i64::try_from(asked).unwrap()).unwrap();
            let summary = format!(
                r#"{{"pods": [{{"volume": [{{"time": "{time}", "availableBytes": 5, "capacityBytes": 6,
                    "pvcRef": {{"name": "{node}", "namespace": "n"}}}}]}}]}}"#
            );
            Ok(summary.into_bytes())
        }
    }

    #[tokio::test]
    async fn a_dead_kubelet_holds_up_nobody_and_a_connected_agent_makes_its_kubelet_rest() {
        let (measurements, mut measured) = mpsc::channel(1);
        let nodes = watch::Sender::new(names(&["dead", "node-1", "node-2"]));
        let connected = watch::Sender::new(names(&["node-2"]));
        let kubelets = Kubelets {
            summaries: OneIsDead(Arc::default()),
            nodes: nodes.subscribe(),
            connected: connected.subscribe(),
            measurements,
            interval: Duration::from_millis(20),
        };
        let running = tokio::spawn(run(kubelets));
        let mut of = async || match measured.recv().await.unwrap().remove(0) {
            Measurement::SampledClaim { node, .. } => node,
            other => panic!("{other:?}"),
        };
        for _ in 0..3 {
            assert_eq!(of().await, "node-1");
        }
        connected.send_replace(names(&["node-1"]));
        while of().await == "node-1" {}
        for _ in 0..3 {
            assert_eq!(of().await, "node-2");
        }
        drop(nodes);
        running.await.unwrap();
    }
}
