//! The driver is killed again and again, at a step of whatever it is doing, in the middle of the life of many volumes that
//! are being written to. After each time it is started anew and asked the same again, and then all that was
//! acknowledged is there and whole, nothing is left behind, and nothing is left frozen.
//!
//! `ORLOP_ROUNDS` sets how many rounds there are, `ORLOP_SEED` repeats a run; both are printed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Debug,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use orlop::rpc::csi_v1::{
    CapacityRange, CreateSnapshotRequest, CreateVolumeGroupSnapshotRequest, CreateVolumeRequest, DeleteSnapshotRequest,
    DeleteVolumeGroupSnapshotRequest, DeleteVolumeRequest, NodeExpandVolumeRequest, NodePublishVolumeRequest,
    NodeStageVolumeRequest, NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, VolumeCapability,
    VolumeContentSource,
    group_controller_client::GroupControllerClient,
    volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
    volume_content_source::{self, SnapshotSource, VolumeSource},
};
use orlop_volume::Step;
use rustix::process::Signal;
use tonic::{Code, Status};

use crate::{
    counter::{self, Counter},
    driver::{Node, connect},
};

pub const TESTS: &[(&str, fn())] =
    &[("a driver killed at any step of a long life loses nothing and leaves nothing behind", rounds)];

/// The rounds of a run.
const ROUNDS: usize = 500;
const MIB: i64 = 1 << 20;
/// The size of a new volume: what the smallest XFS needs, and a little.
const SIZE: i64 = 320 * MIB;
/// How much a volume grows at once.
const GROWTH: i64 = 64 * MIB;
/// The most of each at a time. All of them together fit into the pool, whatever is written.
const VOLUMES_MAX: usize = 4;
const SNAPSHOTS_MAX: usize = 3;
/// How long a volume may take no writes. The watchdog thaws after ten seconds at most.
const STANDSTILL: Duration = Duration::from_secs(20);

/// What a round does. The name of each begins the names of the driver's steps in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Create,
    Clone,
    Stage,
    Unstage,
    Grow,
    Delete,
    Snapshot,
    SnapshotDelete,
    Group,
    GroupDelete,
}

const DEEDS: [Deed; 10] = [
    Deed::Create,
    Deed::Clone,
    Deed::Stage,
    Deed::Unstage,
    Deed::Grow,
    Deed::Delete,
    Deed::Snapshot,
    Deed::SnapshotDelete,
    Deed::Group,
    Deed::GroupDelete,
];

impl Deed {
    /// The steps at which the driver can die in it.
    fn steps(self) -> Vec<String> {
        let prefixes: &[&str] = match self {
            Self::Create => &["Create"],
            Self::Clone => &["Clone", "CreateReserved", "CreateRecorded", "CreateNamed"],
            Self::Stage => &["Stage", "Publish"],
            Self::Unstage => &["Unpublish", "Unstage"],
            Self::Grow => &["Grow"],
            Self::Delete => &["Delete"],
            Self::Snapshot => &["Snapshot"],
            Self::SnapshotDelete => &["SnapshotDelete"],
            Self::Group => &["Group"],
            Self::GroupDelete => &["GroupDelete"],
        };
        let is_of = |step: &String| {
            prefixes.iter().any(|prefix| step.starts_with(prefix))
                && (step.contains("Delete") == format!("{self:?}").contains("Delete"))
        };
        Step::ALL.iter().map(Step::to_string).filter(is_of).collect()
    }
}

/// A volume as it must be.
struct Volume {
    name: String,
    id: String,
    kind: &'static str,
    size: i64,
    /// Where it came from, for asking again.
    source: Option<volume_content_source::Type>,
    /// The counters between which its ring ends, as far as is known.
    ring: (u64, u64),
    /// Its writer, while it is published.
    counter: Option<Counter>,
}

/// A copy as it must be.
struct Copy {
    id: String,
    kind: &'static str,
    size: i64,
    ring: (u64, u64),
}

