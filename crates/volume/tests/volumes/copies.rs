//! Snapshots and clones on the kernel of this machine, of filesystems that are written to meanwhile.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use orlop_api::Bytes;
use orlop_volume::{
    Content, Error, Filesystem, LocalVolumes, NewVolume, Overcommit, Pool, PoolFile, SnapshotId, Snapshots as _,
    Source, Step, Upkeep as _, Volume, VolumeId, Volumes as _, unobserved, watchdog,
};

use crate::{
    world::{self, Folder, World, attached_below, new, options},
    writer::{Writer, holds},
};

pub const TESTS: &[(&str, fn())] = &[
    ("a snapshot of an XFS in use has all that was synced", || snapshot_under_a_writer(Filesystem::Xfs)),
    ("a snapshot of an ext4 in use has all that was synced", || snapshot_under_a_writer(Filesystem::Ext4)),
    ("a snapshot of a btrfs in use has all that was synced", || snapshot_under_a_writer(Filesystem::Btrfs)),
    ("clones of XFS are mounted beside their source", || generations(Filesystem::Xfs)),
    ("clones of ext4 are mounted beside their source", || generations(Filesystem::Ext4)),
    ("clones of btrfs are mounted beside their source", || generations(Filesystem::Btrfs)),
    ("an XFS that was stopped abruptly is cloned with what its log has", || log_is_replayed(Filesystem::Xfs)),
    ("an ext4 that was stopped abruptly is cloned with what its log has", || log_is_replayed(Filesystem::Ext4)),
    ("a btrfs that was stopped abruptly is cloned with what its log has", || log_is_replayed(Filesystem::Btrfs)),
    ("a btrfs grows online", a_btrfs_grows_online),
    ("a clone of a large volume takes its log for itself and no more", a_large_clone_takes_little),
    ("a driver that is stuck has its volume thawed and takes no snapshot", a_stuck_driver_takes_no_snapshot),
    ("a volume that somebody thaws meanwhile has no snapshot", a_volume_that_is_thawed_meanwhile_has_no_snapshot),
    ("without a watchdog nothing is frozen", without_a_watchdog_nothing_is_frozen),
    ("a new driver thaws what it finds frozen", a_new_driver_thaws_what_it_finds_frozen),
    ("a copy that fails leaves nothing frozen", a_copy_that_fails_leaves_nothing_frozen),
    ("a group is one moment", a_group_is_one_moment),
    ("a pool may be a btrfs", a_pool_may_be_a_btrfs),
];

const MIB: u64 = 1 << 20;

fn volume(world: &World, name: &str, filesystem: Filesystem) -> Volume {
    world.volumes.create(&new(name, Bytes(512 * MIB), filesystem)).unwrap()
}

fn snapshot_under_a_writer(filesystem: Filesystem) {
    let world = world::real();
    let source = volume(&world, "v", filesystem);
    let staged = world.stage(&source, "staged");
    let writer = Writer::start(&staged.join("log"));
    let taken: Vec<_> = (0..3)
        .map(|number| {
            let written = writer.written();
            let snapshot = world.volumes.snapshot(&number.to_string(), &source.id).unwrap();
            writer.goes_on();
            (snapshot, written)
        })
        .collect();
    assert!(writer.stop() > taken[2].1);
    let times = world.volumes.frozen_times();
    assert!(times.len() == 3 && times.is_sorted_by(|one, other| one >= other), "{times:?}");
    // Larger than its source, and beside it.
    for (snapshot, written) in taken {
        let restored = NewVolume {
            source: Some(Source::Snapshot(snapshot.id.clone())),
            ..new(&format!("from {}", snapshot.id), Bytes(1024 * MIB), filesystem)
        };
        let restored = world.volumes.create(&restored).unwrap();
        let at = world.stage(&restored, restored.id.as_str());
        holds(&at.join("log"), written);
        let total = world.volumes.usage(&restored.id, &at).unwrap().total;
        assert!(total.0 > 900 * MIB, "{}", total.human());
        fs::write(at.join("new"), "works").unwrap();
    }
}

