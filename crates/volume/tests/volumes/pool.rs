//! Pools of each kind, what they promise, and what is said when one vanishes or fails.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use orlop_api::Bytes;
use orlop_volume::{
    Content, Error, Filesystem, LocalVolumes, MountOptions, NewVolume, Overcommit, Pool, PoolDevice, PoolFile,
    Provisioning, Snapshots as _, Upkeep as _, Volume, VolumeId, Volumes as _, unobserved,
};
use rustix::{
    fs::{FallocateFlags, fallocate, syncfs},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount},
};

use crate::world::{self, Folder, World, holding, new, options};

pub const TESTS: &[(&str, fn())] = &[
    ("pool: a thick volume can be written whatever else fills the pool", a_thick_volume_can_be_written_in_a_full_pool),
    ("pool: a thick volume grows thick and keeps its bytes", a_thick_volume_grows_thick_and_keeps_its_bytes),
    ("pool: a snapshot asks for the room of what it shares", a_snapshot_asks_for_the_room_of_what_it_shares),
    ("pool: overcommitment is for thin volumes", overcommitment_is_for_thin_volumes),
    ("pool: what was deleted in a thin volume goes back to the pool", what_was_deleted_goes_back_to_the_pool),
    ("pool: nothing is written below a mount that has vanished", nothing_is_written_below_a_mount_that_has_vanished),
    ("pool: a read-only pool says so", a_read_only_pool_says_so),
    ("pool: a damaged volume is told from a well one", a_damaged_volume_is_told_from_a_well_one),
    ("pool: a pool file is enlarged", a_pool_file_is_enlarged),
    ("pool: only a blank device becomes a pool", only_a_blank_device_becomes_a_pool),
    ("pool: a thick volume keeps its room on btrfs too", a_thick_volume_keeps_its_room_on_btrfs_too),
];

const MIB: u64 = 1 << 20;

fn thick(name: &str, size: Bytes, content: Content) -> NewVolume {
    NewVolume { provisioning: Provisioning::Thick, ..holding(name, size, content) }
}

pub fn image(folder: &Folder, id: &VolumeId) -> PathBuf {
    folder.path().join("pool/volumes").join(id.as_str()).join("image")
}

pub fn allocated(folder: &Folder, id: &VolumeId) -> u64 {
    fs::metadata(image(folder, id)).unwrap().blocks() * 512
}

/// Takes room in the pool from outside, until so much is left.
pub fn fill(folder: &Folder, left: u64) {
    let pool = folder.path().join("pool");
    let stat = rustix::fs::statvfs(&pool).unwrap();
    let other = OpenOptions::new().create(true).append(true).open(pool.join("other")).unwrap();
    let mut start = other.metadata().unwrap().len();
    let mut more = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
    let mut part = more;
    // A filesystem keeps a little to itself, and may find less than it said.
    while more > 0 && part >= 8 * MIB {
        match fallocate(&other, FallocateFlags::empty(), start, part) {
            Ok(()) => (start, more, part) = (start + part, more - part, part.min(more - part)),
            Err(error) => {
                assert_eq!(error, Errno::NOSPC);
                part /= 2;
            }
        }
    }
}

pub fn empty(folder: &Folder) {
    let pool = folder.path().join("pool");
    fs::remove_file(pool.join("other")).unwrap();
    // A btrfs gives the room back when it next commits.
    syncfs(File::open(pool).unwrap()).unwrap();
}

pub fn reasons(world: &World) -> Vec<&'static str> {
    world.volumes.pool().unwrap().ailments.iter().map(|ailment| ailment.reason).collect()
}

