//! Snapshots that are only remembered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::{BLOCK, Data, FakeVolumes, State};
use crate::{
    Content, Error, Extent, Group, GroupId, NodeTag, Result, Snapshot, SnapshotId, Snapshots, Source, VolumeId,
};

/// How long a volume in use is said to be frozen.
const FROZEN: Duration = Duration::from_millis(1);

impl Snapshots for FakeVolumes {
    fn snapshot(&self, name: &str, volume: &VolumeId) -> Result<Snapshot> {
        self.state().take(&self.tag, name, volume, None)
    }

    fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let mut state = self.state();
        if let Some(group) = state.snapshots.get(id).and_then(|snapshot| snapshot.group.clone()) {
            return Err(Error::InGroup { id: id.clone(), group });
        }
        state.forget(id);
        Ok(())
    }

    fn get_snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        self.state().snapshots.get(id).cloned().ok_or_else(|| Error::NoSnapshot(id.clone()))
    }

    fn list_snapshots(&self) -> Result<Vec<Snapshot>> {
        Ok(self.state().snapshots.values().cloned().collect())
    }

    fn snapshot_group(&self, name: &str, volumes: &[VolumeId]) -> Result<Group> {
        let mut state = self.state();
        let id = GroupId::derive(&self.tag, name);
        let volumes: BTreeSet<_> = volumes.iter().collect();
        if let Some(present) = state.groups.get(&id) {
            let of: BTreeSet<_> = present.snapshots.iter().map(|snapshot| &snapshot.volume).collect();
            return if of == volumes { Ok(present.clone()) } else { Err(conflict(name, of.len(), volumes.len())) };
        }
        for volume in &volumes {
            let is_used = state.mounts.values().any(|mounted| mounted == *volume);
            if state.get(volume)?.content == Content::Block && is_used {
                return Err(Error::CannotFreeze((*volume).clone()));
            }
        }
        let mut snapshots = Vec::new();
        for volume in volumes {
            snapshots.push(state.take(&self.tag, &format!("{name}/{volume}"), volume, Some(id.clone()))?);
        }
        let group = Group { id: id.clone(), name: name.to_owned(), snapshots, taken: SystemTime::now() };
        state.groups.insert(id, group.clone());
        Ok(group)
    }

    fn delete_group(&self, id: &GroupId) -> Result<()> {
        let mut state = self.state();
        for snapshot in state.groups.remove(id).into_iter().flat_map(|group| group.snapshots) {
            state.forget(&snapshot.id);
        }
        Ok(())
    }

    fn get_group(&self, id: &GroupId) -> Result<Group> {
        self.state().groups.get(id).cloned().ok_or_else(|| Error::NoGroup(id.clone()))
    }

    fn allocated(&self, id: &SnapshotId, from: u64, count: usize) -> Result<Vec<Extent>> {
        self.get_snapshot(id)?;
        let state = self.state();
        Ok(extents(state.data_of(id).keys().copied(), from, count))
    }

    fn changed(&self, base: &SnapshotId, target: &SnapshotId, from: u64, count: usize) -> Result<Vec<Extent>> {
        if self.get_snapshot(base)?.volume != self.get_snapshot(target)?.volume {
            return Err(Error::Unrelated(base.clone(), target.clone()));
        }
        let state = self.state();
        let (before, after) = (state.data_of(base), state.data_of(target));
        let changed = after.iter().filter(|(block, write)| before.get(block) != Some(write));
        Ok(extents(changed.map(|(block, _)| *block), from, count))
    }
}

impl State {
    fn take(&mut self, tag: &NodeTag, name: &str, volume: &VolumeId, group: Option<GroupId>) -> Result<Snapshot> {
        let id = SnapshotId::derive(tag, name);
        if let Some(present) = self.snapshots.get(&id) {
            let same = present.volume == *volume;
            return if same { Ok(present.clone()) } else { Err(conflict(name, 1, 1)) };
        }
        let source = self.get(volume)?;
        let snapshot = Snapshot {
            id: id.clone(),
            name: name.to_owned(),
            volume: volume.clone(),
            size: source.size,
            content: source.content,
            taken: SystemTime::now(),
            group,
        };
        self.freeze(&Source::Volume(volume.clone()));
        let data = self.data.get(volume.as_str()).cloned().unwrap_or_default();
        self.data.insert(id.to_string(), data);
        self.snapshots.insert(id, snapshot.clone());
        Ok(snapshot)
    }

    /// Remembers that a volume is frozen while it is copied, if it is a filesystem in use.
    pub(super) fn freeze(&mut self, source: &Source) {
        let Source::Volume(id) = source else { return };
        let is_raw = self.volumes.get(id).is_some_and(|volume| volume.content == Content::Block);
        if !is_raw && self.mounts.values().any(|mounted| mounted == id) {
            self.frozen.push(FROZEN);
        }
    }

    fn forget(&mut self, id: &SnapshotId) {
        self.snapshots.remove(id);
        self.data.remove(id.as_str());
    }

    fn data_of(&self, id: &SnapshotId) -> &Data {
        static NOTHING: Data = BTreeMap::new();
        self.data.get(id.as_str()).unwrap_or(&NOTHING)
    }
}

fn conflict(name: &str, present: usize, asked: usize) -> Error {
    let of = |count| format!("{count} snapshots of other volumes");
    Error::Conflict { name: name.to_owned(), present: of(present), asked: of(asked) }
}

/// The ranges that blocks make up, from the one that contains or follows `from`.
fn extents(blocks: impl Iterator<Item = u64>, from: u64, count: usize) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    for offset in blocks.map(|block| block * BLOCK) {
        match extents.last_mut() {
            Some(last) if last.offset + last.length == offset => last.length += BLOCK,
            _ => extents.push(Extent { offset, length: BLOCK }),
        }
    }
    extents.into_iter().filter(|extent| extent.offset + extent.length > from).take(count).collect()
}
