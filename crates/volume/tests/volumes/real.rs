//! What only the kernel can show.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use orlop_api::Bytes;
use orlop_volume::{
    Error, Filesystem, MountOptions, NewVolume, Overcommit, Pool, Provisioning, Step, Volume, Volumes as _, unobserved,
};
use rustix::thread::{CapabilitySet, capabilities};

use crate::world::{self, Folder, attached_below, mounts_below, new, options};

pub const TESTS: &[(&str, fn())] = &[
    ("a volume is on a loop device with direct I/O that goes with its mount", direct_io_and_autoclear),
    ("what a guest writes leaves the time of its image alone", a_guest_leaves_the_time_of_its_image_alone),
    ("data survives growth under a writer", data_survives_growth_under_a_writer),
    ("a small volume grows far with few allocation groups", a_small_volume_grows_far_with_few_allocation_groups),
    ("ext4 grows online where it may and when staged where not", ext4_grows_online_or_when_staged),
    ("a read-only target refuses writes and the staged path does not", a_read_only_target_refuses_writes),
    ("what an interrupted operation left is swept", what_an_interrupted_operation_left_is_swept),
    ("a creation that fails gives its room back at once", a_creation_that_fails_gives_its_room_back_at_once),
    ("a new driver finds what is mounted as it was", a_new_driver_finds_what_is_mounted_as_it_was),
    ("a device that served a thick volume serves a thin one", a_device_that_served_a_thick_volume_serves_a_thin_one),
    ("two drivers do not share a pool", two_drivers_do_not_share_a_pool),
    ("a pool without reflinks is refused", a_pool_without_reflinks_is_refused),
    ("a damaged record is an error of that volume alone", a_damaged_record_is_an_error_of_that_volume_alone),
    ("a pool filled by others has less to promise", a_pool_filled_by_others_has_less_to_promise),
    ("a mount option that the filesystem does not know is an error", an_unknown_mount_option_is_an_error),
];

const MIB: u64 = 1 << 20;

fn direct_io_and_autoclear() {
    let world = world::real();
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    let source = source(&staged);
    let device = Path::new("/sys/block").join(Path::new(&source).file_name().unwrap());
    let read = |file: &str| fs::read_to_string(device.join(file)).unwrap().trim().to_owned();
    assert_eq!(read("loop/dio"), "1");
    assert_eq!(read("loop/autoclear"), "1");
    assert_eq!(read("queue/logical_block_size"), "4096");
    attached_below(world.folder.path(), 2, "the pool and the volume");
    world.volumes.unstage(&volume.id, &staged).unwrap();
    attached_below(world.folder.path(), 1, "the device goes with its mount");
}

fn a_guest_leaves_the_time_of_its_image_alone() {
    let world = world::real();
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    let file = File::create(staged.join("data")).unwrap();
    let write = || {
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.sync_all().unwrap();
    };
    write();
    let image = world.folder.path().join("pool/volumes").join(volume.id.as_str()).join("image");
    let time = || fs::metadata(&image).unwrap().modified().unwrap();
    let before = time();
    // Longer than a tick of the clock by which files are dated.
    thread::sleep(std::time::Duration::from_millis(50));
    write();
    assert_eq!(time(), before, "a flush would have to wait for the pool's journal");
}