/// A clone of a clone of a volume, all mounted at a time, each with a UUID of its own.
fn generations(filesystem: Filesystem) {
    let world = world::real();
    let mut last = volume(&world, "0", filesystem);
    let mut identities = vec![];
    for generation in 1..4_u8 {
        let at = world.stage(&last, &format!("staged-{generation}"));
        fs::write(at.join(generation.to_string()), [generation; 5000]).unwrap();
        for earlier in 1..generation {
            assert_eq!(fs::read(at.join(earlier.to_string())).unwrap(), [earlier; 5000]);
        }
        identities.push(identity(&world, &last.id));
        last = world.from(Source::Volume(last.id), &generation.to_string(), Content::Filesystem(filesystem));
    }
    attached_below(world.folder.path(), 4, "the pool and the volumes that are staged");
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), 3, "{identities:?}");
}

/// What tells a filesystem from others, as blkid(8) reads it from the image.
fn identity(world: &World, id: &VolumeId) -> String {
    let output =
        Command::new("blkid").args(["-p", "-o", "value", "-s", "UUID"]).arg(image(world, id)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn image(world: &World, id: &VolumeId) -> std::path::PathBuf {
    world.folder.path().join("pool/volumes").join(id.as_str()).join("image")
}

fn log_is_replayed(filesystem: Filesystem) {
    let world = world::real();
    let (running, stopped) = (volume(&world, "running", filesystem), volume(&world, "stopped", filesystem));
    let staged = world.stage(&running, "staged");
    fs::write(staged.join("before"), "kept").unwrap();
    rustix::fs::sync();
    let writer = Writer::start(&staged.join("log"));
    let written = writer.written();
    // As a loss of power leaves it.
    let (from, to) =
        (File::open(image(&world, &running.id)), File::options().write(true).open(image(&world, &stopped.id)));
    rustix::fs::ioctl_ficlone(to.unwrap(), from.unwrap()).unwrap();
    let clone = world.from(Source::Volume(stopped.id), "clone", Content::Filesystem(filesystem));
    let at = world.stage(&clone, "beside");
    holds(&at.join("log"), written);
    assert_eq!(fs::read_to_string(at.join("before")).unwrap(), "kept");
    writer.goes_on();
    writer.stop();
}

fn a_btrfs_grows_online() {
    let world = world::real();
    let volume = world.volumes.create(&new("v", Filesystem::Btrfs.minimum(), Filesystem::Btrfs)).unwrap();
    let staged = world.stage(&volume, "staged");
    fs::write(staged.join("data"), [7; 9000]).unwrap();
    world.volumes.expand(&volume.id, Bytes(1024 * MIB)).unwrap();
    let total = world.volumes.usage(&volume.id, &staged).unwrap().total;
    assert_eq!(total, Bytes(1024 * MIB));
    world.volumes.unstage(&volume.id, &staged).unwrap();
    world.volumes.stage(&volume.id, &staged, &options()).unwrap();
    assert_eq!(fs::read(staged.join("data")).unwrap(), [7; 9000]);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(&*staged.to_string_lossy())).unwrap();
    assert!(!line.contains("discard"), "{line}");
}

fn a_large_clone_takes_little() {
    let folder = Folder::new();
    let root = folder.path().join("pool");
    PoolFile { path: folder.path().join("pool.img"), size: Bytes(10 << 30) }.mount(&root).unwrap();
    let pool = Pool::open(&root, "100".parse::<Overcommit>().unwrap()).unwrap();
    let volumes = LocalVolumes::open(pool, world::tag(), unobserved(), None).unwrap();
    let source = volumes.create(&new("v", Bytes(300 << 30), Filesystem::Xfs)).unwrap();
    let before = volumes.pool().unwrap().free;
    let clone = NewVolume { source: Some(Source::Volume(source.id)), ..new("clone", source.size, Filesystem::Xfs) };
    volumes.create(&clone).unwrap();
    // A new UUID rewrites the log, which is all that takes time and room.
    let taken = Bytes(before.0.saturating_sub(volumes.pool().unwrap().free.0));
    assert!(taken < Bytes(192 * MIB), "{}", taken.human());
}

fn a_stuck_driver_takes_no_snapshot() {
    let folder = Folder::new();
    let stuck = |step| {
        if step == Step::SnapshotFrozen {
            thread::sleep(watchdog::DEADLINE + Duration::from_secs(2));
        }
    };
    thawed_early(&folder, Box::new(stuck));
}

fn a_volume_that_is_thawed_meanwhile_has_no_snapshot() {
    let folder = Folder::new();
    let staged = folder.path().join("staged");
    let thaw = move |step| {
        if step == Step::SnapshotFrozen {
            assert!(Command::new("fsfreeze").arg("--unfreeze").arg(&staged).status().unwrap().success());
        }
    };
    thawed_early(&folder, Box::new(thaw));
}

/// A snapshot during which the observer has the volume thawed.
fn thawed_early(folder: &Folder, observer: orlop_volume::Observer) {
    let volumes = world::open(folder.path(), observer);
    let volume = volumes.create(&new("v", Bytes(512 * MIB), Filesystem::Xfs)).unwrap();
    let staged = folder.path().join("staged");
    fs::create_dir(&staged).unwrap();
    volumes.stage(&volume.id, &staged, &options()).unwrap();
    let writer = Writer::start(&staged.join("log"));
    let error = volumes.snapshot("s", &volume.id).unwrap_err();
    assert!(matches!(&error, Error::ThawedEarly(id) if *id == volume.id), "{error}");
    writer.goes_on();
    assert!(volumes.list_snapshots().unwrap().is_empty());
    assert_eq!(fs::read_dir(folder.path().join("pool/snapshots")).unwrap().count(), 0, "nothing is left");
}

fn without_a_watchdog_nothing_is_frozen() {
    let folder = Folder::new();
    world::open(folder.path(), unobserved());
    let open = |watchdog: Option<&Path>| {
        let pool = Pool::open(&folder.path().join("pool"), Overcommit::default()).unwrap();
        LocalVolumes::open(pool, world::tag(), unobserved(), watchdog.map(Path::to_owned)).unwrap()
    };
    let volumes = open(None);
    let volume = volumes.create(&new("v", Bytes(512 * MIB), Filesystem::Xfs)).unwrap();
    volumes.snapshot("while it is not mounted", &volume.id).unwrap();
    let staged = folder.path().join("staged");
    fs::create_dir(&staged).unwrap();
    volumes.stage(&volume.id, &staged, &options()).unwrap();
    let error = volumes.snapshot("s", &volume.id).unwrap_err();
    assert!(matches!(error, Error::NoWatchdog(_)), "{error}");
    drop(volumes);
    let error = open(Some(&folder.path().join("nobody"))).snapshot("s", &volume.id).unwrap_err();
    assert!(matches!(&error, Error::NoWatchdog(why) if why.contains("nobody")), "{error}");
    fs::write(staged.join("data"), "not held up").unwrap();
}

fn a_new_driver_thaws_what_it_finds_frozen() {
    let folder = Folder::new();
    let volumes = world::open(folder.path(), unobserved());
    let volume = volumes.create(&new("v", Bytes(512 * MIB), Filesystem::Xfs)).unwrap();
    let staged = folder.path().join("staged");
    fs::create_dir(&staged).unwrap();
    volumes.stage(&volume.id, &staged, &options()).unwrap();
    drop(volumes);
    let writer = Writer::start(&staged.join("log"));
    assert!(Command::new("fsfreeze").arg("--freeze").arg(&staged).status().unwrap().success());
    world::open(folder.path(), unobserved());
    writer.goes_on();
    writer.stop();
}

fn a_copy_that_fails_leaves_nothing_frozen() {
    let folder = Folder::new();
    let fails = |step| assert!(step != Step::SnapshotFrozen, "a copy that fails");
    let volumes = world::open(folder.path(), Box::new(fails));
    let volume = volumes.create(&new("v", Bytes(512 * MIB), Filesystem::Xfs)).unwrap();
    let staged = folder.path().join("staged");
    fs::create_dir(&staged).unwrap();
    volumes.stage(&volume.id, &staged, &options()).unwrap();
    let writer = Writer::start(&staged.join("log"));
    let copy = std::panic::AssertUnwindSafe(|| volumes.snapshot("s", &volume.id));
    assert!(std::panic::catch_unwind(copy).is_err());
    writer.goes_on();
    writer.stop();
    assert_eq!(fs::read_dir(folder.path().join("pool/snapshots")).unwrap().count(), 0, "nothing is left");
}

/// Numbers are written to one volume and then to the other, in turn; so the second never has one that the first has not.
fn a_group_is_one_moment() {
    let world = world::real();
    let volumes: Vec<_> = (0..2).map(|number| world.volume(&format!("v{number}"))).collect();
    let files: Vec<_> = volumes
        .iter()
        .map(|volume| File::create(world.stage(volume, volume.id.as_str()).join("number")).unwrap())
        .collect();
    let ids: Vec<_> = volumes.iter().map(|volume| volume.id.clone()).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let group = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u64.. {
                for file in &files {
                    file.write_all_at(&number.to_le_bytes(), 0).unwrap();
                    file.sync_data().unwrap();
                }
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
            }
        });
        thread::sleep(Duration::from_millis(200));
        let group = world.volumes.snapshot_group("g", &ids);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        group.unwrap()
    });
    let number = |of: &VolumeId| {
        let snapshot: SnapshotId = group.snapshots.iter().find(|snapshot| snapshot.volume == *of).unwrap().id.clone();
        let restored = world.from(Source::Snapshot(snapshot), &format!("restored {of}"), volumes[0].content);
        let at = world.stage(&restored, restored.id.as_str());
        u64::from_le_bytes(fs::read(at.join("number")).unwrap().try_into().unwrap())
    };
    let (first, second) = (number(&ids[0]), number(&ids[1]));
    assert!(first > 0 && first - second <= 1, "{first} and {second}");
    assert_eq!(world.volumes.frozen_times().len(), 2);
}