/// The world: what was acknowledged.
struct World {
    node: Node,
    rng: Rng,
    named: usize,
    volumes: Vec<Volume>,
    snapshots: Vec<Copy>,
    /// Ids of groups, each with those of its snapshots.
    groups: Vec<(String, Vec<String>)>,
    /// How often the driver died at each step.
    deaths: BTreeMap<String, usize>,
}

fn rounds() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("ORLOP_SEED").unwrap_or(now.as_secs() % 1_000_000);
    let rounds = number("ORLOP_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    eprintln!("{rounds} rounds of seed {seed}");
    let mut world = World {
        node: Node::new(),
        rng: Rng::with_seed(seed),
        named: 0,
        volumes: Vec::new(),
        snapshots: Vec::new(),
        groups: Vec::new(),
        deaths: BTreeMap::new(),
    };
    let start = Instant::now();
    for round in 0..rounds {
        world.round(round);
    }
    let deaths: usize = world.deaths.values().sum();
    eprintln!("{deaths} deaths in {rounds} rounds and {} s: {:?}", start.elapsed().as_secs(), world.deaths);
    world.end();
    assert!(deaths * 2 > rounds, "the driver died in {deaths} of {rounds} rounds of seed {seed} only");
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn capability(kind: &str) -> VolumeCapability {
    let access = match kind {
        "block" => AccessType::Block(BlockVolume {}),
        fs_type => AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() }),
    };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(access),
    }
}

/// What a deed is done to, decided before it is tried, so that it can be tried again.
#[derive(Debug, Clone)]
enum Order {
    Create { name: String, kind: &'static str, size: i64, thick: bool, source: Option<volume_content_source::Type> },
    Stage(usize),
    Unstage(usize),
    Grow(usize),
    Delete(usize),
    Snapshot { name: String, of: usize },
    SnapshotDelete(usize),
    Group { name: String, of: Vec<usize> },
    GroupDelete(usize),
}

impl World {
    fn name(&mut self, what: &str) -> String {
        self.named += 1;
        format!("{what}-{}", self.named)
    }

    /// One round: the driver is started to die at a step of a deed, and then started again for the same deed.
    fn round(&mut self, round: usize) {
        let (deed, order) = loop {
            let deed = DEEDS[self.rng.usize(..DEEDS.len())];
            if let Some(order) = self.order(deed) {
                break (deed, order);
            }
        };
        let steps = deed.steps();
        let step = steps[self.rng.usize(..steps.len())].clone();
        let context = format!("round {round}: {order:?}, killed at {step}");
        // A copy may hold whatever was on stable storage before it was first asked for.
        let floors: Vec<u64> = self.volumes.iter().map(Volume::last).collect();
        self.prepare(&order);
        let mut fatal = self.node.start_to_crash_at(&step);
        if let Err(refused) = run(self.ask(&order)) {
            // The connection breaks when it dies; whatever else it says is wrong.
            assert!(refused.code() == Code::Unavailable || refused.code() == Code::Unknown, "{context}: {refused}");
            let status = fatal.ended();
            assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{context}: {}", self.node.log());
            *self.deaths.entry(step).or_default() += 1;
        }
        drop(fatal);
        let driver = self.node.start();
        let answer = run(self.ask(&order)).unwrap_or_else(|status| panic!("{context}: {status}\n{}", self.node.log()));
        self.record(&order, answer, &floors);
        self.check(&context);
        drop(driver);
    }

