//! Finds the operator that leads, connects to it, and opens the stream of an agent. The local CSI driver, which has a
//! stream of another kind, finds it the same way.
//!
//! The leader publishes where it listens and its certificate; both change with every new leader, so they are looked up
//! for each attempt. Each role shows the token of its own ServiceAccount, which the kubelet renews in its file.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use orlop_api::names;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::rpc::agent_v1::{
    FromAgent, FromOperator, Hello, from_agent::Message, observation_client::ObservationClient,
};

/// How long any step of opening a stream may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A peer that is silent for this long is asked whether it is still there, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How many messages wait for a slow network before further ones are put off and merged.
const OUTGOING: usize = 8;

/// Where the operator is, and what shows that it is the one.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// Its certificate, PEM.
    pub certificate: String,
    /// What the role authenticates with.
    pub token: String,
}

/// Finds the operator.
pub trait Directory: Send + Sync + 'static {
    /// Where it is now.
    fn look_up(&self) -> impl Future<Output = Result<Operator, DialError>> + Send;
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The API server did not say.
    #[error(
        "cannot read ConfigMap {namespace}/{}: no operator leads yet, or this ServiceAccount may not read it",
        names::AGENTS_CONFIG_MAP
    )]
    LookUp {
        /// Where the operator runs.
        namespace: String,
        /// Why.
        source: kube::Error,
    },
    /// What was published is not usable.
    #[error(
        "ConfigMap {namespace}/{} has no usable `{key}`: the operator that leads writes it anew",
        names::AGENTS_CONFIG_MAP
    )]
    Published {
        /// Where the operator runs.
        namespace: String,
        /// The key in it.
        key: &'static str,
    },
    /// The token's file.
    #[error("cannot read the token {path}")]
    Token {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The token cannot be sent.
    #[error("the token has characters that no token has")]
    NotAToken,
    /// No connection.
    #[error("cannot connect to the operator at {endpoint}")]
    Connect {
        /// Where it should be.
        endpoint: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The operator did not take the stream.
    #[error("the operator at {endpoint} refuses the stream")]
    Refused {
        /// Where it is.
        endpoint: SocketAddr,
        /// Why.
        source: Box<tonic::Status>,
    },
    /// The operator did not answer.
    #[error("the operator at {endpoint} does not answer")]
    Silent {
        /// Where it is.
        endpoint: SocketAddr,
    },
}

/// Finds the operator through the API server.
#[derive(Clone)]
pub struct Published {
    client: Client,
    namespace: String,
    token_file: PathBuf,
}

impl Published {
    /// Looks where the operator of `namespace` publishes; the token is read from `token_file` each time.
    pub fn new(client: Client, namespace: String, token_file: PathBuf) -> Self {
        Self { client, namespace, token_file }
    }
}

impl Directory for Published {
    async fn look_up(&self) -> Result<Operator, DialError> {
        let namespace = || self.namespace.clone();
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api.get(names::AGENTS_CONFIG_MAP).await;
        let mut data =
            found.map_err(|source| DialError::LookUp { namespace: namespace(), source })?.data.unwrap_or_default();
        let endpoint = data.get(names::AGENTS_ENDPOINT_KEY).and_then(|endpoint| endpoint.parse().ok());
        let unusable = |key| DialError::Published { namespace: namespace(), key };
        let endpoint = endpoint.ok_or_else(|| unusable(names::AGENTS_ENDPOINT_KEY))?;
        let certificate = data.remove(names::AGENTS_CERTIFICATE_KEY);
        let certificate = certificate.ok_or_else(|| unusable(names::AGENTS_CERTIFICATE_KEY))?;
        let token = tokio::fs::read_to_string(&self.token_file).await;
        let token = token.map_err(|source| DialError::Token { path: self.token_file.clone(), source })?;
        Ok(Operator { endpoint, certificate, token: token.trim().to_owned() })
    }
}

/// A stream that the operator has taken.
pub struct Stream {
    /// To the operator. The stream ends when this is dropped.
    pub outgoing: mpsc::Sender<FromAgent>,
    /// From the operator.
    pub incoming: Streaming<FromOperator>,
}

/// A connection to the operator, and what shows who has made it.
pub(crate) struct Connection {
    pub(crate) endpoint: SocketAddr,
    pub(crate) channel: Channel,
    bearer: MetadataValue<Ascii>,
}

impl Connection {
    /// Connects to the operator.
    pub(crate) async fn open(operator: Operator) -> Result<Self, DialError> {
        let Operator { endpoint, certificate, token } = operator;
        let bearer = format!("Bearer {token}").parse().map_err(|_| DialError::NotAToken)?;
        let unreachable = |source| DialError::Connect { endpoint, source };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(certificate))
            .domain_name(names::OPERATOR_TLS_NAME)
            .timeout(PATIENCE);
        let channel = Endpoint::from_shared(format!("https://{endpoint}"))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .map_err(unreachable)?
            .connect_timeout(PATIENCE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(unreachable)?;
        Ok(Self { endpoint, channel, bearer })
    }

    /// A request that says whose it is.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }

    /// What the operator has answered to the opening of a stream.
    pub(crate) async fn taken<T>(
        &self,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, DialError> {
        let endpoint = self.endpoint;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(DialError::Refused { endpoint, source: Box::new(status) }),
            Err(_) => Err(DialError::Silent { endpoint }),
        }
    }
}

/// Opens a stream for the agent of `node`.
pub async fn dial(operator: Operator, node: &str) -> Result<Stream, DialError> {
    let connection = Connection::open(operator).await?;
    let (outgoing, further) = mpsc::channel(OUTGOING);
    let hello = Hello {
        node: node.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sent_at_ms: Timestamp::now().as_millisecond(),
    };
    let hello = tokio_stream::once(FromAgent { message: Some(Message::Hello(hello)) });
    let request = connection.request(hello.chain(ReceiverStream::new(further)));
    let mut client = ObservationClient::new(connection.channel.clone());
    let incoming = connection.taken(client.observe(request)).await?;
    Ok(Stream { outgoing, incoming })
}
