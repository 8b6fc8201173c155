//! Somebody who writes to a volume and waits each time until it is on stable storage, as a database does.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What is written at a time, in bytes.
const RECORD: usize = 4096;

/// The most records that are written, for which the volumes of the tests have room.
const MOST: u64 = 20_000;

pub struct Writer {
    written: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// How many records are on stable storage when writing has been started.
    pub const LEAST: u64 = 3;

    /// Starts to write numbered records to a file, which is made, or to a device.
    pub fn start(path: &Path) -> Self {
        let (written, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
        let (count, stop) = (written.clone(), done.clone());
        let thread = thread::spawn(move || {
            for number in 1..=MOST {
                file.write_all_at(&record(number), (number - 1) * RECORD as u64).unwrap();
                file.sync_data().unwrap();
                count.store(number, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        let writer = Self { written, done, thread: Some(thread) };
        writer.goes_on();
        writer
    }

    /// How many records are on stable storage for certain.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Sees that nothing holds the writer up.
    pub fn goes_on(&self) {
        const PATIENCE: Duration = Duration::from_secs(8);
        let (start, before) = (Instant::now(), self.written());
        while self.written() < (before + Self::LEAST).min(MOST) {
            assert!(start.elapsed() < PATIENCE, "the writer is held up after record {before}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(&mut self) -> thread::Result<()> {
        self.done.store(true, Ordering::SeqCst);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }

    /// Stops writing, and returns how many records are written.
    pub fn stop(mut self) -> u64 {
        self.end().unwrap();
        self.written()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A test that fails may leave it held up for ever.
        if !thread::panicking() {
            let _ = self.end();
        }
    }
}

fn record(number: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&number.to_le_bytes()));
    record
}

/// Sees that the first `count` records are whole.
pub fn holds(path: &Path, count: u64) {
    let file = File::open(path).unwrap();
    let mut found = [0; RECORD];
    for number in 1..=count {
        file.read_exact_at(&mut found, (number - 1) * RECORD as u64).unwrap();
        assert!(found == record(number), "record {number} of {count}");
    }
}