    /// What to do for that deed, or `None` if there is nothing to do it to.
    fn order(&mut self, deed: Deed) -> Option<Order> {
        let count = self.volumes.len();
        let any = |rng: &mut Rng, count: usize| (count > 0).then(|| rng.usize(..count));
        let volume = any(&mut self.rng, count);
        let is_out = |of: Option<usize>| of.filter(|of| self.volumes[*of].counter.is_some());
        let is_in = |of: Option<usize>| of.filter(|of| self.volumes[*of].counter.is_none());
        Some(match deed {
            Deed::Create if count < VOLUMES_MAX => {
                let kind = ["xfs", "xfs", "ext4", "btrfs", "block"][self.rng.usize(..5)];
                let thick = self.rng.u8(..4) == 0;
                Order::Create { name: self.name("volume"), kind, size: SIZE, thick, source: None }
            }
            Deed::Clone if count < VOLUMES_MAX => {
                let snapshot = any(&mut self.rng, self.snapshots.len());
                let (source, kind, size) = match (snapshot, volume) {
                    (Some(of), _) if self.rng.bool() => {
                        let Copy { id, kind, size, .. } = &self.snapshots[of];
                        let source = SnapshotSource { snapshot_id: id.clone() };
                        (volume_content_source::Type::Snapshot(source), *kind, *size)
                    }
                    (_, Some(of)) => {
                        let Volume { id, kind, size, .. } = &self.volumes[of];
                        (volume_content_source::Type::Volume(VolumeSource { volume_id: id.clone() }), *kind, *size)
                    }
                    _ => return None,
                };
                let size = size + i64::from(self.rng.bool()) * GROWTH;
                Order::Create { name: self.name("clone"), kind, size, thick: false, source: Some(source) }
            }
            Deed::Stage => Order::Stage(is_in(volume)?),
            Deed::Unstage => Order::Unstage(is_out(volume)?),
            // The kernel does not let everybody grow an ext4 that is mounted.
            Deed::Grow => Order::Grow(
                is_out(volume).filter(|of| self.volumes[*of].kind != "ext4" && self.volumes[*of].size < 2 * SIZE)?,
            ),
            Deed::Delete => Order::Delete(is_in(volume)?),
            Deed::Snapshot if self.snapshots.len() < SNAPSHOTS_MAX => {
                Order::Snapshot { name: self.name("snapshot"), of: volume? }
            }
            Deed::SnapshotDelete => Order::SnapshotDelete(any(&mut self.rng, self.snapshots.len())?),
            Deed::Group if self.groups.is_empty() => {
                let of: Vec<_> = (0..count).filter(|of| self.volumes[*of].kind != "block").take(2).collect();
                (of.len() == 2).then(|| Order::Group { name: self.name("group"), of })?
            }
            Deed::GroupDelete => Order::GroupDelete(any(&mut self.rng, self.groups.len())?),
            _ => return None,
        })
    }

    /// What the user of a volume does before.
    fn prepare(&mut self, order: &Order) {
        match order {
            Order::Stage(of) => {
                fs::create_dir_all(self.staged(*of)).unwrap();
            }
            Order::Unstage(of) => {
                let volume = &mut self.volumes[*of];
                let last = volume.counter.take().map(Counter::stop).unwrap();
                volume.ring = (last, last);
            }
            _ => {}
        }
    }

    fn staged(&self, of: usize) -> PathBuf {
        self.node.path(&format!("staged-{}", self.volumes[of].name))
    }

    fn target(&self, of: usize) -> PathBuf {
        self.node.path(&format!("target-{}", self.volumes[of].name))
    }

