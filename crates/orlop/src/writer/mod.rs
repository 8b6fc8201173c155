//! The writer of the quickstart, the tests and the benchmarks: it fills a directory with data that it can tell right
//! from wrong, at a set rate, goes on after a restart, and in the end reads everything back. It knows nothing of
//! Kubernetes: to it a volume that grows in time is a directory that is never full.

mod content;
mod manifest;
mod verify;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use orlop_api::Bytes;
use sha2::{Digest as _, Sha256};

use manifest::{Entry, Manifest};
pub use verify::{Damage, Verified};

/// Bytes that are written with one call: small enough to keep an even pace, large enough to reach a disk's speed.
const BLOCK: usize = 1 << 20;

/// The pause before a write is tried again that found the filesystem full.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to write; it must exist.
    pub directory: PathBuf,
    /// How much to write in all, with what is there already.
    pub total: Bytes,
    /// How much to write in a second; zero for as fast as it goes.
    pub rate: Bytes,
    /// How large each file is; the last may be smaller.
    pub file_size: Bytes,
    /// What the data is made from.
    pub seed: u64,
}

/// How far a writer is, for others to read while it works; and their way to stop it.
#[derive(Debug, Default)]
pub struct Progress {
    written: AtomicU64,
    enospc: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// How many bytes are in the directory.
    pub fn written(&self) -> Bytes {
        Bytes(self.written.load(Ordering::Relaxed))
    }

    /// How many writes were refused because the filesystem was full.
    pub fn enospc(&self) -> u64 {
        self.enospc.load(Ordering::Relaxed)
    }

    /// Makes the writer return soon, with what it has.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Why writing or verifying could not go on. A full filesystem is no reason: that is waited for.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The filesystem refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The directory holds the data of another run.
    #[error("{} holds data of seed {found}, and seed {seed} was asked for", directory.display())]
    OtherSeed {
        /// The directory.
        directory: PathBuf,
        /// The seed in its manifest.
        found: u64,
        /// The seed asked for.
        seed: u64,
    },
    /// The manifest is not one.
    #[error("{} is not a manifest of this writer: it has the line `{line}`", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The line that was not understood.
        line: String,
    },
}

impl WriterError {
    fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }
}

/// Writes what `options` ask for, going on from what an earlier run left, then reads everything back from the disk.
///
/// Returns `None` when it was stopped before it was done. Fails when the filesystem fails for another reason than
/// being full; data that reads back wrong is no failure, and is in the result.
pub fn write_and_verify(options: &Options, progress: &Progress) -> Result<Option<Verified>, WriterError> {
    let mut manifest = Manifest::open(&options.directory, options.seed)?;
    let mut written: u64 = manifest.entries.iter().map(|entry| entry.bytes).sum();
    progress.written.store(written, Ordering::Relaxed);
    let manifest_path = manifest::path(&options.directory);
    let started = until_there_is_room(progress, || manifest.start(options.seed))
        .map_err(|error| WriterError::io("write", &manifest_path, error))?;
    if started.is_none() {
        return Ok(None);
    }
    let mut pace = Pace::new(options.rate);
    while written < options.total.0 {
        let bytes = options.file_size.0.clamp(1, options.total.0 - written);
        let number = manifest.entries.len() as u64;
        let Some(entry) = write_file(options, number, bytes, &mut pace, progress)? else { return Ok(None) };
        let appended = until_there_is_room(progress, || manifest.append(entry.clone()))
            .map_err(|error| WriterError::io("write", &manifest_path, error))?;
        if appended.is_none() {
            return Ok(None);
        }
        written += bytes;
    }
    verify::verify(options, &manifest.entries, progress)
}

/// Writes one file and syncs it to disk; from its beginning again when the sync finds the filesystem full, for then it
/// is not known which of its data was lost. Returns `None` when stopped.
fn write_file(
    options: &Options,
    number: u64,
    bytes: u64,
    pace: &mut Pace,
    progress: &Progress,
) -> Result<Option<Entry>, WriterError> {
    let name = format!("data-{number:06}");
    let path = options.directory.join(&name);
    let before = progress.written().0;
    let fail = |what| {
        let path = path.clone();
        move |error| WriterError::io(what, &path, error)
    };
    loop {
        progress.written.store(before, Ordering::Relaxed);
        let Some(mut file) = until_there_is_room(progress, || File::create(&path)).map_err(fail("create"))? else {
            return Ok(None);
        };
        let Some(sha256) =
            write_content(&mut file, options.seed, number, bytes, pace, progress).map_err(fail("write"))?
        else {
            return Ok(None);
        };
        match file.sync_all().and_then(|()| sync_directory(&options.directory)) {
            Ok(()) => return Ok(Some(Entry { name, bytes, sha256 })),
            Err(error) if is_full(&error) => {
                progress.enospc.fetch_add(1, Ordering::Relaxed);
                thread::sleep(FULL_PAUSE);
            }
            Err(error) => return Err(fail("sync")(error)),
        }
    }
}

/// Writes the data of one file and returns its digest, or `None` when stopped.
fn write_content(
    file: &mut File,
    seed: u64,
    number: u64,
    bytes: u64,
    pace: &mut Pace,
    progress: &Progress,
) -> io::Result<Option<String>> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BLOCK];
    let mut offset = 0;
    while offset < bytes {
        let length = usize::try_from(bytes - offset).unwrap_or(BLOCK).min(BLOCK);
        let block = &mut buffer[..length];
        content::fill(seed, number, offset, block);
        digest.update(&*block);
        let mut rest = &*block;
        while !rest.is_empty() {
            let Some(count) = until_there_is_room(progress, || file.write(rest))? else { return Ok(None) };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[count..];
            progress.written.fetch_add(count as u64, Ordering::Relaxed);
        }
        offset += length as u64;
        pace.wait(length as u64);
    }
    Ok(Some(hex(&digest.finalize())))
}

/// Does `step` until it no longer finds the filesystem full, counting how often it did. Returns `None` when stopped.
fn until_there_is_room<T>(progress: &Progress, mut step: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    while !progress.is_stopped() {
        match step() {
            Ok(done) => return Ok(Some(done)),
            Err(error) if is_full(&error) => {
                progress.enospc.fetch_add(1, Ordering::Relaxed);
                thread::sleep(FULL_PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Is there no room left, for anybody or for this user?
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How far behind its rate a writer may be and still catch up.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Keeps a writer at its rate. More time than [`CATCH_UP`] that was lost, as while the filesystem was full, is not made
/// up for: no burst follows that would fill a volume faster than the rate says.
#[derive(Debug)]
struct Pace {
    bytes_per_second: u64,
    next: Instant,
}

impl Pace {
    fn new(rate: Bytes) -> Self {
        Self { bytes_per_second: rate.0, next: Instant::now() }
    }

    /// Waits until `bytes` have taken as long as they should.
    fn wait(&mut self, bytes: u64) {
        if self.bytes_per_second == 0 {
            return;
        }
        let now = Instant::now();
        if now.saturating_duration_since(self.next) > CATCH_UP {
            self.next = now;
        }
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.next += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        thread::sleep(self.next.saturating_duration_since(now));
    }
}
