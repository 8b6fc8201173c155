//! Copying the images of volumes at one moment, as snapshots: alone or in a group.

use std::{fs::File, path::PathBuf, time::SystemTime};

use orlop_api::Bytes;

use crate::{
    Content, Error, GroupId, LocalVolumes, Provisioning, Result, Step, VolumeId, durable,
    freeze::Writable,
    loops,
    mounts::Table,
    record::{Record, Recorded as _, SnapshotRecord},
    reflink::{share, share_ahead},
    shelf::{self, NewFolder, Shelf},
    snapshots::{IMAGE, RECORD},
};

/// A volume of which a snapshot is being taken, and what becomes of it.
pub(crate) struct Subject {
    image: PathBuf,
    /// Below the directory that is being made.
    place: PathBuf,
    name: String,
    volume: VolumeId,
    /// The volume's.
    pub record: Record,
    group: Option<GroupId>,
}

/// Which steps are reached.
pub(crate) struct Steps {
    intended: Step,
    frozen: Step,
    cloned: Step,
    thawed: Step,
    synced: Step,
    named: Step,
}

/// The steps of a snapshot alone.
pub(crate) const ALONE: Steps = Steps {
    intended: Step::SnapshotIntended,
    frozen: Step::SnapshotFrozen,
    cloned: Step::SnapshotCloned,
    thawed: Step::SnapshotThawed,
    synced: Step::SnapshotSynced,
    named: Step::SnapshotNamed,
};

/// The steps of a group.
pub(crate) const GROUPED: Steps = Steps {
    intended: Step::GroupIntended,
    frozen: Step::GroupFrozen,
    cloned: Step::GroupCloned,
    thawed: Step::GroupThawed,
    synced: Step::GroupSynced,
    named: Step::GroupNamed,
};

impl LocalVolumes {
    /// Makes ready for a snapshot of a volume, which is to be at `place` below the new directory.
    pub(crate) fn subject(&self, id: &VolumeId, place: &str, name: &str, group: Option<GroupId>) -> Result<Subject> {
        let (record, _) = self.load(id)?;
        Ok(Subject {
            image: self.pool.image(id),
            place: place.into(),
            name: name.to_owned(),
            volume: id.clone(),
            record,
            group,
        })
    }

    /// Takes snapshots at one moment, in what then gets the name `id`. `prepare` puts more into the new directory, and is
    /// told when that moment is.
    pub(crate) fn take(
        &self,
        (shelf, id): (&Shelf, &str),
        subjects: &[Subject],
        prepare: impl FnOnce(&NewFolder, SystemTime) -> Result<()>,
        steps: &Steps,
    ) -> Result<()> {
        let mut writable = Vec::new();
        for subject in subjects {
            writable.extend(self.writable(&subject.volume)?);
        }
        // Also before the pool's turn is taken, which others wait for.
        writable.iter().try_for_each(Writable::write_back)?;
        let volumes: Vec<_> = subjects.iter().map(|subject| subject.volume.clone()).collect();
        // A snapshot is only read, so that it will never take more than its volume does by being overwritten.
        let folder = self.pool.promise_copies(&volumes, Bytes(0), Provisioning::Thin, || {
            let folder = shelf.begin(id)?;
            // Not later than the data, for whoever concludes from it what a backup has.
            let moment = SystemTime::now();
            prepare(&folder, moment)?;
            for Subject { place, name, volume, record, group, .. } in subjects {
                let place = folder.path().join(place);
                shelf::make(&place)?;
                SnapshotRecord::new(name.clone(), volume.clone(), record, group.clone(), moment)
                    .write(&place.join(RECORD))?;
            }
            self.reached(steps.intended);
            for subject in subjects {
                subject.copy_ahead(&folder, self.device(&subject.volume)?.is_some())?;
            }
            writable.iter().try_for_each(Writable::write_back)?;
            self.freezer.hold(&writable, || {
                self.reached(steps.frozen);
                for subject in subjects {
                    subject.copy(&folder)?;
                }
                self.reached(steps.cloned);
                Ok(())
            })?;
            Ok(folder)
        })?;
        self.reached(steps.thawed);
        for subject in subjects {
            subject.make_durable(&folder)?;
        }
        self.reached(steps.synced);
        shelf.complete(&folder, id)?;
        self.reached(steps.named);
        Ok(())
    }

    /// Where a volume is mounted for writing, if it is.
    pub(crate) fn writable(&self, id: &VolumeId) -> Result<Option<Writable>> {
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(None) };
        let table = Table::read()?;
        // Any of them does, if it can be reached.
        table.writable(&device).map(|mount| Writable::open(id, mount)).reduce(Result::or).transpose()
    }

    /// Thaws a volume that a driver left frozen that is no more.
    pub(crate) fn thaw_what_was_left(&self, id: &VolumeId) -> Result<()> {
        let Some(filesystem) = self.writable(id)? else { return Ok(()) };
        if filesystem.thaw()? {
            tracing::warn!(%id, "thawed what was frozen");
        }
        Ok(())
    }

    /// Is the volume in use in a way that nobody can hold up: by the writers of a block device, or in a mount namespace
    /// that this process does not see?
    pub(crate) fn is_beyond_reach(&self, id: &VolumeId, content: Content) -> Result<bool> {
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(false) };
        Ok(content == Content::Block || Table::read()?.of(&device).next().is_none())
    }
}

impl Subject {
    /// Makes the snapshot's image, and if the volume is in use does what can be done before its one moment.
    fn copy_ahead(&self, folder: &NewFolder, is_in_use: bool) -> Result<()> {
        let to = folder.path().join(&self.place).join(IMAGE);
        let new = File::create_new(&to).map_err(Error::io("copy the image to", to.display()))?;
        if is_in_use { share_ahead(&self.image, &new) } else { Ok(()) }
    }

    fn copy(&self, folder: &NewFolder) -> Result<()> {
        let to = folder.path().join(&self.place).join(IMAGE);
        File::open(&self.image)
            .and_then(|from| share(&from, &File::options().write(true).open(&to)?))
            .map_err(Error::io("copy the image to", to.display()))
    }

    fn make_durable(&self, folder: &NewFolder) -> Result<()> {
        let place = folder.path().join(&self.place);
        File::open(place.join(IMAGE))
            .and_then(|image| image.sync_all())
            .and_then(|()| durable::sync_directory(&place))
            .map_err(Error::io("write back", place.display()))
    }
}
