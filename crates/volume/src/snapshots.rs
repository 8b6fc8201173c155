//! Snapshots of a real pool: taking, finding and deleting them, alone and in groups. A snapshot is a directory with a copy
//! of the volume's image, which shares its bytes, and a record. A group is a directory of snapshots with a record of its
//! own, so that all of them are there, or gone, in one moment: when the directory gets its name or loses it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use orlop_api::Bytes;

use crate::{
    Content, Error, Extent, Group, GroupId, LocalVolumes, Provisioning, Result, Snapshot, SnapshotId, Snapshots, Step,
    VolumeId,
    clones::share,
    durable, extents,
    freeze::Writable,
    loops,
    mounts::Table,
    pool::remove,
    record::{GroupRecord, SnapshotRecord},
    shelf::{self, NewFolder, Shelf},
};

const IMAGE: &str = "image";
const RECORD: &str = "snapshot.json";
const GROUP_RECORD: &str = "group.json";

/// A snapshot as it is stored.
pub(crate) struct Stored {
    id: SnapshotId,
    pub record: SnapshotRecord,
    pub size: Bytes,
    pub image: PathBuf,
}

impl Stored {
    /// Opens the image for reading. [`Error::NoSnapshot`] if the snapshot was deleted a moment ago.
    pub(crate) fn open_image(&self) -> Result<File> {
        File::open(&self.image).map_err(|error| gone(&self.id, &self.image, error))
    }
}

/// A volume of which a snapshot is being taken, and what becomes of it.
struct Subject {
    image: PathBuf,
    /// Below the directory that is being made.
    place: PathBuf,
    record: SnapshotRecord,
}

/// What is reached when.
struct Steps {
    intended: Step,
    frozen: Step,
    cloned: Step,
    thawed: Step,
    synced: Step,
    named: Step,
}

const ALONE: Steps = Steps {
    intended: Step::SnapshotIntended,
    frozen: Step::SnapshotFrozen,
    cloned: Step::SnapshotCloned,
    thawed: Step::SnapshotThawed,
    synced: Step::SnapshotSynced,
    named: Step::SnapshotNamed,
};

const GROUPED: Steps = Steps {
    intended: Step::GroupIntended,
    frozen: Step::GroupFrozen,
    cloned: Step::GroupCloned,
    thawed: Step::GroupThawed,
    synced: Step::GroupSynced,
    named: Step::GroupNamed,
};

impl LocalVolumes {
    /// A snapshot, alone or in a group; [`Error::NoSnapshot`] if it is not there.
    pub(crate) fn stored(&self, id: &SnapshotId) -> Result<Stored> {
        let none = || Error::NoSnapshot(id.clone());
        let alone = self.snapshots.folder(id);
        let folder = if exists(&alone)? { alone } else { self.grouped(id)?.ok_or_else(none)?.1 };
        let record = SnapshotRecord::read(&folder.join(RECORD))?.ok_or_else(none)?;
        let image = folder.join(IMAGE);
        let size = fs::metadata(&image).map_err(|error| gone(id, &image, error))?.len();
        Ok(Stored { id: id.clone(), record, size: Bytes(size), image })
    }

    /// The group that a snapshot was taken with, and its directory there.
    fn grouped(&self, id: &SnapshotId) -> Result<Option<(GroupId, PathBuf)>> {
        for group in self.groups.ids::<GroupId>()? {
            let folder = self.groups.folder(&group).join(id.as_str());
            if exists(&folder)? {
                return Ok(Some((group, folder)));
            }
        }
        Ok(None)
    }

