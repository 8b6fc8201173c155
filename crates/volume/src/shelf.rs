//! A directory of directories, one for each object: volumes, snapshots, or groups of them. An object is made under a temporary
//! name, and is there when it has its own; it is removed in the reverse order. So it is whole or not there, whenever this
//! process is killed and whenever the power fails.

use std::{
    fmt::Display,
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{Error, Result, durable};

/// The directory.
#[derive(Debug)]
pub(crate) struct Shelf(PathBuf);

/// An object's directory while it is being made. If it does not get that far it is removed, with the room that it holds.
pub(crate) struct NewFolder(PathBuf);

impl NewFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // One that is complete has another name by now.
        if let Err(error) = remove(&self.0) {
            tracing::error!(%error, "what is left of a creation stays until it is asked for again");
        }
    }
}

impl Shelf {
    const CREATING: &str = ".creating-";
    /// What the temporary name of an object that is being removed starts with.
    pub(crate) const DELETING: &str = ".deleting-";

    /// Opens the directory, which is made if it is not there, and removes what interrupted calls left in it.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        make(&directory)?;
        durable::sync_directory(directory.parent().unwrap_or(Path::new("/")))
            .map_err(Error::io("make the directory", directory.display()))?;
        let shelf = Self(directory);
        for name in shelf.entries()? {
            if name.starts_with(Self::CREATING) || name.starts_with(Self::DELETING) {
                tracing::info!(name, "removing what an interrupted operation left");
                remove(&shelf.0.join(name))?;
            }
        }
        // A driver that was killed may have given an object its name and not have made that durable. From here on it is there.
        durable::sync_directory(&shelf.0).map_err(Error::io("make durable", shelf.0.display()))?;
        Ok(shelf)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the object is, if it is there.
    pub(crate) fn folder(&self, id: impl Display) -> PathBuf {
        self.0.join(id.to_string())
    }

    /// Makes an object's directory, empty and under a temporary name.
    pub(crate) fn begin(&self, id: impl Display) -> Result<NewFolder> {
        let folder = self.0.join(format!("{}{id}", Self::CREATING));
        remove(&folder)?;
        make(&folder)?;
        Ok(NewFolder(folder))
    }

    /// Gives an object its name, whereby it is there. What is in its directory must be durable already.
    pub(crate) fn complete(&self, new: &NewFolder, id: impl Display) -> Result<()> {
        durable::sync_directory(&new.0)
            .and_then(|()| fs::rename(&new.0, self.folder(id)))
            .and_then(|()| durable::sync_directory(&self.0))
            .map_err(Error::io("complete", new.0.display()))
    }

    /// Takes an object's name away, whereby it is no longer there. Returns the directory that is left to be removed, or
    /// `None` if the object was not there.
    pub(crate) fn abandon(&self, id: impl Display) -> Result<Option<PathBuf>> {
        let (folder, left) = (self.folder(&id), self.0.join(format!("{}{id}", Self::DELETING)));
        remove(&left)?;
        match fs::rename(&folder, &left) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result
                .and_then(|()| durable::sync_directory(&self.0))
                .map(|()| Some(left))
                .map_err(Error::io("rename", folder.display())),
        }
    }

    /// The objects, in the order of their ids.
    pub(crate) fn ids<Id: FromStr + Ord>(&self) -> Result<Vec<Id>> {
        let mut ids: Vec<_> = self.entries()?.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// The names of all that is there, also of what is being made or removed.
    pub(crate) fn entries(&self) -> Result<Vec<String>> {
        let fail = || Error::io("list", self.0.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(fail())? {
            names.extend(entry.map_err(fail())?.file_name().into_string());
        }
        Ok(names)
    }
}

/// Makes a directory that only root may look into; one that is there is no error.
pub(crate) fn make(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(Error::io("make the directory", directory.display()))
}

/// Removes a directory with what is in it; one that is not there is no error. Files are emptied first: of a file that is
/// only removed, XFS gives the room back some time later, and until then the pool is said to be fuller than it is.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match empty(folder).and_then(|()| fs::remove_dir_all(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", folder.display())(error)),
        _ => Ok(()),
    }
}

/// Empties the files in a directory and in those below it.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            empty(&entry.path())?;
        } else {
            OpenOptions::new().write(true).open(entry.path())?.set_len(0)?;
        }
    }
    Ok(())
}
