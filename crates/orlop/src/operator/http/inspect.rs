//! `/v1/claims` and `/v1/fleet`: what the operator knows and has decided, for `orlop explain`, `status` and `top`. Only read,
//! and only from the operator that leads. What is refused is refused as the API server does it, by a `Status`, so that its
//! clients can tell why.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use orlop_operator::inspect::{API_VERSION, Agents, Content, Document, Order, PAGE_MAX, PageQuery, SurveyQuery};
use orlop_planner::{ClaimId, NamespaceName};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::operator::desk::{Question, Reply, Unable};

/// How long an answer may take. The event loop turns many times in it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many nodes without an agent are named.
const NODES_NAMED_MAX: usize = 20;

/// Whom questions are put to.
#[derive(Clone)]
pub(in crate::operator) struct Counter {
    /// The event loop.
    pub(in crate::operator) questions: mpsc::Sender<Question>,
    /// The nodes.
    pub(in crate::operator) nodes: watch::Receiver<BTreeSet<String>>,
    /// Those of them whose agent is connected.
    pub(in crate::operator) connected: watch::Receiver<BTreeSet<String>>,
}

pub(super) fn routes(counter: Counter) -> Router {
    Router::new()
        .route("/v1/claims", get(claims))
        .route("/v1/claims/{namespace}/{name}", get(claim))
        .route("/v1/fleet", get(fleet))
        .with_state(counter)
}

/// `?namespace=&limit=&continue=`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClaimsQuery {
    namespace: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    after: Option<String>,
}

/// `?namespace=&find=&problems=&order=&limit=`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FleetQuery {
    namespace: Option<String>,
    find: Option<String>,
    problems: bool,
    order: Order,
    limit: usize,
}

async fn claim(State(counter): State<Counter>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let id = ClaimId { namespace: NamespaceName(namespace.into()), name: name.into() };
    match counter.ask(|reply| Question::Claim(id.clone(), reply)).await {
        Ok((Some(account), at)) => document(account, at),
        Ok((None, _)) => refusal(StatusCode::NOT_FOUND, "NotFound", &format!("there is no claim {id}")),
        Err(refused) => refused,
    }
}

async fn claims(State(counter): State<Counter>, Query(query): Query<ClaimsQuery>) -> Response {
    let after = match query.after.as_deref().map(|text| (text, text.split_once('/'))) {
        None => None,
        Some((_, Some((namespace, name)))) => {
            Some(ClaimId { namespace: NamespaceName(namespace.into()), name: name.into() })
        }
        Some((text, None)) => {
            let message = format!("continue={text} is none that was given: leave it out to begin with the first page");
            return refusal(StatusCode::BAD_REQUEST, "BadRequest", &message);
        }
    };
    let namespace = query.namespace.map(|namespace| NamespaceName(namespace.into()));
    let query = PageQuery { namespace, after, limit: query.limit.unwrap_or(PAGE_MAX) };
    counter
        .ask(|reply| Question::Page(query, reply))
        .await
        .map_or_else(|refused| refused, |(page, at)| document(page, at))
}

async fn fleet(State(counter): State<Counter>, Query(query): Query<FleetQuery>) -> Response {
    let FleetQuery { namespace, find, problems, order, limit } = query;
    let namespace = namespace.map(|namespace| NamespaceName(namespace.into()));
    let query = SurveyQuery { namespace, find, problems, order, limit };
    match counter.ask(|reply| Question::Fleet(query, reply)).await {
        Ok((mut fleet, at)) => {
            fleet.agents = counter.agents();
            document(fleet, at)
        }
        Err(refused) => refused,
    }
}

impl Counter {
    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Question) -> Result<(T, Timestamp), Response> {
        let unavailable = |message: &str| refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message);
        let (reply, answer) = oneshot::channel();
        self.questions.try_send(question(reply)).map_err(|_| {
            refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "others are being answered: ask again")
        })?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(Unable::StandsBy))) => Err(unavailable("this operator stands by: ask the one that leads")),
            Ok(Ok(Err(Unable::NotSynced))) => {
                Err(unavailable("the operator has just started and is still listing the cluster: ask again"))
            }
            Ok(Err(_)) => Err(unavailable("the operator is ending: ask again")),
            Err(_) => Err(unavailable("the operator is too busy to answer: ask again")),
        }
    }

    fn agents(&self) -> Agents {
        let (nodes, connected) = (self.nodes.borrow(), self.connected.borrow());
        let without = nodes.difference(&connected);
        Agents {
            nodes: nodes.len() as u64,
            connected: nodes.intersection(&connected).count() as u64,
            without: without.take(NODES_NAMED_MAX).cloned().collect(),
        }
    }
}

