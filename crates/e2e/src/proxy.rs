//! A proxy between a process under test and the API server, for what can go wrong between them. It ends the process at a
//! chosen call: before it reaches the API server, or after the API server has carried it out and before the answer is
//! back. Or it deals out the simulator's fates to what the process writes, so that what was found there can be seen
//! here; and it can make a broken operator of a good one, so that a test is seen to fail. None of it takes a line in the
//! production code.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use orlop_api::Bytes;
use orlop_sim::RequestFate;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};

/// The largest request body that passes; ours are a few KiB.
const BODY_BYTES_MAX: usize = 4 << 20;

/// When in the course of a request the process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The API server never sees the request.
    Before,
    /// The API server has carried it out; the process never learns of it.
    After,
}

/// Which call the process does not survive.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The call, as `METHOD path`. Which comes first of those that are made side by side is chance.
    pub call: String,
    /// Which of the same calls it is, from 0.
    pub occurrence: usize,
    /// Before or after it.
    pub moment: Moment,
}

/// What becomes of the first patches.
#[derive(Debug, Clone, Copy)]
pub struct Spell {
    /// What becomes of them.
    pub fate: RequestFate,
    /// How many of them.
    pub patches: usize,
}

/// A bug that the operator does not have, made of what it sends.
#[derive(Clone)]
pub enum Bug {
    /// It asks for so much more than there is, and not for a size instead of another: done twice, that is done twice.
    AsksForMore {
        /// A client that may read what there is. The operator's may not: it watches claims.
        reader: kube::Client,
    },
}

/// How much later a late patch arrives. The operator gives one up after ten seconds.
const LATE: Duration = Duration::from_secs(15);

/// For so long a patch goes unanswered that is to have no answer: longer than the operator waits.
const UNANSWERED: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Shared {
    pid: Mutex<Option<Pid>>,
    calls: Mutex<Vec<String>>,
    fired: AtomicBool,
    /// How many patches have had their fate.
    dealt: AtomicUsize,
}

/// The running proxy. It ends when dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Listens on loopback and passes requests on by `client`, with its credentials. Without a fault it only counts.
    pub async fn start(client: kube::Client, fault: Option<Fault>) -> anyhow::Result<Self> {
        Self::serve(client, fault, None, None).await
    }

    /// The same, but that the first patches have this fate, and come from an operator with this bug.
    pub async fn under(client: kube::Client, spell: Spell, bug: Option<Bug>) -> anyhow::Result<Self> {
        Self::serve(client, None, Some(spell), bug).await
    }

    async fn serve(
        client: kube::Client,
        fault: Option<Fault>,
        spell: Option<Spell>,
        bug: Option<Bug>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let router = axum::Router::new().fallback(pass).with_state(Passage {
            client,
            fault,
            spell,
            bug,
            shared: Arc::clone(&shared),
        });
        let task = tokio::spawn(async move {
            // The server only ends with the task: an accept that fails is retried by axum itself.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, address, task })
    }

    /// Which process the fault ends.
    pub fn watch_over(&self, pid: Pid) {
        *lock(&self.shared.pid) = Some(pid);
    }

    /// Where the process under test finds the API server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The calls so far, each as `METHOD path`.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.shared.calls).clone()
    }

    /// How many patches have had the spell's fate?
    pub fn dealt(&self) -> usize {
        self.shared.dealt.load(Ordering::SeqCst)
    }

    /// Has it come to the fault?
    pub fn has_fired(&self) -> bool {
        self.shared.fired.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Clone)]
struct Passage {
    client: kube::Client,
    fault: Option<Fault>,
    spell: Option<Spell>,
    bug: Option<Bug>,
    shared: Arc<Shared>,
}

impl Passage {
    /// The fate of a request, where the spell has one for it.
    fn fate(&self, request: &Request) -> Option<RequestFate> {
        let spell = self.spell.filter(|_| request.method() == http::Method::PATCH)?;
        let before = |dealt: usize| (dealt < spell.patches).then_some(dealt + 1);
        self.shared.dealt.fetch_update(Ordering::SeqCst, Ordering::SeqCst, before).ok().map(|_| spell.fate)
    }

