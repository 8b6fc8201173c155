//! What a large cluster at rest costs the operator's mind, in memory and time: claims with a volume and a pod each, listed as
//! from the API server, decided about, and measured again and again by their kubelets. Prints a table: `cargo bench -p orlop-operator`.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::core::DeserializeGuard;
use orlop_api::{Bytes, ClusterStoragePolicy, Count};
use orlop_operator::{
    Core, Measurement, Metrics, Moment, objects,
    observe::{Change, Observation},
};
use orlop_planner::{Capacity, ClaimId, NamespaceName, Source, Usage};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const CLAIMS: u32 = 100_000;
const A_NAMESPACE: u32 = 1000;
const A_NODE: u32 = 100;
/// How many minutes are measured.
const ROUNDS: u32 = 9;
const SIZE: Bytes = Bytes(100 << 30);

fn main() {
    let before = resident();
    let mut world = World::default();
    list(&mut world.core);
    let listed = resident();
    world.core.turn(true, world.now());
    world.measure(0);
    let settled = resident();
    println!("\n{CLAIMS} claims in {} namespaces on {} nodes\n", CLAIMS / A_NAMESPACE, CLAIMS / A_NODE);
    println!("| | MiB | bytes a claim |\n|---|---|---|");
    for (what, now) in [("listed", listed), ("measured and decided about", settled)] {
        let kept = now - before;
        println!("| {what} | {} | {} |", kept >> 20, kept / u64::from(CLAIMS));
    }

    let mut times: Vec<Duration> = (1..=ROUNDS).map(|round| world.measure(round)).collect();
    times.sort_unstable();
    let each = times[times.len() / 2] / CLAIMS;
    println!(
        "\nEvery claim is measured once a minute, each time a little fuller, and stays at rest: {each:?} a claim and minute"
    );
    println!("(median of {ROUNDS}; {} decisions were made in all).", world.decided);
}

/// The operator's mind, with a clock that is set by hand.
struct World {
    core: Core,
    start: Moment,
    elapsed: Duration,
    decided: usize,
}

impl Default for World {
    fn default() -> Self {
        let start = Moment { time: Timestamp::UNIX_EPOCH + Duration::from_hours(500_000), instant: clock() };
        Self { core: Core::new(Metrics::default()), start, elapsed: Duration::ZERO, decided: 0 }
    }
}

impl World {
    fn now(&self) -> Moment {
        Moment { time: self.start.time + self.elapsed, instant: self.start.instant + self.elapsed }
    }

    /// A minute in which every claim is measured, all of a node at once; returns how long that took.
    fn measure(&mut self, round: u32) -> Duration {
        let mut took = Duration::ZERO;
        for node in 0..CLAIMS / A_NODE {
            self.elapsed += Duration::from_mins(1) * A_NODE / CLAIMS;
            let now = self.now();
            let samples: Vec<_> =
                (node * A_NODE..(node + 1) * A_NODE).map(|number| sample(number, round, now.time)).collect();
            let begun = clock();
            for sample in samples {
                self.core.measure(sample, now);
            }
            self.turn();
            took += begun.elapsed();
        }
        // What was measured first is decided about soon after, and each pass decides about so many claims and no more.
        self.elapsed += Duration::from_millis(20);
        while self.core.turn_at(true, self.now()).is_some_and(|at| at <= self.now().instant) {
            self.turn();
        }
        took
    }

    fn turn(&mut self) {
        let now = self.now();
        let effects = self.core.turn(true, now);
        self.decided += effects.decided.len();
        for write in effects.statuses {
            self.core.written(&write.of, Ok(None), now.instant);
        }
    }
}

