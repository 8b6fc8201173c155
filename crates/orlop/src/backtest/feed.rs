//! From whatever tells of samples to the replay: finds the claims, and writes down what was told where it is to be kept.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use orlop_backtest::{ClaimIndex, Rejected, Replay, Sample, namespace};
use orlop_planner::ClaimId;

use super::{columns::Columns, comma};

/// Why a history cannot be read. The message says where it is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file cannot be opened or read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("{}, line {line}: {what}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, the first being 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file is not what it should be.
    #[error("{}: {what}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What was read cannot be written down.
    #[error("cannot write {}", .path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
}

/// The way into a replay.
pub struct Feed {
    replay: Replay,
    /// By `namespace/name`.
    claims: HashMap<Box<str>, ClaimIndex>,
    key: String,
    save: Option<Save>,
    /// How many samples had a capacity and neither used nor available bytes beside it.
    incomplete: u64,
    /// How many samples of metrics were no samples of a filesystem, and were passed over.
    contradictory: u64,
    notes: Vec<String>,
}

struct Save {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl Feed {
    /// A way into that replay.
    pub fn new(replay: Replay) -> Self {
        let (claims, key, notes) = (HashMap::new(), String::new(), Vec::new());
        Self { replay, claims, key, save: None, incomplete: 0, contradictory: 0, notes }
    }

    /// Writes all that is fed into this file, which [`super::read`] can read.
    pub fn save(&mut self, path: &Path) -> Result<(), InputError> {
        let file =
            File::create(path).map_err(|source| InputError::Save { path: path.to_owned(), source: source.into() })?;
        let mut writer = csv::Writer::from_writer(file);
        let head = writer.write_record(comma::HEAD);
        self.save = Some(Save { path: path.to_owned(), writer });
        self.saved(head)
    }

    /// Feeds the next sample of a claim.
    pub fn take(&mut self, namespace: &str, claim: &str, sample: &Sample) -> Result<Result<(), Rejected>, InputError> {
        let index = self.claim(namespace, claim);
        let taken = self.replay.feed(index, sample);
        if taken.is_ok()
            && let Some(save) = &mut self.save
        {
            let written = comma::write(&mut save.writer, namespace, claim, sample);
            self.saved(written)?;
        }
        Ok(taken)
    }

    /// Feeds what metrics say of a claim. Metrics are scraped while they change, so one that contradicts itself is passed
    /// over and counted.
    pub(super) fn take_columns(
        &mut self,
        namespace: &str,
        claim: &str,
        columns: Columns,
    ) -> Result<Result<(), Rejected>, InputError> {
        let (samples, incomplete) = columns.samples();
        self.incomplete += incomplete;
        for sample in &samples {
            if sample.contradiction().is_some() {
                self.contradictory += 1;
            } else if let Err(rejected) = self.take(namespace, claim, sample)? {
                return Ok(Err(rejected));
            }
        }
        Ok(Ok(()))
    }

    /// Something is to be said about the history.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The replay, and what is to be said about how it was fed.
    pub fn finish(mut self) -> Result<(Replay, Vec<String>), InputError> {
        if let Some(save) = &mut self.save {
            let flushed = save.writer.flush().map_err(csv::Error::from);
            self.saved(flushed)?;
        }
        let mut notes = self.notes;
        if self.incomplete > 0 {
            notes.push(format!(
                "{} times a capacity was recorded with neither used nor available bytes beside it: these were passed over",
                self.incomplete
            ));
        }
        if self.contradictory > 0 {
            notes.push(format!(
                "{} samples contradict themselves, as with more bytes free than there are: these were passed over",
                self.contradictory
            ));
        }
        Ok((self.replay, notes))
    }

    fn claim(&mut self, of: &str, name: &str) -> ClaimIndex {
        self.key.clear();
        self.key.extend([of, "/", name]);
        if let Some(index) = self.claims.get(self.key.as_str()) {
            return *index;
        }
        let index = self.replay.claim(&ClaimId { namespace: namespace(of), name: name.into() });
        self.claims.insert(self.key.as_str().into(), index);
        index
    }

    fn saved<T>(&self, outcome: Result<T, csv::Error>) -> Result<T, InputError> {
        outcome.map_err(|source| InputError::Save {
            path: self.save.as_ref().map(|save| save.path.clone()).unwrap_or_default(),
            source,
        })
    }
}
