//! How volumes have filled over the last two weeks, for forecasts: asked for when a claim comes that is to have one, which is
//! all of them just after the start. Little is asked for at a time, and one question after the other, so that no server feels
//! it: a forecast can wait for a minute.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::Bytes;
use orlop_operator::{Backoff, History, Metrics};
use orlop_planner::{ClaimId, NamespaceName};
use serde::Deserialize;
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};
use tracing::{info, warn};

use super::{name_of, question};
use crate::{
    causes::in_one_line,
    prometheus::{self, Client, QueryError, Server, Success},
};

/// So far back is asked: what a trend keeps.
const LOOKS_BACK: SignedDuration = SignedDuration::from_hours(14 * 24);

const HOUR_S: i64 = 3600;

/// Of how many claims a question is. An answer has 336 numbers of each, so that it is below a MiB.
const CLAIMS_MAX: usize = 50;

/// How large an answer may be.
const BYTES_MAX: usize = 8 << 20;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// While no server answers.
const PAUSES: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_mins(10) };

/// The claims whose history is wanted: no more than there are claims. Shared by whoever wants and whoever asks.
#[derive(Debug, Clone, Default)]
pub struct Wanted(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    claims: Mutex<BTreeSet<ClaimId>>,
    some: Notify,
}

impl Wanted {
    /// Asks for the history of these claims, once for each.
    pub fn add(&self, claims: impl IntoIterator<Item = ClaimId>) {
        self.0.claims.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
        self.0.some.notify_one();
    }

    /// Some claims of one namespace, when there are any; they are no longer wanted.
    async fn take(&self) -> Vec<ClaimId> {
        loop {
            {
                let mut claims = self.0.claims.lock().unwrap_or_else(PoisonError::into_inner);
                let namespace = claims.first().map(|first| first.namespace.clone());
                let of_it = |claim: &&ClaimId| namespace.as_ref() == Some(&claim.namespace);
                let taken: Vec<_> = claims.iter().take_while(of_it).take(CLAIMS_MAX).cloned().collect();
                for claim in &taken {
                    claims.remove(claim);
                }
                if !taken.is_empty() {
                    return taken;
                }
            }
            self.0.some.notified().await;
        }
    }
}

