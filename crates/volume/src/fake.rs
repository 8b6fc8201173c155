//! [`Volumes`] in memory, for tests of what is built on it. It keeps the same promises, and needs no privilege.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use orlop_api::Bytes;

use crate::{Error, MountOptions, NewVolume, NodeTag, Result, SIZE_INCREMENT, Usage, Volume, VolumeId, Volumes};

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
    mounts: BTreeMap<PathBuf, VolumeId>,
}

impl FakeVolumes {
    /// A pool of that capacity on the node of that tag.
    pub fn new(tag: NodeTag, capacity: Bytes) -> Self {
        Self { tag, capacity, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        state.reserve(size, self.capacity)?;
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
        state.get(id)?;
        state.mount(id, at)
    }

    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<()> {
        self.state().unmount(id, at)
    }

    fn publish(&self, id: &VolumeId, staged: &Path, target: &Path, _: bool) -> Result<()> {
        let mut state = self.state();
        state.get(id)?;
        if state.mounts.get(staged) != Some(id) {
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

    fn usage(&self, id: &VolumeId, at: &Path) -> Result<Usage> {
        /// One inode for each so many bytes, of which none is in use: the fake has no files.
        const BYTES_PER_INODE: u64 = 4096;

        let state = self.state();
        let total = state.get(id)?.size;
        if state.mounts.get(at) != Some(id) {
            return Err(Error::NotMounted { id: id.clone(), path: at.to_owned() });
        }
        let inodes = total.0 / BYTES_PER_INODE;
        Ok(Usage { total, available: total, used: Bytes(0), total_inodes: inodes, free_inodes: inodes })
    }
}
