//! The operator: observes by shared caches, plans, and applies the plan with preconditions.
//!
//! What it knows and how it decides is in `orlop_operator`, which does no I/O; here it is given eyes and hands.
//! [`watch`](self::watch), and the sources of [`measure`]ments, say what there is; the [`engine`](self::engine) has it
//! decided and hands the result to [`act`](self::act) (requests) and to `events`. Beside it, [`local`](self::local) looks
//! after the local driver. Several operators may run; the one that holds the [`lease`] acts.

mod act;
pub mod agents;
mod client;
mod desk;
mod engine;
mod events;
mod http;
pub mod identity;
pub mod kubelets;
mod lease;
mod local;
pub mod measure;
pub mod prometheus;
mod router;
mod scrape;
mod sources;
mod watch;

use std::{io, net::SocketAddr, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use orlop_operator::{
    Metrics,
    lease::{Candidate, Deposed},
};
use orlop_planner::Allowed;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch as latest},
    task::JoinSet,
};
use tracing::{info, warn};

use self::{
    act::Executor,
    desk::QUESTIONS_MAX,
    engine::{Engine, Inputs, Outputs},
    http::{Counter, Health},
    measure::{ConnectedNodes, Watches},
    prometheus::history::Wanted,
    scrape::Scrapes,
    sources::Connections,
};
pub use self::{local::LocalConfig, sources::SourcesConfig};

/// How many observations wait for the engine at most.
const OBSERVATIONS_MAX: usize = 1024;

/// How many batches of histories wait for the engine at most.
const HISTORIES_MAX: usize = 4;

/// How many batches of measurements wait for the engine at most.
const MEASUREMENTS_MAX: usize = 256;

/// How the operator is to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The namespace of the operator's own objects.
    pub namespace: String,
    /// Who this operator is; no other may have the same identity.
    pub identity: String,
    /// Where `/metrics`, `/healthz` and `/readyz` are served, and what it knows below `/v1`.
    pub http_address: SocketAddr,
    /// The name of the Lease.
    pub lease_name: String,
    /// For how long the Lease holds when it is not renewed.
    pub lease_duration: Duration,
    /// Of how many claims at most there are metrics.
    pub claim_metrics: usize,
    /// May StatefulSets and Deployments be scaled to zero, in the windows that policies name?
    pub maintenance: bool,
    /// Where measurements come from.
    pub sources: SourcesConfig,
    /// May StatefulSets be made anew with larger templates?
    pub template_sync: bool,
    /// How the local driver is looked after, where it is installed.
    pub local: Option<LocalConfig>,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The API server cannot be spoken to as configured.
    #[error("the API server cannot be reached as configured")]
    Client(#[source] kube::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No key for the connections of the agents can be made.
    #[error("cannot make a key and certificate for the agents")]
    Identity(#[source] rcgen::Error),
    /// The agents cannot be served.
    #[error("cannot serve the agents")]
    Agents(#[source] tonic::transport::Error),
    /// Another operator leads now. This one has stopped acting, and is to be started anew as a standby.
    #[error("this operator no longer leads")]
    Deposed(#[from] Deposed),
    /// A part of the operator has ended that never should.
    #[error("the {0} ended: this is a bug")]
    Ended(&'static str),
    /// The signals that end the operator cannot be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
}

/// Runs the operator until it is told to end by SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), OperatorError> {
    let metrics = Metrics::new(config.claim_metrics);
    let health = Health::new();
    let client = client::connect(&metrics).await.map_err(OperatorError::Client)?;
    let leases = Api::<Lease>::namespaced(client.clone(), &config.namespace);
    let candidate =
        Candidate { name: config.lease_name, identity: config.identity.clone(), duration: config.lease_duration };
    let (leadership, campaign) = lease::stand(leases.clone(), candidate.clone());

    let (observations, observed) = mpsc::channel(OBSERVATIONS_MAX);
    let stored_in = config.template_sync.then_some(&*config.namespace);
    let (watches, nodes, kinds) = (Watches::default(), latest::Sender::default(), latest::Sender::default());
    let mut watching = watch::start(&client, &observations, &metrics, stored_in, config.maintenance, kinds.subscribe());
    let (measurements, measured) = mpsc::channel(MEASUREMENTS_MAX);
    let counted = latest::Sender::default();
    let connected = ConnectedNodes::default();
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let (histories, remembered) = mpsc::channel(HISTORIES_MAX);
    let wanted = (!config.sources.prometheus.is_empty()).then(Wanted::default);
    let counter = Counter { questions, nodes: nodes.subscribe(), connected: connected.subscribe() };
    let sources = sources::run(
        config.sources,
        Connections {
            client: client.clone(),
            namespace: config.namespace.clone(),
            leadership: leadership.clone(),
            measurements,
            histories,
            wanted: wanted.clone().unwrap_or_default(),
            watches: watches.clone(),
            counted: counted.subscribe(),
            nodes: nodes.subscribe(),
            metrics: metrics.clone(),
            connected,
        },
    );
    let (notices, telling) = events::sender(client.clone(), config.identity, leadership.clone(), metrics.clone());
    let means = local::Means {
        client: client.clone(),
        leadership: leadership.clone(),
        notices: notices.clone(),
        metrics: metrics.clone(),
    };
    let engine = Engine::new(
        leadership.clone(),
        Outputs {
            executor: Executor::new(client, config.namespace, leadership),
            notices,
            watches,
            counted,
            nodes,
            kinds,
            health: health.clone(),
            wanted,
            metrics: metrics.clone(),
        },
        Allowed { scaling: config.maintenance, template_sync: config.template_sync },
    );

    let mut parts = JoinSet::new();
    parts.spawn(async move {
        engine
            .run(Inputs { observations: observed, measurements: measured, histories: remembered, questions: asked })
            .await;
        Err(OperatorError::Ended("event loop"))
    });
    parts.spawn(async move {
        telling.await;
        Err(OperatorError::Ended("sender of Events"))
    });
    parts.spawn(async move { Err(OperatorError::Deposed(campaign.await)) });
    parts.spawn(async move { Err(sources.await) });
    parts.spawn(async move {
        let address = config.http_address;
        match http::serve(address, health, Scrapes::new(metrics), counter).await {
            Ok(()) => Err(OperatorError::Ended("HTTP server")),
            Err(source) => Err(OperatorError::Listen { address, source }),
        }
    });
    if let Some(local) = config.local {
        parts.spawn(async move {
            local::run(local, means).await;
            Err(OperatorError::Ended("care for the local driver"))
        });
    }
    parts.spawn(told_to_end());

    let ended = tokio::select! {
        Some(ended) = parts.join_next() => ended,
        Some(_) = watching.join_next() => Ok(Err(OperatorError::Ended("watch"))),
    };
    // First everything that acts, then the lease: it is not given away while something may still be under way.
    parts.shutdown().await;
    watching.shutdown().await;
    let ended = ended.unwrap_or(Err(OperatorError::Ended("part that panicked")));
    if ended.is_ok()
        && let Err(error) = lease::release(&leases, &candidate).await
    {
        warn!(error = &error as &dyn std::error::Error, "the lease could not be released; it will expire");
    }
    ended
}

async fn told_to_end() -> Result<(), OperatorError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(OperatorError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(OperatorError::Signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("told to end");
    Ok(())
}