fn data_survives_growth_under_a_writer() {
    const CHUNK: usize = 1 << 20;
    let world = world::real();
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    let done = AtomicBool::new(false);
    let chunk = |number: u64| vec![u8::try_from(number % 251).unwrap(); CHUNK];
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let file = File::create(staged.join("data")).unwrap();
            let mut number = 0;
            // The file ends up larger than the volume was born.
            while !done.load(Ordering::Relaxed) || number < 800 {
                file.write_all_at(&chunk(number), number * CHUNK as u64).unwrap();
                number += 1;
                if number > 300 {
                    // Slow enough that growth keeps ahead.
                    thread::sleep(std::time::Duration::from_millis(2));
                }
                if number == 1500 {
                    break;
                }
            }
            file.sync_all().unwrap();
            number
        });
        for size_mib in (640..=2048).step_by(128) {
            world.volumes.expand(&volume.id, Bytes(size_mib * MIB)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(written >= 800, "{written} MiB");
    world.volumes.unstage(&volume.id, &staged).unwrap();
    world.volumes.stage(&volume.id, &staged, &options()).unwrap();
    let file = File::open(staged.join("data")).unwrap();
    let mut read = vec![0; CHUNK];
    for number in 0..written {
        file.read_exact_at(&mut read, number * CHUNK as u64).unwrap();
        assert!(read == chunk(number), "chunk {number}");
    }
}

fn a_small_volume_grows_far_with_few_allocation_groups() {
    let folder = Folder::new();
    let root = folder.path().join("pool");
    // Thin, to have room for a large volume.
    orlop_volume::PoolFile { path: folder.path().join("pool.img"), size: world::POOL }.mount(&root).unwrap();
    let pool = Pool::open(&root, "100".parse::<Overcommit>().unwrap()).unwrap();
    let volumes = orlop_volume::LocalVolumes::open(pool, world::tag(), unobserved(), None).unwrap();
    let volume = volumes.create(&new("v", Bytes(512 * MIB), Filesystem::Xfs)).unwrap();
    let staged = folder.path().join("staged");
    fs::create_dir(&staged).unwrap();
    volumes.stage(&volume.id, &staged, &options()).unwrap();
    volumes.expand(&volume.id, Bytes(64 << 30)).unwrap();
    let usage = volumes.usage(&volume.id, &staged).unwrap();
    assert!(usage.total.0 > 63 << 30, "{}", usage.total.human());
    let information = std::process::Command::new("xfs_info").arg(&staged).output().unwrap();
    let information = String::from_utf8(information.stdout).unwrap();
    let groups = information.split("agcount=").nth(1).unwrap().split(',').next().unwrap();
    assert!(groups.parse::<u32>().unwrap() <= 133, "{information}");
}

fn ext4_grows_online_or_when_staged() {
    let world = world::real();
    let volume = world.volumes.create(&new("v", Bytes(256 * MIB), Filesystem::Ext4)).unwrap();
    let staged = world.stage(&volume, "staged");
    fs::write(staged.join("data"), "kept").unwrap();
    let result = world.volumes.expand(&volume.id, Bytes(1024 * MIB));
    if capabilities(None).unwrap().effective.contains(CapabilitySet::SYS_RESOURCE) {
        result.unwrap();
    } else {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::GrowsWhenStaged(_)), "{error}");
        world.volumes.stage(&volume.id, &staged, &options()).unwrap();
        world.volumes.unstage(&volume.id, &staged).unwrap();
        world.volumes.stage(&volume.id, &staged, &options()).unwrap();
        assert_eq!(world.volumes.expand(&volume.id, Bytes(1024 * MIB)).unwrap(), Bytes(1024 * MIB));
    }
    assert!(world.volumes.usage(&volume.id, &staged).unwrap().total.0 > 900 * MIB);
    assert_eq!(fs::read_to_string(staged.join("data")).unwrap(), "kept");
}

fn a_read_only_target_refuses_writes() {
    let world = world::real();
    let volume = world.volume("v");
    let staged = world.stage(&volume, "staged");
    let target = world.folder.path().join("target");
    world.volumes.publish(&volume.id, &staged, &target, true).unwrap();
    world.volumes.publish(&volume.id, &staged, &target, true).unwrap();
    assert_eq!(fs::write(target.join("f"), "x").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    fs::write(staged.join("f"), "x").unwrap();
    assert_eq!(mounts_below(&target).len(), 1, "bound once");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(&*target.to_string_lossy())).unwrap();
    assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");
}

fn what_an_interrupted_operation_left_is_swept() {
    let folder = Folder::new();
    let volumes = world::open(folder.path(), unobserved());
    let kept = volumes.create(&new("kept", Bytes(512 * MIB), Filesystem::Xfs)).unwrap();
    drop(volumes);
    let entries = folder.path().join("pool/volumes");
    for name in [".creating-vol-x", ".deleting-vol-y"] {
        fs::create_dir(entries.join(name)).unwrap();
        File::create(entries.join(name).join("image")).unwrap().write_all(b"x").unwrap();
    }
    let volumes = world::open(folder.path(), unobserved());
    assert_eq!(fs::read_dir(&entries).unwrap().count(), 1);
    assert_eq!(volumes.list().unwrap(), std::slice::from_ref(&kept));
    // A removal that failed half-way, while the driver went on.
    fs::create_dir(entries.join(format!(".deleting-{}", kept.id))).unwrap();
    File::create(entries.join(format!(".deleting-{}", kept.id)).join("image")).unwrap();
    volumes.delete(&kept.id).unwrap();
    assert_eq!(fs::read_dir(&entries).unwrap().count(), 0);
}

fn a_creation_that_fails_gives_its_room_back_at_once() {
    let folder = Folder::new();
    let first = AtomicBool::new(true);
    let fails_once = move |step| assert!(step != Step::CreateFormatted || !first.swap(false, Ordering::Relaxed));
    let volumes = world::open(folder.path(), Box::new(fails_once));
    let wanted = new("v", Bytes(512 * MIB), Filesystem::Xfs);
    assert!(catch_unwind(AssertUnwindSafe(|| volumes.create(&wanted))).is_err());
    assert_eq!(fs::read_dir(folder.path().join("pool/volumes")).unwrap().count(), 0);
    volumes.create(&wanted).unwrap();
}

