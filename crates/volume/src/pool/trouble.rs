//! What can be wrong with the filesystem below a pool.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{fs::StatVfsMountFlags, io::Errno};

use crate::{Ailment, Error, Severity};

/// Why a pool cannot be used.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Another filesystem, or none, is where it was.
    Gone,
    /// Its filesystem reports damage, or its disk does.
    Failed(io::Error),
    /// Nothing can be written.
    ReadOnly,
}

impl Trouble {
    /// Looks for the pool's filesystem, whose number was `device`, at `path`.
    pub(super) fn of(path: &Path, device: u64) -> Option<Self> {
        match fs::metadata(path) {
            Ok(found) if found.dev() == device => None,
            Ok(_) => Some(Self::Gone),
            Err(error) => Some(Self::because(error)),
        }
    }

    /// What an error on a path that must be there says of the pool.
    pub(super) fn because(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Gone } else { Self::Failed(error) }
    }

    /// Is that error one of a filesystem or a disk that has failed? Any other says nothing of the pool.
    pub(super) fn is_failure(error: &io::Error) -> bool {
        matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::UCLEAN))
    }

    pub(super) fn of_flags(flags: StatVfsMountFlags) -> Option<Self> {
        flags.contains(StatVfsMountFlags::RDONLY).then_some(Self::ReadOnly)
    }

    pub(crate) fn error(&self, path: &Path) -> Error {
        Error::Pool { path: path.to_owned(), reason: self.message() }
    }

    pub(crate) fn ailment(&self, path: &Path) -> Ailment {
        let reason = match self {
            Self::Gone => "PoolGone",
            Self::Failed(_) => "PoolFailed",
            Self::ReadOnly => "PoolReadOnly",
        };
        Ailment { severity: Severity::Inaccessible, reason, message: self.error(path).to_string() }
    }

    fn message(&self) -> String {
        match self {
            Self::Gone => "its filesystem is not mounted there any more, and nothing is written to what is there \
                           instead: mount it, and restart the driver of this node"
                .to_owned(),
            Self::Failed(error) => format!(
                "its filesystem fails ({error}): read the kernel's log, stop the pods that use it, unmount and repair \
                 it (xfs_repair, btrfs check), and restart the driver of this node"
            ),
            Self::ReadOnly => {
                "its filesystem is read-only: read the kernel's log for the reason, and mount it writable".to_owned()
            }
        }
    }
}
