//! Drivers of several nodes and the operator between them, with real TLS over loopback. Only the API server is played,
//! which says where the operator is and whose a token is, and the volumes are only remembered.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use orlop::{
    agent::dial::{DialError, Directory, Operator},
    csi::{
        Driver,
        peers::{self, Peers as _, ViaOperator},
    },
    operator::{
        agents::{Agents, ReviewError, Reviewer, serve},
        identity::Identity,
        measure::{ConnectedNodes, Watches},
    },
    rpc::router_v1::Change,
};
use orlop_api::Bytes;
use orlop_volume::{Content, FakeVolumes, Limits, NewVolume, NodeTag, Provisioning, VolumeId, Volumes as _};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tonic::{Code, Status};

/// Nothing here takes more than a second; beyond this it is not going to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Knows the tokens of drivers: `token-NODE`.
#[derive(Clone)]
struct Tokens;

impl Reviewer for Tokens {
    async fn review(&self, token: &str) -> Result<String, ReviewError> {
        let node = token.strip_prefix("token-").map(str::to_owned);
        node.ok_or_else(|| ReviewError::Refused("nobody knows this token".to_owned()))
    }
}

/// Where the operator is, for one who has a token.
#[derive(Clone)]
struct At(Operator);

impl Directory for At {
    async fn look_up(&self) -> Result<Operator, DialError> {
        Ok(self.0.clone())
    }
}

/// An operator that leads.
struct Leader {
    endpoint: SocketAddr,
    certificate: String,
}

impl Leader {
    async fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        let identity = Identity::new(Timestamp::now()).unwrap();
        let certificate = identity.certificate.clone();
        let agents = Agents {
            reviewer: Tokens,
            drivers: Tokens,
            measurements: mpsc::channel(1).0,
            watches: Watches::new(BTreeMap::new()),
            connected: ConnectedNodes::new(BTreeSet::new()),
        };
        tokio::spawn(async move { serve(listener, &identity, agents).await.unwrap() });
        Self { endpoint, certificate }
    }

    fn seen_with(&self, token: &str) -> At {
        At(Operator { endpoint: self.endpoint, certificate: self.certificate.clone(), token: token.to_owned() })
    }

    /// As a driver hands a change on that has this token.
    async fn modify(&self, token: &str, id: &VolumeId, write_iops: u64) -> Result<(), Status> {
        let change = Change { volume_id: id.to_string(), write_iops: Some(write_iops), ..Default::default() };
        ViaOperator(self.seen_with(token)).modify(change).await
    }

    /// The same, once the driver is connected that the change is for.
    async fn modify_once_connected(&self, id: &VolumeId, write_iops: u64) -> Result<(), Status> {
        let start = Instant::now();
        loop {
            match self.modify("token-b", id, write_iops).await {
                Err(status) if status.code() == Code::Unavailable && start.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(20)).await;
                }
                result => return result,
            }
        }
    }
}

/// The driver of a node with one volume, connected to the operator.
struct Node {
    volumes: Arc<FakeVolumes>,
    id: VolumeId,
}

impl Node {
    fn new(name: &str) -> Self {
        let volumes = Arc::new(FakeVolumes::new(NodeTag::of(name), Bytes(10 << 30)));
        let new = NewVolume {
            name: "v".into(),
            at_least: Bytes::GIB,
            at_most: None,
            content: Content::Block,
            provisioning: Provisioning::Thin,
            source: None,
            limits: Limits { read_iops: 5.try_into().ok(), ..Limits::default() },
        };
        let id = volumes.create(&new).unwrap().id;
        Self { volumes, id }
    }

    fn connect(&self, name: &str, leader: &Leader, token: &str) -> JoinHandle<()> {
        let driver = Driver::new(name.into(), self.volumes.clone(), "/nowhere".into());
        tokio::spawn(peers::keep(leader.seen_with(token), driver))
    }

    fn limits(&self) -> [Option<u64>; 2] {
        let limits = self.volumes.get(&self.id).unwrap().limits;
        [limits.read_iops, limits.write_iops].map(|limit| limit.map(u64::from))
    }
}

#[tokio::test]
async fn a_change_reaches_the_driver_of_the_volumes_node_and_its_answer_comes_back() {
    let (leader, here, there) = (Leader::start().await, Node::new("a"), Node::new("c"));
    here.connect("a", &leader, "token-a");
    there.connect("c", &leader, "token-c");
    leader.modify_once_connected(&here.id, 7).await.unwrap();
    assert_eq!(here.limits(), [Some(5), Some(7)]);
    leader.modify_once_connected(&there.id, 8).await.unwrap();
    assert_eq!((here.limits(), there.limits()), ([Some(5), Some(7)], [Some(5), Some(8)]));

    here.volumes.delete(&here.id).unwrap();
    let status = leader.modify("token-b", &here.id, 7).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("not on this node"), "{status}");
}

#[tokio::test]
async fn many_changes_at_a_time_are_each_answered() {
    let (leader, node) = (Leader::start().await, Node::new("a"));
    node.connect("a", &leader, "token-a");
    leader.modify_once_connected(&node.id, 1).await.unwrap();
    let missing = VolumeId::derive(&NodeTag::of("a"), "missing");
    let changes = (0..20_u64).map(|number| {
        let id = if number % 2 == 0 { &node.id } else { &missing };
        leader.modify("token-b", id, number + 1)
    });
    for (number, result) in futures::future::join_all(changes).await.into_iter().enumerate() {
        assert_eq!(result.is_ok(), number % 2 == 0, "{number}: {result:?}");
    }
}

#[tokio::test]
async fn without_its_driver_a_volume_cannot_be_changed_and_the_reason_is_said() {
    let (leader, node) = (Leader::start().await, Node::new("a"));
    let refused = leader.modify("token-b", &node.id, 7).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("no driver is connected"), "{refused}");

    let connected = node.connect("a", &leader, "token-a");
    leader.modify_once_connected(&node.id, 7).await.unwrap();
    connected.abort();
    let start = Instant::now();
    while leader.modify("token-b", &node.id, 8).await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "the driver is gone");
    }
    node.connect("a", &leader, "token-a");
    leader.modify_once_connected(&node.id, 9).await.unwrap();
    assert_eq!(node.limits(), [Some(5), Some(9)]);
}

#[tokio::test]
async fn nobody_without_a_drivers_token_changes_anything_and_none_speaks_for_another_node() {
    let (leader, node) = (Leader::start().await, Node::new("a"));
    node.connect("a", &leader, "token-c");
    node.connect("a", &leader, "stolen");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(leader.modify("token-b", &node.id, 7).await.unwrap_err().code(), Code::Unavailable);

    node.connect("a", &leader, "token-a");
    leader.modify_once_connected(&node.id, 7).await.unwrap();
    assert_eq!(leader.modify("stolen", &node.id, 8).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(node.limits(), [Some(5), Some(7)]);
}

#[tokio::test]
async fn an_operator_that_is_not_there_is_said_to_be() {
    let (leader, node) = (Leader::start().await, Node::new("a"));
    let free = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap().local_addr().unwrap();
    let gone = Leader { endpoint: free, ..leader };
    let refused = gone.modify("token-b", &node.id, 7).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("cannot connect to the operator"), "{refused}");
}

#[tokio::test]
async fn what_is_no_volume_is_not_looked_for() {
    let leader = Leader::start().await;
    let change = Change { volume_id: "../../etc".into(), ..Default::default() };
    let refused = ViaOperator(leader.seen_with("token-b")).modify(change).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}