fn a_new_driver_finds_what_is_mounted_as_it_was() {
    let folder = Folder::new();
    let volumes = world::open(folder.path(), unobserved());
    let volume = volumes.create(&new("v", Bytes(512 * MIB), Filesystem::Xfs)).unwrap();
    let staged = folder.path().join("staged");
    fs::create_dir(&staged).unwrap();
    volumes.stage(&volume.id, &staged, &options()).unwrap();
    fs::write(staged.join("data"), "kept").unwrap();
    drop(volumes);
    let volumes = world::open(folder.path(), unobserved());
    volumes.stage(&volume.id, &staged, &options()).unwrap();
    assert_eq!(fs::read_to_string(staged.join("data")).unwrap(), "kept");
    assert_eq!(mounts_below(&staged).len(), 1, "mounted once");
    attached_below(folder.path(), 2, "the pool and the volume");
}

fn a_device_that_served_a_thick_volume_serves_a_thin_one() {
    let world = world::real();
    let thick = NewVolume { provisioning: Provisioning::Thick, ..new("thick", Bytes(512 * MIB), Filesystem::Xfs) };
    let (thick, thin) = (world.volumes.create(&thick).unwrap(), world.volume("thin"));
    let at = world.directory("staged");
    let discards = |volume: &Volume| {
        world.volumes.stage(&volume.id, &at, &options()).unwrap();
        let device = source(&at);
        let queue = Path::new("/sys/block").join(Path::new(&device).file_name().unwrap()).join("queue");
        let most = fs::read_to_string(queue.join("discard_max_bytes")).unwrap();
        world.volumes.unstage(&volume.id, &at).unwrap();
        (device, most.trim() != "0")
    };
    let (first, discarded) = discards(&thick);
    assert!(!discarded, "a thick volume keeps its bytes");
    // Most often the same device is free next, and if not a new one must do as well.
    let (second, discarded) = discards(&thin);
    assert!(discarded, "{second} after {first}");
}

fn two_drivers_do_not_share_a_pool() {
    let folder = Folder::new();
    let _first = world::open(folder.path(), unobserved());
    let error = Pool::open(&folder.path().join("pool"), Overcommit::default()).unwrap_err().to_string();
    assert!(error.contains("another driver has it open"), "{error}");
}

fn a_pool_without_reflinks_is_refused() {
    let folder = Folder::new();
    // A tmpfs has none for certain.
    rustix::mount::mount("none", folder.path(), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    let error = Pool::open(folder.path(), Overcommit::default()).unwrap_err().to_string();
    assert!(error.contains("no reflinks") && error.contains("use XFS"), "{error}");
}

fn a_damaged_record_is_an_error_of_that_volume_alone() {
    let world = world::real();
    let (damaged, well) = (world.volume("damaged"), world.volume("well"));
    let record = world.folder.path().join("pool/volumes").join(damaged.id.as_str()).join("volume.json");
    fs::write(&record, "{").unwrap();
    let error = world.volumes.get(&damaged.id).unwrap_err().to_string();
    assert!(error.contains(&*record.to_string_lossy()), "{error}");
    assert_eq!(world.volumes.list().unwrap(), [well]);
    world.volumes.delete(&damaged.id).unwrap();
}

fn a_pool_filled_by_others_has_less_to_promise() {
    let world = world::real();
    let before = world.volumes.pool().map(|pool| pool.available_thin).unwrap();
    let file = File::create(world.folder.path().join("pool/other")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 30).unwrap();
    let after = world.volumes.pool().map(|pool| pool.available_thin).unwrap();
    let difference = before.0 - after.0;
    assert!((1000 * MIB..1050 * MIB).contains(&difference), "{}", Bytes(difference).human());
}

fn an_unknown_mount_option_is_an_error() {
    let world = world::real();
    let volume = world.volume("v");
    let at = world.directory("staged");
    let options = MountOptions::parse(&["no-such-option"]).unwrap();
    let error = world.volumes.stage(&volume.id, &at, &options).unwrap_err();
    assert!(matches!(error, Error::Io { action: "mount", .. }), "{error}");
    attached_below(world.folder.path(), 1, "a mount that failed leaves no device behind");
}

/// What is mounted at a path.
fn source(path: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.split(' ').nth(4) == path.to_str()).unwrap();
    line.split(" - ").nth(1).unwrap().split(' ').nth(1).unwrap().to_owned()
}
