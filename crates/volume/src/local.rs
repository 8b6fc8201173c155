//! [`Volumes`] on a real pool: making, finding and deleting volumes. Mounting is in `stage`, growing in `grow`.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use orlop_api::Bytes;

use crate::{
    Content, Error, MountOptions, NewVolume, NodeTag, Observer, Pool, Result, Step, Usage, Volume, VolumeId, Volumes,
    locks::Locks, loops, mounts::Table, pool, record::Record,
};

/// The volumes in a pool of this node.
pub struct LocalVolumes {
    pub(crate) pool: Pool,
    pub(crate) locks: Locks,
    tag: NodeTag,
    observer: Observer,
}

impl LocalVolumes {
    /// Takes over a pool: removes what interrupted calls left behind, and detaches images that nobody has mounted.
    pub fn open(pool: Pool, tag: NodeTag, observer: Observer) -> Result<Self> {
        let volumes = Self { pool, locks: Locks::default(), tag, observer };
        volumes.pool.sweep()?;
        let mounts = Table::read()?;
        for id in volumes.pool.ids()? {
            if let Some(device) = loops::find(&volumes.pool.image(&id))?
                && mounts.of(&device).next().is_none()
            {
                tracing::info!(%id, device = %device.path.display(), "detaching an image that is not mounted");
                device.detach()?;
            }
        }
        Ok(volumes)
    }

    pub(crate) fn reached(&self, step: Step) {
        (self.observer)(step);
    }

    /// The record of a volume, and its size; [`Error::NotFound`] if it is not there.
    pub(crate) fn load(&self, id: &VolumeId) -> Result<(Record, Bytes)> {
        let record = Record::read(&self.pool.record(id))?.ok_or_else(|| Error::NotFound(id.clone()))?;
        let image = self.pool.image(id);
        let size = fs::metadata(&image).map_err(Error::io("look at the image", image.display()))?.len();
        Ok((record, Bytes(size)))
    }

    fn make(&self, id: &VolumeId, new: &NewVolume) -> Result<()> {
        let size = new.size();
        let folder = self.pool.promise(size, || {
            let folder = self.pool.begin(id)?;
            OpenOptions::new()
                .write(true)
                .open(&folder.image)
                .and_then(|image| image.set_len(size.0))
                .map_err(Error::io("make the image", folder.image.display()))?;
            Ok(folder)
        })?;
        self.reached(Step::CreateReserved);
        if let Content::Filesystem(filesystem) = new.content {
            filesystem.format(&folder.image, size)?;
        }
        self.reached(Step::CreateFormatted);
        Record::new(new, size).write(&folder.record)?;
        self.reached(Step::CreateRecorded);
        self.pool.complete(&folder, id)?;
        self.reached(Step::CreateNamed);
        Ok(())
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
        let left = self.pool.abandon(id)?;
        self.reached(Step::DeleteRenamed);
        pool::remove(&left)?;
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
        self.reached(Step::UnstageUnmounted);
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
        match fs::remove_dir(target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", target.display())(error))
            }
            _ => Ok(()),
        }
    }

    fn expand(&self, id: &VolumeId, size: Bytes) -> Result<Bytes> {
        let _turn = self.locks.take(id)?;
        self.grow(id, size)
    }

    fn paths(&self, id: &VolumeId) -> Result<Vec<PathBuf>> {
        self.load(id)?;
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(Vec::new()) };
        Ok(Table::read()?.of(&device).map(|mount| mount.path.clone()).collect())
    }

    fn usage(&self, id: &VolumeId, at: &Path) -> Result<Usage> {
        self.measure(id, at)
    }
}
