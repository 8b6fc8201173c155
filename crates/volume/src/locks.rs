//! One operation at a time for each volume, snapshot and group.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::{Error, Result};

/// The ids of what is being worked on. An id tells what it is of.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<BTreeSet<String>>);

/// An object's turn, which ends when this is dropped.
#[must_use]
pub(crate) struct Turn<'a> {
    locks: &'a Locks,
    id: String,
}

impl Locks {
    /// Takes the object's turn, or fails at once: whoever asked twice asks again later, and no thread waits meanwhile.
    pub(crate) fn take(&self, id: &impl ToString) -> Result<Turn<'_>> {
        let id = id.to_string();
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.insert(id.clone()) { Ok(Turn { locks: self, id }) } else { Err(Error::Busy(id)) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