/// What the watches tell at the start.
fn list(core: &mut Core) {
    let policy: ClusterStoragePolicy = read(&json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "ClusterStoragePolicy",
        "metadata": {"name": "all", "uid": "p"},
        "spec": {"mode": "Auto", "selector": {"matchLabels": {"app": "db"}}, "capacity": {"maximum": "1Ti"}},
    }));
    let class = read(&json!({
        "metadata": {"name": "fast"}, "provisioner": "ebs.csi.aws.com", "allowVolumeExpansion": true,
        "parameters": {"type": "gp3"},
    }));
    for is_end in [false, true] {
        macro_rules! edges {
            ($($kind:ident),*) => {
                $(core.observe(Observation::$kind(if is_end { Change::ListComplete } else { Change::ListBegins }));)*
            };
        }
        if is_end {
            let meta = kube::core::ObjectMeta { name: Some("all".into()), ..Default::default() };
            let id = objects::cluster_policy_id(&meta);
            core.observe(Observation::ClusterPolicy(Change::Is(id, objects::cluster_policy(Ok(policy.clone())))));
            core.observe(Observation::Class(Change::Is("fast".into(), objects::class(Clone::clone(&class)))));
            for number in 0..CLAIMS {
                list_claim(core, number);
            }
        }
        edges!(
            Claim,
            Volume,
            Pod,
            Namespace,
            Class,
            AttributesClass,
            Policy,
            ClusterPolicy,
            Budget,
            Driver,
            Set,
            Autoscaler,
            Stored,
            OwnerKind,
            OwnerProfile,
            Node
        );
    }
}

fn list_claim(core: &mut Core, number: u32) {
    let (namespace, name) = (namespace(number), name(number));
    let (volume, uid) = (format!("pvc-{}", uid(number, 1)), uid(number, 1));
    let claim: PersistentVolumeClaim = read(&json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid, "resourceVersion": number.to_string(),
            "labels": {"app": "db", "app.kubernetes.io/instance": format!("db-{number}")},
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
        },
        "spec": {
            "storageClassName": "fast", "volumeName": volume, "resources": {"requests": {"storage": "100Gi"}},
        },
        "status": {"phase": "Bound", "capacity": {"storage": "100Gi"}},
    }));
    core.observe(Observation::Claim(Change::Is(
        objects::claim_id(&claim.metadata),
        objects::claim(claim).expect("it can be read"),
    )));
    let object: PersistentVolume = read(&json!({
        "metadata": {"name": volume},
        "spec": {
            "capacity": {"storage": "100Gi"},
            "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": format!("vol-{number:017x}")},
            "claimRef": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": name, "uid": uid},
        },
    }));
    core.observe(Observation::Volume(Change::Is(
        objects::name(&object.metadata).into(),
        objects::volume(object).expect("it can be read"),
    )));
    let pod: DeserializeGuard<objects::PodObject> = read(&json!({
        "metadata": {
            "name": format!("db-{number}"), "namespace": namespace, "uid": self::uid(number, 2),
            "resourceVersion": number.to_string(), "creationTimestamp": "2020-01-01T00:00:00Z",
        },
        "spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]},
        "status": {"phase": "Running"},
    }));
    let pod = pod.0.expect("it can be read");
    let id = objects::pod_id(kube::Resource::meta(&pod));
    core.observe(Observation::Pod(match objects::pod(&pod) {
        Some(facts) => Change::Is(id, facts),
        None => Change::Gone(id),
    }));
}

fn sample(number: u32, round: u32, at: Timestamp) -> Measurement {
    Measurement::SampledClaim {
        node: format!("node-{:04}", number / A_NODE),
        claim: ClaimId { namespace: NamespaceName(namespace(number).into()), name: name(number).into() },
        usage: Usage {
            at,
            source: Source::Kubelet,
            total: SIZE,
            available: Bytes(SIZE.0 / 2 - u64::from(round) * u64::from(number)),
            inodes: Some(Capacity { total: Count(6_553_600), free: Count(6_000_000) }),
            fill_bytes_per_second: 0,
            crossed: None,
        },
    }
}

fn namespace(number: u32) -> String {
    format!("team-{:03}", number / A_NAMESPACE)
}

fn name(number: u32) -> String {
    format!("data-db-{number}")
}

fn uid(number: u32, of: u32) -> String {
    format!("{number:08x}-0000-4000-8000-{of:012x}")
}

fn read<T: DeserializeOwned>(object: &Value) -> T {
    // As it comes over the wire: nothing of what is read is kept in the room that the text had.
    serde_json::from_slice(&serde_json::to_vec(object).expect("it is JSON")).expect("it can be read")
}

/// The resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("every process has it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("it is a number") << 10
}

fn clock() -> Instant {
    Instant::now()
}
