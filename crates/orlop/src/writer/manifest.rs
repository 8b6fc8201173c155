//! The manifest: a file in the same directory that lists every file that is whole and on disk, with its digest. A line
//! is appended and synced after the file is, so what it lists survives a crash, and what it does not list is written
//! again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::WriterError;

/// Where the manifest of a directory is.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("manifest.jsonl")
}

/// The manifest's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    seed: u64,
}

/// One file that is whole and on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its name in the directory.
    pub(super) name: String,
    /// Its length.
    pub(super) bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub(super) sha256: String,
}

/// An open manifest.
#[derive(Debug)]
pub(super) struct Manifest {
    file: File,
    /// The length of its whole lines.
    end: u64,
    pub(super) entries: Vec<Entry>,
}

impl Manifest {
    /// Opens the manifest of `directory`, or starts one. A last line that a crash cut short is dropped.
    ///
    /// Fails when the directory holds data of another seed, or a manifest that is none.
    pub(super) fn open(directory: &Path, seed: u64) -> Result<Self, WriterError> {
        let path = path(directory);
        let fail = |error| WriterError::io("open", &path, error);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(fail)?;
        let whole = &text[..text.rfind('\n').map_or(0, |last| last + 1)];
        let mut lines = whole.lines();
        let unreadable = |line: &str| WriterError::Manifest { path: path.clone(), line: line.to_owned() };
        let mut manifest = Self { file, end: whole.len() as u64, entries: Vec::new() };
        if let Some(line) = lines.next() {
            let head: Head = serde_json::from_str(line).map_err(|_| unreadable(line))?;
            if head.seed != seed {
                return Err(WriterError::OtherSeed { directory: directory.to_owned(), found: head.seed, seed });
            }
        }
        for line in lines {
            manifest.entries.push(serde_json::from_str(line).map_err(|_| unreadable(line))?);
        }
        Ok(manifest)
    }

    /// Writes the head of a manifest that has none, so that its seed is known before the first file is there.
    pub(super) fn start(&mut self, seed: u64) -> io::Result<()> {
        if self.end == 0 { self.append_line(&Head { seed }) } else { Ok(()) }
    }

    /// Adds a file that is on disk. When that fails nothing was added, and it can be tried again.
    pub(super) fn append(&mut self, entry: Entry) -> io::Result<()> {
        self.append_line(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    fn append_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_string(value)?;
        line.push('\n');
        // Whatever an earlier attempt left behind is overwritten or cut off.
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.end += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        Entry { name: name.to_owned(), bytes: 5, sha256: "00".to_owned() }
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(directory.path(), 1).unwrap();
        manifest.start(1).unwrap();
        manifest.append(entry("a")).unwrap();
        manifest.append(entry("b")).unwrap();
        assert_eq!(Manifest::open(directory.path(), 1).unwrap().entries, [entry("a"), entry("b")]);
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_dropped_and_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(directory.path(), 1).unwrap();
        manifest.start(1).unwrap();
        manifest.append(entry("a")).unwrap();
        manifest.file.write_all(b"{\"name\":\"b").unwrap();
        let mut manifest = Manifest::open(directory.path(), 1).unwrap();
        assert_eq!(manifest.entries, [entry("a")]);
        manifest.append(entry("c")).unwrap();
        assert_eq!(Manifest::open(directory.path(), 1).unwrap().entries, [entry("a"), entry("c")]);
    }

    #[test]
    fn data_of_another_seed_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        Manifest::open(directory.path(), 1).unwrap().start(1).unwrap();
        assert!(matches!(Manifest::open(directory.path(), 2), Err(WriterError::OtherSeed { found: 1, seed: 2, .. })));
    }

    #[test]
    fn a_file_that_is_no_manifest_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(path(directory.path()), "precious\n").unwrap();
        assert!(matches!(Manifest::open(directory.path(), 1), Err(WriterError::Manifest { .. })));
        assert_eq!(std::fs::read_to_string(path(directory.path())).unwrap(), "precious\n");
    }
}
