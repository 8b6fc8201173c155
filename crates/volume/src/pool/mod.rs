//! The pool: a directory on a reflink filesystem, in which each volume has a directory of its own, and the account of
//! what may still be promised.

mod account;
mod audit;
mod ballast;
mod device;
mod file;
mod open;
mod overcommit;
mod pressure;
mod trouble;

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use orlop_api::Bytes;
use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

use self::{
    account::{Account, Demand},
    audit::Sharing,
    ballast::Ballast,
};
pub(crate) use self::{
    audit::allocated,
    pressure::{Measure, Pressure, low_water},
    trouble::Trouble,
};
pub use self::{
    device::PoolDevice,
    file::PoolFile,
    overcommit::{InvalidOvercommit, Overcommit},
};
use crate::{
    Error, Provisioning, Result, VolumeId,
    shelf::{NewFolder, Shelf},
};

/// A pool that is open. Only one process at a time has it open.
#[derive(Debug)]
pub struct Pool {
    volumes: Shelf,
    /// The number of the filesystem's device, by which it is known again.
    device: u64,
    overcommit: Overcommit,
    ballast: Ballast,
    sharing: Sharing,
    /// Held while something is added to what is promised.
    promises: Mutex<()>,
    /// Its lock is given up when the process ends, however it ends.
    _exclusive: File,
}

impl Pool {
    const IMAGE: &str = "image";
    const RECORD: &str = "volume.json";

    /// Opens the pool in `root`, which must be on a filesystem with reflinks. Waits a moment for another process that
    /// has it open, and then fails. Removes what interrupted calls left behind.
    pub fn open(root: &Path, overcommit: Overcommit) -> Result<Self> {
        let root = fs::canonicalize(root).map_err(Error::io("find the pool", root.display()))?;
        let exclusive = open::lock(&root)?;
        open::overwrite_in_place(&root)?;
        open::require_reflinks(&root)?;
        let volumes = Shelf::open(root.join("volumes"))?;
        let path = volumes.path();
        let device = fs::metadata(path).map_err(Error::io("look at", path.display()))?.dev();
        let (total, free) = size_and_room(path)?;
        let ballast = Ballast::find(&root, pressure::ballast_of(total));
        let (size, held) = (ballast.size(), ballast.is_held());
        if (Pressure { free, ballast: size, held, paused: false }).measure() == Some(Measure::MakeBallast) {
            ballast.make()?;
        }
        Ok(Self {
            volumes,
            device,
            overcommit,
            ballast,
            sharing: Sharing::default(),
            promises: Mutex::default(),
            _exclusive: exclusive,
        })
    }

