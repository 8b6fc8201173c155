//! Files written whole or not at all.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use super::{Error, error::OnPath as _};

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Readers {
    Everyone,
    Owner,
}

/// Makes a directory and those above it.
pub(super) fn directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).on("make directory", path)
}

/// Writes a file by way of a temporary one, so that whoever reads sees the old content or the new one.
pub(super) fn write(path: &Path, content: &str, readers: Readers) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        directory(parent)?;
    }
    let mode = match readers {
        Readers::Everyone => 0o644,
        Readers::Owner => 0o600,
    };
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .on("write", &temporary)?;
    // A temporary file left by a killed process keeps its old mode unless told.
    file.set_permissions(fs::Permissions::from_mode(mode)).on("set the mode of", &temporary)?;
    file.write_all(content.as_bytes()).on("write", &temporary)?;
    fs::rename(&temporary, path).on("rename into", path)
}

/// The last `lines` lines of a text file, or an empty text when there is no such file.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let Ok(bytes) = fs::read(path) else { return String::new() };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let last = &all[all.len().saturating_sub(lines)..];
    last.iter().flat_map(|line| ["    ", line, "\n"]).collect()
}
