//! Asks Prometheus servers how full volumes are, by what they have read from the kubelets: the source for nodes that no agent
//! is connected from and whose kubelet may not be asked. Each server is asked for itself, so that one that fails holds up
//! none, and the newest of what several say counts.

mod answer;
pub mod exceeded;
pub mod history;
mod question;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::select_all;
use jiff::{SignedDuration, Timestamp};
use orlop_operator::{Backoff, Measurement, Metrics};
use orlop_planner::{
    ClaimId, Source, Usage,
    forecast::{self, FillHistory},
};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use self::answer::{Answer, Measured};
use super::measure::Measurements;
use crate::prometheus::{Client, QueryError, Server};

/// After the start agents connect within five seconds, and then nobody need be asked.
const AGENTS_FIRST: Duration = Duration::from_secs(10);

/// The longest pause between two questions to a server that fails: what it says is of use for three minutes.
const PAUSE_MAX: Duration = Duration::from_mins(2);

/// How large an answer may be. Of 100,000 claims it has about 60 MiB, and it must not fill the operator's memory.
const BYTES_MAX: usize = 128 << 20;

/// How much is handed to the event loop at once.
const BATCH: usize = 1_000;

/// How far a server's clock may be ahead of ours, as for any measurement. What it dates later would hide what others say.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Prometheus gives no sample that is older (its `query.lookback-delta`): what it does not speak of for this long is gone.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// A measurement is of no node that is known.
const NO_NODE: &str = "";

/// Whom to ask, and whom to tell.
pub struct Prometheus {
    /// The servers.
    pub servers: Vec<Server>,
    /// How many nodes have no agent connected. While there is none, nobody is asked.
    pub unconnected: watch::Receiver<usize>,
    /// Where measurements go.
    pub measurements: Measurements,
    /// How often a server is asked.
    pub interval: Duration,
    /// Where the questions are counted.
    pub metrics: Metrics,
}

/// Asks until nobody listens any more, or nobody says any more how many nodes have no agent. Without a server there is
/// nothing to do, for ever.
pub async fn run(prometheus: Prometheus) {
    let Prometheus { servers, unconnected, measurements, interval, metrics } = prometheus;
    let merged = Mutex::default();
    let asking = servers.into_iter().map(|server| {
        let asker = Asker {
            name: name_of(&server),
            question: question::question(&server),
            client: Client::new(server),
            failures: 0,
            outcome: Outcome::Complete,
            merged: &merged,
            measurements: measurements.clone(),
            metrics: metrics.clone(),
        };
        Box::pin(asker.run(unconnected.clone(), interval))
    });
    let asking: Vec<_> = asking.collect();
    if asking.is_empty() {
        std::future::pending::<()>().await;
    } else {
        select_all(asking).await;
    }
}

/// The server's name in logs and metrics.
fn name_of(server: &Server) -> String {
    server.url.to_string().trim_end_matches('/').to_owned()
}

/// Asks one server.
struct Asker<'a> {
    name: String,
    /// The path and query of the question.
    question: String,
    client: Client,
    /// How often in a row it has failed.
    failures: u32,
    outcome: Outcome,
    merged: &'a Mutex<Merged>,
    measurements: Measurements,
    metrics: Metrics,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Complete,
    Partial,
    Failed,
}

impl Asker<'_> {
    async fn run(mut self, mut unconnected: watch::Receiver<usize>, interval: Duration) {
        let pauses = Backoff { first: interval, longest: PAUSE_MAX.max(interval) };
        let mut pause = interval.min(AGENTS_FIRST);
        loop {
            sleep(pause).await;
            if unconnected.wait_for(|count| *count > 0).await.is_err() {
                return;
            }
            let answer = self.ask().await;
            let measured = self.take_in(answer);
            let news = self.merged.lock().unwrap_or_else(PoisonError::into_inner).take_in(measured, Timestamp::now());
            let mut news = news.into_iter().peekable();
            while news.peek().is_some() {
                let batch = news.by_ref().take(BATCH).collect();
                if self.measurements.send(batch).await.is_err() {
                    return;
                }
            }
            pause = pauses.after(self.failures);
        }
    }

    /// Asks. All is asked for at once, so that the numbers of a claim are of the same moment.
    async fn ask(&self) -> Result<Answer, QueryError> {
        let json = self.client.ask(&self.question, BYTES_MAX).await?;
        // It takes a moment to read what a large cluster has.
        let parsed = tokio::task::spawn_blocking(move || answer::parse(&json)).await;
        parsed.map_err(|panic| QueryError::Parse(serde::de::Error::custom(panic)))?.map_err(QueryError::Parse)
    }

    /// Counts the answer, and says what is new about the server. A part of an answer is better than none.
    fn take_in(&mut self, answer: Result<Answer, QueryError>) -> Vec<Measured> {
        let (outcome, lacks) = match &answer {
            Ok(Answer { lacks, .. }) if lacks.is_empty() => (Outcome::Complete, String::new()),
            Ok(Answer { lacks, .. }) => (Outcome::Partial, lacks.join("; ")),
            Err(_) => (Outcome::Failed, String::new()),
        };
        let is_news = std::mem::replace(&mut self.outcome, outcome) != outcome;
        let server = &*self.name;
        match (outcome, &answer) {
            (Outcome::Complete, _) if is_news => info!(server, "Prometheus says again how full all volumes are"),
            (Outcome::Partial, _) if is_news => warn!(server, lacks, "Prometheus does not know of all volumes"),
            (Outcome::Failed, Err(error)) if is_news => {
                let error = error as &dyn std::error::Error;
                warn!(server, error, "Prometheus does not say how full volumes are; asks more rarely");
            }
            _ => {}
        }
        self.failures = if outcome == Outcome::Failed { self.failures.saturating_add(1) } else { 0 };
        let outcome = match outcome {
            Outcome::Complete => "complete",
            Outcome::Partial => "partial",
            Outcome::Failed => "failed",
        };
        self.metrics.prometheus_asked(server, outcome);
        answer.map_or_else(|_| Vec::new(), |answer| answer.measured)
    }
}

