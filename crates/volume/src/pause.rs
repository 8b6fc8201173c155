//! Holding up the writers of volumes while their pool is all but full: they wait, which is better than a guest
//! filesystem that cannot write its journal and shuts down. Readers go on. This outlasts the driver, because the pool
//! stays full without it: a driver that starts thaws what it finds frozen, and pauses again if need be.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::io::Errno;

use crate::{
    Content, Error, LocalVolumes, Result, VolumeId, freeze, loops,
    mounts::{Mount, Table},
};

/// Whether writers are held up, and of which volumes.
#[derive(Debug, Default)]
pub(crate) struct Pause(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    paused: bool,
    /// What was frozen, by a directory of it that is kept open: one that shuts down while it is frozen can be thawed by
    /// that, and not be opened any more.
    frozen: BTreeMap<VolumeId, File>,
}

impl Pause {
    pub(crate) fn is_on(&self) -> bool {
        self.state().paused
    }

    pub(crate) fn switch(&self, on: bool) {
        self.state().paused = on;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalVolumes {
    /// Freezes what is to be held up, and thaws what was. Called again and again, because volumes are mounted and
    /// thawed meanwhile; one that another call is about is left to the next time.
    pub(crate) fn hold_up(&self) -> Result<()> {
        if !self.pause.is_on() {
            let frozen: Vec<_> = self.pause.state().frozen.keys().cloned().collect();
            return frozen.iter().try_for_each(|id| self.go_on(id));
        }
        let (table, ids) = (Table::read()?, self.pool.ids()?);
        // All at once: to freeze a filesystem is to write back what is dirty in it first.
        thread::scope(|scope| {
            let tasks: Vec<_> = ids.iter().map(|id| scope.spawn(|| self.hold_one_up(id, &table))).collect();
            let done: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap_or(Ok(()))).collect();
            done.into_iter().collect()
        })
    }

    fn hold_one_up(&self, id: &VolumeId, table: &Table) -> Result<()> {
        let Ok(_turn) = self.locks.take(id) else { return Ok(()) };
        let known = self.pause.state().frozen.remove(id);
        let directory = match known {
            Some(directory) => directory,
            None if self.has_writers_to_hold(id)? => {
                let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(()) };
                let Some(mount) = table.writable(&device).next() else { return Ok(()) };
                mount.open()?
            }
            None => return Ok(()),
        };
        match freeze::freeze(&directory) {
            Ok(()) => tracing::warn!(%id, "its writers wait until there is room in the pool"),
            Err(Errno::BUSY) => {}
            Err(error) => return Err(Error::io("freeze", id)(error)),
        }
        self.pause.state().frozen.insert(id.clone(), directory);
        Ok(())
    }

    /// Is it a filesystem that may take more room? The writers of a raw block device cannot be held up: they get
    /// errors.
    fn has_writers_to_hold(&self, id: &VolumeId) -> Result<bool> {
        match self.readable_record(id)? {
            Some(record) => Ok(record.content != Content::Block && self.may_take_room(id, &record)?),
            None => Ok(false),
        }
    }

    fn go_on(&self, id: &VolumeId) -> Result<()> {
        let Ok(_turn) = self.locks.take(id) else { return Ok(()) };
        if let Some(directory) = self.pause.state().frozen.get(id) {
            freeze::thaw(directory).map_err(Error::io("thaw", id))?;
            tracing::info!(%id, "its writers go on");
        }
        self.pause.state().frozen.remove(id);
        Ok(())
    }

    /// Thaws a volume's filesystem if it is frozen, because it is about to be unmounted: one that is still frozen then
    /// could never be thawed, nor its device be detached. What is frozen for a snapshot is not unmounted at that time.
    pub(crate) fn let_go(&self, id: &VolumeId, mount: &Mount) {
        let known = self.pause.state().frozen.remove(id);
        let thawed = match known {
            Some(directory) => freeze::thaw(directory).map_err(Error::io("thaw", id)),
            None if mount.is_node() => Ok(false),
            None => mount.open().and_then(|directory| freeze::thaw(directory).map_err(Error::io("thaw", id))),
        };
        if let Err(error) = thawed {
            // One that has shut down cannot be opened, and must be unmounted all the same.
            tracing::warn!(%id, %error, "unmounting a filesystem that could not be thawed, if it was frozen");
        }
    }
}
