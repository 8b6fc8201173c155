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

/// What has been acknowledged.
#[derive(Debug, Clone, Default)]
struct Acknowledged {
    /// Ids of snapshots, each with its volume's place and the least and the greatest last counter in it.
    snapshots: BTreeMap<String, (usize, u64, u64)>,
    /// Those that are to be deleted: they may be there, or not.
    doomed: Vec<String>,
}

/// What a copy of the disk must hold.
#[derive(Debug)]
struct Expected {
    /// The last counter of each volume that was on stable storage before.
    rings: Vec<u64>,
    snapshots: BTreeMap<String, (usize, u64, u64)>,
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

    let make = |name: &str, kind: &str, source: Option<VolumeContentSource>| {
        let request = calls::request(name, filesystem(kind));
        let request = CreateVolumeRequest {
            capacity_range: Some(calls::at_least(SIZE)),
            volume_content_source: source,
            ..request
        };
        run(calls::make(&node, request)).unwrap()
    };
    let mount = |id: &str, place: &str, kind: &str| {
        run(calls::publish(&node, id, place, filesystem(kind))).unwrap();
        counter::ring(&node.path(place), false)
    };
    let unmount_from = |id: &str, place: &str| run(calls::unmount(&node, id, place)).unwrap();
    let volumes = KINDS.map(|kind| make(kind, kind, None));
    let counters: Vec<Counter> =
        volumes.iter().zip(KINDS).map(|(id, kind)| Counter::start(mount(id, kind, kind), 0)).collect();

    let acknowledged = Mutex::new(Acknowledged::default());
    let mut expected: Vec<Expected> = thread::scope(|scope| {
        let failing = scope.spawn(|| {
            let mut rng = Rng::with_seed(seed);
            (0..FAILURES)
                .map(|number| {
                    thread::sleep(Duration::from_millis(rng.u64(20..400)));
                    let before = lock(&acknowledged).clone();
                    let rings = counters.iter().map(Counter::last).collect();
                    disk.fail(number);
                    let mut snapshots = before.snapshots;
                    snapshots.retain(|id, _| !lock(&acknowledged).doomed.contains(id));
                    Expected { rings, snapshots, others: Vec::new() }
                })
                .collect()
        });
        let mut rng = Rng::with_seed(seed + 1);
        let mut named = 0;
        while !failing.is_finished() {
            named += 1;
            let of = rng.usize(..volumes.len());
            let floor = counters[of].last();
            let snapshot_id = run(calls::take_snapshot(&node, &format!("s{named}"), &volumes[of])).unwrap().snapshot_id;
            let ceiling = counters[of].last() + 1;
            lock(&acknowledged).snapshots.insert(snapshot_id, (of, floor, ceiling));
            let oldest = lock(&acknowledged).snapshots.keys().next().cloned();
            if let Some(snapshot_id) = oldest.filter(|_| lock(&acknowledged).snapshots.len() > 4) {
                lock(&acknowledged).doomed.push(snapshot_id.clone());
                run(calls::delete_snapshot(&node, &snapshot_id)).unwrap();
                lock(&acknowledged).snapshots.remove(&snapshot_id);
            }
        }
        failing.join().unwrap()
    });

    let last: Vec<u64> = counters.into_iter().map(Counter::stop).collect();
    volumes.iter().zip(KINDS).for_each(|(id, kind)| unmount_from(id, kind));
    let mut snapshots = lock(&acknowledged).snapshots.clone();
    let mut others = Vec::new();
    for number in 0..QUIET_FAILURES {
        let name = format!("quiet-{number}");
        if number % 2 == 0 {
            let snapshot = run(calls::take_snapshot(&node, &name, &volumes[0])).unwrap();
            snapshots.insert(snapshot.snapshot_id, (0, last[0], last[0]));
        } else {
            others.push(make(&name, KINDS[0], None));
        }
        disk.fail(FAILURES + number);
        expected.push(Expected { rings: last.clone(), snapshots: snapshots.clone(), others: others.clone() });
    }
    drop(driver);
    let pool = node.path("pool");
    unmount(&pool, UnmountFlags::empty()).unwrap();

    let mut checked = 0;
    for (number, Expected { rings, snapshots, others }) in expected.into_iter().enumerate() {
        fs::rename(disk.copy(number), disk.pool()).unwrap();
        let driver = node.start();
        for ((id, kind), last) in volumes.iter().zip(KINDS).zip(rings) {
            let found = counter::check(&mount(id, kind, kind));
            assert!(found >= last, "failure {number}: {kind} goes up to {found} and not to {last}");
            unmount_from(id, kind);
        }
        for id in others {
            mount(&id, "other", KINDS[0]);
            unmount_from(&id, "other");
        }
        for (id, (of, floor, ceiling)) in snapshots {
            let restored = make(&id, KINDS[of], Some(from_snapshot(&id)));
            let found = counter::check(&mount(&restored, "restored", KINDS[of]));
            assert!(
                (floor..=ceiling).contains(&found),
                "failure {number}: {id} goes up to {found}, and not to one of {floor}..={ceiling}"
            );
            unmount_from(&restored, "restored");
            checked += 1;
        }
        drop(driver);
        unmount(&pool, UnmountFlags::empty()).unwrap();
    }
    eprintln!("{checked} snapshots restored");
    assert!(checked > 0, "no snapshot was acknowledged before a failure");
}
