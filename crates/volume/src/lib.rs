//! Local volumes: image files on a reflink filesystem, attached as loop devices with direct I/O and mounted. Whatever
//! needs privilege is here, behind three traits, [`Volumes`], [`Snapshots`] and [`Upkeep`], which a real pool
//! ([`LocalVolumes`]) and a fake ([`FakeVolumes`]) implement. Nothing here knows of Kubernetes or of CSI, and nothing is
//! asynchronous.

mod block;
mod capture;
mod caution;
mod cgroups;
mod clones;
mod durable;
mod error;
mod extents;
mod fake;
mod fiemap;
mod format;
mod freeze;
mod grow;
mod health;
mod id;
mod identity;
mod limits;
mod local;
mod locks;
mod loops;
mod model;
mod mounts;
mod options;
mod pause;
mod pool;
mod record;
mod reflink;
mod shelf;
mod snapshots;
mod stage;
mod step;
mod tool;
mod trim;
mod untimed;
mod upkeep;
pub mod watchdog;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use orlop_api::Bytes;

pub use cgroups::PodCgroups;
pub use error::Error;
pub use fake::FakeVolumes;
pub use format::Filesystem;
pub use id::{GroupId, InvalidId, NodeTag, SnapshotId, VolumeId};
pub use local::LocalVolumes;
pub use model::{
    Activity, Ailment, Content, Extent, Group, Limits, NewVolume, PoolState, Provisioning, Severity, Snapshot, Source,
    Usage, Volume,
};
pub use options::MountOptions;
pub use pool::{InvalidOvercommit, Overcommit, Pool, PoolDevice, PoolFile};
pub use step::{Observer, Step, UnknownStep, unobserved};

/// The sizes of volumes are multiples of this: one MiB, which every block size and every filesystem divides.
pub const SIZE_INCREMENT: Bytes = Bytes::MIB;

/// What a call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The volumes of one node. Every call is idempotent: it may be repeated after any failure, and after the process was
/// killed at any point of it, and then completes what was begun. Two calls for one volume at a time are refused with
/// [`Error::Busy`].
pub trait Volumes: Send + Sync {
    /// Makes a volume, empty and formatted or with what its source holds, or finds the one of that name.
    ///
    /// [`Error::Conflict`] if that name has a volume of another kind or size, [`Error::TooSmall`] (also below the size
    /// of the source), [`Error::SourceMissing`], [`Error::SourceDiffers`], [`Error::NoRoom`].
    fn create(&self, new: &NewVolume) -> Result<Volume>;

    /// Removes a volume and its data; one that is not there is no error. Its snapshots and clones stay as they are.
    /// [`Error::InUse`] while it is attached.
    fn delete(&self, id: &VolumeId) -> Result<()>;

    /// The volume of that id, or [`Error::NotFound`].
    fn get(&self, id: &VolumeId) -> Result<Volume>;

    /// All volumes, in the order of their ids.
    fn list(&self) -> Result<Vec<Volume>>;

    /// Attaches a volume, applies its limits, and mounts it at `at`, a directory that is there; a block volume is only
    /// attached. Completes an interrupted growth.
    fn stage(&self, id: &VolumeId, at: &Path, options: &MountOptions) -> Result<()>;

    /// Unmounts a volume from where it was staged, and detaches it.
    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<()>;

    /// Makes the volume that is staged at `staged` appear at `target` too: a directory, or for a block volume a file
    /// that is the device. Makes `target`, not its parents. [`Error::NotStaged`] if it is not staged there.
    fn publish(&self, id: &VolumeId, staged: &Path, target: &Path, read_only: bool) -> Result<()>;

    /// Unmounts a volume from `target` and removes what `publish` made there.
    fn unpublish(&self, id: &VolumeId, target: &Path) -> Result<()>;

    /// Grows a volume to at least `size`, online if it is in use, and returns the size that it has then; a volume is
    /// never shrunk. [`Error::NoRoom`], or [`Error::GrowsWhenStaged`] where the kernel cannot grow it online.
    fn expand(&self, id: &VolumeId, size: Bytes) -> Result<Bytes>;

    /// The paths at which a volume appears: where it is staged, if it is a filesystem, and each target. None while it
    /// is not in use. They are as the mount table has them, without symbolic links.
    fn paths(&self, id: &VolumeId) -> Result<Vec<PathBuf>>;

