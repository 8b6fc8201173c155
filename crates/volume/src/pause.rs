//! Holding up the writers of volumes while their pool is all but full: they wait, which is better than a guest filesystem
//! that cannot write its journal and shuts down. Readers go on. This outlasts the driver, because the pool stays full
//! without it: a driver that starts thaws what it finds frozen, and pauses again if need be.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::io::Errno;

use crate::{
    Content, Error, LocalVolumes, Provisioning, Result, VolumeId, freeze, loops,
    mounts::{Mount, Table},
};

/// Whether writers are held up, and of which volumes.
#[derive(Debug, Default)]
pub(crate) struct Pause(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    paused: bool,
    frozen: BTreeSet<VolumeId>,
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
    /// Freezes what is to be held up, and thaws what was. Called again and again, because volumes are mounted and snapshots
    /// thaw them meanwhile; one that another call is about is left to the next time.
    pub(crate) fn hold_up(&self) -> Result<()> {
        if !self.pause.is_on() {
            let frozen = self.pause.state().frozen.clone();
            return frozen.iter().try_for_each(|id| self.go_on(id));
        }
        let (table, ids) = (Table::read()?, self.pool.ids()?);
        // All at once: to freeze a filesystem is to write back what is dirty in it first.
        thread::scope(|scope| {
            let tasks: Vec<_> = ids.iter().map(|id| scope.spawn(|| self.hold_one_up(id, &table))).collect();
            tasks.into_iter().fold(Ok(()), |result, task| result.and(task.join().unwrap_or(Ok(()))))
        })
    }

    fn hold_one_up(&self, id: &VolumeId, table: &Table) -> Result<()> {
        let Ok(_turn) = self.locks.take(id) else { return Ok(()) };
        if !self.takes_room(id)? {
            return Ok(());
        }
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(()) };
        let Some(mount) = table.of(&device).find(|mount| !mount.is_read_only()) else { return Ok(()) };
        match freeze::freeze(mount.open()?) {
            Ok(()) => tracing::warn!(%id, "its writers wait until there is room in the pool"),
            Err(Errno::BUSY) => {}
            Err(error) => return Err(Error::io("freeze", mount.path.display())(error)),
        }
        self.pause.state().frozen.insert(id.clone());
        Ok(())
    }

    /// May the volume take more room, and can its writers be held up?
    fn takes_room(&self, id: &VolumeId) -> Result<bool> {
        match self.load(id) {
            Ok((record, _)) if record.content == Content::Block => Ok(false),
            Ok((record, _)) => Ok(record.provisioning == Provisioning::Thin || self.pool.shares(id)?),
            // Deleted meanwhile, or a record that tells nothing.
            Err(Error::NotFound(_) | Error::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn go_on(&self, id: &VolumeId) -> Result<()> {
        let Ok(_turn) = self.locks.take(id) else { return Ok(()) };
        let image = self.pool.image(id);
        if image.try_exists().map_err(Error::io("look for", image.display()))?
            && let Some(device) = loops::find(&image)?
        {
            Table::read()?.of(&device).take(1).try_for_each(let_go)?;
            tracing::info!(%id, "its writers go on");
        }
        self.pause.state().frozen.remove(id);
        Ok(())
    }
}

/// Thaws a filesystem that may be frozen.
pub(crate) fn let_go(mount: &Mount) -> Result<()> {
    freeze::thaw(mount.open()?).map(drop).map_err(Error::io("thaw", mount.path.display()))
}
