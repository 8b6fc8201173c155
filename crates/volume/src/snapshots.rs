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
    Error, Extent, Group, GroupId, LocalVolumes, Result, Snapshot, SnapshotId, Snapshots, Step, VolumeId,
    capture::{ALONE, GROUPED},
    extents,
    record::{GroupRecord, Recorded as _, SnapshotRecord},
    shelf::{self, NewFolder},
};

/// The name of a snapshot's image.
pub(crate) const IMAGE: &str = "image";
/// The name of its record.
pub(crate) const RECORD: &str = "snapshot.json";
/// The name of a group's record.
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

impl LocalVolumes {
    /// A snapshot, alone or in a group; [`Error::NoSnapshot`] if it is not there.
    pub(crate) fn stored(&self, id: &SnapshotId) -> Result<Stored> {
        let none = || Error::NoSnapshot(id.clone());
        self.pool.check()?;
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
        self.take((&self.snapshots, id.as_str()), &[subject], |_, _| Ok(()), &ALONE)?;
        self.get_snapshot(&id)
    }

    fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let _turn = self.locks.take(id)?;
        self.pool.check()?;
        let Some(left) = self.snapshots.abandon(id)? else {
            return match self.grouped(id)? {
                Some((group, _)) => Err(Error::InGroup { id: id.clone(), group }),
                None => Ok(()),
            };
        };
        self.reached(Step::SnapshotDeleteRenamed);
        shelf::remove(&left)?;
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
        self.pool.check()?;
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
        let prepare =
            |folder: &NewFolder, moment| GroupRecord::new(name, moment).write(&folder.path().join(GROUP_RECORD));
        self.take((&self.groups, id.as_str()), &subjects, prepare, &GROUPED)?;
        self.get_group(&id)
    }

    fn delete_group(&self, id: &GroupId) -> Result<()> {
        let _turn = self.locks.take(id)?;
        self.pool.check()?;
        let Some(left) = self.groups.abandon(id)? else { return Ok(()) };
        self.reached(Step::GroupDeleteRenamed);
        shelf::remove(&left)?;
        self.pool.shares_less();
        self.reached(Step::GroupDeleteRemoved);
        Ok(())
    }

    fn get_group(&self, id: &GroupId) -> Result<Group> {
        let none = || Error::NoGroup(id.clone());
        self.pool.check()?;
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
