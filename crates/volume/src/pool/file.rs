//! A pool in a file.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use orlop_api::Bytes;

use crate::{
    Error, Filesystem, MountOptions, Result, durable,
    grow::grow_xfs,
    loops,
    mounts::{self, Table},
    tool,
};

/// A pool in a file, for machines that have no disk to spare: an XFS filesystem, attached as a loop device.
#[derive(Debug, Clone)]
pub struct PoolFile {
    /// The file. Its filesystem must support direct I/O.
    pub path: PathBuf,
    /// Its size. A file that is smaller is enlarged; one that is larger stays so.
    pub size: Bytes,
}

impl PoolFile {
    /// Makes the file if it is not there, enlarges it if it is too small, and mounts it at `root` if it is not mounted.
    /// A file that is there is never formatted.
    pub fn mount(&self, root: &Path) -> Result<()> {
        let fail = || Error::io("make the pool", root.display());
        fs::create_dir_all(root).map_err(fail())?;
        let root = fs::canonicalize(root).map_err(fail())?;
        self.make()?;
        self.lengthen()?;
        let device = match loops::find(&self.path)? {
            Some(device) => device,
            None => loops::attach(&self.path, loops::Detach::WhenUnused)?,
        };
        device.refresh_size()?;
        match Table::read()?.at(&root) {
            Some(mount) if mount.device == device.number => {}
            // The directory may have been mounted on itself, so that what is mounted in it is seen outside a container.
            _ => mounts::mount(&device, &root, Filesystem::Xfs, &MountOptions::parse(&["noatime"])?)?,
        }
        // Also to complete a growth that was interrupted.
        grow_xfs(&device.path)
    }

    /// The file gets its name when it is complete, so that one that has its name is never formatted again.
    fn make(&self) -> Result<()> {
        let fail = || Error::io("make the pool file", self.path.display());
        if self.path.try_exists().map_err(fail())? {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let file = File::create(&new).map_err(fail())?;
        file.set_len(self.length()).map_err(fail())?;
        let sector = format!("-ssize={}", loops::BLOCK_SIZE);
        tool::run("mkfs.xfs", &["-K", "-q", "-f", "-mreflink=1", &sector], &new, 0)?;
        file.sync_all()
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| durable::sync_directory(self.path.parent().unwrap_or(Path::new("/"))))
            .map_err(fail())
    }

    fn lengthen(&self) -> Result<()> {
        let fail = || Error::io("enlarge the pool file", self.path.display());
        let file = OpenOptions::new().write(true).open(&self.path).map_err(fail())?;
        if file.metadata().map_err(fail())?.len() < self.length() {
            file.set_len(self.length()).and_then(|()| file.sync_all()).map_err(fail())?;
        }
        Ok(())
    }

    fn length(&self) -> u64 {
        self.size.round_up(crate::SIZE_INCREMENT).0
    }
}
