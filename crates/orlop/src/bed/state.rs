//! What a bed remembers of itself, and the lock that keeps two commands from working on beds at the same time.

use std::{
    fs,
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use serde::{Deserialize, Serialize};

use super::{
    BedName, Error, NodeNumber,
    error::OnPath as _,
    files::{self, Readers},
    layout::{Layout, ROOT},
    ports::{self, Ports},
};

/// What a bed was started with, and the numbers that it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// What tells this bed's numbers from those of other beds on the machine.
    pub(super) index: u8,
    pub(super) nodes: u8,
    pub(super) ports: Ports,
    /// Where the programs, images and manifests are that it runs.
    pub(super) bundle: PathBuf,
}

/// The part of a [`State`] that says which numbers and addresses are taken. Read apart, so that it is known of a bed
/// that another version of Orlop started too.
#[derive(Debug, Deserialize)]
struct Taken {
    index: u8,
    nodes: u8,
}

impl Taken {
    fn by(layout: &Layout) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(layout.state_file()).ok()?).ok()
    }
}

/// The addresses that a bed's nodes have; none when it got no further than its directory.
pub(super) fn addresses(layout: &Layout) -> Vec<Ipv4Addr> {
    let nodes = |taken: Taken| (1..=taken.nodes).map(move |node| ports::address(taken.index, NodeNumber(node)));
    Taken::by(layout).into_iter().flat_map(nodes).collect()
}

impl State {
    /// The state of a bed that was started before.
    pub(super) fn load(layout: &Layout) -> Result<Option<Self>, Error> {
        let path = layout.state_file();
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).on("understand", path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).on("read", path),
        }
    }

    /// The state of a bed that is new on this machine.
    pub(super) fn new(nodes: u8, bundle: &Path) -> Result<Self, Error> {
        let others = names().into_iter().filter_map(|name| Taken::by(&Layout::new(&name)));
        let taken: Vec<u8> = others.map(|other| other.index).collect();
        let index = ports::free_index(&taken)?;
        Ok(Self { index, nodes, ports: Ports::choose(index, ports::free)?, bundle: bundle.to_owned() })
    }

    pub(super) fn save(&self, layout: &Layout) -> Result<(), Error> {
        let path = layout.state_file();
        let text = serde_json::to_string_pretty(self).on("write", &path)?;
        files::write(&path, &text, Readers::Everyone)
    }
}

/// The names of all beds on this machine, also of half-started ones.
pub(super) fn names() -> Vec<BedName> {
    let Ok(entries) = fs::read_dir(ROOT) else { return Vec::new() };
    let directories = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<BedName> = directories.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    names.sort();
    names
}

/// Held while a command changes a bed. One for the machine and not one for each bed, because beds share what keeps
/// them apart: their numbers, and what they change in the machine itself.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: OwnedFd,
}

impl Lock {
    /// Waits for the lock; `waiting` is called once when somebody else has it.
    pub(super) async fn acquire(waiting: impl FnOnce()) -> Result<Self, Error> {
        let mut waiting = Some(waiting);
        loop {
            files::directory(Path::new(ROOT))?;
            // The directory itself is what is locked, so that no lock file stays behind when the last bed goes.
            let directory = open(ROOT, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            let directory = directory.on("open", ROOT)?;
            if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // The holder before us may have removed it: then others lock the directory that is there now.
                let locked = fstat(&directory).on("inspect", ROOT)?.st_ino;
                if fs::metadata(ROOT).is_ok_and(|current| current.ino() == locked) {
                    return Ok(Self { _directory: directory });
                }
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
