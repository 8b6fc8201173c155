//! Raw block volumes on the kernel of this machine.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use orlop_api::Bytes;
use orlop_volume::{Content, Error, MountOptions, NewVolume, Source, Volume, Volumes as _, unobserved};

use crate::{
    world::{self, Folder, World, attached_below, holding, mounts_below, options},
    writer::{Writer, holds},
};

pub const TESTS: &[(&str, fn())] = &[
    ("what is written to a block volume is there when it is staged again", data_stays),
    ("a block volume in use survives its driver", a_block_volume_in_use_survives_its_driver),
    ("a block device that is staged nowhere is detached by a new driver", an_orphan_is_detached),
    ("a block volume is read-only while all its targets are", a_block_volume_is_read_only_while_all_its_targets_are),
    ("a block volume that is published is not detached", a_block_volume_that_is_published_is_not_detached),
    ("a block volume grows online", a_block_volume_grows_online),
    ("a snapshot of a block volume in use has all that was synced", a_snapshot_of_a_block_volume_in_use),
    ("a block volume in use is in no group", a_block_volume_in_use_is_in_no_group),
];

const MIB: u64 = 1 << 20;

fn block(world: &World, name: &str) -> Volume {
    world.volumes.create(&holding(name, Bytes(16 * MIB), Content::Block)).unwrap()
}