    /// Where a volume is mounted for writing, if it is.
    pub(crate) fn writable(&self, id: &VolumeId) -> Result<Option<Writable>> {
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(None) };
        let table = Table::read()?;
        let mounts = table.of(&device).filter(|mount| !mount.is_node() && !mount.is_read_only());
        // Any of them does, if it can be reached.
        mounts.map(|mount| Writable::open(id, mount)).reduce(Result::or).transpose()
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
    fn is_beyond_reach(&self, id: &VolumeId, content: Content) -> Result<bool> {
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(false) };
        Ok(content == Content::Block || Table::read()?.of(&device).next().is_none())
    }

    fn subject(&self, id: &VolumeId, place: &str, name: &str, group: Option<GroupId>) -> Result<Subject> {
        let (record, _) = self.load(id)?;
        let record = SnapshotRecord::new(name, id, &record, group);
        Ok(Subject { image: self.pool.image(id), place: place.into(), record })
    }

    /// Takes snapshots at one moment, in what then gets the name `id`. `prepare` puts more into the new directory.
    fn take(
        &self,
        (shelf, id): (&Shelf, &str),
        subjects: &[Subject],
        prepare: impl FnOnce(&NewFolder) -> Result<()>,
        steps: &Steps,
    ) -> Result<()> {
        let mut writable = Vec::new();
        for subject in subjects {
            writable.extend(self.writable(&subject.record.volume)?);
        }
        writable.iter().try_for_each(Writable::write_back)?;
        let volumes: Vec<_> = subjects.iter().map(|subject| subject.record.volume.clone()).collect();
        // A snapshot is only read, so that it will never take more than its volume does by being overwritten.
        let folder = self.pool.promise_copies(&volumes, Bytes(0), Provisioning::Thin, || {
            let folder = shelf.begin(id)?;
            prepare(&folder)?;
            for Subject { place, record, .. } in subjects {
                let place = folder.path().join(place);
                shelf::make(&place)?;
                record.write(&place.join(RECORD))?;
            }
            self.reached(steps.intended);
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
}

impl Subject {
    fn copy(&self, folder: &NewFolder) -> Result<()> {
        let to = folder.path().join(&self.place).join(IMAGE);
        File::open(&self.image)
            .and_then(|from| share(&from, &File::create_new(&to)?))
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

impl Snapshots for LocalVolumes {
    fn snapshot(&self, name: &str, volume: &VolumeId) -> Result<Snapshot> {
        let id = SnapshotId::derive(&self.tag, name);
        let _turn = self.locks.take(&id)?;
        match self.get_snapshot(&id) {
            Ok(present) if present.volume == *volume => return Ok(present),
            Ok(present) => {
                let (present, asked) = (format!("a snapshot of {}", present.volume), format!("one of {volume}"));
                return Err(Error::Conflict { name: name.to_owned(), present, asked });
            }
            Err(Error::NoSnapshot(_)) => {}
            Err(error) => return Err(error),
        }
        let _turn_of_volume = self.locks.take(volume)?;
        let subject = self.subject(volume, "", name, None)?;
        self.take((&self.snapshots, id.as_str()), &[subject], |_| Ok(()), &ALONE)?;
        self.get_snapshot(&id)
    }

    fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let _turn = self.locks.take(id)?;
        let Some(left) = self.snapshots.abandon(id)? else {
            return match self.grouped(id)? {
                Some((group, _)) => Err(Error::InGroup { id: id.clone(), group }),
                None => Ok(()),
            };
        };
        self.reached(Step::SnapshotDeleteRenamed);
        remove(&left)?;
        self.pool.shares_less();
        self.reached(Step::SnapshotDeleteRemoved);
        Ok(())
    }

    fn get_snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        let Stored { record: SnapshotRecord { name, volume, content, taken, group, .. }, size, .. } =
            self.stored(id)?;
        Ok(Snapshot { id: id.clone(), name, volume, size, content, taken, group })
    }

    fn list_snapshots(&self) -> Result<Vec<Snapshot>> {
        let mut ids: BTreeSet<SnapshotId> = self.snapshots.ids()?.into_iter().collect();
        for group in self.groups.ids::<GroupId>()? {
            ids.extend(members(&self.groups.folder(group))?);
        }
        let mut snapshots = Vec::new();
        for id in ids {
            match self.get_snapshot(&id) {
                Ok(snapshot) => snapshots.push(snapshot),
                // Deleted since its id was read.
                Err(Error::NoSnapshot(_)) => {}
                // One damaged snapshot must not hide the others.
                Err(error) => tracing::error!(%id, %error, "a snapshot cannot be read"),
            }
        }
        Ok(snapshots)
    }

    fn snapshot_group(&self, name: &str, volumes: &[VolumeId]) -> Result<Group> {
        let id = GroupId::derive(&self.tag, name);
        let _turn = self.locks.take(&id)?;
        let volumes: BTreeSet<_> = volumes.iter().cloned().collect();
        match self.get_group(&id) {
            Ok(present) => return present.require(&volumes),
            Err(Error::NoGroup(_)) => {}
            Err(error) => return Err(error),
        }
        let _turns = volumes.iter().map(|volume| self.locks.take(volume)).collect::<Result<Vec<_>>>()?;
        let mut subjects = Vec::new();
        for volume in &volumes {
            let name = format!("{name}/{volume}");
            let place = SnapshotId::derive(&self.tag, &name);
            let subject = self.subject(volume, place.as_str(), &name, Some(id.clone()))?;
            if self.is_beyond_reach(volume, subject.record.content)? {
                return Err(Error::CannotFreeze(volume.clone()));
            }
            subjects.push(subject);
        }
        let record = GroupRecord::new(name);
        let prepare = |folder: &NewFolder| record.write(&folder.path().join(GROUP_RECORD));
        self.take((&self.groups, id.as_str()), &subjects, prepare, &GROUPED)?;
        self.get_group(&id)
    }

    fn delete_group(&self, id: &GroupId) -> Result<()> {
        let _turn = self.locks.take(id)?;
        let Some(left) = self.groups.abandon(id)? else { return Ok(()) };
        self.reached(Step::GroupDeleteRenamed);
        remove(&left)?;
        self.pool.shares_less();
        self.reached(Step::GroupDeleteRemoved);
        Ok(())
    }

    fn get_group(&self, id: &GroupId) -> Result<Group> {
        let none = || Error::NoGroup(id.clone());
        let folder = self.groups.folder(id);
        let GroupRecord { name, taken, .. } = GroupRecord::read(&folder.join(GROUP_RECORD))?.ok_or_else(none)?;
        let ids = members(&folder)?;
        let mut snapshots = ids.iter().map(|id| self.get_snapshot(id)).collect::<Result<Vec<_>>>()?;
        snapshots.sort_by(|one, other| one.volume.cmp(&other.volume));
        Ok(Group { id: id.clone(), name, snapshots, taken })
    }

    fn allocated(&self, id: &SnapshotId, from: u64, count: usize) -> Result<Vec<Extent>> {
        extents::allocated(&self.stored(id)?.image, from, count)
    }

    fn changed(&self, base: &SnapshotId, target: &SnapshotId, from: u64, count: usize) -> Result<Vec<Extent>> {
        let (one, other) = (self.stored(base)?, self.stored(target)?);
        if one.record.volume != other.record.volume {
            return Err(Error::Unrelated(base.clone(), target.clone()));
        }
        extents::changed(&one.image, &other.image, from, count)
    }
}

impl Group {
    /// The group itself, if it is one of these volumes.
    fn require(self, volumes: &BTreeSet<VolumeId>) -> Result<Self> {
        let present: BTreeSet<_> = self.snapshots.iter().map(|snapshot| snapshot.volume.clone()).collect();
        if present == *volumes {
            return Ok(self);
        }
        let list = |ids: &BTreeSet<VolumeId>| ids.iter().map(VolumeId::as_str).collect::<Vec<_>>().join(", ");
        Err(Error::Conflict {
            name: self.name,
            present: format!("a group of {}", list(&present)),
            asked: format!("one of {}", list(volumes)),
        })
    }
}

/// The snapshots in a group's directory; none if that was removed a moment ago.
fn members(group: &Path) -> Result<Vec<SnapshotId>> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", group.display()))?,
    };
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(Error::io("look for", path.display()))
}

fn gone(id: &SnapshotId, image: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoSnapshot(id.clone()),
        _ => Error::io("look at the image", image.display())(error),
    }
}