    /// What keeps the pool from being read, if anything.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        Trouble::of(self.path(), self.device)
    }

    /// Is the pool there? Asked before anything is concluded from a file that is not: below a mount that has vanished,
    /// no volume is to be found, and none is gone.
    pub(crate) fn check(&self) -> Result<()> {
        self.trouble().map_or(Ok(()), |trouble| Err(trouble.error(self.path())))
    }

    /// The pool's directory of volumes, by which errors name it.
    pub(crate) fn path(&self) -> &Path {
        self.volumes.path()
    }

    pub(crate) fn image(&self, id: &VolumeId) -> PathBuf {
        self.folder(id).join(Self::IMAGE)
    }

    pub(crate) fn record(&self, id: &VolumeId) -> PathBuf {
        self.folder(id).join(Self::RECORD)
    }

    pub(crate) fn folder(&self, id: &VolumeId) -> PathBuf {
        self.volumes.folder(id)
    }

    /// Makes a volume's directory under a temporary name, with an empty image in it.
    pub(crate) fn begin(&self, id: &VolumeId) -> Result<NewVolumeFolder> {
        let folder = self.volumes.begin(id)?;
        let (image, record) = (folder.path().join(Self::IMAGE), folder.path().join(Self::RECORD));
        File::create_new(&image).map_err(Error::io("make", image.display()))?;
        Ok(NewVolumeFolder { folder, image, record })
    }

    /// Gives a complete directory its name, whereby the volume is there.
    pub(crate) fn complete(&self, new: &NewVolumeFolder, id: &VolumeId) -> Result<()> {
        File::open(&new.image)
            .and_then(|image| image.sync_all())
            .map_err(Error::io("write back", new.image.display()))?;
        self.volumes.complete(&new.folder, id)
    }

    /// Takes a volume's name away, whereby it is no longer there. Returns the directory that is left to be removed, or
    /// `None` if it was not there.
    pub(crate) fn abandon(&self, id: &VolumeId) -> Result<Option<PathBuf>> {
        self.check()?;
        self.sharing.forget(id);
        self.shares_less();
        self.volumes.abandon(id)
    }

    /// The volumes, in the order of their ids.
    pub(crate) fn ids(&self) -> Result<Vec<VolumeId>> {
        self.check()?;
        self.readable(self.volumes.ids())
    }

    /// What is in the directory of volumes: also those that are being made, or deleted.
    fn entries(&self) -> Result<Vec<String>> {
        self.check()?;
        self.readable(self.volumes.entries())
    }

    /// Says of an error what it says of the pool.
    fn readable<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            Error::Io { source, .. } if Trouble::is_failure(&source) => Trouble::because(source).error(self.path()),
            error => error,
        })
    }

    /// The size of the pool's filesystem, and what is free in it.
    pub(crate) fn measure(&self) -> Result<(Bytes, Bytes)> {
        self.check()?;
        size_and_room(self.path())
    }

    /// That nothing can be written in the pool, if so.
    pub(crate) fn read_only(&self) -> Result<Option<Trouble>> {
        let flags = statvfs(self.path()).map_err(Error::io("measure", self.path().display()))?.f_flag;
        Ok(Trouble::of_flags(flags))
    }

    /// How the pool stands.
    pub(crate) fn account(&self) -> Result<Account> {
        let _one_at_a_time = self.one_at_a_time();
        self.audit()
    }

    /// Does `take`, which promises `asked` more, if there is room for that. Such calls wait for each other, so that no
    /// room is promised twice.
    pub(crate) fn promise<T>(
        &self,
        asked: Bytes,
        provisioning: Provisioning,
        take: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let _one_at_a_time = self.one_at_a_time();
        self.require_room(Demand::of(asked, provisioning), provisioning)?;
        take()
    }

    /// Does `take`, which makes reflink copies of volumes, if there is room for that: afterwards all of a volume's
    /// bytes are shared, and those that were its own until then take room once more when they are overwritten. With
    /// that goes a new volume of size `asked`, if a volume is what the copy becomes; a snapshot is only read, and asks
    /// for 0.
    pub(crate) fn promise_copies<T>(
        &self,
        of: &[VolumeId],
        asked: Bytes,
        provisioning: Provisioning,
        take: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let _one_at_a_time = self.one_at_a_time();
        let mut demand = Demand::of(asked, provisioning);
        for id in of {
            if let Some(held) = self.held(id.as_str())? {
                demand.add(held.exclusive(), held.provisioning);
            }
        }
        self.require_room(demand, provisioning)?;
        let result = take();
        // Also after a failure, which may have come after the copy.
        for id in of {
            self.sharing.forget(id);
        }
        result
    }

    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn require_room(&self, demand: Demand, provisioning: Provisioning) -> Result<()> {
        self.check()?;
        if let Some(trouble) = self.read_only()? {
            return Err(trouble.error(self.path()));
        }
        let account = self.audit()?;
        if account.has_room_for(demand) {
            return Ok(());
        }
        let (asked, available) = (demand.total(), account.available(provisioning));
        tracing::warn!(
            thin = demand.thin.0,
            thick = demand.thick.0,
            free = account.free.0,
            outstanding = account.outstanding.total().0,
            owed_to_ballast = account.owed.0,
            overcommit = %account.overcommit,
            "the pool has no room for what is asked for"
        );
        Err(Error::NoRoom { asked, available })
    }

    /// Takes from the pool what a thick volume's image lacks of its bytes; a thin one gets them as they are written.
    /// Bytes that are shared stay so: a copy of them is made when they are overwritten, for which room is kept.
    pub(crate) fn allocate(&self, image: &File, size: Bytes, provisioning: Provisioning) -> Result<()> {
        if provisioning == Provisioning::Thin {
            return Ok(());
        }
        match fallocate(image, FallocateFlags::empty(), 0, size.0) {
            Ok(()) => Ok(()),
            Err(Errno::NOSPC) => Err(Error::NoRoom { asked: size, available: self.measure()?.1 }),
            Err(error) => Err(Error::io("allocate an image in", self.path().display())(error)),
        }
    }

    /// The ballast's size, and whether it is held.
    pub(crate) fn ballast(&self) -> (Bytes, bool) {
        (self.ballast.size(), self.ballast.is_held())
    }

    pub(crate) fn make_ballast(&self) -> Result<()> {
        self.ballast.make()
    }

    pub(crate) fn give_up_ballast(&self) -> Result<()> {
        self.ballast.give_up()
    }

    /// To be told when a copy is deleted: what it shared may be shared no longer.
    pub(crate) fn shares_less(&self) {
        self.sharing.forget_sharers();
    }

    /// Does the volume share any of its bytes?
    pub(crate) fn shares(&self, id: &VolumeId) -> Result<bool> {
        let _one_at_a_time = self.one_at_a_time();
        Ok(self.held(id.as_str())?.is_some_and(|held| held.shared > Bytes(0)))
    }
}

/// The size of the filesystem at `path`, and what is free in it.
fn size_and_room(path: &Path) -> Result<(Bytes, Bytes)> {
    let pool = statvfs(path).map_err(Error::io("measure", path.display()))?;
    let bytes = |blocks: u64| Bytes(blocks.saturating_mul(pool.f_frsize));
    Ok((bytes(pool.f_blocks), bytes(pool.f_bavail)))
}

/// A volume's directory while it is being made.
pub(crate) struct NewVolumeFolder {
    folder: NewFolder,
    pub image: PathBuf,
    pub record: PathBuf,
}
