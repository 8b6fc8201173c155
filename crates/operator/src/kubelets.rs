//! Which kubelet is to be asked when how full its volumes are, and what is new in what it says. Who asks brings the
//! answers here; a kubelet that does not answer is asked ever more rarely.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use orlop_api::{Bytes, Count};
use orlop_planner::{
    Capacity, ClaimId, Source, Usage,
    forecast::{self, FillHistory},
};

use crate::{backoff::Backoff, measure::Measurement};

/// The longest pause between two questions to a kubelet that does not answer.
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// The filesystem of a claim's volume, as a kubelet measured it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The claim.
    pub claim: ClaimId,
    /// When, by the node's clock.
    pub at: Timestamp,
    /// All bytes of the filesystem.
    pub total: Bytes,
    /// The free ones.
    pub available: Bytes,
    /// The inodes, of a filesystem that counts them.
    pub inodes: Option<Capacity<Count>>,
}

/// When to ask whom, and what they said before.
#[derive(Debug)]
pub struct Schedule {
    pauses: Backoff,
    nodes: BTreeMap<String, Kubelet>,
}

#[derive(Debug)]
struct Kubelet {
    ask_at: Instant,
    /// Has it been asked, and not answered yet? Then it is not asked again.
    busy: bool,
    /// How often in a row it has not answered.
    failures: u32,
    /// The claims that it spoke of the last time.
    claims: BTreeMap<ClaimId, History>,
}

#[derive(Debug, Default)]
struct History {
    fill: FillHistory,
    latest: Option<Timestamp>,
}

impl Schedule {
    /// Asks nobody yet, and later each kubelet once in the interval.
    pub fn new(interval: Duration) -> Self {
        Self { pauses: Backoff { first: interval, longest: PAUSE_MAX.max(interval) }, nodes: BTreeMap::new() }
    }

    /// These nodes are to be asked, and no others. A new one is first asked within the interval, when `spread` says: it is
    /// given the node and the interval, and different nodes should not come out at the same time.
    pub fn set_nodes(
        &mut self,
        wanted: &BTreeSet<String>,
        spread: impl Fn(&String, Duration) -> Duration,
        now: Instant,
    ) {
        self.nodes.retain(|node, _| wanted.contains(node));
        for node in wanted {
            if !self.nodes.contains_key(node) {
                let ask_at = now + spread(node, self.pauses.first);
                let new = Kubelet { ask_at, busy: false, failures: 0, claims: BTreeMap::new() };
                self.nodes.insert(node.clone(), new);
            }
        }
    }

    /// When somebody is to be asked next; none where nobody is before an answer or a new node comes.
    pub fn next_at(&self) -> Option<Instant> {
        let waiting = self.nodes.values().filter(|kubelet| !kubelet.busy);
        waiting.map(|kubelet| kubelet.ask_at).min()
    }

    /// Those that are to be asked now, those that have waited longest first. Each is to be brought back by
    /// [`Schedule::answered`].
    pub fn take_due(&mut self, at_most: usize, now: Instant) -> Vec<String> {
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
    pub fn answered(
        &mut self,
        node: &str,
        answer: Result<Vec<Measured>, impl Error + 'static>,
        now: Instant,
    ) -> Vec<Measurement> {
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
                    let error = &error as &dyn Error;
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
        // Each pod that uses a claim has measured it for itself.
        let mut newest: BTreeMap<ClaimId, Measured> = BTreeMap::new();
        for it in measured {
            if newest.get(&it.claim).is_none_or(|known| known.at < it.at) {
                newest.insert(it.claim.clone(), it);
            }
        }
        let mut before = std::mem::take(&mut self.claims);
        let mut news = Vec::new();
        let histories = newest.into_iter().map(|(claim, it)| {
            let mut history = before.remove(&claim).unwrap_or_default();
            if let Some(usage) = history.take_in(&it) {
                news.push(Measurement::SampledClaim { node: node.to_owned(), claim: claim.clone(), usage });
            }
            (claim, history)
        });
        // Collected, and not inserted one by one: a tree that is filled in the order of its keys is little more than half full.
        self.claims = histories.collect();
        news
    }
}

impl History {
    /// What the measurement shows; none if it is the one before.
    fn take_in(&mut self, measured: &Measured) -> Option<Usage> {
        let &Measured { at, total, available, inodes, .. } = measured;
        // One that is older is new all the same: the node's clock was set back.
        if self.latest.replace(at) == Some(at) {
            return None;
        }
        self.fill.push(forecast::Sample { at, total, available });
        let fill_bytes_per_second = self.fill.rate(at);
        Some(Usage { at, source: Source::Kubelet, total, available, inodes, fill_bytes_per_second, crossed: None })
    }
}

#[cfg(test)]
mod tests {
    use orlop_planner::NamespaceName;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[derive(Debug, thiserror::Error)]
    #[error("it does not answer")]
    struct Silent;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn measured(claim: &str, at_s: i64, available: u64) -> Measured {
        let claim = ClaimId { namespace: NamespaceName("n".into()), name: claim.into() };
        let at = Timestamp::from_second(at_s).unwrap();
        Measured { claim, at, total: Bytes(100_000), available: Bytes(available), inodes: None }
    }

