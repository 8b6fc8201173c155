//! Reads back what was written, from the disk and not from memory.

use std::{
    fs::File,
    io::{self, Read as _},
};

use rustix::fs::{Advice, fadvise};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{BLOCK, Options, Progress, WriterError, content, hex, manifest::Entry};

/// What was found when everything was read back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Is every file there, with the very data that was written?
    pub verified: bool,
    /// How many files were read.
    pub files: usize,
    /// How many bytes were read.
    pub bytes: u64,
    /// What is wrong, by file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Damage>,
}

/// What is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

/// Reads all `entries` and compares them with what was written. Returns `None` when stopped.
pub(super) fn verify(
    options: &Options,
    entries: &[Entry],
    progress: &Progress,
) -> Result<Option<Verified>, WriterError> {
    let mut result = Verified { files: entries.len(), ..Verified::default() };
    for (number, entry) in entries.iter().enumerate() {
        let path = options.directory.join(&entry.name);
        match check(options, number as u64, entry, progress) {
            Ok(Check::Stopped) => return Ok(None),
            Ok(Check::Whole) => result.bytes += entry.bytes,
            Ok(Check::Damaged(what)) => result.damaged.push(Damage { file: entry.name.clone(), what }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                result.damaged.push(Damage { file: entry.name.clone(), what: "is missing".to_owned() });
            }
            Err(error) => return Err(WriterError::io("read", &path, error)),
        }
    }
    result.verified = result.damaged.is_empty();
    Ok(Some(result))
}

/// The outcome for one file.
enum Check {
    Whole,
    Damaged(String),
    Stopped,
}

fn check(options: &Options, number: u64, entry: &Entry, progress: &Progress) -> io::Result<Check> {
    let mut file = File::open(options.directory.join(&entry.name))?;
    let length = file.metadata()?.len();
    if length != entry.bytes {
        return Ok(Check::Damaged(format!("has {length} bytes and not {}", entry.bytes)));
    }
    // The file's pages are clean, so the kernel drops them and the data is read from the disk.
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut digest = Sha256::new();
    let (mut found, mut expected) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut offset = 0;
    while offset < length {
        if progress.is_stopped() {
            return Ok(Check::Stopped);
        }
        let size = usize::try_from(length - offset).unwrap_or(BLOCK).min(BLOCK);
        let (found, expected) = (&mut found[..size], &mut expected[..size]);
        file.read_exact(found)?;
        content::fill(options.seed, number, offset, expected);
        if let Some(at) = found.iter().zip(&*expected).position(|(found, expected)| found != expected) {
            return Ok(Check::Damaged(format!("has other data from byte {} on", offset + at as u64)));
        }
        digest.update(&*found);
        offset += size as u64;
    }
    if hex(&digest.finalize()) == entry.sha256 {
        Ok(Check::Whole)
    } else {
        Ok(Check::Damaged("has the data of its seed, and another digest in the manifest".to_owned()))
    }
}
