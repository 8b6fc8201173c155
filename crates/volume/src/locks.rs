//! One operation for each volume at a time.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::{Error, Result, VolumeId};

/// The volumes that are being worked on.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<BTreeSet<VolumeId>>);

/// A volume's turn, which ends when this is dropped.
#[must_use]
pub(crate) struct Turn<'a> {
    locks: &'a Locks,
    id: VolumeId,
}

impl Locks {
    /// Takes the volume's turn, or fails at once: whoever asked twice asks again later, and no thread waits meanwhile.
    pub(crate) fn take(&self, id: &VolumeId) -> Result<Turn<'_>> {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.insert(id.clone()) { Ok(Turn { locks: self, id: id.clone() }) } else { Err(Error::Busy(id.clone())) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