    fn answers(schedule: &mut Schedule, measured: Vec<Measured>, now: Instant) -> Vec<Measurement> {
        schedule.answered("node-1", Ok::<_, Silent>(measured), now)
    }

    fn rates(news: Vec<Measurement>) -> Vec<(String, u64)> {
        let rate = |it| match it {
            Measurement::SampledClaim { claim, usage, .. } => (claim.name.to_string(), usage.fill_bytes_per_second),
            other => panic!("{other:?}"),
        };
        news.into_iter().map(rate).collect()
    }

    fn at_once(_: &String, _: Duration) -> Duration {
        Duration::ZERO
    }

    /// A schedule with one node that has been asked for the first time.
    fn asked() -> (Schedule, Instant) {
        let (mut schedule, now) = (Schedule::new(INTERVAL), Instant::now());
        schedule.set_nodes(&names(&["node-1"]), at_once, now);
        assert_eq!(schedule.take_due(8, now), ["node-1"]);
        (schedule, now)
    }

    #[test]
    fn a_kubelet_that_fails_is_asked_ever_more_rarely_until_it_answers() {
        let (mut schedule, mut now) = asked();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            schedule.answered("node-1", Err(Silent), now);
            let next = schedule.next_at().unwrap();
            pauses.push((next - now).as_secs());
            now = next;
            assert_eq!(schedule.take_due(1, now), ["node-1"]);
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600, 600]);
        answers(&mut schedule, Vec::new(), now);
        assert_eq!(schedule.next_at(), Some(now + INTERVAL));
    }

    #[test]
    fn nobody_is_asked_twice_at_a_time() {
        let (mut schedule, now) = asked();
        assert_eq!(schedule.next_at(), None);
        assert_eq!(schedule.take_due(8, now + INTERVAL), Vec::<String>::new());
    }

    #[test]
    fn the_rate_comes_from_what_a_kubelet_said_before() {
        let (mut schedule, now) = asked();
        let first = answers(&mut schedule, vec![measured("c", 1_000, 50_000)], now);
        assert_eq!(rates(first), [("c".to_owned(), 0)]);
        let second = answers(&mut schedule, vec![measured("c", 1_060, 44_000)], now);
        assert_eq!(rates(second), [("c".to_owned(), 100)]);
        let cached = answers(&mut schedule, vec![measured("c", 1_060, 44_000)], now);
        assert_eq!(cached, [], "it is the same measurement");
    }

    #[test]
    fn a_claim_of_several_pods_is_measured_once_by_the_newest() {
        let (mut schedule, now) = asked();
        let twice = || vec![measured("c", 1_000, 50_000), measured("c", 1_030, 47_000), measured("c", 1_010, 49_000)];
        let news = answers(&mut schedule, twice(), now);
        let [Measurement::SampledClaim { usage, .. }] = &news[..] else { panic!("{news:?}") };
        assert_eq!(usage.available, Bytes(47_000));
        assert_eq!(answers(&mut schedule, twice(), now), [], "it says nothing new");
    }

    #[test]
    fn a_kubelet_whose_clock_was_set_back_is_heard_again_at_once() {
        let (mut schedule, now) = asked();
        answers(&mut schedule, vec![measured("c", 8_200, 50_000)], now);
        let news = answers(&mut schedule, vec![measured("c", 1_060, 44_000)], now);
        assert_eq!(rates(news), [("c".to_owned(), 0)], "and of its rate nothing is known");
    }

    #[test]
    fn what_a_kubelet_no_longer_speaks_of_is_forgotten() {
        let (mut schedule, now) = asked();
        answers(&mut schedule, vec![measured("a", 1_000, 50_000), measured("b", 1_000, 50_000)], now);
        answers(&mut schedule, vec![measured("b", 1_060, 50_000)], now);
        assert_eq!(schedule.nodes["node-1"].claims.len(), 1);
        schedule.set_nodes(&names(&[]), at_once, now);
        assert_eq!(answers(&mut schedule, vec![measured("a", 1_120, 1)], now), [], "its agent has come");
    }
}