    /// Asks the driver for it, and returns the ids of what it made.
    async fn ask(&self, order: &Order) -> Result<Vec<String>, Status> {
        let path = |path: PathBuf| path.display().to_string();
        match order {
            Order::Create { name, kind, size, thick, source } => {
                let provisioning = if *thick { "thick" } else { "thin" };
                let request = CreateVolumeRequest {
                    name: name.clone(),
                    capacity_range: Some(CapacityRange { required_bytes: *size, limit_bytes: 0 }),
                    volume_capabilities: vec![capability(kind)],
                    parameters: [("provisioning".to_owned(), provisioning.to_owned())].into(),
                    volume_content_source: source.clone().map(|r#type| VolumeContentSource { r#type: Some(r#type) }),
                    ..Default::default()
                };
                let answer = self.node.controller().await.create_volume(request).await?;
                Ok(vec![answer.into_inner().volume.unwrap().volume_id])
            }
            Order::Stage(of) => {
                let Volume { id, kind, .. } = &self.volumes[*of];
                let stage = NodeStageVolumeRequest {
                    volume_id: id.clone(),
                    staging_target_path: path(self.staged(*of)),
                    volume_capability: Some(capability(kind)),
                    ..Default::default()
                };
                let publish = NodePublishVolumeRequest {
                    volume_id: id.clone(),
                    staging_target_path: path(self.staged(*of)),
                    target_path: path(self.target(*of)),
                    volume_capability: Some(capability(kind)),
                    ..Default::default()
                };
                self.node.node().await.node_stage_volume(stage).await?;
                self.node.node().await.node_publish_volume(publish).await.map(|_| Vec::new())
            }
            Order::Unstage(of) => {
                let volume_id = self.volumes[*of].id.clone();
                let unpublish =
                    NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path: path(self.target(*of)) };
                let unstage = NodeUnstageVolumeRequest { volume_id, staging_target_path: path(self.staged(*of)) };
                self.node.node().await.node_unpublish_volume(unpublish).await?;
                self.node.node().await.node_unstage_volume(unstage).await.map(|_| Vec::new())
            }
            Order::Grow(of) => {
                let Volume { id, size, kind, .. } = &self.volumes[*of];
                let request = NodeExpandVolumeRequest {
                    volume_id: id.clone(),
                    volume_path: path(self.target(*of)),
                    capacity_range: Some(CapacityRange { required_bytes: size + GROWTH, limit_bytes: 0 }),
                    volume_capability: Some(capability(kind)),
                    ..Default::default()
                };
                self.node.node().await.node_expand_volume(request).await.map(|_| Vec::new())
            }
            Order::Delete(of) => {
                let request = DeleteVolumeRequest { volume_id: self.volumes[*of].id.clone(), ..Default::default() };
                self.node.controller().await.delete_volume(request).await.map(|_| Vec::new())
            }
            Order::Snapshot { name, of } => {
                let request = CreateSnapshotRequest {
                    source_volume_id: self.volumes[*of].id.clone(),
                    name: name.clone(),
                    ..Default::default()
                };
                let answer = self.node.controller().await.create_snapshot(request).await?;
                Ok(vec![answer.into_inner().snapshot.unwrap().snapshot_id])
            }
            Order::SnapshotDelete(of) => {
                let request =
                    DeleteSnapshotRequest { snapshot_id: self.snapshots[*of].id.clone(), ..Default::default() };
                self.node.controller().await.delete_snapshot(request).await.map(|_| Vec::new())
            }
            Order::Group { name, of } => {
                let request = CreateVolumeGroupSnapshotRequest {
                    name: name.clone(),
                    source_volume_ids: of.iter().map(|of| self.volumes[*of].id.clone()).collect(),
                    ..Default::default()
                };
                let mut groups = GroupControllerClient::new(connect(&self.node.socket()).await);
                let group = groups.create_volume_group_snapshot(request).await?.into_inner().group_snapshot.unwrap();
                assert_eq!(group.snapshots.len(), of.len());
                let snapshots = group.snapshots.into_iter().map(|snapshot| snapshot.snapshot_id);
                Ok([group.group_snapshot_id].into_iter().chain(snapshots).collect())
            }
            Order::GroupDelete(of) => {
                let (id, snapshots) = &self.groups[*of];
                let request = DeleteVolumeGroupSnapshotRequest {
                    group_snapshot_id: id.clone(),
                    snapshot_ids: snapshots.clone(),
                    ..Default::default()
                };
                let mut groups = GroupControllerClient::new(connect(&self.node.socket()).await);
                groups.delete_volume_group_snapshot(request).await.map(|_| Vec::new())
            }
        }
    }

