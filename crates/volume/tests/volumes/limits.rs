//! Limits of what volumes do, with processes in cgroups of this test's making.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use std::num::NonZeroU64;

use orlop_api::Bytes;
use orlop_volume::{Filesystem, Limits, LocalVolumes, NewVolume, PodCgroups, Upkeep as _, Volumes as _, unobserved};

use crate::world::{self, Folder, attached_below, new, options};

pub const TESTS: &[(&str, fn())] = &[
    ("limits: limits hold for pods at once and until they are taken away", limits_hold_for_pods_at_once),
    ("limits: limits outlive the driver and hold for a container that starts later", limits_outlive_the_driver),
    ("limits: a device that is detached leaves no limits to the next", a_device_that_is_detached_leaves_no_limits),
    ("limits: without cgroups of pods a limit is an error that says what to do", without_cgroups_a_limit_is_an_error),
    ("limits: what a volume does is counted", what_a_volume_does_is_counted),
];

const MIB: u64 = 1 << 20;

/// Cgroups such as a kubelet makes, of which each hierarchy has its own copy; removed when this goes.
struct Pods {
    root: String,
    container: PathBuf,
}

const V1: &str = "/sys/fs/cgroup/blkio";

fn is_v1() -> bool {
    Path::new(V1).exists()
}

/// Where the hierarchy is that limits block devices.
fn hierarchy() -> PathBuf {
    PathBuf::from(if is_v1() { V1 } else { "/sys/fs/cgroup" })
}

impl Pods {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = format!("orlop-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let container = hierarchy().join(&root).join("kubepods/pod-1/container");
        fs::create_dir_all(&container).unwrap();
        Self { root, container }
    }

    /// The file of the first group that is limited: the root with version 1, that of all pods with version 2.
    fn first_file(&self) -> PathBuf {
        if is_v1() {
            return hierarchy().join("blkio.throttle.write_bps_device");
        }
        hierarchy().join(&self.root).join("kubepods/io.max")
    }

    fn cgroups(&self) -> PodCgroups {
        PodCgroups::new(Path::new("/sys/fs/cgroup"), Path::new(&format!("/{}", self.root)))
    }

    /// Runs dd in a container, and returns how long it took.
    fn dd(container: &Path, arguments: &[String]) -> Duration {
        let start = Instant::now();
        let done = Command::new("sh")
            .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec dd status=none "$@""#])
            .arg(container)
            .args(arguments)
            .status()
            .unwrap();
        assert!(done.success());
        start.elapsed()
    }

    /// Writes so many MiB with that flag of dd's.
    fn write(container: &Path, file: &Path, mib: u64, flag: &str) -> Duration {
        let of = format!("of={}", file.display());
        Self::dd(container, &["if=/dev/zero".into(), of, "bs=256k".into(), format!("count={}", 4 * mib), flag.into()])
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        let top = hierarchy().join(&self.root);
        for group in ["kubepods/pod-1/later", "kubepods/pod-1/container", "kubepods/pod-1", "kubepods", ""] {
            let _ = fs::remove_dir(top.join(group));
        }
    }
}

fn open(folder: &Folder, pods: &Pods) -> LocalVolumes {
    world::open(folder.path(), unobserved()).limited_in(pods.cgroups())
}

fn bandwidth(mib: u64) -> Limits {
    Limits {
        read_bandwidth: NonZeroU64::new(mib * MIB),
        write_bandwidth: NonZeroU64::new(mib * MIB),
        ..Limits::default()
    }
}

fn staged(folder: &Folder, volumes: &LocalVolumes, limits: Limits) -> (orlop_volume::VolumeId, PathBuf) {
    let wanted = NewVolume { limits, ..new("v", Bytes(512 * MIB), Filesystem::Xfs) };
    let id = volumes.create(&wanted).unwrap().id;
    let at = folder.path().join("staged");
    fs::create_dir(&at).unwrap();
    volumes.stage(&id, &at, &options()).unwrap();
    (id, at)
}

/// As long as a limit of 8 MiB/s makes it last, and not much shorter: the kernel lets a little through at once.
fn assert_limited(took: Duration, mib: u64) {
    let expected = Duration::from_millis(mib * 1000 / 8);
    assert!(took > expected.mul_f64(0.7), "{mib} MiB at 8 MiB/s took {took:?}");
}

