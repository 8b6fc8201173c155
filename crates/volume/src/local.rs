//! [`Volumes`] on a real pool: making, finding and deleting volumes. Mounting is in `stage`, growing in `grow`.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use orlop_api::Bytes;

use crate::{
    Content, Error, MountOptions, NewVolume, NodeTag, Observer, PodCgroups, Pool, Result, Step, Usage, Volume,
    VolumeId, Volumes, block,
    caution::Caution,
    freeze::Freezer,
    limits::Limiter,
    locks::Locks,
    loops,
    mounts::Table,
    pause::Pause,
    pool::NewVolumeFolder,
    record::{Record, Recorded as _},
    shelf::{self, Shelf},
    stage::remove_mount_point,
};

/// The volumes in a pool of this node.
pub struct LocalVolumes {
    pub(crate) pool: Pool,
    pub(crate) snapshots: Shelf,
    pub(crate) groups: Shelf,
    pub(crate) locks: Locks,
    pub(crate) freezer: Freezer,
    pub(crate) limiter: Limiter,
    pub(crate) pause: Pause,
    pub(crate) caution: Caution,
    pub(crate) tag: NodeTag,
    observer: Observer,
}

impl LocalVolumes {
    /// Takes over a pool: removes what interrupted calls left behind, detaches images that nobody has mounted, and thaws
    /// what is frozen. Without the socket of a watchdog, no volume that is mounted can be copied.
    pub fn open(pool: Pool, tag: NodeTag, observer: Observer, watchdog: Option<PathBuf>) -> Result<Self> {
        let snapshots = Shelf::open(pool.path().with_file_name("snapshots"))?;
        let groups = Shelf::open(pool.path().with_file_name("groups"))?;
        let volumes = Self {
            pool,
            snapshots,
            groups,
            locks: Locks::default(),
            freezer: Freezer::new(watchdog),
            limiter: Limiter::new(PodCgroups::default()),
            pause: Pause::default(),
            caution: Caution::default(),
            tag,
            observer,
        };
        let mounts = Table::read()?;
        for id in volumes.pool.ids()? {
            let Some(device) = loops::find(&volumes.pool.image(&id))? else { continue };
            if mounts.of(&device).next().is_none() {
                tracing::info!(%id, device = %device.path.display(), "detaching an image that is not mounted");
                device.detach()?;
            } else if let Err(error) = volumes.thaw_what_was_left(&id) {
                // One that has shut down, for example, which must not keep the others from being served.
                tracing::error!(%id, %error, "a volume may be frozen, and cannot be thawed");
            }
        }
        Ok(volumes)
    }

    pub(crate) fn reached(&self, step: Step) {
        (self.observer)(step);
    }

    /// The record of a volume, and its size; [`Error::NotFound`] if it is not there.
    pub(crate) fn load(&self, id: &VolumeId) -> Result<(Record, Bytes)> {
        self.pool.check()?;
        let record = Record::read(&self.pool.record(id))?.ok_or_else(|| Error::NotFound(id.clone()))?;
        let image = self.pool.image(id);
        let size = fs::metadata(&image).map_err(Error::io("look at the image", image.display()))?.len();
        Ok((record, Bytes(size)))
    }

