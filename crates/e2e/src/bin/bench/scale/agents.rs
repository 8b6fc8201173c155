//! Agents of as many nodes as the fleet has, as far as the operator sees them: each has a pod, a token that is bound to it, a
//! stream of its own, and volumes that it reports once and then confirms every five seconds.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, Pod, ServiceAccount},
};
use kube::{Api, ResourceExt as _, api::PostParams};
use orlop::{
    agent::dial::{Operator, Stream, dial},
    rpc::agent_v1::{FromAgent, Heartbeat, Sample, Samples, from_agent::Message},
};
use orlop_api::names;
use orlop_e2e::{
    eventually,
    site::{SYSTEM, Site},
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};

use super::objects::{Fleet, SIZE_GIB, create};

/// How many open their stream at a time: after a failover all do, and each tries again until it has one.
const AT_ONCE: usize = 16;
/// How often an agent says that what it has measured still holds.
const HEARTBEAT: Duration = Duration::from_secs(5);
const ACCOUNT: &str = "orlop-agent";

/// All of them. They end when this is dropped.
pub struct Agents {
    streams: Vec<mpsc::Sender<FromAgent>>,
    /// When each claim's volume was said to be all but full.
    full: Mutex<BTreeMap<usize, Instant>>,
    lives: Vec<JoinHandle<()>>,
}

impl Agents {
    /// Opens the streams to the operator that leads, and reports all volumes.
    pub async fn connect(site: &Site, fleet: Fleet) -> anyhow::Result<Self> {
        let accounts: Api<ServiceAccount> = Api::namespaced(site.client.clone(), SYSTEM);
        if accounts.get_opt(ACCOUNT).await?.is_none() {
            create::<ServiceAccount>(&accounts, json!({"metadata": {"name": ACCOUNT}})).await?;
        }
        let whereabouts = whereabouts(site).await?;
        let start = async |node| {
            let stream = open(site, &whereabouts, node).await?;
            let samples = fleet.of_node(node).map(|claim| sample(claim, (SIZE_GIB << 30) / 2)).collect();
            stream.outgoing.send(samples_of(samples)).await?;
            // At once, for who is silent is given up.
            let streams = stream.outgoing.clone();
            Ok::<_, anyhow::Error>((streams, tokio::spawn(live(stream))))
        };
        let started: Vec<_> = stream::iter(0..fleet.nodes()).map(start).buffered(AT_ONCE).try_collect().await?;
        let (streams, lives) = started.into_iter().unzip();
        Ok(Self { streams, full: Mutex::default(), lives })
    }

    /// Says that the claim's volume is all but full.
    pub async fn fill(&self, claim: usize) -> anyhow::Result<()> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).insert(claim, Instant::now());
        self.streams[Fleet::node_of(claim)].send(samples_of(vec![sample(claim, (SIZE_GIB << 30) / 20)])).await?;
        Ok(())
    }

    /// When that was said.
    pub fn said(&self, claim: usize) -> Option<Instant> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner).get(&claim).copied()
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.lives.iter().for_each(JoinHandle::abort);
    }
}

/// Confirms what was measured, and reads what is to be watched, which is of no concern here, until the stream ends.
async fn live(stream: Stream) {
    let Stream { outgoing, mut incoming } = stream;
    let mut beats = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            _ = beats.tick() => if outgoing.send(heartbeat()).await.is_err() {
                return;
            },
            message = incoming.message() => if !matches!(message, Ok(Some(_))) {
                return;
            },
        }
    }
}

/// Where the operator that leads listens, as it has published that; the token is each agent's own.
async fn whereabouts(site: &Site) -> anyhow::Result<Operator> {
    let maps: Api<ConfigMap> = Api::namespaced(site.client.clone(), SYSTEM);
    eventually("an operator that leads", Duration::from_mins(5), || async {
        let Some(data) = maps.get_opt(names::AGENTS_CONFIG_MAP).await?.and_then(|map| map.data) else {
            return Ok(None);
        };
        let published = data.get(names::AGENTS_ENDPOINT_KEY).zip(data.get(names::AGENTS_CERTIFICATE_KEY));
        let Some((endpoint, certificate)) = published else { return Ok(None) };
        let endpoint = endpoint.parse().context("the address that the operator has published")?;
        // An operator that has ended leaves behind what it had published.
        let listens = tokio::net::TcpStream::connect(endpoint).await.is_ok();
        Ok(listens.then(|| Operator { endpoint, certificate: certificate.clone(), token: String::new() }))
    })
    .await
}

async fn open(site: &Site, whereabouts: &Operator, node: usize) -> anyhow::Result<Stream> {
    let (pods, accounts): (Api<Pod>, Api<ServiceAccount>) =
        (Api::namespaced(site.client.clone(), SYSTEM), Api::namespaced(site.client.clone(), SYSTEM));
    let name = format!("agent-{node}");
    let pod = match pods.get_opt(&name).await? {
        Some(pod) => pod,
        None => {
            let pod = json!({
                "metadata": {"name": name},
                "spec": {
                    "nodeName": Fleet::node(node), "serviceAccountName": ACCOUNT,
                    "containers": [{"name": "agent", "image": "orlop"}],
                },
            });
            create::<Pod>(&pods, pod).await?
        }
    };
    let bound = BoundObjectReference {
        kind: Some("Pod".to_owned()),
        api_version: Some("v1".to_owned()),
        name: Some(name),
        uid: pod.uid(),
    };
    let spec = TokenRequestSpec {
        audiences: Some(vec![names::OPERATOR_AUDIENCE.to_owned()]),
        bound_object_ref: Some(bound),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await?;
    let token = answer.status.and_then(|status| status.token).context("a token request without an answer")?;
    let operator = Operator { token, ..whereabouts.clone() };
    let node = Fleet::node(node);
    eventually("the operator to take an agent's stream", Duration::from_mins(1), || async {
        Ok(dial(operator.clone(), &node).await.ok())
    })
    .await
}

fn sample(claim: usize, available_bytes: u64) -> Sample {
    Sample {
        volume: Fleet::volume(claim),
        measured_at_ms: Timestamp::now().as_millisecond(),
        total_bytes: SIZE_GIB << 30,
        available_bytes,
        total_inodes: 6_553_600,
        free_inodes: 6_000_000,
        ..Sample::default()
    }
}

const fn samples_of(samples: Vec<Sample>) -> FromAgent {
    FromAgent { message: Some(Message::Samples(Samples { samples, gone: Vec::new() })) }
}

fn heartbeat() -> FromAgent {
    let now = Timestamp::now().as_millisecond();
    FromAgent { message: Some(Message::Heartbeat(Heartbeat { at_ms: now, sent_at_ms: now })) }
}
