//! The power fails. The pool's disk is copied at arbitrary moments while volumes are written to, made, copied and deleted;
//! each copy is what a disk would hold had the power failed then. A driver that starts on it must find every volume and
//! every snapshot that was acknowledged, whole, with all that was on stable storage.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use orlop::rpc::csi_v1::{CreateVolumeRequest, VolumeContentSource};
use rustix::{
    fs::ioctl_ficlone,
    mount::{UnmountFlags, unmount},
};

use crate::{
    calls::{self, filesystem, from_snapshot, run},
    counter::{self, Counter},
    driver::Node,
};

pub const TESTS: &[(&str, fn())] =
    &[("after the power failed at any moment every acknowledged volume and snapshot is there and whole", every_moment)];

/// How often the power fails while there is much to do.
const FAILURES: usize = 12;
/// And how often when nothing has happened since the last call returned: under load the disk is told to write back all the
/// time, which would hide that a call has not.
const QUIET_FAILURES: usize = 4;
const KINDS: [&str; 3] = ["xfs", "ext4", "btrfs"];
const SIZE: i64 = 320 << 20;

/// A disk that can be copied in one moment: a file on a filesystem with reflinks, of which a copy holds up all writes.
struct Disk(PathBuf);

impl Disk {
    fn new(node: &Node) -> Self {
        let (image, root) = (node.path("disk.img"), node.path("disk"));
        File::create(&image).unwrap().set_len(24 << 30).unwrap();
        fs::create_dir(&root).unwrap();
        let done = |program: &str, arguments: &[&Path]| {
            assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program}");
        };
        done("mkfs.xfs", &[Path::new("-q"), Path::new("-mreflink=1"), &image]);
        done("mount", &[Path::new("-oloop"), &image, &root]);
        Self(root)
    }

    fn pool(&self) -> PathBuf {
        self.0.join("pool.img")
    }

    fn copy(&self, number: usize) -> PathBuf {
        self.0.join(format!("copy-{number}.img"))
    }

    /// What the disk would hold had the power failed now.
    fn fail(&self, number: usize) {
        let copy = File::create(self.copy(number)).unwrap();
        ioctl_ficlone(copy, File::open(self.pool()).unwrap()).unwrap();
    }
}

/// Ids of snapshots, each with its volume's place and the least and the greatest last counter in it.
type Taken = BTreeMap<String, (usize, u64, u64)>;

/// What has been acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    snapshots: Taken,
    /// Those that are to be deleted: they may be there, or not.
    doomed: Vec<String>,
}

/// What a copy of the disk must hold.
#[derive(Debug)]
struct Expected {
    /// The last counter of each volume that was on stable storage before.
    rings: Vec<u64>,
    snapshots: Taken,
    /// Volumes beside those.
    others: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn every_moment() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = env::var("ORLOP_SEED").map_or(now.as_secs() % 1_000_000, |seed| seed.parse().expect("a number"));
    eprintln!("{} failures of seed {seed}", FAILURES + QUIET_FAILURES);
    let mut node = Node::new();
    let disk = Disk::new(&node);
    node.set_pool_file(disk.pool());
    let driver = node.start();
    let volumes = KINDS.map(|kind| make(&node, kind, kind, None));
    let counters: Vec<Counter> =
        volumes.iter().zip(KINDS).map(|(id, kind)| Counter::start(mount(&node, id, kind, kind), 0)).collect();
    let (mut expected, snapshots) = fail_under_load(&node, &disk, &volumes, &counters, seed);
    let last: Vec<u64> = counters.into_iter().map(Counter::stop).collect();
    for (id, kind) in volumes.iter().zip(KINDS) {
        run(calls::unmount(&node, id, kind)).unwrap();
    }
    expected.extend(fail_when_quiet(&node, &disk, &volumes, &last, snapshots));
    drop(driver);
    unmount(node.path("pool"), UnmountFlags::empty()).unwrap();

    let restored: usize = expected.iter().map(|expected| expected.snapshots.len()).sum();
    assert!(restored > 0, "no snapshot was acknowledged before a failure");
    for (number, expected) in expected.into_iter().enumerate() {
        fs::rename(disk.copy(number), disk.pool()).unwrap();
        let driver = node.start();
        check(&node, &volumes, expected, number);
        drop(driver);
        unmount(node.path("pool"), UnmountFlags::empty()).unwrap();
    }
    eprintln!("{restored} snapshots restored");
}