/// Stages and publishes a volume, and returns where.
fn publish(world: &World, volume: &Volume, name: &str) -> (PathBuf, PathBuf) {
    let staged = world.stage(volume, &format!("{name}-staged"));
    let target = world.folder.path().join(name);
    world.volumes.publish(&volume.id, &staged, &target, false).unwrap();
    (staged, target)
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn data_stays() {
    let world = world::real();
    let volume = block(&world, "v");
    let (staged, target) = publish(&world, &volume, "target");
    assert!(fs::metadata(&target).unwrap().file_type().is_block_device());
    assert_eq!(world.volumes.paths(&volume.id).unwrap(), [fs::canonicalize(&target).unwrap()]);
    let device = open(&target);
    device.write_all_at(b"at the end", 16 * MIB - 10).unwrap();
    device.sync_all().unwrap();
    drop(device);
    world.volumes.unpublish(&volume.id, &target).unwrap();
    assert!(!target.exists());
    world.volumes.unstage(&volume.id, &staged).unwrap();
    assert_eq!(fs::read_dir(&staged).unwrap().count(), 0, "nothing is left in the staging directory");
    attached_below(world.folder.path(), 1, "the pool");
    fs::remove_dir(&staged).unwrap();
    let (_, target) = publish(&world, &volume, "target");
    let mut read = [0; 10];
    open(&target).read_exact_at(&mut read, 16 * MIB - 10).unwrap();
    assert_eq!(&read, b"at the end");
    let error = world.volumes.usage(&volume.id, &target).unwrap_err();
    assert!(matches!(error, Error::NotMounted { .. }), "{error}");
}

fn a_block_volume_in_use_survives_its_driver() {
    let folder = Folder::new();
    let world = World { volumes: Box::new(world::open(folder.path(), unobserved())), folder };
    let (staged_only, published) = (block(&world, "s"), block(&world, "p"));
    let staged = world.stage(&staged_only, "staged");
    let (_, target) = publish(&world, &published, "target");
    let writer = Writer::start(&target);
    let World { volumes, folder } = world;
    drop(volumes);
    let volumes = world::open(folder.path(), unobserved());
    attached_below(folder.path(), 3, "the pool and both volumes");
    writer.goes_on();
    writer.stop();
    // The kubelet does not stage again what it has staged.
    let other = folder.path().join("other");
    volumes.publish(&staged_only.id, &staged, &other, false).unwrap();
    open(&other).write_all_at(b"x", 0).unwrap();
}

fn an_orphan_is_detached() {
    let folder = Folder::new();
    let world = World { volumes: Box::new(world::open(folder.path(), unobserved())), folder };
    let volume = block(&world, "v");
    let staged = world.stage(&volume, "staged");
    for mount in mounts_below(&staged) {
        rustix::mount::unmount(mount, rustix::mount::UnmountFlags::empty()).unwrap();
    }
    let World { volumes, folder } = world;
    drop(volumes);
    attached_below(folder.path(), 2, "the pool and the volume");
    world::open(folder.path(), unobserved());
    attached_below(folder.path(), 1, "the pool");
}

fn a_block_volume_is_read_only_while_all_its_targets_are() {
    let world = world::real();
    let volume = block(&world, "v");
    let staged = world.stage(&volume, "staged");
    let [one, two] = ["one", "two"].map(|name| world.folder.path().join(name));
    let writes = |path: &Path| open(path).write_all_at(b"x", 0).is_ok();
    world.volumes.publish(&volume.id, &staged, &one, true).unwrap();
    assert!(!writes(&one));
    world.volumes.publish(&volume.id, &staged, &two, false).unwrap();
    assert!(writes(&two));
    world.volumes.unpublish(&volume.id, &two).unwrap();
    world.volumes.unpublish(&volume.id, &one).unwrap();
    world.volumes.unstage(&volume.id, &staged).unwrap();
    world.volumes.stage(&volume.id, &staged, &MountOptions::parse(&["ro"]).unwrap()).unwrap();
    world.volumes.publish(&volume.id, &staged, &one, false).unwrap();
    assert!(!writes(&one));
    let number = rustix::fs::minor(fs::metadata(&one).unwrap().rdev());
    world.volumes.unpublish(&volume.id, &one).unwrap();
    world.volumes.unstage(&volume.id, &staged).unwrap();
    let is_read_only = fs::read_to_string(format!("/sys/block/loop{number}/ro")).unwrap();
    assert_eq!(is_read_only.trim(), "0", "somebody else may get the device next");
    world.volumes.stage(&volume.id, &staged, &options()).unwrap();
    world.volumes.publish(&volume.id, &staged, &one, false).unwrap();
    assert!(writes(&one), "the device does not stay read-only");
}

fn a_block_volume_that_is_published_is_not_detached() {
    let world = world::real();
    let volume = block(&world, "v");
    let (staged, target) = publish(&world, &volume, "target");
    let error = world.volumes.unstage(&volume.id, &staged).unwrap_err();
    assert!(matches!(&error, Error::InUse { by, .. } if by.contains(&*target.to_string_lossy())), "{error}");
    let error = world.volumes.delete(&volume.id).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    open(&target).write_all_at(b"x", 0).unwrap();
    world.volumes.unpublish(&volume.id, &target).unwrap();
    world.volumes.unstage(&volume.id, &staged).unwrap();
    world.volumes.delete(&volume.id).unwrap();
}

fn a_block_volume_grows_online() {
    let world = world::real();
    let volume = block(&world, "v");
    let (_, target) = publish(&world, &volume, "target");
    let device = open(&target);
    assert!(device.write_all_at(b"x", 20 * MIB).is_err());
    for _ in 0..2 {
        assert_eq!(world.volumes.expand(&volume.id, Bytes(64 * MIB)).unwrap(), Bytes(64 * MIB));
        device.write_all_at(b"x", 64 * MIB - 1).unwrap();
    }
}

fn a_snapshot_of_a_block_volume_in_use() {
    let world = world::real();
    let wanted = holding("v", Bytes(128 * MIB), Content::Block);
    let volume = world.volumes.create(&wanted).unwrap();
    let (_, target) = publish(&world, &volume, "target");
    let writer = Writer::start(&target);
    for number in 0..5 {
        let written = writer.written();
        let snapshot = world.volumes.snapshot(&number.to_string(), &volume.id).unwrap();
        let source = Some(Source::Snapshot(snapshot.id));
        let restored = NewVolume { source, ..holding(&format!("r{number}"), Bytes(130 * MIB), Content::Block) };
        let restored = world.volumes.create(&restored).unwrap();
        let (_, at) = publish(&world, &restored, &format!("restored-{number}"));
        holds(&at, written);
        open(&at).write_all_at(b"x", 130 * MIB - 1).unwrap();
    }
    writer.stop();
    assert!(world.volumes.frozen_times().is_empty(), "nobody can freeze it");
}

fn a_block_volume_in_use_is_in_no_group() {
    let world = world::real();
    let volume = block(&world, "v");
    world.volumes.snapshot_group("while it is not in use", std::slice::from_ref(&volume.id)).unwrap();
    publish(&world, &volume, "target");
    let error = world.volumes.snapshot_group("g", std::slice::from_ref(&volume.id)).unwrap_err();
    assert!(matches!(&error, Error::CannotFreeze(id) if *id == volume.id), "{error}");
}