    /// How full the filesystem is that is mounted at `at`. [`Error::NotMounted`] if it is not.
    fn usage(&self, id: &VolumeId, at: &Path) -> Result<Usage>;
}

/// Snapshots of the volumes of one node, with the same promises as [`Volumes`].
pub trait Snapshots: Send + Sync {
    /// Takes a snapshot of a volume, also while it is in use, or finds the one of that name. It is on stable storage
    /// when this returns. [`Error::Conflict`] if that name has a snapshot of another volume, [`Error::NotFound`],
    /// [`Error::NoRoom`], [`Error::ThawedEarly`].
    fn snapshot(&self, name: &str, volume: &VolumeId) -> Result<Snapshot>;

    /// Removes a snapshot; one that is not there is no error. Volumes that started with it stay as they are.
    /// [`Error::InGroup`] for one that was taken with a group: it goes with its group.
    fn delete_snapshot(&self, id: &SnapshotId) -> Result<()>;

    /// The snapshot of that id, or [`Error::NoSnapshot`].
    fn get_snapshot(&self, id: &SnapshotId) -> Result<Snapshot>;

    /// All snapshots, in the order of their ids.
    fn list_snapshots(&self) -> Result<Vec<Snapshot>>;

    /// Takes snapshots of several volumes at one moment: all are frozen before any is taken. All of them are there when
    /// this returns, or none. [`Error::CannotFreeze`] for a raw block volume in use, whose writers nobody can hold up.
    fn snapshot_group(&self, name: &str, volumes: &[VolumeId]) -> Result<Group>;

    /// Removes a group with its snapshots; one that is not there is no error.
    fn delete_group(&self, id: &GroupId) -> Result<()>;

    /// The group of that id, or [`Error::NoGroup`].
    fn get_group(&self, id: &GroupId) -> Result<Group>;

    /// At most `count` ranges of the snapshot that hold data, in their order, starting with the one that contains or
    /// follows `from`. All other bytes are 0.
    fn allocated(&self, id: &SnapshotId, from: u64, count: usize) -> Result<Vec<Extent>>;

    /// At most `count` ranges in which `target` may differ from `base`, in their order, starting with the one that
    /// contains or follows `from`; all other bytes are the same. Both are snapshots of one volume, or
    /// [`Error::Unrelated`].
    fn changed(&self, base: &SnapshotId, target: &SnapshotId, from: u64, count: usize) -> Result<Vec<Extent>>;
}

/// What keeps volumes fast and their pool well.
pub trait Upkeep: Send + Sync {
    /// Sets what a volume may do each second, durably, and at once if it is attached.
    fn limit(&self, id: &VolumeId, limits: &Limits) -> Result<()>;

    /// What the volume's device has done, or `None` while it is not attached.
    fn activity(&self, id: &VolumeId) -> Result<Option<Activity>>;

    /// What is wrong with a volume; nothing, if it is well. [`Error::NotFound`].
    fn health(&self, id: &VolumeId) -> Result<Vec<Ailment>>;

    /// The same for all volumes, also for those whose record is damaged, which [`Volumes::list`] leaves out. The pool is
    /// looked at once, and what cannot be found out about one volume does not hide the others.
    fn health_of_all(&self) -> Result<BTreeMap<VolumeId, Result<Vec<Ailment>>>>;

    /// How the pool stands.
    fn pool(&self) -> Result<PoolState>;

    /// Looks after the pool: bounds what is cached for volumes, gives up the ballast, and holds up the writers of volumes
    /// that may take more before the pool is full, and lets them go on when there is room again. Called again and again,
    /// and says how soon it wants to be called next: the less room there is, the sooner. After an error, that is a fifth of
    /// a second. Cheap when nothing is wrong.
    fn watch_pool(&self) -> Result<std::time::Duration>;

    /// Gives back to the pool what was deleted in a thin volume that is mounted; false for a thick, a raw block or an
    /// unmounted one, for which that is nothing. How much it is shows in the pool a moment later: not every filesystem
    /// waits for it.
    fn trim(&self, id: &VolumeId) -> Result<bool>;

    /// How long volumes were frozen for snapshots since the last call, longest first, for a histogram.
    fn frozen_times(&self) -> Vec<std::time::Duration>;
}

/// All of it, as a driver uses it.
pub trait Storage: Volumes + Snapshots + Upkeep {}

impl<T: Volumes + Snapshots + Upkeep> Storage for T {}