/// What all servers have said, by claim.
#[derive(Default)]
struct Merged {
    claims: HashMap<ClaimId, History>,
}

#[derive(Default)]
struct History {
    fill: FillHistory,
    latest: Timestamp,
}

impl Merged {
    /// What is newer than everything that was said before.
    fn take_in(&mut self, measured: Vec<Measured>, now: Timestamp) -> Vec<Measurement> {
        self.claims.retain(|_, history| now.duration_since(history.latest) < FORGOTTEN_AFTER);
        let mut news = Vec::with_capacity(measured.len());
        for it in measured.into_iter().filter(|it| it.at.duration_since(now) <= CLOCK_SKEW_MAX) {
            let history = self.claims.entry(it.claim.clone()).or_default();
            if it.at <= history.latest {
                continue;
            }
            history.latest = it.at;
            history.fill.push(forecast::Sample { at: it.at, total: it.total, available: it.available });
            let usage = Usage {
                at: it.at,
                source: Source::Prometheus,
                total: it.total,
                available: it.available,
                inodes: it.inodes,
                fill_bytes_per_second: history.fill.rate(it.at),
                crossed: None,
            };
            news.push(Measurement::SampledClaim { node: NO_NODE.to_owned(), claim: it.claim, usage });
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::Bytes;
    use orlop_planner::NamespaceName;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn measured(second: i64, available: u64) -> Measured {
        let claim = ClaimId { namespace: NamespaceName("n".into()), name: "c".into() };
        Measured { claim, at: at(second), total: Bytes(100_000), available: Bytes(available), inodes: None }
    }

    /// What is new, with the rate at which it fills.
    fn taken(merged: &mut Merged, measured: Measured, now: i64) -> Option<(u64, u64)> {
        match &*merged.take_in(vec![measured], at(now)) {
            [Measurement::SampledClaim { usage, .. }] => Some((usage.available.0, usage.fill_bytes_per_second)),
            [] => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_what_several_servers_say_the_newest_counts_and_the_rate_is_of_all() {
        let mut merged = Merged::default();
        assert_eq!(taken(&mut merged, measured(1_000, 50_000), 1_010), Some((50_000, 0)));
        assert_eq!(taken(&mut merged, measured(990, 60_000), 1_011), None, "another server is behind");
        assert_eq!(taken(&mut merged, measured(1_000, 50_000), 1_012), None, "it says the same");
        assert_eq!(taken(&mut merged, measured(1_060, 44_000), 1_070), Some((44_000, 100)));
    }

    #[test]
    fn a_server_whose_clock_is_ahead_does_not_hide_what_others_say() {
        let mut merged = Merged::default();
        assert_eq!(taken(&mut merged, measured(9_000, 1), 1_000), None);
        assert_eq!(taken(&mut merged, measured(1_000, 50_000), 1_000), Some((50_000, 0)));
    }

    #[test]
    fn claims_that_no_server_speaks_of_are_forgotten() {
        let mut merged = Merged::default();
        taken(&mut merged, measured(1_000, 50_000), 1_000);
        assert_eq!(merged.take_in(Vec::new(), at(1_299)), []);
        assert_eq!(merged.claims.len(), 1);
        assert_eq!(merged.take_in(Vec::new(), at(1_300)), []);
        assert!(merged.claims.is_empty());
    }
}
