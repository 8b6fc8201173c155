//! History from servers that speak the query API of Prometheus. It is asked for in pieces, because servers limit how many
//! points an answer has; several servers are asked for each piece, and where two tell of one claim the first one counts.

use futures::future::join_all;
use jiff::Timestamp;
use orlop_api::Period;

use super::{
    CLAIM_LABEL, METRICS, NAMESPACE_LABEL,
    feed::{Feed, InputError},
    query::{self, Claims},
};
use crate::{
    causes::in_one_line,
    prometheus::{Client, QueryError, Server},
};

/// So many points of each series are asked for at a time: few enough for the 11,000 that Prometheus gives at most, and for
/// what ten thousand claims have of them to be held in memory.
const POINTS: u32 = 144;

/// How long an answer may take: a long history is read from an object store by some servers.
pub const ANSWER_WITHIN: Period = Period::from_secs(120);

/// How large an answer may be.
const BYTES_MAX: usize = 1 << 30;

/// How many reasons of missing answers are told.
const FAILURES_TOLD: usize = 5;

/// Which history is wanted, and how to ask for it.
#[derive(Debug, Clone)]
pub struct Question {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How far apart samples are to be.
    pub step: Period,
    /// Matchers that series must fulfil, in `PromQL` and without braces, such as `cluster="a"`; empty for none.
    pub matchers: String,
}

