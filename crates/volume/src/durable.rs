//! Writes that are still there after a power loss.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// Makes the names in a directory durable: what was created, renamed or removed in it.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces a file's content: afterwards the file has the old content or the new one, never part of it, also when
/// the power fails.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}
