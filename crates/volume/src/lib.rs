//! Local volumes: image files on a reflink filesystem, attached as loop devices with direct I/O and mounted. Whatever
//! needs privilege is here, behind [`Volumes`], which a real pool ([`LocalVolumes`]) and a fake ([`FakeVolumes`])
//! implement. Nothing here knows of Kubernetes or of CSI, and nothing is asynchronous.

mod durable;
mod error;
mod fake;
mod format;
mod grow;
mod id;
mod local;
mod locks;
mod loops;
mod mounts;
mod options;
mod pool;
mod record;
mod stage;
mod step;
mod tool;

use std::path::Path;

use orlop_api::Bytes;

pub use error::Error;
pub use fake::FakeVolumes;
pub use format::Filesystem;
pub use id::{InvalidId, NodeTag, VolumeId};
pub use local::LocalVolumes;
pub use options::MountOptions;
pub use pool::{InvalidOvercommit, Overcommit, Pool, PoolFile};
pub use step::{Observer, Step, UnknownStep, unobserved};

/// The sizes of volumes are multiples of this: one MiB, which every block size and every filesystem divides.
pub const SIZE_INCREMENT: Bytes = Bytes::MIB;

/// What a call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A volume to be made.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// The name that the volume is asked for by. The same name always means the same volume.
    pub name: String,
    /// The least size it may have, and the size that it gets, rounded up to [`SIZE_INCREMENT`].
    pub at_least: Bytes,
    /// The largest size that a volume of this name may already have.
    pub at_most: Option<Bytes>,
    /// What it is formatted with.
    pub filesystem: Filesystem,
}

impl NewVolume {
    /// The size that a new volume gets.
    pub fn size(&self) -> Bytes {
        self.at_least.round_up(SIZE_INCREMENT)
    }

    /// Is `volume`, which has the same name, what is asked for here?
    fn accepts(&self, volume: &Volume) -> bool {
        volume.filesystem == self.filesystem
            && volume.size >= self.at_least
            && self.at_most.is_none_or(|limit| volume.size <= limit)
    }

    fn conflict(&self, with: &Volume) -> Error {
        Error::Conflict {
            name: self.name.clone(),
            present: format!("{} of {}", with.filesystem, with.size),
            asked: match self.at_most {
                Some(limit) => format!("{} of {} to {limit}", self.filesystem, self.at_least),
                None => format!("{} of at least {}", self.filesystem, self.at_least),
            },
        }
    }
}

/// A volume that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its identity, made from the node's name and its own.
    pub id: VolumeId,
    /// The name that it was asked for by.
    pub name: String,
    /// What is promised to its user. The filesystem may still be smaller, when a growth was interrupted.
    pub size: Bytes,
    /// What it is formatted with.
    pub filesystem: Filesystem,
}

/// How full a volume's filesystem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The filesystem's size.
    pub total: Bytes,
    /// What an unprivileged writer may still write.
    pub available: Bytes,
    /// What is in use.
    pub used: Bytes,
    /// The number of inodes, in use and free.
    pub total_inodes: u64,
    /// The number of free inodes.
    pub free_inodes: u64,
}

/// The volumes of one node. Every call is idempotent: it may be repeated after any failure, and after the process was
/// killed at any point of it, and then completes what was begun. Two calls for one volume at a time are refused with
/// [`Error::Busy`].
pub trait Volumes: Send + Sync {
    /// Makes a formatted volume, or finds the one of that name.
    ///
    /// [`Error::Conflict`] if that name has a volume of another kind or size, [`Error::TooSmall`], [`Error::NoRoom`].
    fn create(&self, new: &NewVolume) -> Result<Volume>;

    /// Removes a volume and its data; one that is not there is no error. [`Error::InUse`] while it is attached.
    fn delete(&self, id: &VolumeId) -> Result<()>;

    /// The volume of that id, or [`Error::NotFound`].
    fn get(&self, id: &VolumeId) -> Result<Volume>;

    /// All volumes, in the order of their ids.
    fn list(&self) -> Result<Vec<Volume>>;

    /// How much more can be promised: the sum of the sizes of new volumes and of growth.
    fn available(&self) -> Result<Bytes>;

    /// Attaches a volume and mounts it at `at`, a directory that is there. Completes an interrupted growth.
    fn stage(&self, id: &VolumeId, at: &Path, options: &MountOptions) -> Result<()>;

    /// Unmounts a volume from where it was staged, which detaches it.
    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<()>;

    /// Makes the volume that is staged at `staged` appear at `target` too. Makes the directory `target`, not its
    /// parents. [`Error::NotStaged`] if it is not staged there.
    fn publish(&self, id: &VolumeId, staged: &Path, target: &Path, read_only: bool) -> Result<()>;

    /// Unmounts a volume from `target` and removes that directory.
    fn unpublish(&self, id: &VolumeId, target: &Path) -> Result<()>;

    /// Grows a volume to at least `size`, online if it is mounted, and returns the size that it has then; a volume is
    /// never shrunk. [`Error::NoRoom`], or [`Error::GrowsWhenStaged`] where the kernel cannot grow it online.
    fn expand(&self, id: &VolumeId, size: Bytes) -> Result<Bytes>;

    /// How full the volume is that is mounted at `at`. [`Error::NotMounted`] if it is not.
    fn usage(&self, id: &VolumeId, at: &Path) -> Result<Usage>;
}
