//! An agent and an operator's side of the stream, with real TLS over loopback and a real filesystem below a kubelet's
//! directory. Only the API server is played: it says where the operator is and whose a token is. Needs root to mount.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    ffi::CString,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use libtest_mimic::{Arguments, Trial};
use orlop::rpc::agent_v1::{FromAgent, Heartbeat, Sample, Samples, from_agent::Message};
use orlop::{
    agent::{
        self,
        dial::{DialError, Directory, Operator, dial},
        metrics::Metrics,
    },
    operator::{
        agents::{Agents, ReviewError, Reviewer, serve},
        identity::Identity,
        measure::{ConnectedNodes, Watches},
    },
};
use orlop_api::{Bytes, Count};
use orlop_operator::Measurement;
use orlop_planner::{Source, Usage, Watch};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

const MIB: u64 = 1 << 20;

/// Nothing here takes more than a second or five; beyond this it is not going to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A test's name, and the test.
type Test = (&'static str, fn());

fn main() {
    let arguments = Arguments::from_args();
    let mounts: [Test; 2] = [
        ("what_happens_to_a_volume_is_reported_from_its_mount_to_its_unmount", volume_is_reported),
        ("an_agent_follows_the_operator_to_another_leader", agent_follows),
    ];
    let dials: [Test; 6] = [
        ("an_operator_with_another_certificate_is_not_trusted", other_certificate),
        ("a_token_that_is_not_an_agents_is_refused_with_the_reason", other_token),
        ("an_agent_cannot_speak_for_another_node", other_node),
        (
            "a_volume_that_a_new_stream_does_not_report_is_gone_after_its_first_heartbeat",
            volume_is_lost_between_streams,
        ),
        ("an_agent_is_told_to_watch_what_it_reports_and_nothing_else", only_its_own_watches),
        ("a_stream_with_a_name_that_no_volume_has_is_ended", impossible_name),
    ];
    let cannot_mount = !rustix::process::geteuid().is_root();
    let mounts = mounts.map(|test| trial(test).with_ignored_flag(cannot_mount));
    let dials = dials.map(trial);
    libtest_mimic::run(&arguments, mounts.into_iter().chain(dials).collect()).exit();
}

fn trial((name, test): Test) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// A kubelet's directory with one CSI volume: a tmpfs.
struct Kubelet {
    dir: tempfile::TempDir,
    mount: PathBuf,
}

impl Kubelet {
    fn with_volume(name: &str, bytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let volume = dir.path().join("pods/uid/volumes/kubernetes.io~csi").join(name);
        let target = volume.join("mount");
        fs::create_dir_all(&target).expect("a directory");
        let data = format!(r#"{{"specVolID":"{name}","volumeLifecycleMode":"Persistent"}}"#);
        fs::write(volume.join("vol_data.json"), data).expect("a file");
        mount("tmpfs", &target, "tmpfs", MountFlags::empty(), Some(options(bytes).as_c_str())).expect("a mount");
        Self { dir, mount: target }
    }

    fn grow(&self, bytes: u64) {
        mount_remount(&self.mount, MountFlags::empty(), options(bytes).as_c_str()).expect("a larger tmpfs");
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // It may be unmounted already.
        let _ = unmount(&self.mount, UnmountFlags::DETACH);
    }
}

fn options(bytes: u64) -> CString {
    CString::new(format!("size={bytes},nr_inodes=1000")).expect("no NUL in a number")
}

/// Knows one token, of the agent on node-1.
#[derive(Clone)]
struct OneToken;

impl Reviewer for OneToken {
    async fn review(&self, token: &str) -> Result<String, ReviewError> {
        match token {
            "the-token" => Ok("node-1".to_owned()),
            _ => Err(ReviewError::Refused("nobody knows this token".to_owned())),
        }
    }
}

/// Where the operator is, as the test says.
#[derive(Clone)]
struct Whereabouts(Arc<Mutex<Operator>>);

impl Directory for Whereabouts {
    async fn look_up(&self) -> Result<Operator, DialError> {
        Ok(self.0.lock().expect("no test panics with it").clone())
    }
}

/// The operator's side.
struct Leader {
    at: Operator,
    measured: mpsc::Receiver<Vec<Measurement>>,
    watches: Watches,
    connected: ConnectedNodes,
    serving: JoinHandle<()>,
}

impl Leader {
    async fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let endpoint = listener.local_addr().expect("an address");
        let identity = Identity::new(Timestamp::now()).expect("a key");
        let at = Operator { endpoint, certificate: identity.certificate.clone(), token: "the-token".to_owned() };
        let (measurements, measured) = mpsc::channel(16);
        let (watches, connected) = (Watches::new(BTreeMap::new()), ConnectedNodes::new(BTreeSet::new()));
        let agents = Agents {
            reviewer: OneToken,
            drivers: OneToken,
            measurements,
            watches: watches.clone(),
            connected: connected.clone(),
        };
        let serving = tokio::spawn(async move { serve(listener, &identity, agents).await.expect("it serves") });
        Self { at, measured, watches, connected, serving }
    }

    /// Waits for a measurement that is looked for, passing over others.
    async fn see<T>(&mut self, mut wanted: impl FnMut(Measurement) -> Option<T>) -> T {
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                let news = self.measured.recv().await.expect("the stream is served");
                if let Some(found) = news.into_iter().find_map(&mut wanted) {
                    return found;
                }
            }
        });
        seen.await.expect("it comes in time")
    }

    async fn see_sample(&mut self, mut wanted: impl FnMut(&Usage) -> bool) -> Usage {
        self.see(|news| match news {
            Measurement::Sampled { node, volume, usage } if wanted(&usage) => {
                assert_eq!((node.as_str(), volume.as_str(), usage.source), ("node-1", "pvc-1", Source::Agent));
                Some(usage)
            }
            _ => None,
        })
        .await
    }
}