fn a_thick_volume_can_be_written_in_a_full_pool() {
    let world = world::real();
    let before = world.volumes.pool().unwrap().available_thick;
    let volume = world.volumes.create(&thick("v", Bytes(512 * MIB), Content::Filesystem(Filesystem::Xfs))).unwrap();
    assert!(allocated(&world.folder, &volume.id) >= 512 * MIB, "all its bytes are there");
    let pool = world.volumes.pool().unwrap();
    assert_eq!(pool.outstanding, Bytes(0));
    let taken = before.0 - pool.available_thick.0;
    assert!((510 * MIB..520 * MIB).contains(&taken), "{}", Bytes(taken).human());
    let at = world.stage(&volume, "staged");
    fill(&world.folder, 0);
    let data = vec![7; 400 << 20];
    fs::write(at.join("data"), &data).unwrap();
    File::open(at.join("data")).unwrap().sync_all().unwrap();
    assert!(fs::read(at.join("data")).unwrap() == data);
    assert!(world.volumes.health(&volume.id).unwrap().is_empty(), "a full pool does not concern it");
}

fn a_thick_volume_grows_thick_and_keeps_its_bytes() {
    let world = world::real();
    let volume = world.volumes.create(&thick("v", Bytes(512 * MIB), Content::Filesystem(Filesystem::Ext4))).unwrap();
    let discard = MountOptions::parse(&["discard"]).unwrap();
    let at = world.directory("staged");
    let error = world.volumes.stage(&volume.id, &at, &discard).unwrap_err();
    assert!(matches!(error, Error::MountOption(..)), "{error}");
    world.volumes.expand(&volume.id, Bytes(1024 * MIB)).unwrap();
    assert!(allocated(&world.folder, &volume.id) >= 1024 * MIB);
    world.volumes.stage(&volume.id, &at, &options()).unwrap();
    fs::write(at.join("data"), vec![7; 64 << 20]).unwrap();
    fs::remove_file(at.join("data")).unwrap();
    assert!(!world.volumes.trim(&volume.id).unwrap());
    // Nor when somebody else asks for it.
    let refused = Command::new("fstrim").arg(&at).output().unwrap();
    assert!(!refused.status.success());
    assert!(allocated(&world.folder, &volume.id) >= 1024 * MIB);
    // What is lost all the same is counted, and comes back when the volume is staged.
    world.volumes.unstage(&volume.id, &at).unwrap();
    let file = OpenOptions::new().write(true).open(image(&world.folder, &volume.id)).unwrap();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 900 * MIB, 100 * MIB).unwrap();
    assert!(world.volumes.pool().unwrap().outstanding > Bytes(99 * MIB));
    world.volumes.stage(&volume.id, &at, &options()).unwrap();
    assert_eq!(world.volumes.pool().unwrap().outstanding, Bytes(0));
    let available = world.volumes.pool().unwrap().available_thick;
    let error = world.volumes.expand(&volume.id, Bytes(available.0 + 1100 * MIB)).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
}

fn a_snapshot_asks_for_the_room_of_what_it_shares() {
    let world = world::real();
    let volume = world.volumes.create(&holding("v", Bytes(1024 * MIB), Content::Block)).unwrap();
    let file = OpenOptions::new().write(true).open(image(&world.folder, &volume.id)).unwrap();
    let write = |from: u64, mib: u64| {
        for part in from..from + mib {
            file.write_all_at(&vec![7; 1 << 20], part * MIB).unwrap();
        }
        file.sync_all().unwrap();
    };
    let outstanding = || world.volumes.pool().unwrap().outstanding.0 / MIB;
    assert_eq!(outstanding(), 1024, "holes");
    write(0, 600);
    assert_eq!(outstanding(), 424);
    let snapshot = world.volumes.snapshot("s", &volume.id).unwrap();
    assert_eq!(outstanding(), 1024, "shared");
    assert_eq!(world.volumes.pool().unwrap().shared, Bytes(600 * MIB));
    write(0, 300);
    // What shares less and less is looked at again after a minute only.
    world.volumes.delete_snapshot(&snapshot.id).unwrap();
    assert_eq!(outstanding(), 424);

    // Room for the volume, and none for a copy of what it holds.
    let pool = world.volumes.pool().unwrap();
    let rest = Bytes(pool.available_thin.0 - 200 * MIB).round_down(Bytes::MIB);
    world.volumes.create(&holding("rest", rest, Content::Block)).unwrap();
    let error = world.volumes.snapshot("t", &volume.id).unwrap_err();
    let Error::NoRoom { asked, available } = error else { panic!("{error}") };
    assert_eq!(asked, Bytes(600 * MIB));
    assert!(available < Bytes(202 * MIB), "{available}");
    assert!(world.volumes.list_snapshots().unwrap().is_empty());
}

