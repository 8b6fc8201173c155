//! What is done as a pool fills up.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::Command,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use orlop_api::Bytes;
use orlop_volume::{Filesystem, NewVolume, Severity};

use crate::{
    pool::{empty, fill, reasons},
    world::{self, World, attached_below, new, options},
};

pub const TESTS: &[(&str, fn())] = &[
    ("room: the ballast is given up when room is short, and made again", the_ballast_is_given_up_and_made_again),
    ("room: writers of thin volumes wait until there is room", writers_of_thin_volumes_wait_until_there_is_room),
    ("room: a writer that fills the pool through its cache sees no error", a_writer_that_fills_the_pool_sees_no_error),
    ("room: a volume whose writers wait can be unmounted", a_volume_whose_writers_wait_can_be_unmounted),
    ("room: a filesystem that has shut down comes back", a_filesystem_that_has_shut_down_comes_back),
];

const MIB: u64 = 1 << 20;

/// Watches the pool as a driver does, until writers wait or do so no longer. A filesystem gives back the room of a file
/// a moment after it was removed.
fn watch_until(world: &World, paused: bool) {
    for _ in 0..50 {
        world.volumes.watch_pool().unwrap();
        if world.volumes.pool().unwrap().paused == paused {
            return;
        }
        if paused {
            // The ballast was given up, and goes too.
            fill(&world.folder, 0);
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("paused is never {paused}: {:?}", world.volumes.pool());
}

/// Thaws what a test that fails leaves frozen, before it is unmounted and before its writers are waited for.
struct Thaw(PathBuf);

impl Drop for Thaw {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).output();
    }
}