fn start_agent(kubelet: &Kubelet, whereabouts: Whereabouts) -> JoinHandle<()> {
    let config = agent::Config {
        node: "node-1".to_owned(),
        kubelet_dir: kubelet.dir.path().to_owned(),
        cgroup_root: "/".into(),
        interval: Duration::from_secs(1),
    };
    tokio::spawn(async move {
        let metrics = Metrics::default();
        agent::run(config, whereabouts, &metrics, std::future::pending()).await.expect("it starts");
    })
}

fn on_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(test);
}

fn volume_is_reported() {
    on_runtime(async {
        let kubelet = Kubelet::with_volume("pvc-1", 64 * MIB);
        let mut leader = Leader::start().await;
        start_agent(&kubelet, Whereabouts(Arc::new(Mutex::new(leader.at.clone()))));
        let first = leader.see_sample(|_| true).await;
        assert_eq!((first.total, first.available, first.crossed), (Bytes(64 * MIB), Bytes(64 * MIB), None));
        assert_eq!(first.inodes.map(|inodes| inodes.total), Some(Count(1_000)));
        assert!(leader.connected.borrow().contains("node-1"));

        let watch = Watch {
            available_below: Bytes(32 * MIB),
            free_inodes_below: Count(0),
            seconds_to_full_below: 0,
            load: None,
        };
        leader.watches.send_replace(BTreeMap::from([("pvc-1".into(), watch)]));
        fs::write(kubelet.mount.join("data"), vec![7; 40 << 20]).expect("room for the data");
        let written = Instant::now();
        let crossing = leader.see_sample(|usage| usage.crossed.is_some()).await;
        println!("written beyond the watch → known to the operator: {:?}", written.elapsed());
        assert_eq!(crossing.available, Bytes(24 * MIB));
        assert!(crossing.crossed <= Some(crossing.at));

        kubelet.grow(128 * MIB);
        let grown = Instant::now();
        let larger = leader.see_sample(|usage| usage.total == Bytes(128 * MIB)).await;
        println!("grown → known to the operator: {:?}", grown.elapsed());
        assert_eq!((larger.available, larger.crossed), (Bytes(88 * MIB), None));

        let confirmed = leader.see(|news| match news {
            Measurement::Confirmed { node, at } => Some((node, at)),
            _ => None,
        });
        let (node, at) = confirmed.await;
        assert_eq!(node, "node-1");
        assert!(at >= larger.at && at <= Timestamp::now());

        unmount(&kubelet.mount, UnmountFlags::empty()).expect("nobody uses it");
        let gone = leader.see(|news| match news {
            Measurement::Gone { volume, .. } => Some(volume),
            Measurement::Sampled { usage, .. } => {
                assert!(usage.total <= Bytes(128 * MIB), "the disk below the mount was measured");
                None
            }
            Measurement::SampledClaim { .. }
            | Measurement::Load { .. }
            | Measurement::Exceeded { .. }
            | Measurement::Confirmed { .. } => None,
        });
        assert_eq!(gone.await, "pvc-1");
    });
}

fn agent_follows() {
    on_runtime(async {
        let kubelet = Kubelet::with_volume("pvc-1", 64 * MIB);
        let mut first = Leader::start().await;
        let whereabouts = Whereabouts(Arc::new(Mutex::new(first.at.clone())));
        start_agent(&kubelet, whereabouts.clone());
        first.see_sample(|_| true).await;
        first.serving.abort();
        drop(first);

        let mut second = Leader::start().await;
        *whereabouts.0.lock().expect("no test panics with it") = second.at.clone();
        let again = second.see_sample(|_| true).await;
        assert_eq!(again.total, Bytes(64 * MIB));
    });
}

fn other_certificate() {
    on_runtime(async {
        let leader = Leader::start().await;
        let other = Identity::new(Timestamp::now()).expect("a key").certificate;
        let refused = dial(Operator { certificate: other, ..leader.at.clone() }, "node-1").await.err();
        let Some(DialError::Connect { source, .. }) = refused else { panic!("{refused:?}") };
        let mut causes = std::iter::successors(source.source(), |error| (*error).source());
        assert!(causes.any(|cause| cause.to_string().contains("certificate")), "{source:?}");
        dial(leader.at, "node-1").await.expect("its own certificate is trusted");
    });
}