fn overcommitment_is_for_thin_volumes() {
    let folder = Folder::new();
    let root = folder.path().join("pool");
    PoolFile { path: folder.path().join("pool.img"), size: world::POOL }.mount(&root).unwrap();
    let pool = Pool::open(&root, "2".parse::<Overcommit>().unwrap()).unwrap();
    let volumes = LocalVolumes::open(pool, world::tag(), unobserved(), None).unwrap();
    let before = volumes.pool().unwrap();
    assert_eq!(before.available_thin.0 / 2, before.available_thick.0);
    volumes.create(&holding("thin", Bytes(4096 * MIB), Content::Block)).unwrap();
    let after = volumes.pool().unwrap();
    let taken = before.available_thick.0 - after.available_thick.0;
    assert!((2048 * MIB..2050 * MIB).contains(&taken), "half of it: {}", Bytes(taken).human());
    let error = volumes.create(&thick("thick", Bytes(2560 * MIB), Content::Block)).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert!(after.ailments.iter().any(|ailment| ailment.reason == "PoolLow"), "more may be taken than there is");
}

fn what_was_deleted_goes_back_to_the_pool() {
    let world = world::real();
    for (name, filesystem) in [("x", Filesystem::Xfs), ("e", Filesystem::Ext4)] {
        let volume = world.volumes.create(&new(name, Bytes(512 * MIB), filesystem)).unwrap();
        assert!(!world.volumes.trim(&volume.id).unwrap(), "not mounted");
        let at = world.stage(&volume, name);
        let mut file = File::create(at.join("data")).unwrap();
        file.write_all(&vec![7; 128 << 20]).unwrap();
        file.sync_all().unwrap();
        let full = allocated(&world.folder, &volume.id);
        fs::remove_file(at.join("data")).unwrap();
        drop(file);
        rustix::fs::sync();
        // XFS frees what a removed file held a moment later, and waits for no discard.
        let is_back = world::soon(|| {
            assert!(world.volumes.trim(&volume.id).unwrap());
            allocated(&world.folder, &volume.id) < full - 120 * MIB
        });
        let left = Bytes(allocated(&world.folder, &volume.id));
        assert!(is_back, "{filesystem}: {} of {}", left.human(), Bytes(full).human());
        world.volumes.unstage(&volume.id, &at).unwrap();
    }
}

fn nothing_is_written_below_a_mount_that_has_vanished() {
    let world = world::real();
    let volume = world.volume("v");
    let root = world.folder.path().join("pool");
    unmount(&root, UnmountFlags::DETACH).unwrap();
    let told = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Pool { .. }) && error.to_string().contains("not mounted"), "{error}");
    };
    told(world.volumes.create(&new("w", Bytes(512 * MIB), Filesystem::Xfs)).map(drop));
    told(world.volumes.get(&volume.id).map(drop));
    told(world.volumes.delete(&volume.id));
    told(world.volumes.list().map(drop));
    told(world.volumes.expand(&volume.id, Bytes(1 << 30)).map(drop));
    told(world.volumes.snapshot("s", &volume.id).map(drop));
    told(world.volumes.list_snapshots().map(drop));
    told(world.volumes.watch_pool().map(drop));
    assert_eq!(reasons(&world), ["PoolGone"]);
    assert!(world.volumes.health(&volume.id).unwrap().iter().any(|ailment| ailment.reason == "PoolGone"));
    // Another filesystem in its place is not it either.
    fs::create_dir_all(root.join("volumes")).unwrap();
    told(world.volumes.create(&new("w", Bytes(512 * MIB), Filesystem::Xfs)).map(drop));
    told(world.volumes.delete(&volume.id));
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["volumes"]);
    assert_eq!(fs::read_dir(root.join("volumes")).unwrap().count(), 0);
}

