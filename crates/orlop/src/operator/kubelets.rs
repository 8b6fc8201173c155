//! Asks the kubelets of nodes that have no agent connected how full their volumes are: rarely, a few at a time, and
//! spread over the interval. A kubelet that does not answer is asked ever more rarely, and holds up nobody.

mod summary;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use orlop_operator::{Backoff, Measurement};
use orlop_planner::{
    ClaimId, Source, Usage,
    forecast::{self, FillHistory},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

pub use summary::{ApiServer, Summaries, SummaryError};

use self::summary::Measured;
use super::measure::Measurements;
use crate::spread::spread;

/// How many kubelets are asked at the same time.
const AT_ONCE: usize = 8;

/// How long a kubelet may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause between two questions to a kubelet that does not answer.
const PAUSE_MAX: Duration = Duration::from_mins(10);

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
    schedule.set_nodes(&without(&mut nodes, &mut connected), Instant::now());
    loop {
        let changed = tokio::select! {
            Some(answered) = asked.next() => {
                let (node, answer): (String, _) = answered;
                let news = schedule.answered(&node, answer, Instant::now());
                if !news.is_empty() && measurements.send(news).await.is_err() {
                    return;
                }
                continue;
            }
            () = sleep_until(schedule.next_at()), if asked.len() < AT_ONCE => {
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
        schedule.set_nodes(&without(&mut nodes, &mut connected), Instant::now());
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

/// When to ask whom, and what they said before.
struct Schedule {
    pauses: Backoff,
    nodes: BTreeMap<String, Kubelet>,
}

struct Kubelet {
    ask_at: Instant,
    /// Has it been asked, and not answered yet? Then it is not asked again.
    busy: bool,
    /// How often in a row it has not answered.
    failures: u32,
    /// The claims that it spoke of the last time.
    claims: BTreeMap<ClaimId, History>,
}

#[derive(Default)]
struct History {
    fill: FillHistory,
    latest: Option<Timestamp>,
}

impl Schedule {
    fn new(interval: Duration) -> Self {
        Self { pauses: Backoff { first: interval, longest: PAUSE_MAX.max(interval) }, nodes: BTreeMap::new() }
    }

    /// These nodes are to be asked, and no others. A new one is first asked some time within the interval.
    fn set_nodes(&mut self, wanted: &BTreeSet<String>, now: Instant) {
        self.nodes.retain(|node, _| wanted.contains(node));
        for node in wanted {
            if !self.nodes.contains_key(node) {
                let ask_at = now + spread(node, self.pauses.first);
                let new = Kubelet { ask_at, busy: false, failures: 0, claims: BTreeMap::new() };
                self.nodes.insert(node.clone(), new);
            }
        }
    }

    /// When somebody is to be asked next; far off when nobody is.
    fn next_at(&self) -> Instant {
        let waiting = self.nodes.values().filter(|kubelet| !kubelet.busy);
        waiting.map(|kubelet| kubelet.ask_at).min().unwrap_or_else(|| Instant::now() + IDLE)
    }

    /// Those that are to be asked now, those that have waited longest first.
    fn take_due(&mut self, at_most: usize, now: Instant) -> Vec<String> {
        let due = self.nodes.iter_mut().filter(|(_, kubelet)| !kubelet.busy && kubelet.ask_at <= now);
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, kubelet)| kubelet.ask_at);
        due.truncate(at_most);
        let mut asked = Vec::with_capacity(due.len());
        for (node, kubelet) in due {
            kubelet.busy = true;
            asked.push(node.clone());
        }
        asked
    }

    /// A kubelet has answered, or failed to. Returns what is new.
    fn answered(&mut self, node: &str, answer: Result<Vec<Measured>, SummaryError>, now: Instant) -> Vec<Measurement> {
        // Meanwhile the node may have gone, or its agent come, which knows better.
        let Some(kubelet) = self.nodes.get_mut(node) else { return Vec::new() };
        kubelet.busy = false;
        match answer {
            Ok(measured) => {
                if std::mem::take(&mut kubelet.failures) > 0 {
                    tracing::info!(node, "the kubelet says again how full its volumes are");
                }
                kubelet.ask_at = now + self.pauses.after(0);
                kubelet.take_in(node, measured)
            }
            Err(error) => {
                if kubelet.failures == 0 {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(node, error, "it is not known how full the node's volumes are; asks more rarely");
                }
                kubelet.failures += 1;
                kubelet.ask_at = now + self.pauses.after(kubelet.failures);
                Vec::new()
            }
        }
    }
}

impl Kubelet {
    /// What a summary says that the last one did not: a kubelet measures once a minute, however often it is asked.
    fn take_in(&mut self, node: &str, measured: Vec<Measured>) -> Vec<Measurement> {
        let mut before = std::mem::take(&mut self.claims);
        let mut news = Vec::new();
        for it in measured {
            let history = match self.claims.entry(it.claim.clone()) {
                btree_map::Entry::Occupied(known) => known.into_mut(),
                btree_map::Entry::Vacant(new) => new.insert(before.remove(&it.claim).unwrap_or_default()),
            };
            if history.latest.is_some_and(|latest| it.at <= latest) {
                continue;
            }
            history.latest = Some(it.at);
            history.fill.push(forecast::Sample { at: it.at, total: it.total, available: it.available });
            let usage = Usage {
                at: it.at,
                source: Source::Kubelet,
                total: it.total,
                available: it.available,
                inodes: it.inodes,
                fill_bytes_per_second: history.fill.rate(it.at),
                crossed: None,
            };
            news.push(Measurement::SampledClaim { node: node.to_owned(), claim: it.claim, usage });
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use orlop_api::Bytes;
    use orlop_planner::NamespaceName;
    use tokio::sync::mpsc;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn measured(claim: &str, at_s: i64, available: u64) -> Measured {
        let claim = ClaimId { namespace: NamespaceName("n".into()), name: claim.into() };
        let at = Timestamp::from_second(at_s).unwrap();
        Measured { claim, at, total: Bytes(100_000), available: Bytes(available), inodes: None }
    }

    fn rates(news: Vec<Measurement>) -> Vec<(String, u64)> {
        let rate = |it| match it {
            Measurement::SampledClaim { claim, usage, .. } => (claim.name.to_string(), usage.fill_bytes_per_second),
            other => panic!("{other:?}"),
        };
        news.into_iter().map(rate).collect()
    }

    /// A schedule with one node that has been asked for the first time.
    fn asked() -> (Schedule, Instant) {
        let (mut schedule, now) = (Schedule::new(INTERVAL), Instant::now());
        schedule.set_nodes(&names(&["node-1"]), now);
        let now = now + INTERVAL;
        assert_eq!(schedule.take_due(AT_ONCE, now), ["node-1"]);
        (schedule, now)
    }

    #[test]
    fn nodes_are_asked_once_in_the_interval_and_not_all_at_once() {
        let (mut schedule, start) = (Schedule::new(INTERVAL), Instant::now());
        let nodes: BTreeSet<String> = (0..300).map(|number| format!("node-{number}")).collect();
        schedule.set_nodes(&nodes, start);
        let mut seen = BTreeSet::new();
        for second in 1..=30 {
            let now = start + Duration::from_secs(second);
            let due = schedule.take_due(usize::MAX, now);
            assert!(due.len() < 30, "{} in one second", due.len());
            for node in due {
                assert!(schedule.answered(&node, Ok(Vec::new()), now).is_empty());
                assert!(seen.insert(node), "it is asked twice");
            }
        }
        assert_eq!(seen, nodes);
    }

    #[test]
    fn a_kubelet_that_fails_is_asked_ever_more_rarely_until_it_answers() {
        let (mut schedule, mut now) = asked();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            schedule.answered("node-1", Err(SummaryError::Silent), now);
            pauses.push((schedule.next_at() - now).as_secs());
            now = schedule.next_at();
            assert_eq!(schedule.take_due(1, now), ["node-1"]);
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600, 600]);
        schedule.answered("node-1", Ok(Vec::new()), now);
        assert_eq!(schedule.next_at() - now, INTERVAL);
    }

    #[test]
    fn the_rate_comes_from_what_a_kubelet_said_before() {
        let (mut schedule, now) = asked();
        let first = schedule.answered("node-1", Ok(vec![measured("c", 1_000, 50_000)]), now);
        assert_eq!(rates(first), [("c".to_owned(), 0)]);
        let second = schedule.answered("node-1", Ok(vec![measured("c", 1_060, 44_000)]), now);
        assert_eq!(rates(second), [("c".to_owned(), 100)]);
        let cached = schedule.answered("node-1", Ok(vec![measured("c", 1_060, 44_000)]), now);
        assert_eq!(cached, [], "it is the same measurement");
    }

    #[test]
    fn a_claim_of_several_pods_is_measured_once() {
        let (mut schedule, now) = asked();
        let twice = vec![measured("c", 1_000, 50_000), measured("c", 1_000, 50_000)];
        assert_eq!(rates(schedule.answered("node-1", Ok(twice), now)).len(), 1);
    }

    #[test]
    fn what_a_kubelet_no_longer_speaks_of_is_forgotten() {
        let (mut schedule, now) = asked();
        schedule.answered("node-1", Ok(vec![measured("a", 1_000, 50_000), measured("b", 1_000, 50_000)]), now);
        schedule.answered("node-1", Ok(vec![measured("b", 1_060, 50_000)]), now);
        assert_eq!(schedule.nodes["node-1"].claims.len(), 1);
        schedule.set_nodes(&names(&[]), now);
        assert_eq!(schedule.answered("node-1", Ok(vec![measured("a", 1_120, 1)]), now), [], "its agent has come");
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
