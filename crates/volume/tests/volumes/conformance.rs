//! What every implementation of `Volumes` promises.

use std::{thread, time::Duration};

use orlop_api::Bytes;
use orlop_volume::{Error, Filesystem, NewVolume, NodeTag, VolumeId};

use crate::world::{World, new, options};

/// What a test does with the volumes that it is given.
type Test = fn(&World);

pub const TESTS: &[(&str, Test)] = &[
    ("a volume is there from its creation to its deletion", a_volume_is_there_from_its_creation_to_its_deletion),
    ("creating again finds the volume that is there", creating_again_finds_the_volume_that_is_there),
    ("a name that is taken by something else is refused", a_name_that_is_taken_by_something_else_is_refused),
    ("a size that the filesystem cannot have is refused", a_size_that_the_filesystem_cannot_have_is_refused),
    ("no more is promised than there is", no_more_is_promised_than_there_is),
    ("no room is promised twice at a time", no_room_is_promised_twice_at_a_time),
    ("deleting gives the room back", deleting_gives_the_room_back),
    ("what is mounted is not deleted", what_is_mounted_is_not_deleted),
    ("mounting and unmounting may be repeated", mounting_and_unmounting_may_be_repeated),
    ("only what is staged is published", only_what_is_staged_is_published),
    ("one volume does not cover another", one_volume_does_not_cover_another),
    ("a volume grows and is never shrunk", a_volume_grows_and_is_never_shrunk),
    ("growth beyond the pool is refused", growth_beyond_the_pool_is_refused),
    ("usage is that of a mounted volume", usage_is_that_of_a_mounted_volume),
    ("what is not there is said to be not there", what_is_not_there_is_said_to_be_not_there),
];

const MIB: u64 = 1 << 20;

fn a_volume_is_there_from_its_creation_to_its_deletion(world: &World) {
    let volume = world.volumes.create(&new("v", Bytes(300 * MIB + 1), Filesystem::Xfs)).unwrap();
    assert_eq!(volume.size, Bytes(301 * MIB), "sizes are whole MiB, rounded up");
    assert_eq!(world.volumes.get(&volume.id).unwrap(), volume);
    assert_eq!(world.volumes.list().unwrap(), std::slice::from_ref(&volume));
    world.volumes.delete(&volume.id).unwrap();
    assert!(matches!(world.volumes.get(&volume.id), Err(Error::NotFound(_))));
    assert!(world.volumes.list().unwrap().is_empty());
    world.volumes.delete(&volume.id).unwrap();
}

fn creating_again_finds_the_volume_that_is_there(world: &World) {
    let volume = world.volume("v");
    assert_eq!(world.volume("v"), volume);
    let larger = world.volumes.expand(&volume.id, Bytes(700 * MIB)).unwrap();
    assert_eq!(world.volume("v").size, larger, "one that has grown is still the one that is asked for");
}

fn a_name_that_is_taken_by_something_else_is_refused(world: &World) {
    world.volume("v");
    let other = new("v", Bytes(512 * MIB), Filesystem::Ext4);
    let larger = new("v", Bytes(513 * MIB), Filesystem::Xfs);
    let smaller = NewVolume { at_most: Some(Bytes(400 * MIB)), ..new("v", Bytes(300 * MIB), Filesystem::Xfs) };
    for taken in [other, larger, smaller] {
        let error = world.volumes.create(&taken).unwrap_err();
        assert!(matches!(&error, Error::Conflict { name, .. } if name == "v"), "{error}");
    }
}

fn a_size_that_the_filesystem_cannot_have_is_refused(world: &World) {
    for filesystem in [Filesystem::Xfs, Filesystem::Ext4] {
        let minimum = filesystem.minimum();
        let error = world.volumes.create(&new("v", Bytes(minimum.0 - MIB), filesystem)).unwrap_err();
        assert!(matches!(error, Error::TooSmall { .. }), "{error}");
        assert!(error.to_string().contains(&format!("ask for {minimum}")), "{error}");
        world.volumes.create(&new(filesystem.name(), minimum, filesystem)).unwrap();
    }
}

fn no_more_is_promised_than_there_is(world: &World) {
    let available = world.volumes.pool().map(|pool| pool.available_thin).unwrap().round_down(Bytes::MIB);
    let error = world.volumes.create(&new("v", Bytes(available.0 + MIB), Filesystem::Xfs)).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert!(world.volumes.list().unwrap().is_empty());
    world.volumes.create(&new("most", Bytes(available.0 - 400 * MIB), Filesystem::Xfs)).unwrap();
    let error = world.volumes.create(&new("v", Bytes(512 * MIB), Filesystem::Xfs)).unwrap_err();
    assert!(matches!(error, Error::NoRoom { asked: Bytes(536_870_912), .. }), "{error}");
}

fn no_room_is_promised_twice_at_a_time(world: &World) {
    let fit = world.volumes.pool().map(|pool| pool.available_thin).unwrap().0 / Bytes::GIB.0;
    let made = thread::scope(|scope| {
        let create = |n: u64| world.volumes.create(&new(&n.to_string(), Bytes::GIB, Filesystem::Xfs));
        let threads: Vec<_> = (0..fit + 6).map(|n| scope.spawn(move || create(n))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).count()
    });
    assert_eq!(made as u64, fit);
    assert_eq!(world.volumes.list().unwrap().len(), made);
}

