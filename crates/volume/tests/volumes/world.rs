//! Where a test runs: volumes, and a temporary directory that is left without a mount, however the test ends.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
    time::Duration,
};

use orlop_api::Bytes;
use orlop_volume::{
    Content, FakeVolumes, Filesystem, Limits, LocalVolumes, MountOptions, NewVolume, NodeTag, Observer, Overcommit,
    Pool, PoolFile, Provisioning, Source, Storage, Volume, unobserved,
};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

/// The size of the pools.
pub const POOL: Bytes = Bytes(4 << 30);

pub struct World {
    // Dropped in this order: the volumes are closed before their pool is unmounted.
    pub volumes: Box<dyn Storage>,
    pub folder: Folder,
}

/// A temporary directory. When it goes, whatever is mounted below it is unmounted first.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(TempDir::with_prefix("orlop-volume-").unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for mount in mounts_below(self.path()).iter().rev() {
            if *mount == self.path().join("pool") {
                detach_below(self.path());
            }
            // Lazily only as a last resort, so that a mount that something still uses is noticed.
            if !unmounts(mount) {
                eprintln!("something still uses {}", mount.display());
                let _ = unmount(mount, UnmountFlags::DETACH);
            }
        }
    }
}

/// What is mounted below a directory, oldest first.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let paths = table.lines().filter_map(|line| line.split(' ').nth(4));
    paths.map(PathBuf::from).filter(|path| path.starts_with(folder)).collect()
}

/// Can the mount be unmounted, now or in a moment? A process that another test has just started has copies of all open files
/// until it runs its program.
pub fn unmounts(mount: &Path) -> bool {
    soon(|| unmount(mount, UnmountFlags::empty()).is_ok())
}

/// Sees that so many loop devices have a file below that directory attached.
pub fn attached_below(folder: &Path, expected: usize, which: &str) {
    // Not at once, for the same reason.
    let settled = || devices_below(folder).len() == expected;
    assert!(soon(settled), "{:?} are attached, and not {which}", devices_below(folder));
}

/// Is it so within a moment?
pub fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    (0..100).any(|_| {
        let so = is_so();
        if !so {
            thread::sleep(Duration::from_millis(20));
        }
        so
    })
}

fn devices_below(folder: &Path) -> Vec<OsString> {
    let devices = fs::read_dir("/sys/block").unwrap().filter_map(Result::ok);
    let attached = devices.filter(|device| {
        let file = fs::read_to_string(device.path().join("loop/backing_file"));
        // Seen from another mount, the name of a file has less of a prefix, and the directory of the test has it all.
        file.is_ok_and(|file| file.contains(&*folder.file_name().unwrap().to_string_lossy()))
    });
    attached.map(|device| device.file_name()).collect()
}

/// Detaches what a test left attached: block volumes are not detached by themselves.
fn detach_below(folder: &Path) {
    for device in devices_below(folder) {
        // That of the pool goes when it is unmounted.
        let _ = Command::new("losetup").arg("--detach").arg(Path::new("/dev").join(device)).status();
    }
}

pub fn tag() -> NodeTag {
    NodeTag::of("a-node")
}

pub fn fake() -> World {
    World { volumes: Box::new(FakeVolumes::new(tag(), POOL)), folder: Folder::new() }
}

pub fn real() -> World {
    let folder = Folder::new();
    World { volumes: Box::new(open(folder.path(), unobserved())), folder }
}

/// Opens the pool in that directory, which is made if it is not there.
pub fn open(folder: &Path, observer: Observer) -> LocalVolumes {
    let root = folder.join("pool");
    PoolFile { path: folder.join("pool.img"), size: POOL }.mount(&root).unwrap();
    let pool = Pool::open(&root, Overcommit::default()).unwrap();
    LocalVolumes::open(pool, tag(), observer, Some(watchdog())).unwrap()
}

/// Where a driver that is a process of its own finds the socket of the watchdog.
pub const WATCHDOG: &str = "ORLOP_TEST_WATCHDOG";

/// The socket of the watchdog.
pub fn watchdog() -> PathBuf {
    let own = || env::temp_dir().join(format!("orlop-volume-{}.sock", process::id()));
    env::var_os(WATCHDOG).map_or_else(own, PathBuf::from)
}

/// Starts the watchdog for all tests, in this process, which outlives the drivers that are killed.
pub fn start_watchdog() {
    thread::spawn(|| panic!("{:?}", orlop_volume::watchdog::serve(&watchdog())));
    while !watchdog().exists() {
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn new(name: &str, size: Bytes, filesystem: Filesystem) -> NewVolume {
    holding(name, size, Content::Filesystem(filesystem))
}

pub fn holding(name: &str, size: Bytes, content: Content) -> NewVolume {
    NewVolume {
        name: name.to_owned(),
        at_least: size,
        at_most: None,
        content,
        provisioning: Provisioning::Thin,
        source: None,
        limits: Limits::default(),
    }
}

impl World {
    /// A new XFS volume of 512 MiB.
    pub fn volume(&self, name: &str) -> Volume {
        self.volumes.create(&new(name, Bytes(512 << 20), Filesystem::Xfs)).unwrap()
    }

    /// A new volume that starts with what `source` holds.
    pub fn from(&self, source: Source, name: &str, content: Content) -> Volume {
        let wanted = NewVolume { source: Some(source), ..holding(name, Bytes(512 << 20), content) };
        self.volumes.create(&wanted).unwrap()
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Stages a volume in a new directory.
    pub fn stage(&self, volume: &Volume, name: &str) -> PathBuf {
        let at = self.directory(name);
        self.volumes.stage(&volume.id, &at, &options()).unwrap();
        at
    }
}

pub fn options() -> MountOptions {
    MountOptions::parse::<&str>(&[]).unwrap()
}
