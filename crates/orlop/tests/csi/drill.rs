//! The pool is filled by somebody else while its volumes are written to. There is an alarm before anything else happens;
//! then writers wait; no guest filesystem meets an error; and all go on when there is room again.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use orlop::rpc::csi_v1::NodeGetStorageHealthRequest;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use crate::{
    calls::{self, filesystem, run},
    counter::{self, Counter},
    driver::Node,
};

pub const TESTS: &[(&str, fn())] =
    &[("a pool that somebody fills alarms, holds up its writers, and loses nothing", filled_from_outside)];

const KINDS: [&str; 3] = ["xfs", "ext4", "btrfs"];
/// What somebody else takes at a time, and how often: 320 MiB a second.
const GULP: u64 = 16 << 20;
const PACE: Duration = Duration::from_millis(50);
/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

/// What ails the pool, in words for machines.
fn ailments(node: &Node) -> Vec<String> {
    run(async {
        let answer = node.node().await.node_get_storage_health(NodeGetStorageHealthRequest::default()).await;
        answer.unwrap().into_inner().backend_health.into_iter().map(|health| health.reason).collect()
    })
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited {} s in vain for {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Writes new bytes at 20 MiB a second, each on stable storage before the next, over and over.
fn write_on(path: &Path, stop: &AtomicBool) -> std::io::Result<()> {
    const LARGEST: usize = 200;
    let chunk = vec![0x5a; 1 << 20];
    while !stop.load(Ordering::Relaxed) {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        for _ in 0..LARGEST {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            file.write_all(&chunk)?;
            file.sync_data()?;
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Sets a flag when it goes, so that a test that fails does not wait for ever for its threads.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn filled_from_outside() {
    let node = Node::new();
    let driver = node.start();
    let volumes = KINDS.map(|kind| run(calls::make(&node, calls::request(kind, filesystem(kind)))).unwrap());
    for (id, kind) in volumes.iter().zip(KINDS) {
        run(calls::publish(&node, id, kind, filesystem(kind))).unwrap();
    }
    assert_eq!(ailments(&node), Vec::<String>::new(), "the pool is well");
    let counters = KINDS.map(|kind| Counter::start(counter::ring(&node.path(kind), false), 0));
    let all = |what: fn(&Counter) -> u64| counters.iter().map(what).collect::<Vec<_>>();

    let stop = AtomicBool::new(false);
    let filler = node.path("pool/somebody-elses");
    thread::scope(|scope| {
        let writers = KINDS.map(|kind| {
            scope.spawn({
                let (path, stop) = (node.path(kind).join("bulk"), &stop);
                move || write_on(&path, stop)
            })
        });
        let filling = scope.spawn(|| {
            let file = File::create(&filler).unwrap();
            let mut taken = 0;
            loop {
                match fallocate(&file, FallocateFlags::empty(), taken, GULP) {
                    Ok(()) => taken += GULP,
                    Err(Errno::NOSPC) => return,
                    Err(error) => panic!("cannot fill the pool: {error}"),
                }
                thread::sleep(PACE);
            }
        });
        let stop_writers = SetWhenDropped(&stop);
        eventually("an alarm", || ailments(&node).iter().any(|reason| reason == "PoolLow"));
        let at_alarm = all(Counter::last);
        for counter in &counters {
            counter.must_go_on(PATIENCE);
        }
        filling.join().unwrap();
        eventually("the graver alarm", || ailments(&node).iter().any(|reason| reason == "PoolCritical"));
        eventually("the writers to be held up", || {
            let before = all(Counter::last);
            thread::sleep(Duration::from_secs(1));
            before == all(Counter::last)
        });
        assert!(all(Counter::last) > at_alarm, "they were held up before the alarm");
        // Readers go on meanwhile.
        for kind in KINDS {
            assert!(fs::read(counter::ring(&node.path(kind), false)).unwrap().iter().any(|byte| *byte != 0));
        }

        fs::remove_file(&filler).unwrap();
        for counter in &counters {
            counter.must_go_on(PATIENCE);
        }
        eventually("the alarm to end", || ailments(&node).is_empty());
        drop(stop_writers);
        for (writer, kind) in writers.into_iter().zip(KINDS) {
            writer.join().unwrap().unwrap_or_else(|error| panic!("the writer on {kind} met an error: {error}"));
        }
    });

    let last = counters.map(Counter::stop);
    for ((id, kind), last) in volumes.iter().zip(KINDS).zip(last) {
        run(calls::unmount(&node, id, kind)).unwrap();
        run(calls::publish(&node, id, kind, filesystem(kind))).unwrap();
        assert_eq!(counter::check(&counter::ring(&node.path(kind), false)), last, "{kind} has all that was written");
        run(calls::unmount(&node, id, kind)).unwrap();
    }
    drop(driver);
}