    /// The record of a volume, or `None` if it was deleted meanwhile, or has a record that tells nothing.
    pub(crate) fn readable_record(&self, id: &VolumeId) -> Result<Option<Record>> {
        match self.load(id) {
            Ok((record, _)) => Ok(Some(record)),
            Err(Error::NotFound(_) | Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make(&self, id: &VolumeId, new: &NewVolume) -> Result<()> {
        let (folder, filesystem_size) = match &new.source {
            None => (self.make_empty(id, new)?, new.size()),
            Some(source) => self.make_from(source, id, new)?,
        };
        Record::new(new, filesystem_size).write(&folder.record)?;
        self.reached(Step::CreateRecorded);
        self.pool.complete(&folder, id)?;
        self.reached(Step::CreateNamed);
        Ok(())
    }

    fn make_empty(&self, id: &VolumeId, new: &NewVolume) -> Result<NewVolumeFolder> {
        let size = new.size();
        let folder = self.pool.promise(size, new.provisioning, || {
            let folder = self.pool.begin(id)?;
            self.lengthen_new(&folder, new)?;
            Ok(folder)
        })?;
        self.reached(Step::CreateReserved);
        if let Content::Filesystem(filesystem) = new.content {
            filesystem.format(&folder.image, size)?;
        }
        self.reached(Step::CreateFormatted);
        Ok(folder)
    }

    /// Gives a new image its size, and if it is thick its bytes.
    pub(crate) fn lengthen_new(&self, folder: &NewVolumeFolder, new: &NewVolume) -> Result<()> {
        let fail = || Error::io("make the image", folder.image.display());
        let image = OpenOptions::new().write(true).open(&folder.image).map_err(fail())?;
        self.pool.allocate(&image, new.size(), new.provisioning)?;
        image.set_len(new.size().0).map_err(fail())
    }
}

impl Volumes for LocalVolumes {
    fn create(&self, new: &NewVolume) -> Result<Volume> {
        let id = VolumeId::derive(&self.tag, &new.name);
        let _turn = self.locks.take(&id)?;
        match self.get(&id) {
            Ok(present) if new.accepts(&present) => return Ok(present),
            Ok(present) => return Err(new.conflict(&present)),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let minimum = new.content.minimum();
        if new.size() < minimum {
            return Err(Error::TooSmall { asked: new.at_least, content: new.content.to_string(), minimum });
        }
        self.make(&id, new)?;
        self.get(&id)
    }

    fn delete(&self, id: &VolumeId) -> Result<()> {
        let _turn = self.locks.take(id)?;
        self.pool.check()?;
        let image = self.pool.image(id);
        if !image.try_exists().map_err(Error::io("look for", image.display()))? {
            return Ok(());
        }
        if let Some(device) = loops::find(&image)? {
            if let Some(mount) = Table::read()?.of(&device).next() {
                return Err(Error::InUse { id: id.clone(), by: format!("it is mounted at {}", mount.path.display()) });
            }
            let by = format!("{} has it attached", device.path.display());
            device.detach()?;
            // Mounts in other namespaces, which are not seen here, keep the device attached.
            if !loops::is_released(&image)? {
                return Err(Error::InUse { id: id.clone(), by });
            }
        }
        let Some(left) = self.pool.abandon(id)? else { return Ok(()) };
        self.reached(Step::DeleteRenamed);
        shelf::remove(&left)?;
        self.reached(Step::DeleteRemoved);
        Ok(())
    }

    fn get(&self, id: &VolumeId) -> Result<Volume> {
        let (Record { name, content, provisioning, source, limits, .. }, size) = self.load(id)?;
        Ok(Volume { id: id.clone(), name, size, content, provisioning, source, limits })
    }

    fn list(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for id in self.pool.ids()? {
            match self.get(&id) {
                Ok(volume) => volumes.push(volume),
                // Deleted since its id was read.
                Err(Error::NotFound(_)) => {}
                // One damaged volume must not hide the others.
                Err(error) => tracing::error!(%id, %error, "a volume cannot be read"),
            }
        }
        Ok(volumes)
    }

    fn stage(&self, id: &VolumeId, at: &Path, options: &MountOptions) -> Result<()> {
        let _turn = self.locks.take(id)?;
        self.mount(id, at, options)
    }

    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<()> {
        let _turn = self.locks.take(id)?;
        self.unmount(id, at)?;
        self.unbind_staged(id, at)?;
        self.reached(Step::UnstageUnmounted);
        self.detach_block(id)?;
        self.reached(Step::UnstageDetached);
        Ok(())
    }

    fn publish(&self, id: &VolumeId, staged: &Path, target: &Path, read_only: bool) -> Result<()> {
        let _turn = self.locks.take(id)?;
        self.bind(id, staged, target, read_only)
    }

    fn unpublish(&self, id: &VolumeId, target: &Path) -> Result<()> {
        let _turn = self.locks.take(id)?;
        self.unmount(id, target)?;
        self.reached(Step::UnpublishUnmounted);
        remove_mount_point(target)
    }

    fn expand(&self, id: &VolumeId, size: Bytes) -> Result<Bytes> {
        let _turn = self.locks.take(id)?;
        self.grow(id, size)
    }

    fn paths(&self, id: &VolumeId) -> Result<Vec<PathBuf>> {
        self.load(id)?;
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(Vec::new()) };
        let table = Table::read()?;
        Ok(table.of(&device).filter(|mount| !block::is_staged(mount)).map(|mount| mount.path.clone()).collect())
    }

    fn usage(&self, id: &VolumeId, at: &Path) -> Result<Usage> {
        self.measure(id, at)
    }
}