fn limits_hold_for_pods_at_once() {
    let (folder, pods) = (Folder::new(), Pods::new());
    let volumes = open(&folder, &pods);
    let (id, at) = staged(&folder, &volumes, Limits::default());
    let file = at.join("data");
    let free = Pods::write(&pods.container, &file, 16, "oflag=direct");
    volumes.limit(&id, &bandwidth(8)).unwrap();
    let direct = Pods::write(&pods.container, &file, 16, "oflag=direct");
    assert_limited(direct, 16);
    assert!(free * 2 < direct, "{free:?} without and {direct:?} with a limit");
    assert_limited(Pods::write(&pods.container, &file, 16, "oflag=sync"), 16);
    assert_limited(Pods::write(&pods.container, &file, 16, "conv=fsync"), 16);
    let read = [format!("if={}", file.display()), "of=/dev/null".into(), "bs=256k".into(), "iflag=direct".into()];
    assert_limited(Pods::dd(&pods.container, &read), 16);
    let iops = Limits { write_iops: NonZeroU64::new(32), ..Limits::default() };
    volumes.limit(&id, &iops).unwrap();
    assert_limited(Pods::write(&pods.container, &file, 16, "oflag=direct"), 16);
    assert_eq!(volumes.get(&id).unwrap().limits, iops);
    volumes.limit(&id, &Limits::default()).unwrap();
    let freed = Pods::write(&pods.container, &file, 16, "oflag=direct");
    assert!(freed * 2 < direct, "{freed:?} after the limit was taken away");
}

fn limits_outlive_the_driver() {
    let (folder, pods) = (Folder::new(), Pods::new());
    let (id, at) = staged(&folder, &open(&folder, &pods), bandwidth(8));
    let file = at.join("data");
    assert_limited(Pods::write(&pods.container, &file, 16, "oflag=direct"), 16);
    let volumes = open(&folder, &pods);
    let later = pods.container.with_file_name("later");
    fs::create_dir(&later).unwrap();
    volumes.watch_pool().unwrap();
    assert_limited(Pods::write(&later, &file, 16, "oflag=direct"), 16);
    volumes.limit(&id, &Limits::default()).unwrap();
}

fn a_device_that_is_detached_leaves_no_limits() {
    let (folder, pods) = (Folder::new(), Pods::new());
    let volumes = open(&folder, &pods);
    let (id, at) = staged(&folder, &volumes, bandwidth(8));
    let files = || -> String {
        let names = ["blkio.throttle.write_bps_device", "io.max"];
        let all = hierarchy().join(&pods.root).join("kubepods");
        names.iter().map(|name| fs::read_to_string(all.join(name)).unwrap_or_default()).collect()
    };
    assert!(!files().is_empty());
    volumes.unstage(&id, &at).unwrap();
    // Whether the device is still attached is looked at once a second.
    attached_below(folder.path(), 1, "the pool");
    volumes.watch_pool().unwrap();
    assert_eq!(files(), "");
    // The same when the driver was not there to do it, at its next start,
    volumes.stage(&id, &at, &options()).unwrap();
    assert!(!files().is_empty());
    drop(volumes);
    assert!(world::unmounts(&at));
    attached_below(folder.path(), 1, "the pool");
    let volumes = open(&folder, &pods);
    assert_eq!(files(), "");
    // and when a volume without limits gets a device that somebody left with some.
    volumes.stage(&id, &at, &options()).unwrap();
    volumes.limit(&id, &Limits::default()).unwrap();
    let number = device_of(&at);
    let left = || fs::read_to_string(pods.first_file()).unwrap().contains(&format!("{number} "));
    fs::write(pods.first_file(), format!("{number} {}1048576", if is_v1() { "" } else { "wbps=" })).unwrap();
    assert!(left());
    volumes.stage(&id, &at, &options()).unwrap();
    assert!(!left());
}

/// The number of the device that is mounted at a path, as `7:3`.
fn device_of(path: &Path) -> String {
    let number = fs::metadata(path).unwrap().dev();
    format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number))
}

fn without_cgroups_a_limit_is_an_error() {
    let folder = Folder::new();
    let nowhere = PodCgroups::new(folder.path(), Path::new("/"));
    let volumes = world::open(folder.path(), unobserved()).limited_in(nowhere);
    let (id, _) = staged(&folder, &volumes, Limits::default());
    let error = volumes.limit(&id, &bandwidth(8)).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("--cgroup-root"), "{error}: {source}");
}

fn what_a_volume_does_is_counted() {
    let world = world::real();
    let volume = world.volume("v");
    assert_eq!(world.volumes.activity(&volume.id).unwrap(), None);
    let at = world.stage(&volume, "staged");
    let before = world.volumes.activity(&volume.id).unwrap().unwrap();
    let file = fs::File::create(at.join("data")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![1; 4 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let after = world.volumes.activity(&volume.id).unwrap().unwrap();
    assert!(after.written_bytes - before.written_bytes >= 4 * MIB, "{before:?} {after:?}");
    assert!(after.writes > before.writes && after.write_ms >= before.write_ms);
}