/// Asks the servers for what is wanted, until nobody listens any more. Without a server there is nothing to do, for ever.
pub async fn run(servers: Vec<Server>, wanted: Wanted, to: mpsc::Sender<Vec<History>>, metrics: Metrics) {
    if servers.is_empty() {
        return std::future::pending().await;
    }
    let clients: Vec<_> = servers.into_iter().map(Client::new).collect();
    let mut failures = 0;
    loop {
        let claims = wanted.take().await;
        let Some(histories) = ask_all(&clients, &claims, &metrics, failures == 0).await else {
            wanted.add(claims);
            failures += 1;
            sleep(PAUSES.after(failures)).await;
            continue;
        };
        if failures > 0 {
            info!("Prometheus says again how volumes have filled");
        }
        failures = 0;
        if !histories.is_empty() && to.send(histories).await.is_err() {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// What all servers know together; none if none of them answers.
async fn ask_all(clients: &[Client], claims: &[ClaimId], metrics: &Metrics, tells: bool) -> Option<Vec<History>> {
    let mut known: BTreeMap<ClaimId, BTreeMap<Timestamp, Bytes>> = BTreeMap::new();
    let mut has_answer = false;
    for client in clients {
        let server = name_of(client.server());
        match ask(client, claims, Timestamp::now()).await {
            Ok(Answer { hours, warnings }) => {
                has_answer = true;
                metrics.prometheus_asked(&server, if warnings.is_empty() { "complete" } else { "partial" });
                for (claim, at, used) in hours.into_iter().filter(|(claim, ..)| claims.contains(claim)) {
                    let most = known.entry(claim).or_default().entry(at).or_default();
                    *most = used.max(*most);
                }
            }
            Err(error) => {
                metrics.prometheus_asked(&server, "failed");
                if tells {
                    let error = in_one_line(&error);
                    warn!(server, error, "Prometheus does not say how volumes have filled; asks more rarely");
                }
            }
        }
    }
    let history = |(claim, hours): (ClaimId, BTreeMap<_, _>)| History { claim, hours: hours.into_iter().collect() };
    has_answer.then(|| known.into_iter().map(history).collect())
}

async fn ask(client: &Client, claims: &[ClaimId], now: Timestamp) -> Result<Answer, QueryError> {
    let json = client.ask(&path(client.server(), claims, now), BYTES_MAX).await?;
    parse(&json).map_err(QueryError::Parse)
}

/// The most that was used in each hour: all that is not available, as it is of what is measured now. Of several series of one
/// claim the largest counts.
fn path(server: &Server, claims: &[ClaimId], now: Timestamp) -> String {
    let Some(ClaimId { namespace: NamespaceName(namespace), .. }) = claims.first() else { return String::new() };
    let names: Vec<_> = claims.iter().map(|claim| claim.name.replace('.', r"\.")).collect();
    // JSON and PromQL write a text alike.
    let text = |text: &str| serde_json::Value::from(text);
    let matchers = format!(
        "{},namespace={},persistentvolumeclaim=~{}",
        question::matchers(server),
        text(namespace),
        text(&names.join("|"))
    );
    let used = format!(
        "max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_capacity_bytes{{{matchers}}} \
         - kubelet_volume_stats_available_bytes{{{matchers}}})"
    );
    let until = now.as_second().div_euclid(HOUR_S) * HOUR_S;
    let from = until - LOOKS_BACK.as_secs() + HOUR_S;
    let parameters = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", &format!("max_over_time(({used})[1h:5m])"))
        .append_pair("start", &from.to_string())
        .append_pair("end", &until.to_string())
        .append_pair("step", "1h")
        .append_pair("timeout", &format!("{}s", server.timeout.as_secs()))
        .finish();
    format!("/api/v1/query_range?{parameters}")
}

/// What a server knows.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    /// Of each claim the most that was used in the hour of a time.
    hours: Vec<(ClaimId, Timestamp, Bytes)>,
    /// Why it is not the whole.
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    /// When, in seconds, and how much.
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Labels {
    namespace: Option<String>,
    persistentvolumeclaim: Option<String>,
}

fn parse(json: &[u8]) -> Result<Answer, serde_json::Error> {
    let Success { result, warnings } = prometheus::success::<Vec<Series>>(json)?;
    let hours = result.into_iter().filter_map(|Series { metric, values }| {
        let (namespace, name) = metric.namespace.zip(metric.persistentvolumeclaim)?;
        let claim = ClaimId { namespace: NamespaceName(namespace.into()), name: name.into() };
        Some(values.into_iter().filter_map(move |(at, value)| Some((claim.clone(), hour_before(at)?, bytes(&value)?))))
    });
    Ok(Answer { hours: hours.flatten().collect(), warnings })
}

/// A value is of the hour that ends then.
#[expect(clippy::cast_possible_truncation, reason = "what is no time that there is, is refused")]
fn hour_before(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_second((seconds as i64).checked_sub(1)?).ok()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative, and ends at the most")]
fn bytes(value: &str) -> Option<Bytes> {
    let value: f64 = value.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(Bytes(value as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(namespace: &str, name: &str) -> ClaimId {
        ClaimId { namespace: NamespaceName(namespace.into()), name: name.into() }
    }

    #[tokio::test]
    async fn claims_are_taken_by_their_namespace_and_a_bounded_number_at_a_time() {
        let wanted = Wanted::default();
        wanted.add((0..70).map(|number| claim("shop", &format!("data-{number}"))));
        wanted.add([claim("mail", "queue"), claim("mail", "queue")]);
        assert_eq!(wanted.take().await, [claim("mail", "queue")]);
        assert_eq!(wanted.take().await.len(), 50);
        assert_eq!(wanted.take().await.len(), 20);
    }

    #[test]
    fn a_question_is_for_two_weeks_of_hours_of_just_these_claims() {
        let server = r#"{"url": "http://p", "matchLabels": {"cluster": "a"}}"#.parse().unwrap();
        let path =
            path(&server, &[claim("shop", "db.0"), claim("shop", "db-1")], Timestamp::from_second(7_300_123).unwrap());
        let (to, parameters) = path.split_once('?').unwrap();
        assert_eq!(to, "/api/v1/query_range");
        let parameters: BTreeMap<_, _> = form_urlencoded::parse(parameters.as_bytes()).into_owned().collect();
        let matchers = r#"{exported_namespace="",cluster="a",namespace="shop",persistentvolumeclaim=~"db\\.0|db-1"}"#;
        assert_eq!(parameters["query"].matches(matchers).count(), 2, "{}", parameters["query"]);
        let time = |name: &str| parameters[name].parse::<i64>().unwrap();
        assert_eq!((time("end"), (time("end") - time("start")) / 3600), (7_297_200, 335));
    }

    #[test]
    fn a_value_is_of_the_hour_that_ends_with_its_time_and_what_is_no_number_is_left_out() {
        let json =
            br#"{"status": "success", "warnings": ["a store is gone"], "data": {"resultType": "matrix", "result": [
            {"metric": {"namespace": "shop", "persistentvolumeclaim": "db"}, "values": [[7200, "5e3"], [10800, "NaN"]]},
            {"metric": {"namespace": "shop"}, "values": [[7200, "7"]]}]}}"#;
        let answer = parse(json).unwrap();
        assert_eq!(answer.hours, [(claim("shop", "db"), Timestamp::from_second(7199).unwrap(), Bytes(5000))]);
        assert_eq!(answer.warnings, ["a store is gone"]);
        assert!(parse(br#"{"status": "error", "error": "no"}"#).is_err());
    }
}