fn a_pool_may_be_a_btrfs() {
    let folder = Folder::new();
    let (root, file) = (folder.path().join("pool"), folder.path().join("pool.img"));
    fs::create_dir(&root).unwrap();
    File::create(&file).unwrap().set_len(world::POOL.0).unwrap();
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run("mkfs.btrfs", &["-q".as_ref(), file.as_ref()]);
    run("mount", &["-o".as_ref(), "loop,noatime".as_ref(), file.as_ref(), root.as_ref()]);
    let pool = Pool::open(&root, Overcommit::default()).unwrap();
    let volumes = LocalVolumes::open(pool, world::tag(), unobserved(), Some(world::watchdog())).unwrap();
    let world = World { volumes: Box::new(volumes), folder };
    for filesystem in [Filesystem::Xfs, Filesystem::Btrfs] {
        let source = volume(&world, filesystem.name(), filesystem);
        let staged = world.stage(&source, &format!("{filesystem}-staged"));
        let writer = Writer::start(&staged.join("log"));
        let written = writer.written();
        let snapshot = world.volumes.snapshot(filesystem.name(), &source.id).unwrap();
        let restored = world.from(Source::Snapshot(snapshot.id), &format!("{filesystem} restored"), source.content);
        holds(&world.stage(&restored, &format!("{filesystem}-restored")).join("log"), written);
        writer.goes_on();
    }
}