fn a_read_only_pool_says_so() {
    let world = world::real();
    let volume = world.volume("v");
    let root = world.folder.path().join("pool");
    mount_bind(&root, &root).unwrap();
    mount_remount(&root, MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
    let error = world.volumes.create(&new("w", Bytes(512 * MIB), Filesystem::Xfs)).unwrap_err();
    assert!(matches!(error, Error::Pool { .. }) && error.to_string().contains("read-only"), "{error}");
    let pool = world.volumes.pool().unwrap();
    assert_eq!((pool.available_thin, pool.available_thick), (Bytes(0), Bytes(0)));
    assert_eq!(pool.ailments[0].reason, "PoolReadOnly");
    world.volumes.get(&volume.id).unwrap();
}

fn a_damaged_volume_is_told_from_a_well_one() {
    let world = world::real();
    let [well, short, missing, damaged] = ["well", "short", "missing", "damaged"].map(|name| world.volume(name));
    let image = |volume: &Volume| image(&world.folder, &volume.id);
    OpenOptions::new().write(true).open(image(&short)).unwrap().set_len(MIB).unwrap();
    fs::remove_file(image(&missing)).unwrap();
    fs::write(image(&damaged).with_file_name("volume.json"), "{").unwrap();
    let reason = |volume: &Volume| -> Vec<_> {
        world.volumes.health(&volume.id).unwrap().iter().map(|ailment| ailment.reason).collect()
    };
    assert!(reason(&well).is_empty());
    assert_eq!(reason(&short), ["ImageShort"]);
    assert_eq!(reason(&missing), ["ImageMissing"]);
    assert_eq!(reason(&damaged), ["RecordDamaged"]);
    let all = world.volumes.health_of_all().unwrap();
    assert_eq!(all.len(), 4, "also those that cannot be listed");
    for volume in [&well, &short, &missing, &damaged] {
        assert_eq!(*all[&volume.id].as_ref().unwrap(), world.volumes.health(&volume.id).unwrap(), "{}", volume.name);
    }
    world.volumes.delete(&well.id).unwrap();
    assert!(matches!(world.volumes.health(&well.id), Err(Error::NotFound(_))));
}

fn a_pool_file_is_enlarged() {
    let folder = Folder::new();
    let root = folder.path().join("pool");
    // As in a container, where the directory is a mount itself.
    fs::create_dir(&root).unwrap();
    mount_bind(&root, &root).unwrap();
    let file = |gib: u64| PoolFile { path: folder.path().join("pool.img"), size: Bytes(gib << 30) };
    let total = || {
        let stat = rustix::fs::statvfs(&root).unwrap();
        stat.f_blocks * stat.f_frsize
    };
    file(1).mount(&root).unwrap();
    fs::write(root.join("data"), "kept").unwrap();
    let small = total();
    file(3).mount(&root).unwrap();
    assert!(total() > small + (2 << 30) - (64 << 20), "online, from {small} to {}", total());
    assert!(world::unmounts(&root));
    file(4).mount(&root).unwrap();
    assert!(total() > small + (3 << 30) - (64 << 20), "while it was not mounted");
    file(1).mount(&root).unwrap();
    assert!(total() > small + (3 << 30) - (64 << 20), "it is never shrunk");
    assert_eq!(fs::read_to_string(root.join("data")).unwrap(), "kept");
}

/// A loop device with an empty file of that size, detached when it goes.
struct Disk(PathBuf);

impl Disk {
    fn new(folder: &Folder, name: &str, size: u64) -> Self {
        let file = folder.path().join(name);
        File::create(&file).unwrap().set_len(size).unwrap();
        let found = Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&file).output().unwrap();
        assert!(found.status.success(), "{found:?}");
        Self(String::from_utf8(found.stdout).unwrap().trim().into())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

fn run(tool: &str, arguments: &[&str], object: &Path) {
    let output = Command::new(tool).args(arguments).arg(object).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn only_a_blank_device_becomes_a_pool() {
    let folder = Folder::new();
    let root = folder.path().join("pool");
    let refused = |disk: &Disk| {
        let error = PoolDevice { path: disk.0.clone() }.mount(&root).unwrap_err();
        assert!(matches!(error, Error::Pool { .. }) && error.to_string().contains("wipe"), "{error}");
        assert!(world::mounts_below(&root).is_empty());
        error.to_string()
    };
    let foreign = Disk::new(&folder, "foreign", 512 * MIB);
    run("mkfs.ext4", &["-q"], &foreign.0);
    assert!(refused(&foreign).contains("holds ext4"));
    let unknown = Disk::new(&folder, "unknown", 512 * MIB);
    for offset in [MIB - 1, 511 * MIB] {
        let device = OpenOptions::new().write(true).open(&unknown.0).unwrap();
        device.write_all_at(&[1], offset).unwrap();
        device.sync_all().unwrap();
        assert!(refused(&unknown).contains("not known"));
        device.write_all_at(&[0], offset).unwrap();
    }
    let blank = Disk::new(&folder, "blank", 1024 * MIB);
    let device = PoolDevice { path: blank.0.clone() };
    device.mount(&root).unwrap();
    fs::write(root.join("data"), "kept").unwrap();
    device.mount(&root).unwrap();
    assert_eq!(world::mounts_below(&root).len(), 1, "mounted once");
    let volumes =
        LocalVolumes::open(Pool::open(&root, Overcommit::default()).unwrap(), world::tag(), unobserved(), None)
            .unwrap();
    volumes.create(&new("v", Bytes(300 * MIB), Filesystem::Xfs)).unwrap();
    drop(volumes);
    assert!(world::unmounts(&root));
    device.mount(&root).unwrap();
    assert_eq!(fs::read_to_string(root.join("data")).unwrap(), "kept");
    assert!(world::unmounts(&root));
    let error = PoolDevice { path: folder.path().join("blank") }.mount(&root).unwrap_err();
    assert!(error.to_string().contains("not a block device"), "{error}");
}

fn a_thick_volume_keeps_its_room_on_btrfs_too() {
    let folder = Folder::new();
    let root = folder.path().join("pool");
    let disk = Disk::new(&folder, "disk", 2048 * MIB);
    run("mkfs.btrfs", &["-q"], &disk.0);
    let device = PoolDevice { path: disk.0.clone() };
    device.mount(&root).unwrap();
    device.mount(&root).unwrap();
    assert_eq!(world::mounts_below(&root).len(), 1, "mounted once");
    let pool = Pool::open(&root, Overcommit::default()).unwrap();
    let volumes = LocalVolumes::open(pool, world::tag(), unobserved(), Some(world::watchdog())).unwrap();
    let volume = volumes.create(&thick("v", Bytes(512 * MIB), Content::Filesystem(Filesystem::Xfs))).unwrap();
    let at = folder.path().join("staged");
    fs::create_dir(&at).unwrap();
    volumes.stage(&volume.id, &at, &options()).unwrap();
    fill(&folder, 0);
    for byte in [1, 2, 3] {
        let mut file = File::create(at.join("data")).unwrap();
        file.write_all(&vec![byte; 300 << 20]).unwrap();
        file.sync_all().unwrap();
    }
    empty(&folder);
    assert_eq!(volumes.pool().unwrap().outstanding, Bytes(0));
    volumes.snapshot("s", &volume.id).unwrap();
    assert!(volumes.pool().unwrap().outstanding > Bytes(500 * MIB));
    volumes.unstage(&volume.id, &at).unwrap();
}
