//! What every implementation of `Volumes` promises.

use std::{thread, time::Duration};

use orlop_api::Bytes;
use orlop_volume::{Content, Error, Filesystem, NewVolume, NodeTag, Snapshot, SnapshotId, Source, VolumeId};

use crate::world::{self, World, holding, new, options};

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
    ("a snapshot is there from its taking to its deletion", a_snapshot_is_there_from_its_taking_to_its_deletion),
    ("a name of a snapshot is one volume's", a_name_of_a_snapshot_is_one_volumes),
    ("a volume starts with what a snapshot holds", a_volume_starts_with_what_a_snapshot_holds),
    ("a source that does not fit is refused", a_source_that_does_not_fit_is_refused),
    ("snapshots and clones outlive their source", snapshots_and_clones_outlive_their_source),
    ("the time that a volume in use is frozen is told once", the_time_that_a_volume_is_frozen_is_told_once),
    ("a group is all of its snapshots or none", a_group_is_all_of_its_snapshots_or_none),
    ("a snapshot of a group goes with its group", a_snapshot_of_a_group_goes_with_its_group),
    ("a block volume is staged and published as a device", a_block_volume_is_staged_and_published_as_a_device),
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
    for filesystem in [Filesystem::Xfs, Filesystem::Ext4, Filesystem::Btrfs] {
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

fn a_snapshot_is_there_from_its_taking_to_its_deletion(world: &World) {
    let volume = world.volume("v");
    let snapshot = world.volumes.snapshot("s", &volume.id).unwrap();
    let expected =
        Snapshot { volume: volume.id.clone(), size: volume.size, content: volume.content, ..snapshot.clone() };
    assert_eq!(snapshot, expected);
    assert!(snapshot.group.is_none() && snapshot.taken.elapsed().unwrap() < Duration::from_mins(1));
    assert_eq!(world.volumes.snapshot("s", &volume.id).unwrap(), snapshot, "taken once");
    assert_eq!(world.volumes.get_snapshot(&snapshot.id).unwrap(), snapshot);
    let other = world.volumes.snapshot("t", &volume.id).unwrap();
    let mut both = [snapshot.clone(), other];
    both.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(world.volumes.list_snapshots().unwrap(), both);
    for _ in 0..2 {
        world.volumes.delete_snapshot(&snapshot.id).unwrap();
    }
    assert!(matches!(world.volumes.get_snapshot(&snapshot.id), Err(Error::NoSnapshot(_))));
    assert_eq!(world.volumes.list_snapshots().unwrap().len(), 1);
}

fn a_name_of_a_snapshot_is_one_volumes(world: &World) {
    let (one, two) = (world.volume("one"), world.volume("two"));
    world.volumes.snapshot("s", &one.id).unwrap();
    let error = world.volumes.snapshot("s", &two.id).unwrap_err();
    assert!(matches!(&error, Error::Conflict { name, .. } if name == "s"), "{error}");
    let missing = VolumeId::derive(&NodeTag::of("another-node"), "v");
    assert!(matches!(world.volumes.snapshot("t", &missing), Err(Error::NotFound(_))));
}

/// A new volume of that size that starts with what `source` holds.
fn from(source: Source, name: &str, size: Bytes) -> NewVolume {
    NewVolume { source: Some(source), ..new(name, size, Filesystem::Xfs) }
}

fn a_volume_starts_with_what_a_snapshot_holds(world: &World) {
    let volume = world.volume("v");
    let snapshot = world.volumes.snapshot("s", &volume.id).unwrap();
    let source = Source::Snapshot(snapshot.id.clone());
    let wanted = from(source.clone(), "restored", Bytes(700 * MIB));
    let restored = world.volumes.create(&wanted).unwrap();
    assert_eq!((restored.size, &restored.source), (Bytes(700 * MIB), &Some(source.clone())));
    assert_eq!(world.volumes.create(&wanted).unwrap(), restored);
    let error = world.volumes.create(&new("restored", Bytes(700 * MIB), Filesystem::Xfs)).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "an empty one is something else: {error}");
    let error = world.volumes.create(&from(source, "v", volume.size)).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let staged = world.stage(&restored, "staged");
    let total = world.volumes.usage(&restored.id, &staged).unwrap().total;
    assert!(total.0 > 600 * MIB, "the filesystem has grown with the volume: {}", total.human());
}

fn a_source_that_does_not_fit_is_refused(world: &World) {
    let volume = world.volume("v");
    let snapshot = world.volumes.snapshot("s", &volume.id).unwrap();
    let elsewhere = NodeTag::of("another-node");
    for source in [Source::Snapshot(snapshot.id.clone()), Source::Volume(volume.id.clone())] {
        let error = world.volumes.create(&from(source.clone(), "small", Bytes(511 * MIB))).unwrap_err();
        assert!(matches!(error, Error::TooSmall { minimum: Bytes(536_870_912), .. }), "{error}");
        for content in [Content::Block, Content::Filesystem(Filesystem::Ext4)] {
            let error = world.volumes.create(&NewVolume { content, ..from(source.clone(), "other", volume.size) });
            assert!(matches!(error, Err(Error::SourceDiffers { .. })), "{error:?}");
        }
    }
    let missing = [
        Source::Snapshot(SnapshotId::derive(&elsewhere, "s")),
        Source::Volume(VolumeId::derive(&elsewhere, "v")),
        // Itself, which is not there yet.
        Source::Volume(VolumeId::derive(&world::tag(), "new")),
    ];
    for source in missing {
        let error = world.volumes.create(&from(source, "new", volume.size)).unwrap_err();
        assert!(matches!(error, Error::SourceMissing(_)), "{error}");
    }
    assert_eq!(world.volumes.list().unwrap(), [volume]);
}