/// Makes a volume, and returns its id.
fn make(node: &Node, name: &str, kind: &str, source: Option<VolumeContentSource>) -> String {
    let request = CreateVolumeRequest {
        capacity_range: Some(calls::at_least(SIZE)),
        volume_content_source: source,
        ..calls::request(name, filesystem(kind))
    };
    run(calls::make(node, request)).unwrap()
}

/// Mounts a volume, and returns where its ring is.
fn mount(node: &Node, id: &str, place: &str, kind: &str) -> PathBuf {
    run(calls::publish(node, id, place, filesystem(kind))).unwrap();
    counter::ring(&node.path(place), false)
}

/// Fails the power again and again while snapshots of volumes in use are taken and deleted. Returns what each copy of the
/// disk must hold, and the snapshots that are there in the end.
fn fail_under_load(
    node: &Node,
    disk: &Disk,
    volumes: &[String],
    counters: &[Counter],
    seed: u64,
) -> (Vec<Expected>, Taken) {
    let acknowledged = Mutex::new(Acknowledged::default());
    let expected = thread::scope(|scope| {
        let failing = scope.spawn(|| {
            let mut rng = Rng::with_seed(seed);
            let fail = |number| {
                thread::sleep(Duration::from_millis(rng.u64(20..400)));
                let mut snapshots = lock(&acknowledged).snapshots.clone();
                let rings = counters.iter().map(Counter::last).collect();
                disk.fail(number);
                snapshots.retain(|id, _| !lock(&acknowledged).doomed.contains(id));
                Expected { rings, snapshots, others: Vec::new() }
            };
            (0..FAILURES).map(fail).collect()
        });
        let mut rng = Rng::with_seed(seed + 1);
        let mut named = 0;
        while !failing.is_finished() {
            named += 1;
            let of = rng.usize(..volumes.len());
            let floor = counters[of].last();
            let snapshot_id = run(calls::take_snapshot(node, &format!("s{named}"), &volumes[of])).unwrap().snapshot_id;
            let ceiling = counters[of].last() + 1;
            lock(&acknowledged).snapshots.insert(snapshot_id, (of, floor, ceiling));
            let oldest = lock(&acknowledged).snapshots.keys().next().cloned();
            if let Some(snapshot_id) = oldest.filter(|_| lock(&acknowledged).snapshots.len() > 4) {
                lock(&acknowledged).doomed.push(snapshot_id.clone());
                run(calls::delete_snapshot(node, &snapshot_id)).unwrap();
                lock(&acknowledged).snapshots.remove(&snapshot_id);
            }
        }
        failing.join().unwrap()
    });
    (expected, acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner).snapshots)
}

/// Fails the power right after calls have returned, with volumes whose rings end with `last` and that nobody uses.
fn fail_when_quiet(node: &Node, disk: &Disk, volumes: &[String], last: &[u64], mut snapshots: Taken) -> Vec<Expected> {
    let mut others = Vec::new();
    let fail = |number| {
        let name = format!("quiet-{number}");
        if number % 2 == 0 {
            let snapshot = run(calls::take_snapshot(node, &name, &volumes[0])).unwrap();
            snapshots.insert(snapshot.snapshot_id, (0, last[0], last[0]));
        } else {
            others.push(make(node, &name, KINDS[0], None));
        }
        disk.fail(FAILURES + number);
        Expected { rings: last.to_vec(), snapshots: snapshots.clone(), others: others.clone() }
    };
    (0..QUIET_FAILURES).map(fail).collect()
}

/// Looks for all that a copy of the disk must hold.
fn check(node: &Node, volumes: &[String], Expected { rings, snapshots, others }: Expected, number: usize) {
    for ((id, kind), last) in volumes.iter().zip(KINDS).zip(rings) {
        let found = counter::check(&mount(node, id, kind, kind));
        assert!(found >= last, "failure {number}: {kind} goes up to {found} and not to {last}");
        run(calls::unmount(node, id, kind)).unwrap();
    }
    for id in others {
        mount(node, &id, "other", KINDS[0]);
        run(calls::unmount(node, &id, "other")).unwrap();
    }
    for (id, (of, floor, ceiling)) in snapshots {
        let restored = make(node, &id, KINDS[of], Some(from_snapshot(&id)));
        let found = counter::check(&mount(node, &restored, "restored", KINDS[of]));
        assert!(
            (floor..=ceiling).contains(&found),
            "failure {number}: {id} goes up to {found}, and not to one of {floor}..={ceiling}"
        );
        run(calls::unmount(node, &restored, "restored")).unwrap();
    }
}