fn the_ballast_is_given_up_and_made_again() {
    let world = world::real();
    let ballast = world.folder.path().join("pool/ballast");
    assert_eq!(world.volumes.pool().unwrap().ballast, Bytes(64 * MIB));
    assert_eq!(fs::metadata(&ballast).unwrap().blocks() * 512, 64 * MIB);
    let volume = world.volume("v");
    assert!(reasons(&world).is_empty());
    fill(&world.folder, 200 * MIB);
    world.volumes.watch_pool().unwrap();
    assert_eq!(reasons(&world), ["PoolLow"], "the alarm comes first");
    let ailments = world.volumes.health(&volume.id).unwrap();
    assert!(matches!(&ailments[..], [ailment] if ailment.severity == Severity::Degraded), "{ailments:?}");
    fill(&world.folder, 50 * MIB);
    world.volumes.watch_pool().unwrap();
    assert!(!ballast.exists());
    let pool = world.volumes.pool().unwrap();
    assert!(pool.free > Bytes(100 * MIB) && !pool.paused, "{pool:?}");
    assert_eq!(reasons(&world), ["PoolCritical", "PoolLow"]);
    assert_eq!(pool.available_thin, Bytes(0));
    empty(&world.folder);
    for _ in 0..50 {
        world.volumes.watch_pool().unwrap();
        if ballast.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(ballast.exists() && reasons(&world).is_empty());
}

fn writers_of_thin_volumes_wait_until_there_is_room() {
    let world = world::real();
    let staged = ["thin", "thick"].map(|name| {
        let provisioning = name.parse().unwrap();
        let wanted = NewVolume { provisioning, ..new(name, Bytes(512 * MIB), Filesystem::Xfs) };
        world.stage(&world.volumes.create(&wanted).unwrap(), name)
    });
    let [thin, thick] = &staged;
    fs::write(thin.join("kept"), "kept").unwrap();
    watch_until(&world, true);
    let _thaw = Thaw(thin.clone());
    assert!(reasons(&world).contains(&"PoolPaused"));
    // Readers go on, and so does a volume that has its bytes.
    assert_eq!(fs::read_to_string(thin.join("kept")).unwrap(), "kept");
    fs::write(thick.join("data"), "written").unwrap();
    let (told, done) = channel();
    thread::scope(|scope| {
        let _thaw = Thaw(thin.clone());
        let file = thin.join("data");
        scope.spawn(move || told.send(fs::write(file, vec![7; 1 << 20])).unwrap());
        assert_eq!(done.recv_timeout(Duration::from_millis(500)).err(), Some(RecvTimeoutError::Timeout), "it waits");
        empty(&world.folder);
        watch_until(&world, false);
        done.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
    });
}

fn a_writer_that_fills_the_pool_sees_no_error() {
    let world = world::real();
    for (name, filesystem) in [("x", Filesystem::Xfs), ("e", Filesystem::Ext4), ("b", Filesystem::Btrfs)] {
        let volume = world.volumes.create(&new(name, Bytes(1024 * MIB), filesystem)).unwrap();
        let at = world.stage(&volume, name);
        fill(&world.folder, 200 * MIB);
        let (told, done) = channel();
        thread::scope(|scope| {
            let _thaw = Thaw(at.clone());
            let mut file = File::create(at.join("data")).unwrap();
            scope.spawn(move || {
                let written = (0..600).try_for_each(|_| {
                    thread::sleep(Duration::from_millis(5));
                    file.write_all(&vec![7; 1 << 20])
                });
                told.send(written.and_then(|()| file.sync_all())).unwrap();
            });
            let watch = |until: bool| {
                let start = Instant::now();
                while world.volumes.pool().unwrap().paused != until {
                    assert!(start.elapsed() < Duration::from_secs(30), "{filesystem}: paused is never {until}");
                    thread::sleep(world.volumes.watch_pool().unwrap());
                }
            };
            watch(true);
            assert_eq!(done.recv_timeout(Duration::from_secs(1)).err().map(|_| ()), Some(()), "{filesystem}: it waits");
            assert!(!reasons(&world).contains(&"FilesystemShutDown"), "{filesystem}");
            empty(&world.folder);
            watch(false);
            done.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
        });
        world.volumes.unstage(&volume.id, &at).unwrap();
        world.volumes.delete(&volume.id).unwrap();
        world.volumes.watch_pool().unwrap();
    }
}

fn a_volume_whose_writers_wait_can_be_unmounted() {
    let world = world::real();
    let volume = world.volume("v");
    let at = world.stage(&volume, "staged");
    watch_until(&world, true);
    let _thaw = Thaw(at.clone());
    world.volumes.unstage(&volume.id, &at).unwrap();
    attached_below(world.folder.path(), 1, "the pool");
    // One that is mounted meanwhile waits too.
    world.volumes.stage(&volume.id, &at, &options()).unwrap();
    world.volumes.watch_pool().unwrap();
    let frozen = Command::new("fsfreeze").arg("--freeze").arg(&at).output().unwrap();
    assert!(String::from_utf8_lossy(&frozen.stderr).contains("busy"), "{frozen:?}");
    empty(&world.folder);
    watch_until(&world, false);
    fs::write(at.join("data"), "written").unwrap();
}

fn a_filesystem_that_has_shut_down_comes_back() {
    let world = world::real();
    for (name, filesystem) in [("x", Filesystem::Xfs), ("e", Filesystem::Ext4)] {
        let volume = world.volumes.create(&new(name, Bytes(512 * MIB), filesystem)).unwrap();
        let at = world.stage(&volume, name);
        let mut file = File::create(at.join("data")).unwrap();
        file.write_all(b"kept").unwrap();
        file.sync_all().unwrap();
        drop(file);
        assert!(world.volumes.health(&volume.id).unwrap().is_empty());
        let shut_down = Command::new("xfs_io").args(["-x", "-F", "-c", "shutdown"]).arg(&at).output().unwrap();
        assert!(shut_down.status.success(), "{shut_down:?}");
        let ailments = world.volumes.health(&volume.id).unwrap();
        let found = ailments.iter().find(|ailment| ailment.reason == "FilesystemShutDown");
        assert!(found.is_some_and(|found| found.severity == Severity::Inaccessible), "{filesystem}: {ailments:?}");
        world.volumes.unstage(&volume.id, &at).unwrap();
        world.volumes.stage(&volume.id, &at, &options()).unwrap();
        assert_eq!(fs::read_to_string(at.join("data")).unwrap(), "kept");
        assert!(world.volumes.health(&volume.id).unwrap().is_empty());
        world.volumes.unstage(&volume.id, &at).unwrap();
    }
}
