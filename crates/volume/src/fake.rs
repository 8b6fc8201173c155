//! [`Storage`](crate::Storage) in memory, for tests of what is built on it. It keeps the same promises, and needs no
//! privilege.

mod snapshots;
mod upkeep;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use orlop_api::Bytes;

use crate::{
    Ailment, Content, Error, Group, GroupId, MountOptions, NewVolume, NodeTag, Result, SIZE_INCREMENT, Snapshot,
    SnapshotId, Source, Usage, Volume, VolumeId, Volumes, block,
};

/// Volumes that are only remembered.
#[derive(Debug)]
pub struct FakeVolumes {
    tag: NodeTag,
    capacity: Bytes,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    volumes: BTreeMap<VolumeId, Volume>,
    snapshots: BTreeMap<SnapshotId, Snapshot>,
    groups: BTreeMap<GroupId, Group>,
    mounts: BTreeMap<PathBuf, VolumeId>,
    /// What volumes and snapshots hold, by their ids.
    data: BTreeMap<String, Data>,
    /// Counts what was written.
    writes: u64,
    pool_ailments: Vec<Ailment>,
    volume_ailments: BTreeMap<VolumeId, Vec<Ailment>>,
    frozen: Vec<Duration>,
}

/// For each block of [`BLOCK`] bytes that was ever written, which write was the last.
type Data = BTreeMap<u64, u64>;

/// The unit of what is remembered to be written.
const BLOCK: u64 = 4096;

impl FakeVolumes {
    /// A pool of that capacity on the node of that tag.
    pub fn new(tag: NodeTag, capacity: Bytes) -> Self {
        Self { tag, capacity, state: Mutex::default() }
    }

    /// Writes something, always something new, into the blocks of 4096 bytes that a range of a volume touches.
    pub fn write(&self, id: &VolumeId, offset: u64, length: u64) {
        let mut state = self.state();
        state.writes += 1;
        let write = state.writes;
        let blocks = offset / BLOCK..(offset + length).div_ceil(BLOCK);
        state.data.entry(id.to_string()).or_default().extend(blocks.map(|block| (block, write)));
    }