fn deleting_gives_the_room_back(world: &World) {
    let before = world.volumes.pool().map(|pool| pool.available_thin).unwrap();
    let volume = world.volume("v");
    let during = world.volumes.pool().map(|pool| pool.available_thin).unwrap();
    assert!(during.0 + 500 * MIB < before.0, "{} of {}", during.human(), before.human());
    world.volumes.delete(&volume.id).unwrap();
    // XFS frees the blocks of a removed file in the background.
    let after = || world.volumes.pool().map(|pool| pool.available_thin).unwrap();
    let given_back = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        after().0 + MIB > before.0
    });
    assert!(given_back, "{} of {}", after().human(), before.human());
}

fn what_is_mounted_is_not_deleted(world: &World) {
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    let error = world.volumes.delete(&volume.id).unwrap_err();
    assert!(matches!(&error, Error::InUse { by, .. } if by.contains(&*staged.to_string_lossy())), "{error}");
    world.volumes.get(&volume.id).unwrap();
    world.volumes.unstage(&volume.id, &staged).unwrap();
    world.volumes.delete(&volume.id).unwrap();
}

fn mounting_and_unmounting_may_be_repeated(world: &World) {
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    let target = world.folder.path().join("target");
    world.volumes.stage(&volume.id, &staged, &options()).unwrap();
    for _ in 0..2 {
        world.volumes.publish(&volume.id, &staged, &target, false).unwrap();
    }
    for _ in 0..2 {
        world.volumes.unpublish(&volume.id, &target).unwrap();
    }
    assert!(!target.exists(), "the target is the driver's to remove");
    for _ in 0..2 {
        world.volumes.unstage(&volume.id, &staged).unwrap();
    }
    world.volumes.delete(&volume.id).unwrap();
}

fn only_what_is_staged_is_published(world: &World) {
    let volume = world.volume("v");
    let elsewhere = world.directory("elsewhere");
    let target = world.folder.path().join("target");
    let error = world.volumes.publish(&volume.id, &elsewhere, &target, false).unwrap_err();
    assert!(matches!(error, Error::NotStaged { .. }), "{error}");
    world.stage(&volume, "staged");
    let error = world.volumes.publish(&volume.id, &elsewhere, &target, false).unwrap_err();
    assert!(matches!(error, Error::NotStaged { .. }), "{error}");
}

fn one_volume_does_not_cover_another(world: &World) {
    let (one, two) = (world.volume("one"), world.volume("two"));
    let staged = world.stage(&one, "staged");
    let error = world.volumes.stage(&two.id, &staged, &options()).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    let error = world.volumes.unstage(&two.id, &staged).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    world.volumes.usage(&one.id, &staged).unwrap();
}

fn a_volume_grows_and_is_never_shrunk(world: &World) {
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    assert_eq!(world.volumes.expand(&volume.id, Bytes(1024 * MIB - 5)).unwrap(), Bytes(1024 * MIB));
    let usage = world.volumes.usage(&volume.id, &staged).unwrap();
    assert!(usage.total.0 > 900 * MIB, "{}", usage.total.human());
    assert_eq!(world.volumes.expand(&volume.id, Bytes(600 * MIB)).unwrap(), Bytes(1024 * MIB));
    assert_eq!(world.volumes.get(&volume.id).unwrap().size, Bytes(1024 * MIB));
}

fn growth_beyond_the_pool_is_refused(world: &World) {
    let volume = world.volume("v");
    let available = world.volumes.pool().map(|pool| pool.available_thin).unwrap();
    let error = world.volumes.expand(&volume.id, Bytes(volume.size.0 + available.0 + 2 * MIB)).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert_eq!(world.volumes.get(&volume.id).unwrap().size, volume.size);
}

fn usage_is_that_of_a_mounted_volume(world: &World) {
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    let usage = world.volumes.usage(&volume.id, &staged).unwrap();
    assert!(usage.total <= volume.size && usage.available.0 > 0 && usage.available <= usage.total, "{usage:?}");
    assert!(usage.free_inodes > 0 && usage.free_inodes <= usage.total_inodes, "{usage:?}");
    world.volumes.unstage(&volume.id, &staged).unwrap();
    let error = world.volumes.usage(&volume.id, &staged).unwrap_err();
    assert!(matches!(error, Error::NotMounted { .. }), "{error}");
}

fn what_is_not_there_is_said_to_be_not_there(world: &World) {
    let id = VolumeId::derive(&NodeTag::of("another-node"), "v");
    let path = world.directory("path");
    let target = world.folder.path().join("target");
    assert!(matches!(world.volumes.get(&id), Err(Error::NotFound(_))));
    assert!(matches!(world.volumes.stage(&id, &path, &options()), Err(Error::NotFound(_))));
    assert!(matches!(world.volumes.publish(&id, &path, &target, false), Err(Error::NotFound(_))));
    assert!(matches!(world.volumes.expand(&id, Bytes::GIB), Err(Error::NotFound(_))));
    assert!(matches!(world.volumes.usage(&id, &path), Err(Error::NotFound(_))));
    world.volumes.unpublish(&id, &target).unwrap();
    world.volumes.unstage(&id, &path).unwrap();
    world.volumes.delete(&id).unwrap();
}
