//! Serves the node agents: only the leader does. Each agent has a stream and a task of its own, so that a slow one holds
//! up nobody; what waits for it is bounded. On the same address the [`router`](super::router) serves the local CSI drivers.

mod gate;
mod nodes;
mod review;
mod session;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt as _;
use orlop_operator::{Moment, NodeClock};
use orlop_planner::Watch;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    codegen::BoxStream,
    transport::{Identity as TlsIdentity, Server, ServerTlsConfig, server::TcpIncoming},
};

pub(super) use gate::Gate;
pub use review::{ApiServer, ReviewError, Reviewer, Role};

use self::{nodes::Nodes, session::Session};
use super::{
    identity::Identity,
    measure::{ConnectedNodes, Measurements, Watches},
    router::Router,
};
use crate::rpc::{
    agent_v1::{
        FromAgent, FromOperator, Hello,
        from_agent::Message,
        observation_server::{Observation, ObservationServer},
    },
    router_v1::router_server::RouterServer,
};

/// How long any step of opening a stream may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A peer that is silent for this long is asked whether it is still there, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// An agent that restarts is back within this time. If it is not, its volumes are given up.
const GRACE: Duration = Duration::from_mins(1);

/// An agent or a driver opens one stream on its connection, and may open the next while the last one ends.
const STREAMS_PER_CONNECTION: u32 = 4;

/// The largest message that is read: an agent's thousand samples are a fifth of it.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// How many messages wait for a slow agent before further ones are merged.
const OUTGOING: usize = 2;

/// What agents need, and what they bring.
pub struct Agents<R> {
    /// Says which node an agent's token is for.
    pub reviewer: R,
    /// Says which node a local CSI driver's token is for.
    pub drivers: R,
    /// Where measurements go.
    pub measurements: Measurements,
    /// What agents are to report at once.
    pub watches: Watches,
    /// Which nodes have an agent connected; is kept here.
    pub connected: ConnectedNodes,
}

/// Serves agents and drivers on `listener` until it fails.
pub async fn serve<R: Reviewer>(
    listener: TcpListener,
    identity: &Identity,
    agents: Agents<R>,
) -> Result<(), tonic::transport::Error> {
    let identity = TlsIdentity::from_pem(&identity.certificate, &identity.key);
    let service = Service {
        nodes: Nodes::new(agents.connected, agents.measurements.clone(), GRACE),
        gate: Gate::new(agents.reviewer),
        measurements: agents.measurements,
        watches: agents.watches.subscribe(),
    };
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity).timeout(PATIENCE))?
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .add_service(ObservationServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(RouterServer::new(Router::new(agents.drivers)).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
}

struct Service<R> {
    nodes: Arc<Nodes>,
    gate: Gate<R>,
    measurements: Measurements,
    watches: watch::Receiver<BTreeMap<Arc<str>, Watch>>,
}

#[tonic::async_trait]
impl<R: Reviewer> Observation for Service<R> {
    async fn observe(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<BoxStream<FromOperator>>, Status> {
        let node = self.gate.admit(request.metadata()).await?;
        let mut incoming = request.into_inner();
        let hello = greeting(&mut incoming).await?;
        if hello.node != node {
            let refused = format!("the agent says that it is on {}, and its token that it is on {node}", hello.node);
            tracing::warn!(node, "{refused}");
            return Err(Status::permission_denied(refused));
        }
        tracing::info!(node, version = hello.version, "an agent has opened a stream");

        let mut clock = NodeClock::default();
        clock.heard(session::time(hello.sent_at_ms)?, Moment::now());
        let (outgoing, answers) = mpsc::channel(OUTGOING);
        let presence = self.nodes.arrive(node);
        let session = Session {
            before: presence.reported_before(),
            presence,
            clock,
            incoming,
            outgoing,
            measurements: self.measurements.clone(),
            wanted: self.watches.clone(),
            told: BTreeMap::new(),
        };
        tokio::spawn(session.run());
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }
}

/// The first message.
async fn greeting(incoming: &mut Streaming<FromAgent>) -> Result<Hello, Status> {
    match timeout(PATIENCE, incoming.message()).await {
        Ok(Ok(Some(FromAgent { message: Some(Message::Hello(hello)) }))) => Ok(hello),
        Ok(Ok(_)) => Err(Status::invalid_argument("the first message is not a Hello")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("the agent does not say who it is")),
    }
}