    fn kill(&self) {
        self.shared.fired.store(true, Ordering::SeqCst);
        if let Some(pid) = *lock(&self.shared.pid) {
            // A process that has just ended by itself is as dead as it should be.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

async fn pass(State(passage): State<Passage>, request: Request) -> Response {
    let call = format!("{} {}", request.method(), request.uri().path());
    let occurrence = {
        let mut calls = lock(&passage.shared.calls);
        let before = calls.iter().filter(|other| **other == call).count();
        calls.push(call.clone());
        before
    };
    let is_it = |fault: &&Fault| fault.call == call && fault.occurrence == occurrence;
    let moment = passage.fault.as_ref().filter(is_it).map(|fault| fault.moment);
    if moment == Some(Moment::Before) {
        passage.kill();
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let answer = match passage.fate(&request) {
        Some(fate) => suffer(&passage, request, fate).await,
        None => forward(&passage, request).await,
    };
    if moment == Some(Moment::After) {
        passage.kill();
        return StatusCode::BAD_GATEWAY.into_response();
    }
    answer.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
}

/// What becomes of a request whose fate this is.
async fn suffer(passage: &Passage, request: Request, fate: RequestFate) -> anyhow::Result<Response> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await?;
    let again = || Request::from_parts(head.clone(), Body::from(body.clone()));
    match fate {
        RequestFate::Lost => sleep(UNANSWERED).await,
        RequestFate::AnswerLost => {
            forward(passage, again()).await?;
            sleep(UNANSWERED).await;
        }
        RequestFate::Late => {
            // The process has hung up by then, and that ends what is done for it here.
            let (passage, request) = (passage.clone(), again());
            let late = tokio::spawn(async move {
                sleep(LATE).await;
                forward(&passage, request).await
            });
            return late.await?;
        }
        RequestFate::Twice => {
            let answer = forward(passage, again()).await?;
            forward(passage, again()).await?;
            return Ok(answer);
        }
        RequestFate::Answered(code) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Failed",
                "message": "the API server is in trouble",
            });
            return Ok((StatusCode::from_u16(code)?, [("content-type", "application/json")], status.to_string())
                .into_response());
        }
    }
    Ok(StatusCode::GATEWAY_TIMEOUT.into_response())
}

async fn forward(passage: &Passage, request: Request) -> anyhow::Result<Response> {
    let client = &passage.client;
    let (mut head, body) = request.into_parts();
    let mut body = Vec::from(to_bytes(body, BODY_BYTES_MAX).await?);
    if let Some(Bug::AsksForMore { reader }) = &passage.bug
        && is_json_patch(&head)
    {
        body = asking_for_more(reader, head.uri.path(), body).await?;
        head.headers.remove(http::header::CONTENT_LENGTH);
    }
    // The client puts the API server's address and its own credentials in place of these.
    head.headers.remove(http::header::HOST);
    head.headers.remove(http::header::AUTHORIZATION);
    head.uri = head.uri.path_and_query().context("a request without a path")?.as_str().parse()?;
    let answer = client.send(Request::from_parts(head, kube::client::Body::from(body))).await?;
    Ok(answer.map(Body::new))
}

fn is_json_patch(head: &http::request::Parts) -> bool {
    head.headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json-patch+json")
}

/// A growth as [`Bug::AsksForMore`] has it: without its preconditions, and with as much more than is requested when it
/// arrives as it is more than what was requested when it was decided. Any other patch as it is.
async fn asking_for_more(reader: &kube::Client, claim: &str, patch: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    const REQUEST: &str = "/spec/resources/requests/storage";
    let mut operations: Vec<Value> = serde_json::from_slice(&patch)?;
    let size = |op: &str| {
        let operation = operations.iter().find(|it| it["op"] == op && it["path"] == REQUEST)?;
        operation["value"].as_str()?.parse::<Bytes>().ok()
    };
    let (Some(before), Some(after)) = (size("test"), size("replace")) else { return Ok(patch) };
    let present: Value = reader.request(http::Request::get(claim).body(Vec::new())?).await?;
    let present = present.pointer(REQUEST).and_then(Value::as_str).context("a claim without a size")?;
    let more = Bytes(present.parse::<Bytes>()?.0 + after.0.saturating_sub(before.0));
    operations.retain(|it| it["op"] != "test");
    for operation in operations.iter_mut().filter(|it| it["path"] == REQUEST) {
        operation["value"] = json!(more);
    }
    Ok(serde_json::to_vec(&operations)?)
}