fn snapshots_and_clones_outlive_their_source(world: &World) {
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    let snapshot = world.volumes.snapshot("s", &volume.id).unwrap();
    let clone = world.volumes.create(&from(Source::Volume(volume.id.clone()), "clone", volume.size)).unwrap();
    world.volumes.unstage(&volume.id, &staged).unwrap();
    world.volumes.delete(&volume.id).unwrap();
    assert_eq!(world.volumes.get_snapshot(&snapshot.id).unwrap(), snapshot);
    assert_eq!(world.volumes.snapshot("s", &volume.id).unwrap(), snapshot, "asked for again");
    let source = Source::Snapshot(snapshot.id.clone());
    let restored = world.volumes.create(&from(source, "restored", volume.size)).unwrap();
    world.volumes.delete_snapshot(&snapshot.id).unwrap();
    world.stage(&restored, "restored");
    world.stage(&clone, "clone");
}

fn the_time_that_a_volume_is_frozen_is_told_once(world: &World) {
    let volume = world.volume("v");
    world.volumes.snapshot("before", &volume.id).unwrap();
    assert!(world.volumes.frozen_times().is_empty(), "one that is not in use is not frozen");
    world.stage(&volume, "staged");
    world.volumes.snapshot("s", &volume.id).unwrap();
    world.volumes.create(&from(Source::Volume(volume.id), "clone", volume.size)).unwrap();
    assert_eq!(world.volumes.frozen_times().len(), 2);
    assert!(world.volumes.frozen_times().is_empty());
}

fn a_group_is_all_of_its_snapshots_or_none(world: &World) {
    let (one, two, three) = (world.volume("one"), world.volume("two"), world.volume("three"));
    world.stage(&one, "staged");
    let missing = VolumeId::derive(&NodeTag::of("another-node"), "v");
    let error = world.volumes.snapshot_group("g", &[one.id.clone(), missing]).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert!(world.volumes.list_snapshots().unwrap().is_empty());
    let group = world.volumes.snapshot_group("g", &[two.id.clone(), one.id.clone(), two.id.clone()]).unwrap();
    let mut volumes = [one.id.clone(), two.id.clone()];
    volumes.sort();
    assert!(group.snapshots.iter().map(|snapshot| &snapshot.volume).eq(&volumes), "{group:?}");
    assert!(group.snapshots.iter().all(|snapshot| snapshot.group.as_ref() == Some(&group.id)));
    assert_eq!(world.volumes.snapshot_group("g", &volumes).unwrap(), group);
    assert_eq!(world.volumes.get_group(&group.id).unwrap(), group);
    for other in [vec![one.id.clone()], vec![one.id, two.id, three.id]] {
        let error = world.volumes.snapshot_group("g", &other).unwrap_err();
        assert!(matches!(&error, Error::Conflict { name, .. } if name == "g"), "{error}");
    }
    assert_eq!(world.volumes.list_snapshots().unwrap().len(), 2);
}

fn a_snapshot_of_a_group_goes_with_its_group(world: &World) {
    let volume = world.volume("v");
    let group = world.volumes.snapshot_group("g", std::slice::from_ref(&volume.id)).unwrap();
    let alone = world.volumes.snapshot("s", &volume.id).unwrap();
    let member = &group.snapshots[0];
    assert_eq!(world.volumes.get_snapshot(&member.id).unwrap(), *member);
    let error = world.volumes.delete_snapshot(&member.id).unwrap_err();
    assert!(matches!(&error, Error::InGroup { group: of, .. } if *of == group.id), "{error}");
    let source = Source::Snapshot(member.id.clone());
    let restored = world.volumes.create(&from(source, "restored", volume.size)).unwrap();
    for _ in 0..2 {
        world.volumes.delete_group(&group.id).unwrap();
    }
    assert!(matches!(world.volumes.get_group(&group.id), Err(Error::NoGroup(_))));
    assert_eq!(world.volumes.list_snapshots().unwrap(), [alone]);
    world.volumes.delete_snapshot(&member.id).unwrap();
    world.stage(&restored, "staged");
}

fn a_block_volume_is_staged_and_published_as_a_device(world: &World) {
    let volume = world.volumes.create(&holding("v", Bytes(MIB), Content::Block)).unwrap();
    let (staged, elsewhere) = (world.directory("staged"), world.directory("elsewhere"));
    let [one, two] = ["one", "two"].map(|name| world.folder.path().join(name));
    let error = world.volumes.publish(&volume.id, &staged, &one, false).unwrap_err();
    assert!(matches!(error, Error::NotStaged { .. }), "{error}");
    for _ in 0..2 {
        world.volumes.stage(&volume.id, &staged, &options()).unwrap();
    }
    let error = world.volumes.publish(&volume.id, &elsewhere, &one, false).unwrap_err();
    assert!(matches!(error, Error::NotStaged { .. }), "{error}");
    let other = world.volume("other");
    let error = world.volumes.stage(&other.id, &staged, &options()).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert!(world.volumes.paths(&volume.id).unwrap().is_empty());
    for target in [&one, &one, &two] {
        world.volumes.publish(&volume.id, &staged, target, false).unwrap();
    }
    assert_eq!(world.volumes.paths(&volume.id).unwrap().len(), 2);
    for target in [&one, &one, &two] {
        world.volumes.unpublish(&volume.id, target).unwrap();
        assert!(!target.exists());
    }
    for _ in 0..2 {
        world.volumes.unstage(&volume.id, &staged).unwrap();
    }
    world.volumes.delete(&volume.id).unwrap();
}
