//! Holding up the writers of filesystems for the moment in which their images are copied.

use std::{
    ffi::c_int,
    fs::File,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    fs::syncfs,
    io::Errno,
    ioctl::{self, NoArg, Opcode, opcode},
};

use crate::{Error, Result, VolumeId, mounts::Mount, watchdog::Guard};

/// Stops all writes to a filesystem, and writes back what is dirty; from `linux/fs.h`.
const FIFREEZE: Opcode = opcode::read_write::<c_int>(b'X', 119);
/// Lets writes go on.
const FITHAW: Opcode = opcode::read_write::<c_int>(b'X', 120);

/// A volume's filesystem that is mounted for writing.
pub(crate) struct Writable {
    id: VolumeId,
    /// The directory where it is mounted.
    directory: File,
}

impl Writable {
    pub(crate) fn open(id: &VolumeId, mount: &Mount) -> Result<Self> {
        Ok(Self { id: id.clone(), directory: mount.open()? })
    }

    /// Thaws it. Was it frozen?
    pub(crate) fn thaw(&self) -> Result<bool> {
        thaw(&self.directory).map_err(Error::io("thaw", &self.id))
    }

    /// Writes back what is dirty, so that there is little left of that to do while writers are held up.
    pub(crate) fn write_back(&self) -> Result<()> {
        syncfs(&self.directory).map_err(Error::io("write back what is dirty in", &self.id))
    }
}

/// Freezes filesystems, never without a watchdog, and remembers for how long.
#[derive(Debug)]
pub(crate) struct Freezer {
    watchdog: Option<PathBuf>,
    times: Mutex<Vec<Duration>>,
}

impl Freezer {
    /// With the socket of the watchdog; without one, nothing is frozen.
    pub(crate) fn new(watchdog: Option<PathBuf>) -> Self {
        Self { watchdog, times: Mutex::default() }
    }

    /// Does `copy` while nothing is written to any of the filesystems. They are thawed whatever comes of it, and it counts
    /// only if each of them was frozen all the time: [`Error::ThawedEarly`].
    pub(crate) fn hold<T>(&self, filesystems: &[Writable], copy: impl FnOnce() -> Result<T>) -> Result<T> {
        if filesystems.is_empty() {
            return copy();
        }
        let directories: Vec<_> = filesystems.iter().map(|filesystem| filesystem.directory.as_fd()).collect();
        let guard = Guard::arm(self.watchdog.as_deref(), &directories)?;
        let mut frozen = Frozen { filesystems: Vec::new(), times: &self.times };
        let result = filesystems.iter().try_for_each(|filesystem| frozen.add(filesystem)).and_then(|()| copy());
        let thawed = frozen.thaw();
        if matches!(thawed, Ok(()) | Err(Error::ThawedEarly(_))) {
            // Nothing is left for the watchdog to do.
            guard.release();
        }
        thawed.and(result)
    }

    /// How long filesystems were frozen since the last call, longest first.
    pub(crate) fn take_times(&self) -> Vec<Duration> {
        let mut times = std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_by(|one, other| other.cmp(one));
        times
    }
}

/// Filesystems that are frozen, and thawed at the latest when this goes.
struct Frozen<'a> {
    filesystems: Vec<(&'a Writable, Instant)>,
    times: &'a Mutex<Vec<Duration>>,
}

impl<'a> Frozen<'a> {
    fn add(&mut self, filesystem: &'a Writable) -> Result<()> {
        let start = Instant::now();
        freeze(&filesystem.directory).map_err(|error| match error {
            // By an administrator, or because the pool is full.
            Errno::BUSY => Error::Busy(format!("{}, which is frozen by somebody else,", filesystem.id)),
            error => Error::io("freeze", &filesystem.id)(error),
        })?;
        self.filesystems.push((filesystem, start));
        Ok(())
    }

    /// Thaws all of them, also if that fails for one, and returns the first failure.
    fn thaw(&mut self) -> Result<()> {
        let mut result = Ok(());
        for (Writable { id, directory }, start) in self.filesystems.drain(..) {
            let thawed = match thaw(directory) {
                Ok(true) => {
                    remember(self.times, start.elapsed());
                    Ok(())
                }
                Ok(false) => Err(Error::ThawedEarly(id.clone())),
                Err(error) => Err(Error::io("thaw", id)(error)),
            };
            result = result.and(thawed);
        }
        result
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.thaw() {
            tracing::error!(%error, "the watchdog is left to thaw it");
        }
    }
}

fn remember(times: &Mutex<Vec<Duration>>, time: Duration) {
    /// More than are ever taken between two looks at them.
    const KEPT: usize = 10_000;
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    if times.len() < KEPT {
        times.push(time);
    }
}

/// Freezes the filesystem of which `directory` is. `EBUSY` if it is frozen already.
#[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
pub(crate) fn freeze(directory: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: FIFREEZE ignores its argument and touches no memory of this process.
    unsafe { ioctl::ioctl(directory, NoArg::<FIFREEZE>::new()) }
}

/// Thaws the filesystem of which `directory` is. Was it frozen?
#[expect(unsafe_code, reason = "an ioctl that rustix has no function for")]
pub(crate) fn thaw(directory: impl AsFd) -> rustix::io::Result<bool> {
    // SAFETY: FITHAW ignores its argument and touches no memory of this process.
    match unsafe { ioctl::ioctl(directory, NoArg::<FITHAW>::new()) } {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error),
    }
}
