//! Where measurements come from: the agents, which dial the operator that leads, and the kubelets of nodes without one.
//! A standby serves nobody, so that agents only ever find the leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use orlop_planner::Watch;
use tokio::{net::TcpListener, sync::watch};

use super::{
    agents::{self, Agents},
    identity::{Identity, Publication},
    kubelets::{self, Kubelets},
    lease::Leadership,
    measure::{ConnectedNodes, Measurements},
};

/// What the sources need.
pub(super) struct Sources {
    pub(super) client: Client,
    /// The operator's namespace, which is the agents' as well.
    pub(super) namespace: String,
    /// The ServiceAccount that agents run as, in this namespace.
    pub(super) agent_service_account: String,
    /// Where to listen for agents; port 0 for any free one.
    pub(super) listen: SocketAddr,
    /// Under which address agents reach this process.
    pub(super) reachable: IpAddr,
    /// How often a kubelet is asked; none are where this is nothing.
    pub(super) kubelet_interval: Option<Duration>,
    pub(super) measurements: Measurements,
    pub(super) watches: watch::Sender<BTreeMap<String, Watch>>,
    pub(super) nodes: watch::Receiver<BTreeSet<String>>,
}

/// Why the sources cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The address for agents cannot be listened on.
    #[error("cannot listen for agents on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key that agents know this operator by cannot be made.
    #[error("cannot make a key and its certificate")]
    Identity(#[source] rcgen::Error),
    /// The server that agents speak to has failed.
    #[error("the server for agents failed")]
    Serve(#[source] tonic::transport::Error),
}

impl Sources {
    /// Waits until this operator leads, then takes measurements for as long as it runs.
    pub(super) async fn run(self, mut leadership: Leadership) -> Result<(), SourcesError> {
        while !leadership.is_held() {
            leadership.changed().await;
        }
        let failed = |source| SourcesError::Listen { address: self.listen, source };
        let listener = TcpListener::bind(self.listen).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let identity = Identity::new(Timestamp::now()).map_err(SourcesError::Identity)?;
        let endpoint = SocketAddr::new(self.reachable, port);
        let publication = Publication::new(self.client.clone(), &self.namespace, endpoint, &identity);
        let connected = ConnectedNodes::default();
        let kubelets = self.kubelet_interval.map(|interval| Kubelets {
            summaries: kubelets::ApiServer(self.client.clone()),
            nodes: self.nodes,
            connected: connected.subscribe(),
            measurements: self.measurements.clone(),
            interval,
        });
        let agents = Agents {
            reviewer: agents::ApiServer::new(self.client, &self.namespace, &self.agent_service_account),
            measurements: self.measurements,
            watches: self.watches,
            connected,
        };
        tokio::select! {
            served = agents::serve(listener, &identity, agents) => served.map_err(SourcesError::Serve),
            () = publication.keep() => Ok(()),
            () = ask(kubelets) => Ok(()),
        }
    }
}

async fn ask(kubelets: Option<Kubelets<kubelets::ApiServer>>) {
    match kubelets {
        Some(kubelets) => kubelets::run(kubelets).await,
        None => std::future::pending().await,
    }
}
