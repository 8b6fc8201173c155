//! Where a test runs: volumes, and a temporary directory that is left without a mount, however the test ends.

use std::{
    fs,
    path::{Path, PathBuf},
};

use orlop_api::Bytes;
use orlop_volume::{
    Content, FakeVolumes, Filesystem, Limits, LocalVolumes, MountOptions, NewVolume, NodeTag, Observer, Overcommit,
    Pool, PoolFile, Provisioning, Storage, Volume, unobserved,
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
            // Lazily only as a last resort, so that a mount that something still uses is noticed.
            if let Err(error) = unmount(mount, UnmountFlags::empty()) {
                eprintln!("cannot unmount {}: {error}", mount.display());
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

/// How many loop devices have a file below that directory attached.
pub fn attached_below(folder: &Path) -> usize {
    let devices = fs::read_dir("/sys/block").unwrap().filter_map(Result::ok);
    let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    // Seen from another mount, the name of a file has less of a prefix, and the directory of the test has it all.
    files.filter(|file| file.contains(&*folder.file_name().unwrap().to_string_lossy())).count()
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
    LocalVolumes::open(Pool::open(&root, Overcommit::default()).unwrap(), tag(), observer).unwrap()
}

pub fn new(name: &str, size: Bytes, filesystem: Filesystem) -> NewVolume {
    NewVolume {
        name: name.to_owned(),
        at_least: size,
        at_most: None,
        content: Content::Filesystem(filesystem),
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
