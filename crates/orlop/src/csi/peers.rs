//! The way to the drivers of other nodes, which leads through the operator: a driver keeps a stream to it, on which it is
//! asked to change volumes of its node, and hands on the changes of volumes that are not of its node.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status, Streaming};

use super::Driver;
use crate::{
    agent::{
        dial::{Connection, DialError, Directory},
        stream::{SUCCESS, pause},
    },
    causes,
    rpc::router_v1::{Answer, Call, Change, FromDriver, Hello, from_driver::Message, router_client::RouterClient},
};

/// How long handing a change on may take. The operator gives up sooner, and says why.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many answers wait for a slow network. There are no more calls at a time than that.
const OUTGOING: usize = 8;

/// Hands on what concerns the volumes of other nodes.
#[tonic::async_trait]
pub trait Peers: Send + Sync {
    /// Has a volume's limits changed by the driver of its node. Fails with what that driver has answered, or with
    /// UNAVAILABLE where it cannot be reached.
    async fn modify(&self, change: Change) -> Result<(), Status>;
}

/// Hands on through the operator that leads. A change of another node's volume is rare, so each has a connection of its
/// own, and none is held open for it.
#[derive(Debug)]
pub struct ViaOperator<D>(pub D);

#[tonic::async_trait]
impl<D: Directory> Peers for ViaOperator<D> {
    async fn modify(&self, change: Change) -> Result<(), Status> {
        let handed_on = async {
            let connection = open(&self.0).await.map_err(|error| Status::unavailable(causes::in_one_line(&error)))?;
            let request = connection.request(change);
            RouterClient::new(connection.channel.clone()).modify(request).await.map(drop)
        };
        let in_time = tokio::time::timeout(PATIENCE, handed_on).await;
        in_time.unwrap_or_else(|_| Err(Status::unavailable("the operator has not handed the change on in time")))
    }
}

/// Keeps a stream to the operator, dialling again whenever it ends, and carries out the calls that come on it. Does not
/// return.
pub async fn keep(directory: impl Directory, driver: Driver) {
    let mut failures = 0;
    loop {
        match serve(&directory, &driver).await {
            Ok((began, ended)) => {
                tracing::info!(reason = ended, "the stream of changes from other nodes has ended");
                failures = if began.elapsed() >= SUCCESS { 0 } else { failures + 1 };
            }
            Err(error) => {
                // Once in a row: an operator that is away for a day is not worth a line every five seconds.
                if failures == 0 {
                    tracing::warn!(
                        error = causes::in_one_line(&error),
                        "no changes of volumes are received from other nodes"
                    );
                }
                failures += 1;
            }
        }
        tokio::time::sleep(pause(&driver.node, failures)).await;
    }
}

/// Opens a stream and serves it until it ends. Says when it began, and why it ended.
async fn serve(directory: &impl Directory, driver: &Driver) -> Result<(Instant, String), DialError> {
    let connection = open(directory).await?;
    let (answers, further) = mpsc::channel(OUTGOING);
    let hello = Hello { node: driver.node.clone(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let hello = tokio_stream::once(FromDriver { message: Some(Message::Hello(hello)) });
    let request = connection.request(hello.chain(ReceiverStream::new(further)));
    let mut client = RouterClient::new(connection.channel.clone());
    let calls = connection.taken(client.serve(request)).await?;
    tracing::info!("changes of volumes are received from other nodes");
    Ok((Instant::now(), carry_out(calls, &answers, driver).await))
}

/// Carries out the calls, one after the other, until there are no more; says why.
async fn carry_out(mut calls: Streaming<Call>, answers: &mpsc::Sender<FromDriver>, driver: &Driver) -> String {
    loop {
        let Call { id, change } = match calls.message().await {
            Ok(Some(call)) => call,
            Ok(None) => return "the operator has ended it".to_owned(),
            Err(status) => return status.message().to_owned(),
        };
        let result = match change {
            Some(change) => driver.modify_here(change).await,
            None => Err(Status::invalid_argument("the call asks for nothing that this version knows")),
        };
        let (code, message) = match result {
            Ok(()) => (Code::Ok, String::new()),
            Err(status) => (status.code(), status.message().to_owned()),
        };
        let answer = Answer { id, code: i32::from(code).unsigned_abs(), message };
        if answers.send(FromDriver { message: Some(Message::Answer(answer)) }).await.is_err() {
            return "the operator no longer listens".to_owned();
        }
    }
}

async fn open(directory: &impl Directory) -> Result<Connection, DialError> {
    Connection::open(directory.look_up().await?).await
}
