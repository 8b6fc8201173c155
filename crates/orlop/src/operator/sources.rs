//! The sources of measurements. Only the leader runs them: agents dial it, and of the nodes that have none it asks the kubelets
//! and Prometheus.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use orlop_operator::{History, Metrics};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tracing::info;

use super::{
    OperatorError,
    agents::{self, Agents, Role},
    identity::{Identity, Publication},
    kubelets::{self, Kubelets},
    lease::Leadership,
    measure::{ConnectedNodes, Measurements, Watches},
    prometheus::{
        self, Prometheus,
        exceeded::{self, CountedVolumes, Counters},
        history,
    },
};
use crate::prometheus::Server;

/// How the agents reach the operator, and which nodes it asks itself.
#[derive(Debug, Clone)]
pub struct SourcesConfig {
    /// Where to listen for agents; port 0 takes any that is free.
    pub agents_address: SocketAddr,
    /// The address at which agents reach this operator, at the port that it listens on.
    pub pod_ip: IpAddr,
    /// The namespace and name of the agents' ServiceAccount.
    pub agent_service_account: (String, String),
    /// The namespace and name of the local CSI drivers' ServiceAccount.
    pub driver_service_account: (String, String),
    /// How often to ask the kubelets of nodes without an agent; never where there is none.
    pub kubelet_interval: Option<Duration>,
    /// The Prometheus servers to ask while a node has no agent.
    pub prometheus: Vec<Server>,
    /// How often to ask them.
    pub prometheus_interval: Duration,
}

/// What the sources are connected with.
pub(super) struct Connections {
    pub(super) client: Client,
    /// The namespace of the operator's own objects.
    pub(super) namespace: String,
    pub(super) leadership: Leadership,
    pub(super) measurements: Measurements,
    /// Where it goes how volumes have filled.
    pub(super) histories: mpsc::Sender<Vec<History>>,
    /// Of which claims that is wanted.
    pub(super) wanted: history::Wanted,
    pub(super) watches: Watches,
    /// The volumes whose drivers' counters are wanted.
    pub(super) counted: watch::Receiver<CountedVolumes>,
    pub(super) nodes: watch::Receiver<BTreeSet<String>>,
    pub(super) metrics: Metrics,
    /// Which nodes have an agent connected; is kept here.
    pub(super) connected: ConnectedNodes,
}

/// Waits until this operator leads, and then runs the sources until one fails.
pub(super) async fn run(config: SourcesConfig, connections: Connections) -> OperatorError {
    let Connections {
        client,
        namespace,
        mut leadership,
        measurements,
        histories,
        wanted,
        watches,
        counted,
        nodes,
        connected,
        metrics,
    } = connections;
    leadership.begins().await;

    let address = config.agents_address;
    let listening = async {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    let (listener, port) = match listening.await {
        Ok(listening) => listening,
        Err(source) => return OperatorError::Listen { address, source },
    };
    let identity = match Identity::new(Timestamp::now()) {
        Ok(identity) => identity,
        Err(error) => return OperatorError::Identity(error),
    };
    let endpoint = SocketAddr::new(config.pod_ip, port);
    let publication = Publication::new(client.clone(), &namespace, endpoint, &identity);
    info!(%endpoint, "listens for agents");

    let (unconnected, of_unconnected) = watch::channel(0);
    let numbering = count_unconnected(nodes.clone(), connected.subscribe(), unconnected, metrics.clone());
    let remembering = history::run(config.prometheus.clone(), wanted, histories, metrics.clone());
    let counting = exceeded::run(Counters {
        servers: config.prometheus.clone(),
        volumes: counted,
        measurements: measurements.clone(),
        interval: config.prometheus_interval,
        metrics: metrics.clone(),
    });
    let querying = prometheus::run(Prometheus {
        servers: config.prometheus,
        unconnected: of_unconnected,
        measurements: measurements.clone(),
        interval: config.prometheus_interval,
        metrics,
    });
    let asking = {
        let summaries = kubelets::ApiServer(client.clone());
        let (measurements, connected) = (measurements.clone(), connected.subscribe());
        let kubelets = |interval| kubelets::run(Kubelets { summaries, nodes, connected, measurements, interval });
        let asking = config.kubelet_interval.map(kubelets);
        async move {
            match asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        }
    };
    let reviewer = agents::ApiServer::new(client.clone(), Role::Agent, &config.agent_service_account);
    let drivers = agents::ApiServer::new(client, Role::Driver, &config.driver_service_account);
    let agents = Agents { reviewer, drivers, measurements, watches, connected };
    tokio::select! {
        served = agents::serve(listener, &identity, agents) => match served {
            Ok(()) => OperatorError::Ended("server of the agents"),
            Err(error) => OperatorError::Agents(error),
        },
        () = publication.keep() => OperatorError::Ended("publication for the agents"),
        () = asking => OperatorError::Ended("source that asks the kubelets"),
        () = querying => OperatorError::Ended("source that asks Prometheus"),
        () = remembering => OperatorError::Ended("source of histories"),
        () = counting => OperatorError::Ended("source of the drivers' counters"),
        () = numbering => OperatorError::Ended("count of the nodes without an agent"),
    }
}

/// Says how many nodes have no agent connected, for as long as somebody says which nodes there are.
async fn count_unconnected(
    mut nodes: watch::Receiver<BTreeSet<String>>,
    mut connected: watch::Receiver<BTreeSet<String>>,
    unconnected: watch::Sender<usize>,
    metrics: Metrics,
) {
    loop {
        let count = nodes.borrow_and_update().difference(&connected.borrow_and_update()).count();
        metrics.nodes_without_agent(count);
        unconnected.send_replace(count);
        let changed = tokio::select! {
            changed = nodes.changed() => changed,
            changed = connected.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