    /// Takes note of what was acknowledged. `floors` are the volumes' counters before it was first asked for.
    fn record(&mut self, order: &Order, answer: Vec<String>, floors: &[u64]) {
        match order.clone() {
            Order::Create { name, kind, size, source, .. } => {
                let ring = match &source {
                    None => (0, 0),
                    Some(volume_content_source::Type::Snapshot(source)) => {
                        self.snapshots.iter().find(|copy| copy.id == source.snapshot_id).unwrap().ring
                    }
                    Some(volume_content_source::Type::Volume(source)) => {
                        let of = self.volumes.iter().position(|volume| volume.id == source.volume_id).unwrap();
                        (floors[of], self.volumes[of].ceiling())
                    }
                };
                let id = answer.into_iter().next().unwrap();
                self.volumes.push(Volume { name, id, kind, size, source, ring, counter: None });
            }
            Order::Stage(of) => {
                let target = self.target(of);
                let volume = &mut self.volumes[of];
                let ring = counter::ring(&target, volume.kind == "block");
                let last = counter::check(&ring);
                let (floor, ceiling) = volume.ring;
                assert!(
                    (floor..=ceiling).contains(&last),
                    "{} from {:?} goes up to {last}, and not to one of {floor}..={ceiling}",
                    volume.name,
                    volume.source
                );
                volume.counter = Some(Counter::start(ring, last));
            }
            Order::Unstage(of) => fs::remove_dir(self.staged(of)).unwrap(),
            Order::Grow(of) => self.volumes[of].size += GROWTH,
            Order::Delete(of) => drop(self.volumes.remove(of)),
            Order::Snapshot { of, .. } => {
                let Volume { kind, size, .. } = self.volumes[of];
                let ring = (floors[of], self.volumes[of].ceiling());
                self.snapshots.push(Copy { id: answer[0].clone(), kind, size, ring });
            }
            Order::SnapshotDelete(of) => drop(self.snapshots.remove(of)),
            Order::Group { .. } => self.groups.push((answer[0].clone(), answer[1..].to_vec())),
            Order::GroupDelete(of) => drop(self.groups.remove(of)),
        }
    }

    /// What must hold after every round.
    fn check(&self, context: &str) {
        for volume in &self.volumes {
            if let Some(counter) = &volume.counter {
                counter.must_go_on(STANDSTILL);
            }
        }
        let directory = self.node.path("pool");
        let entries = |name: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(directory.join(name)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let volumes = self.volumes.iter().map(|volume| volume.id.clone()).collect();
        assert_eq!(entries("volumes"), volumes, "{context}: the volumes");
        let snapshots = self.snapshots.iter().map(|copy| copy.id.clone()).collect();
        assert_eq!(entries("snapshots"), snapshots, "{context}: the snapshots");
        let groups = self.groups.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(entries("groups"), groups, "{context}: the groups");
        let staged = self.volumes.iter().filter(|volume| volume.counter.is_some()).count();
        assert_eq!(self.node.attached(), 1 + staged, "{context}: loop devices of the pool and of what is staged");
    }

    /// Everything is taken down, and then nothing is left.
    fn end(mut self) {
        let _driver = self.node.start();
        let out: Vec<_> = (0..self.volumes.len()).filter(|of| self.volumes[*of].counter.is_some()).collect();
        let mut orders: Vec<_> = out.into_iter().map(Order::Unstage).collect();
        orders.extend(self.volumes.iter().map(|_| Order::Delete(0)));
        orders.extend(self.snapshots.iter().map(|_| Order::SnapshotDelete(0)));
        orders.extend(self.groups.iter().map(|_| Order::GroupDelete(0)));
        for order in orders {
            self.prepare(&order);
            let answer = run(self.ask(&order)).unwrap();
            self.record(&order, answer, &[]);
        }
        self.check("in the end");
    }
}

impl Volume {
    /// The last counter that is certainly in its ring.
    fn last(&self) -> u64 {
        self.counter.as_ref().map_or(self.ring.0, Counter::last)
    }

    /// The last counter that may be in its ring, or in a copy that is complete by now.
    fn ceiling(&self) -> u64 {
        self.counter.as_ref().map_or(self.ring.1, |counter| counter.last() + 1)
    }
}
