//! Brings what concerns a local volume to the driver of its node. Each driver keeps a stream; a driver that is asked about
//! another node's volume hands the call on, and is told what that node's driver has answered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use orlop_volume::{NodeTag, VolumeId};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming, codegen::BoxStream};

use super::agents::{Gate, Reviewer};
use crate::rpc::router_v1::{Answer, Call, Change, Done, FromDriver, Hello, from_driver::Message, router_server};

/// How long a driver may take to say who it is, and to answer a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many calls wait for a driver before further ones are refused.
const OUTGOING: usize = 64;

/// The service.
pub(super) struct Router<R> {
    gate: Gate<R>,
    drivers: Arc<Drivers>,
}

impl<R: Reviewer> Router<R> {
    /// Lets in the drivers whose tokens `reviewer` accepts.
    pub(super) fn new(reviewer: R) -> Self {
        Self { gate: Gate::new(reviewer), drivers: Arc::default() }
    }
}

#[tonic::async_trait]
impl<R: Reviewer> router_server::Router for Router<R> {
    async fn serve(&self, request: Request<Streaming<FromDriver>>) -> Result<Response<BoxStream<Call>>, Status> {
        let node = self.gate.admit(request.metadata()).await?;
        let mut incoming = request.into_inner();
        let hello = greeting(&mut incoming).await?;
        if hello.node != node {
            let refused = format!("the driver says that it is on {}, and its token that it is on {node}", hello.node);
            tracing::warn!(node, "{refused}");
            return Err(Status::permission_denied(refused));
        }
        tracing::info!(node, version = hello.version, "a driver has opened a stream");
        let (outgoing, calls) = mpsc::channel(OUTGOING);
        tokio::spawn(listen(Arc::clone(&self.drivers), NodeTag::of(&node), outgoing, incoming));
        Ok(Response::new(ReceiverStream::new(calls).map(Ok).boxed()))
    }

    async fn modify(&self, request: Request<Change>) -> Result<Response<Done>, Status> {
        self.gate.admit(request.metadata()).await?;
        let change = request.into_inner();
        let id: VolumeId = change
            .volume_id
            .parse()
            .map_err(|error| Status::not_found(format!("cannot change the volume: {error}")))?;
        let answer = self.drivers.call(&id, change)?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Answer { code: 0, .. })) => Ok(Response::new(Done {})),
            Ok(Ok(Answer { code, message, .. })) => {
                Err(Status::new(Code::from_i32(i32::try_from(code).unwrap_or_default()), message))
            }
            Ok(Err(_)) => Err(Status::unavailable(format!("the driver of volume {id} is gone: try again"))),
            Err(_) => Err(Status::unavailable(format!("the driver of volume {id} does not answer: try again"))),
        }
    }
}

/// The first message.
async fn greeting(incoming: &mut Streaming<FromDriver>) -> Result<Hello, Status> {
    match timeout(PATIENCE, incoming.message()).await {
        Ok(Ok(Some(FromDriver { message: Some(Message::Hello(hello)) }))) => Ok(hello),
        Ok(Ok(_)) => Err(Status::invalid_argument("the first message is not a Hello")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("the driver does not say who it is")),
    }
}

/// Takes in a driver's answers until its stream ends, or a newer one has taken its place.
async fn listen(
    drivers: Arc<Drivers>,
    tag: NodeTag,
    outgoing: mpsc::Sender<Call>,
    mut incoming: Streaming<FromDriver>,
) {
    let stream = drivers.arrive(tag.clone(), outgoing);
    while let Ok(Some(FromDriver { message: Some(Message::Answer(answer)) })) = incoming.message().await {
        drivers.answered(&tag, stream, answer);
    }
    drivers.leave(&tag, stream);
}

/// The drivers that have a stream.
#[derive(Default)]
struct Drivers(Mutex<Connected>);

#[derive(Default)]
struct Connected {
    /// Counts streams, and calls.
    count: u64,
    drivers: BTreeMap<NodeTag, Driver>,
}

struct Driver {
    stream: u64,
    outgoing: mpsc::Sender<Call>,
    /// Who waits for the answer to which call.
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
}

impl Drivers {
    /// A driver has opened a stream, which takes the place of the last one of its node. Returns its number.
    fn arrive(&self, tag: NodeTag, outgoing: mpsc::Sender<Call>) -> u64 {
        let mut connected = self.lock();
        connected.count += 1;
        let stream = connected.count;
        connected.drivers.insert(tag, Driver { stream, outgoing, waiting: BTreeMap::new() });
        stream
    }

    /// A stream has ended. Whoever still waits for an answer on it learns so.
    fn leave(&self, tag: &NodeTag, stream: u64) {
        let mut connected = self.lock();
        if connected.drivers.get(tag).is_some_and(|driver| driver.stream == stream) {
            connected.drivers.remove(tag);
        }
    }

    fn answered(&self, tag: &NodeTag, stream: u64, answer: Answer) {
        let mut connected = self.lock();
        let driver = connected.drivers.get_mut(tag).filter(|driver| driver.stream == stream);
        if let Some(waiting) = driver.and_then(|driver| driver.waiting.remove(&answer.id)) {
            // Whoever asked may have given up.
            let _ = waiting.send(answer);
        }
    }

    /// Sends a call to the driver of the volume's node, and returns what its answer will come by.
    fn call(&self, id: &VolumeId, change: Change) -> Result<oneshot::Receiver<Answer>, Status> {
        let mut connected = self.lock();
        connected.count += 1;
        let call = connected.count;
        let Some(driver) = connected.drivers.get_mut(&id.tag()) else {
            return Err(Status::unavailable(format!(
                "no driver is connected to the operator from the node of volume {id}: its node may be down, or its \
                 driver not be told where the operator is"
            )));
        };
        driver.waiting.retain(|_, waiting| !waiting.is_closed());
        let sent = driver.outgoing.try_send(Call { id: call, change: Some(change) });
        sent.map_err(|_| Status::unavailable(format!("the driver of volume {id} is busy or gone: try again")))?;
        let (waiting, answer) = oneshot::channel();
        driver.waiting.insert(call, waiting);
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
