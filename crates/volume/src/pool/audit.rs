//! Gathering the account of a pool from what is in it.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use orlop_api::Bytes;

use super::{
    Pool,
    account::{Account, Held},
};
use crate::{
    Error, Provisioning, Result, VolumeId, extents,
    record::{Record, Recorded as _},
    shelf::Shelf,
};

/// How much of each volume is shared, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Sharing(Mutex<BTreeMap<VolumeId, (Bytes, Instant)>>);

impl Sharing {
    /// How much of a volume's image is shared. Going through its extents takes a while if they are many, so that what
    /// was found is remembered. A volume that shares nothing begins to only when it is copied, which is told by
    /// [`Sharing::forget`]. One that does shares less and less, and too much is counted for it for a minute.
    fn of(&self, id: &VolumeId, image: &Path) -> Result<Bytes> {
        const FRESH: Duration = Duration::from_mins(1);
        if let Some((shared, seen)) = self.known().get(id)
            && (*shared == Bytes(0) || seen.elapsed() < FRESH)
        {
            return Ok(*shared);
        }
        let shared = extents::shared(image)?;
        self.known().insert(id.clone(), (shared, Instant::now()));
        Ok(shared)
    }

    pub(super) fn forget(&self, id: &VolumeId) {
        self.known().remove(id);
    }

    /// Forgets what is known of volumes that share something.
    pub(super) fn forget_sharers(&self) {
        self.known().retain(|_, (shared, _)| *shared == Bytes(0));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<VolumeId, (Bytes, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is allocated to a file.
pub(crate) fn allocated(file: &Metadata) -> Bytes {
    /// The unit of stat(2), whatever the filesystem's blocks are.
    const BLOCK: u64 = 512;
    Bytes(file.blocks().saturating_mul(BLOCK))
}

impl Pool {
    /// Counts everything. Whoever calls it holds `promises`: what another thread copies meanwhile would be counted by
    /// halves.
    pub(super) fn audit(&self) -> Result<Account> {
        let (total, free) = self.measure()?;
        let owed = if self.ballast.is_held() { Bytes(0) } else { self.ballast.size() };
        let mut account = Account::new(total, free, owed, self.overcommit);
        for name in self.entries()? {
            // What is being deleted takes nothing more.
            if name.starts_with(Shelf::DELETING) {
                continue;
            }
            if let Some(held) = self.held(&name)? {
                account.add(&held);
            }
        }
        Ok(account)
    }

    /// What the volume in that directory holds, or `None` if it is gone or not there yet.
    pub(super) fn held(&self, name: &str) -> Result<Option<Held>> {
        let folder = self.volumes.folder(name);
        let image = folder.join(Self::IMAGE);
        let there = |result: Result<Held>| match result {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        };
        there((|| {
            let metadata = fs::metadata(&image).map_err(Error::io("look at the image", image.display()))?;
            // One that is being made has no record yet, and a damaged one is not to be relied upon: they count as
            // thick, which is the larger promise.
            let provisioning = match Record::read(&folder.join(Self::RECORD)) {
                Ok(Some(record)) => record.provisioning,
                Ok(None) | Err(Error::Damaged { .. }) => Provisioning::Thick,
                Err(error) => return Err(error),
            };
            let shared = match name.parse() {
                Ok(id) => self.sharing.of(&id, &image)?,
                // It has no id yet.
                Err(_) => extents::shared(&image)?,
            };
            Ok(Held { size: Bytes(metadata.len()), allocated: allocated(&metadata), shared, provisioning })
        })())
    }
}