/// Why servers cannot be asked, or give no history.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// A server cannot be spoken to as configured.
    #[error("cannot speak to {server} as configured")]
    Connect {
        /// The server.
        server: String,
        /// Why.
        source: QueryError,
    },
    /// No server has answered any question.
    #[error("no server has given any answer: {}", .0.join("; "))]
    Silent(Vec<String>),
    /// They have answered, and know of no claim.
    #[error("the servers know no series of a claim between {from} and {until}")]
    Empty {
        /// From when.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// What they answered cannot be replayed.
    #[error("{0}")]
    Rejected(String),
    /// What was read cannot be kept.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Feeds the history that these servers have. Returns what is missing of it: the failures of servers that have answered
/// other questions, and what they warn of.
pub async fn fetch(servers: Vec<Server>, question: &Question, feed: &mut Feed) -> Result<Vec<String>, PrometheusError> {
    let mut clients = Vec::new();
    for server in servers {
        let name = server.url.to_string();
        let client = Client::connect(server).await;
        clients.push(client.map_err(|source| PrometheusError::Connect { server: name, source })?);
    }
    let mut missing = Missing::default();
    let mut has_claims = false;
    for (from_s, until_s) in pieces(question) {
        let claims = piece(&clients, question, (from_s, until_s), &mut missing).await;
        has_claims |= !claims.is_empty();
        for ((namespace, claim), columns) in claims {
            let taken = feed.take_columns(&namespace, &claim, columns)?;
            taken.map_err(|rejected| PrometheusError::Rejected(format!("claim {namespace}/{claim}: {rejected}")))?;
        }
    }
    match (has_claims, missing.answered) {
        (true, _) => Ok(missing.notes()),
        (false, 0) => Err(PrometheusError::Silent(missing.failures)),
        (false, _) => Err(PrometheusError::Empty { from: question.from, until: question.until }),
    }
}

/// What was asked for and not answered.
#[derive(Default)]
struct Missing {
    answered: u64,
    failed: u64,
    /// The first few failures, each in a sentence.
    failures: Vec<String>,
    warnings: Vec<String>,
}

impl Missing {
    fn tell(into: &mut Vec<String>, text: String) {
        if into.len() < FAILURES_TOLD && !into.contains(&text) {
            into.push(text);
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.failed > 0 {
            let asked = self.failed + self.answered;
            let failures = self.failures.join("; ");
            notes.push(format!(
                "{} of {asked} questions to Prometheus were not answered, so history may be missing: {failures}",
                self.failed
            ));
        }
        if !self.warnings.is_empty() {
            notes.push(format!("answers of Prometheus may not be the whole: {}", self.warnings.join("; ")));
        }
        notes
    }
}

/// The times of the questions, from and until in seconds, on a grid of the step so that servers tell of the same moments.
fn pieces(question: &Question) -> impl Iterator<Item = (i64, i64)> {
    let step_s = i64::try_from(question.step.as_secs()).unwrap_or(i64::MAX).max(1);
    let first = question.from.as_second().div_euclid(step_s) * step_s;
    let last = question.until.as_second();
    let lasts = step_s.saturating_mul(i64::from(POINTS));
    let begins = std::iter::successors(Some(first), move |from| from.checked_add(lasts));
    begins.take_while(move |from| *from <= last).map(move |from| (from, (from + lasts - step_s).min(last)))
}

/// Asks all servers for all metrics of a piece of time.
async fn piece(clients: &[Client], question: &Question, times_s: (i64, i64), missing: &mut Missing) -> Claims {
    let questions = METRICS.iter().flat_map(move |(metric, measure)| {
        clients
            .iter()
            .map(move |client| async move { (client, *measure, ask(client, &path(metric, question, times_s)).await) })
    });
    let mut claims = Claims::new();
    for (client, measure, answer) in join_all(questions).await {
        let url = &client.server().url;
        match answer.and_then(|json| query::parse(&json, measure, &mut claims)) {
            Ok(warnings) => {
                missing.answered += 1;
                for warning in warnings {
                    Missing::tell(&mut missing.warnings, format!("{url}: {warning}"));
                }
            }
            Err(what) => {
                missing.failed += 1;
                Missing::tell(&mut missing.failures, format!("{url} {what}"));
            }
        }
    }
    claims
}

/// Of several series of one claim, as of a volume that several nodes have mounted, the largest value counts.
fn path(metric: &str, question: &Question, (from_s, until_s): (i64, i64)) -> String {
    let query = format!("max by ({NAMESPACE_LABEL}, {CLAIM_LABEL}) ({metric}{{{}}})", question.matchers);
    let parameters = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", &query)
        .append_pair("start", &from_s.to_string())
        .append_pair("end", &until_s.to_string())
        .append_pair("step", &format!("{}s", question.step.as_secs()))
        .finish();
    format!("/api/v1/query_range?{parameters}")
}

/// The answer, or why there is none, as the end of a sentence that begins with the server.
async fn ask(client: &Client, path: &str) -> Result<axum::body::Bytes, String> {
    client.ask(path, BYTES_MAX).await.map_err(|error| format!("gives no answer: {}", in_one_line(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(from: i64, until: i64, step_s: u64) -> Question {
        Question {
            from: Timestamp::from_second(from).unwrap(),
            until: Timestamp::from_second(until).unwrap(),
            step: Period::from_secs(step_s),
            matchers: r#"cluster="a""#.to_owned(),
        }
    }

    #[test]
    fn the_pieces_are_on_the_grid_and_have_each_moment_once() {
        let question = question(1_000_123, 1_200_000, 300);
        let pieces: Vec<_> = pieces(&question).collect();
        let moments: Vec<i64> = pieces.iter().flat_map(|(from, until)| (*from..=*until).step_by(300)).collect();
        assert_eq!(moments[0], 999_900, "no later than was asked for");
        assert!(moments.windows(2).all(|pair| pair[1] - pair[0] == 300));
        assert_eq!(moments.last(), Some(&1_200_000));
        assert!(pieces.iter().all(|(from, until)| (until - from) / 300 < i64::from(POINTS)));
    }

    #[test]
    fn a_question_has_its_times_and_its_matchers() {
        let path = path("kubelet_volume_stats_used_bytes", &question(0, 600, 300), (0, 600));
        let (to, parameters) = path.split_once('?').unwrap();
        assert_eq!(to, "/api/v1/query_range");
        let parameters: Vec<_> = form_urlencoded::parse(parameters.as_bytes()).into_owned().collect();
        let expected = [
            ("query", r#"max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_used_bytes{cluster="a"})"#),
            ("start", "0"),
            ("end", "600"),
            ("step", "300s"),
        ];
        assert_eq!(parameters, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