fn document<T: Content + Serialize>(content: T, at: Timestamp) -> Response {
    json_response(StatusCode::OK, &Document::new(content, at))
}

/// A `Status`, as the API server answers. Its group says that it is ours and not the API server's.
fn refusal(code: StatusCode, reason: &str, message: &str) -> Response {
    let group = API_VERSION.split('/').next().unwrap_or(API_VERSION);
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code.as_u16(),
        "reason": reason, "message": message, "details": { "group": group },
    });
    json_response(code, &status)
}

fn json_response(code: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (code, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use orlop_operator::inspect::{ClaimPage, Fleet};
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    /// What the endpoints answer with an event loop that answers by `answer`.
    async fn get(path: &str, answer: fn(Question)) -> (StatusCode, Value) {
        let (questions, mut asked) = mpsc::channel(1);
        let set =
            |names: &[&str]| watch::Sender::new(names.iter().map(|name| (*name).to_owned()).collect()).subscribe();
        let counter = Counter { questions, nodes: set(&["a", "b", "c"]), connected: set(&["b", "gone"]) };
        let answering = tokio::spawn(async move {
            if let Some(question) = asked.recv().await {
                answer(question);
            }
        });
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        let response = routes(counter).oneshot(request).await.unwrap();
        answering.abort();
        let code = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (code, serde_json::from_slice(&body).unwrap_or(Value::String(String::from_utf8_lossy(&body).into_owned())))
    }

    fn at() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    #[tokio::test]
    async fn the_fleet_is_told_with_the_agents_that_are_connected() {
        let (code, body) = get("/v1/fleet?namespace=shop&order=timeToFull&limit=3&problems=true", |question| {
            let Question::Fleet(query, reply) = question else { panic!("another question") };
            assert_eq!((query.order, query.limit, query.problems), (Order::TimeToFull, 3, true));
            assert_eq!(query.namespace, Some(NamespaceName("shop".into())));
            reply.send(Ok((Fleet::default(), at()))).unwrap();
        })
        .await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(body["agents"], json!({ "nodes": 3, "connected": 1, "without": ["a", "c"] }));
        assert_eq!((&body["kind"], &body["apiVersion"]), (&json!("Fleet"), &json!(API_VERSION)));
        let read: Document<Fleet> = serde_json::from_value(body).unwrap();
        assert_eq!(read.open().unwrap().1, at());
    }

    #[tokio::test]
    async fn a_page_begins_after_the_claim_that_was_last_on_the_one_before() {
        let (code, body) = get("/v1/claims?continue=shop%2Fdata-1&limit=2", |question| {
            let Question::Page(query, reply) = question else { panic!("another question") };
            assert_eq!(query.after.unwrap().to_string(), "shop/data-1");
            reply.send(Ok((ClaimPage { claims: Vec::new(), next: Some("shop/data-3".into()) }, at()))).unwrap();
        })
        .await;
        assert_eq!((code, &body["continue"]), (StatusCode::OK, &json!("shop/data-3")));
    }

    #[tokio::test]
    async fn what_is_refused_is_refused_as_the_api_server_does_it() {
        let (code, body) = get("/v1/claims/shop/data-9", |question| {
            let Question::Claim(id, reply) = question else { panic!("another question") };
            assert_eq!(id.to_string(), "shop/data-9");
            reply.send(Ok((None, at()))).unwrap();
        })
        .await;
        assert_eq!((code, &body["message"]), (StatusCode::NOT_FOUND, &json!("there is no claim shop/data-9")));
        assert_eq!((&body["kind"], &body["details"]["group"]), (&json!("Status"), &json!("inspect.orlop.dev")));

        let (code, body) = get("/v1/fleet", |question| {
            let Question::Fleet(_, reply) = question else { panic!("another question") };
            reply.send(Err(Unable::StandsBy)).unwrap();
        })
        .await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["message"], json!("this operator stands by: ask the one that leads"));

        let (code, _) = get("/v1/claims?continue=nonsense", |_| ()).await;
        assert_eq!(code, StatusCode::BAD_REQUEST);
        let (code, body) = get("/v1/fleet?ordr=size", |_| ()).await;
        assert_eq!(code, StatusCode::BAD_REQUEST);
        assert!(body.as_str().unwrap().contains("ordr"), "{body}");
    }
}