    /// From now on this is wrong with a volume, or with the pool where none is named.
    pub fn ail(&self, id: Option<&VolumeId>, ailments: Vec<Ailment>) {
        let mut state = self.state();
        match id {
            Some(id) => drop(state.volume_ailments.insert(id.clone(), ailments)),
            None => state.pool_ailments = ailments,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Volume {
    /// Where it is mounted when it is staged at `at`, as on a real pool.
    fn staged(&self, at: &Path) -> PathBuf {
        match self.content {
            Content::Filesystem(_) => at.to_owned(),
            Content::Block => block::node(at),
        }
    }
}

impl State {
    fn available(&self, capacity: Bytes) -> Bytes {
        Bytes(capacity.0.saturating_sub(self.volumes.values().map(|volume| volume.size.0).sum()))
    }

    fn get(&self, id: &VolumeId) -> Result<&Volume> {
        self.volumes.get(id).ok_or_else(|| Error::NotFound(id.clone()))
    }

    /// Is the volume mounted at `path`? An error if another one is.
    fn is_at(&self, id: &VolumeId, path: &Path) -> Result<bool> {
        match self.mounts.get(path) {
            Some(present) if present != id => Err(Error::Occupied { id: id.clone(), path: path.to_owned() }),
            present => Ok(present.is_some()),
        }
    }

    fn mount(&mut self, id: &VolumeId, path: &Path) -> Result<()> {
        if !self.is_at(id, path)? {
            self.mounts.insert(path.to_owned(), id.clone());
        }
        Ok(())
    }

    fn unmount(&mut self, id: &VolumeId, path: &Path) -> Result<()> {
        if self.is_at(id, path)? {
            self.mounts.remove(path);
        }
        Ok(())
    }

    /// What a source holds, if it fits the new volume.
    fn copy(&self, source: &Source, new: &NewVolume) -> Result<Data> {
        let (id, held) = match source {
            Source::Snapshot(id) => {
                (id.to_string(), self.snapshots.get(id).map(|snapshot| (snapshot.content, snapshot.size)))
            }
            Source::Volume(id) => (id.to_string(), self.volumes.get(id).map(|volume| (volume.content, volume.size))),
        };
        let Some((content, size)) = held else { return Err(Error::SourceMissing(id)) };
        if content != new.content {
            let (present, asked) = (content.to_string(), new.content.to_string());
            return Err(Error::SourceDiffers { source_id: id, present, asked });
        }
        if new.size() < size {
            return Err(Error::TooSmall { asked: new.at_least, content: format!("what {id} holds"), minimum: size });
        }
        Ok(self.data.get(&id).cloned().unwrap_or_default())
    }

    fn reserve(&self, asked: Bytes, capacity: Bytes) -> Result<()> {
        let available = self.available(capacity);
        if asked > available { Err(Error::NoRoom { asked, available }) } else { Ok(()) }
    }
}

impl Volumes for FakeVolumes {
    fn create(&self, new: &NewVolume) -> Result<Volume> {
        let mut state = self.state();
        let id = VolumeId::derive(&self.tag, &new.name);
        if let Some(present) = state.volumes.get(&id) {
            return if new.accepts(present) { Ok(present.clone()) } else { Err(new.conflict(present)) };
        }
        let (size, minimum) = (new.size(), new.content.minimum());
        if size < minimum {
            return Err(Error::TooSmall { asked: new.at_least, content: new.content.to_string(), minimum });
        }
        let data = match &new.source {
            Some(source) => {
                let data = state.copy(source, new)?;
                state.freeze(source);
                data
            }
            None => Data::new(),
        };
        state.reserve(size, self.capacity)?;
        state.data.insert(id.to_string(), data);
        let NewVolume { name, content, provisioning, source, limits, .. } = new.clone();
        let volume = Volume { id: id.clone(), name, size, content, provisioning, source, limits };
        state.volumes.insert(id, volume.clone());
        Ok(volume)
    }

    fn delete(&self, id: &VolumeId) -> Result<()> {
        let mut state = self.state();
        if let Some((path, _)) = state.mounts.iter().find(|(_, mounted)| *mounted == id) {
            return Err(Error::InUse { id: id.clone(), by: format!("it is mounted at {}", path.display()) });
        }
        state.volumes.remove(id);
        state.data.remove(id.as_str());
        Ok(())
    }

    fn get(&self, id: &VolumeId) -> Result<Volume> {
        self.state().get(id).cloned()
    }

    fn list(&self) -> Result<Vec<Volume>> {
        Ok(self.state().volumes.values().cloned().collect())
    }

    fn stage(&self, id: &VolumeId, at: &Path, _: &MountOptions) -> Result<()> {
        let mut state = self.state();
        let point = state.get(id)?.staged(at);
        for point in [at.to_owned(), block::node(at)] {
            state.is_at(id, &point)?;
        }
        state.mount(id, &point)
    }

    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<()> {
        let mut state = self.state();
        state.unmount(id, at)?;
        state.unmount(id, &block::node(at))
    }

    fn publish(&self, id: &VolumeId, staged: &Path, target: &Path, _: bool) -> Result<()> {
        let mut state = self.state();
        if state.mounts.get(&state.get(id)?.staged(staged)) != Some(id) {
            return Err(Error::NotStaged { id: id.clone(), path: staged.to_owned() });
        }
        state.mount(id, target)
    }

    fn unpublish(&self, id: &VolumeId, target: &Path) -> Result<()> {
        self.state().unmount(id, target)
    }

    fn expand(&self, id: &VolumeId, size: Bytes) -> Result<Bytes> {
        let mut state = self.state();
        let (present, size) = (state.get(id)?.size, size.round_up(SIZE_INCREMENT));
        if size <= present {
            return Ok(present);
        }
        state.reserve(Bytes(size.0 - present.0), self.capacity)?;
        if let Some(volume) = state.volumes.get_mut(id) {
            volume.size = size;
        }
        Ok(size)
    }

    fn paths(&self, id: &VolumeId) -> Result<Vec<PathBuf>> {
        let state = self.state();
        state.get(id)?;
        let paths = state.mounts.iter().filter(|(path, mounted)| *mounted == id && !path.ends_with(block::NODE));
        Ok(paths.map(|(path, _)| path.clone()).collect())
    }

    fn usage(&self, id: &VolumeId, at: &Path) -> Result<Usage> {
        /// One inode for each so many bytes, of which none is in use: the fake has no files.
        const BYTES_PER_INODE: u64 = 4096;

        let state = self.state();
        let total = state.get(id)?.size;
        if state.mounts.get(at) != Some(id) || state.get(id)?.content == Content::Block {
            return Err(Error::NotMounted { id: id.clone(), path: at.to_owned() });
        }
        let inodes = total.0 / BYTES_PER_INODE;
        Ok(Usage { total, available: total, used: Bytes(0), total_inodes: inodes, free_inodes: inodes })
    }
}