fn other_token() {
    on_runtime(async {
        let leader = Leader::start().await;
        let other = Operator { token: "another".to_owned(), ..leader.at };
        assert_eq!(
            refusal(other, "node-1").await,
            (tonic::Code::Unauthenticated, "nobody knows this token".to_owned())
        );
    });
}

fn other_node() {
    on_runtime(async {
        let leader = Leader::start().await;
        let (code, message) = refusal(leader.at, "node-2").await;
        assert_eq!(code, tonic::Code::PermissionDenied);
        assert!(message.contains("node-1") && message.contains("node-2"), "{message}");
        assert!(leader.connected.borrow().is_empty());
    });
}

fn report(volume: &str) -> FromAgent {
    let now = Timestamp::now().as_millisecond();
    let sample = Sample {
        volume: volume.to_owned(),
        measured_at_ms: now,
        total_bytes: 64 * MIB,
        available_bytes: MIB,
        ..Default::default()
    };
    FromAgent { message: Some(Message::Samples(Samples { samples: vec![sample], gone: Vec::new() })) }
}

fn heartbeat() -> FromAgent {
    let now = Timestamp::now().as_millisecond();
    FromAgent { message: Some(Message::Heartbeat(Heartbeat { at_ms: now, sent_at_ms: now })) }
}

fn volume_is_lost_between_streams() {
    on_runtime(async {
        let mut leader = Leader::start().await;
        let first = dial(leader.at.clone(), "node-1").await.expect("it is accepted");
        for message in [report("pvc-1"), report("pvc-2"), heartbeat()] {
            first.outgoing.send(message).await.expect("the stream is open");
        }
        leader.see(|news| matches!(news, Measurement::Confirmed { .. }).then_some(())).await;
        drop(first);

        let second = dial(leader.at.clone(), "node-1").await.expect("it is accepted");
        for message in [report("pvc-1"), heartbeat()] {
            second.outgoing.send(message).await.expect("the stream is open");
        }
        let mut order = Vec::new();
        let confirmed = leader.see(|news| {
            match news {
                Measurement::Sampled { volume, .. } => order.push(format!("{volume} sampled")),
                Measurement::Gone { volume, .. } => order.push(format!("{volume} gone")),
                Measurement::Confirmed { .. } => return Some(()),
                Measurement::SampledClaim { .. } | Measurement::Load { .. } | Measurement::Exceeded { .. } => {}
            }
            None
        });
        confirmed.await;
        assert_eq!(order, ["pvc-1 sampled", "pvc-2 gone"]);
    });
}

fn only_its_own_watches() {
    on_runtime(async {
        let leader = Leader::start().await;
        let watch = |mib| Watch {
            available_below: Bytes(mib * MIB),
            free_inodes_below: Count(0),
            seconds_to_full_below: 0,
            load: None,
        };
        let watches = |mib| ["pvc-1", "pvc-2"].map(|volume| (volume.into(), watch(mib))).into();
        leader.watches.send_replace(watches(1));
        let mut stream = dial(leader.at.clone(), "node-1").await.expect("it is accepted");
        stream.outgoing.send(report("pvc-1")).await.expect("the stream is open");
        let mut told = async || {
            let message = tokio::time::timeout(PATIENCE, stream.incoming.message()).await.expect("it comes in time");
            let watches = message.expect("the stream is open").and_then(|message| message.watches);
            let watches = watches.expect("there are watches").watches.into_iter();
            watches.map(|watch| (watch.volume, watch.available_bytes_below / MIB)).collect::<Vec<_>>()
        };
        assert_eq!(told().await, [("pvc-1".to_owned(), 1)]);
        leader.watches.send_replace(watches(2));
        assert_eq!(told().await, [("pvc-1".to_owned(), 2)]);
        leader.watches.send_replace(BTreeMap::new());
        assert_eq!(told().await, [("pvc-1".to_owned(), 0)], "nothing is watched any more");
    });
}

fn impossible_name() {
    on_runtime(async {
        let mut leader = Leader::start().await;
        let mut stream = dial(leader.at.clone(), "node-1").await.expect("it is accepted");
        stream.outgoing.send(report("../pvc-1")).await.expect("the stream is open");
        let ended = tokio::time::timeout(PATIENCE, stream.incoming.message()).await.expect("it ends in time");
        assert_eq!(ended.expect_err("it is refused").code(), tonic::Code::InvalidArgument);
        assert!(leader.measured.try_recv().is_err());
    });
}

async fn refusal(operator: Operator, node: &str) -> (tonic::Code, String) {
    match dial(operator, node).await.err() {
        Some(DialError::Refused { source, .. }) => (source.code(), source.message().to_owned()),
        other => panic!("it is not refused: {other:?}"),
    }
}
