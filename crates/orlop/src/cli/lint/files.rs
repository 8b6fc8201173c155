//! The files of a command line as sources.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use orlop_lint::Source;
use walkdir::{DirEntry, WalkDir};

use crate::cli::{Failure, Outcome};

/// Reads files as they are, and of folders what is called like a manifest, in the order of the names.
pub(super) fn read(paths: &[PathBuf]) -> Outcome<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| unreadable("the standard input", error))?;
            sources.push(Source { name: "<stdin>".to_owned(), text });
        } else if path.is_dir() {
            let files = manifests(path)?;
            if files.is_empty() {
                return Err(Failure::new(format!("there is no manifest in {}", path.display()))
                    .remedy("give a folder with files that end in .yaml, .yml or .json"));
            }
            for file in files {
                sources.push(file_source(&file)?);
            }
        } else {
            sources.push(file_source(path)?);
        }
    }
    Ok(sources)
}

fn file_source(path: &Path) -> Outcome<Source> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| unreadable(&name, error))?;
    Ok(Source { name, text })
}

fn manifests(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let is_hidden = |entry: &DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(|entry| !is_hidden(entry)) {
        let entry = entry.map_err(|error| unreadable(&folder.display().to_string(), error))?;
        let extension = entry.path().extension().and_then(OsStr::to_str);
        if entry.path().is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

fn unreadable(name: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::because(format!("cannot read {name}"), error)
        .remedy("give files or folders that are there and can be read, or - for the standard input")
}
