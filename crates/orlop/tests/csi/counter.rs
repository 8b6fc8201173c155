//! A writer that shows, by what it has left on a volume, up to which of its writes a copy of the volume goes: it writes a
//! counter into one block after another, round a ring, and each write is on stable storage before the next begins.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What is written at once, in bytes: one block of every filesystem here.
const BLOCK: usize = 4096;
/// How many blocks the ring has.
const RING: u8 = 255;

/// Writes until it is stopped.
pub struct Counter {
    last: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Where the ring is: in a file of a filesystem, or at the start of a block device.
pub fn ring(target: &Path, is_block: bool) -> PathBuf {
    if is_block { target.to_owned() } else { target.join("ring") }
}

impl Counter {
    /// Goes on after the counter `last`, which is in the ring already; 0 where nothing is.
    pub fn start(ring: PathBuf, last: u64) -> Self {
        let (last, stop) = (Arc::new(AtomicU64::new(last)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (last, stop) = (Arc::clone(&last), Arc::clone(&stop));
            move || {
                let file = OpenOptions::new().write(true).create(true).truncate(false).open(ring)?;
                while !stop.load(Ordering::Relaxed) {
                    let counter = last.load(Ordering::Relaxed) + 1;
                    let mut block = [0; BLOCK];
                    block[..8].copy_from_slice(&counter.to_le_bytes());
                    block[BLOCK - 8..].copy_from_slice(&counter.to_le_bytes());
                    file.write_all_at(&block, counter % u64::from(RING) * BLOCK as u64)?;
                    file.sync_data()?;
                    last.store(counter, Ordering::Release);
                    thread::sleep(Duration::from_millis(2));
                }
                Ok(())
            }
        });
        Self { last, stop, thread: Some(thread) }
    }

    /// The last counter that is on stable storage.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Panics unless something is written within `limit`: a volume that is left frozen takes nothing.
    pub fn must_go_on(&self, limit: Duration) {
        let (before, start) = (self.last(), Instant::now());
        while self.last() == before {
            assert!(start.elapsed() < limit, "the volume takes no writes, {} s after {before}", limit.as_secs());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops, and returns the last counter.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().expect("the writer goes on");
        self.last()
    }
}

/// Reads a ring, and returns its last counter, 0 for none. Panics unless it holds all that was written up to that one.
pub fn check(ring: &Path) -> u64 {
    let file = match File::open(ring) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return 0,
        Err(error) => panic!("cannot read {}: {error}", ring.display()),
    };
    let mut found = vec![0; RING.into()];
    for (place, counter) in found.iter_mut().enumerate() {
        let mut block = [0; BLOCK];
        match file.read_exact_at(&mut block, (place * BLOCK) as u64) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
            read => read.unwrap(),
        }
        let [first, last] = [&block[..8], &block[BLOCK - 8..]].map(|part| u64::from_le_bytes(part.try_into().unwrap()));
        assert_eq!(first, last, "block {place} of {} is torn", ring.display());
        *counter = first;
    }
    let newest = found.iter().copied().max().unwrap();
    for counter in newest.saturating_sub(u64::from(RING) - 1).max(1)..=newest {
        let present = found[usize::try_from(counter % u64::from(RING)).unwrap()];
        assert_eq!(present, counter, "{} goes up to {newest}, and lacks {counter}", ring.display());
    }
    newest
}
