//! The ballast's file.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use orlop_api::Bytes;
use rustix::fs::{FallocateFlags, fallocate};

use super::allocated;
use crate::{Error, Result};

/// Room that is kept back in a file of that size.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    size: Bytes,
    held: AtomicBool,
}

impl Ballast {
    /// The ballast of the pool in `root`, held if an earlier process made it.
    pub(super) fn find(root: &Path, size: Bytes) -> Self {
        let path = root.join("ballast");
        let held = fs::metadata(&path).is_ok_and(|file| file.len() == size.0 && allocated(&file) >= size);
        Self { path, size, held: held.into() }
    }

    pub(super) fn size(&self) -> Bytes {
        self.size
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes the room.
    pub(super) fn make(&self) -> Result<()> {
        OpenOptions::new()
            .write(true)
            .create(true)
            // Whatever is there is of another size, or incomplete.
            .truncate(true)
            .open(&self.path)
            .and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, self.size.0)?))
            .map_err(Error::io("make the ballast", self.path.display()))?;
        self.held.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the room back. The file is emptied before it is removed, because a filesystem may take its time with what
    /// a removed file held.
    pub(super) fn give_up(&self) -> Result<()> {
        File::create(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::remove_file(&self.path))
            .map_err(Error::io("give up the ballast", self.path.display()))?;
        self.held.store(false, Ordering::Relaxed);
        Ok(())
    }
}
