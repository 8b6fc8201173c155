//! Growing volumes of a real pool. The image's new length comes first, and is the promise; then follow the device, the
//! filesystem, and the record that says that the filesystem has followed. Whatever is missing after an interruption is
//! done at the next call, or when the volume is next staged.

use std::{fs::OpenOptions, path::Path};

use orlop_api::Bytes;
use rustix::thread::{CapabilitySet, capabilities};

use crate::{
    Content, Error, Filesystem, LocalVolumes, Provisioning, Result, SIZE_INCREMENT, Step, VolumeId,
    loops::{self, Device},
    mounts::Table,
    record::{Record, Recorded as _},
    tool,
};

impl LocalVolumes {
    pub(crate) fn grow(&self, id: &VolumeId, wanted: Bytes) -> Result<Bytes> {
        let (mut record, mut size) = self.load(id)?;
        let wanted = wanted.round_up(SIZE_INCREMENT);
        if wanted > size {
            self.lengthen(id, record.provisioning, size, wanted)?;
            size = wanted;
            self.reached(Step::GrowImage);
        }
        if let Some(device) = loops::find(&self.pool.image(id))? {
            self.grow_mounted(id, &mut record, size, &device)?;
        }
        Ok(size)
    }

    /// Promises the new size, durably.
    fn lengthen(&self, id: &VolumeId, provisioning: Provisioning, from: Bytes, to: Bytes) -> Result<()> {
        assert!(to > from, "a volume is never shrunk");
        let path = self.pool.image(id);
        let fail = || Error::io("lengthen", path.display());
        self.pool.promise(Bytes(to.0 - from.0), provisioning, || {
            let image = OpenOptions::new().write(true).open(&path).map_err(fail())?;
            if let Err(error) = self.pool.allocate(&image, to, provisioning) {
                // What was allocated beyond the end goes back.
                image.set_len(from.0).map_err(fail())?;
                return Err(error);
            }
            image.set_len(to.0).and_then(|()| image.sync_all()).map_err(fail())
        })
    }

    /// Grows the filesystem of a mounted volume to `size`, if it is smaller.
    pub(crate) fn grow_mounted(&self, id: &VolumeId, record: &mut Record, size: Bytes, device: &Device) -> Result<()> {
        if record.filesystem_size >= size {
            return Ok(());
        }
        device.refresh_size()?;
        self.reached(Step::GrowDevice);
        let table = Table::read()?;
        // One that is mounted read-only grows when it is staged for writing.
        let Content::Filesystem(filesystem) = record.content else { return Ok(()) };
        let Some(mount) = table.writable(device).next() else { return Ok(()) };
        match filesystem {
            Filesystem::Btrfs => tool::run("btrfs", &["-q", "filesystem", "resize", "max"], &mount.path, 0)?,
            Filesystem::Xfs => grow_xfs(&mount.path)?,
            Filesystem::Ext4 if grows_ext4_online()? => tool::run("resize2fs", &["-f"], &device.path, 0)?,
            Filesystem::Ext4 => return Err(Error::GrowsWhenStaged(id.clone())),
        }
        self.grown(id, record, size)
    }

    /// Grows the filesystem of a volume that is attached and not mounted, if it cannot grow once it is mounted. That is
    /// the second choice, because only a mounted filesystem has a journal for what an abrupt stop interrupts.
    pub(crate) fn grow_unmounted(
        &self,
        id: &VolumeId,
        record: &mut Record,
        size: Bytes,
        device: &Device,
    ) -> Result<()> {
        if record.filesystem_size >= size
            || record.content != Content::Filesystem(Filesystem::Ext4)
            || grows_ext4_online()?
        {
            return Ok(());
        }
        device.refresh_size()?;
        self.reached(Step::GrowDevice);
        // resize2fs insists on a check. Exit code 1 means that something was repaired, which replaying a journal is.
        tool::run("e2fsck", &["-f", "-p"], &device.path, 1)?;
        tool::run("resize2fs", &[] as &[&str], &device.path, 0)?;
        self.grown(id, record, size)
    }

    fn grown(&self, id: &VolumeId, record: &mut Record, size: Bytes) -> Result<()> {
        self.reached(Step::GrowFilesystem);
        record.filesystem_size = size;
        record.write(&self.pool.record(id))?;
        self.reached(Step::GrowRecorded);
        Ok(())
    }
}

/// Has a mounted XFS take what its device has, which changes nothing if it has all of it. It is named by where it is mounted,
/// or by its device where there may be two mounts in one place, of which the tool finds the wrong one.
pub(crate) fn grow_xfs(path: &Path) -> Result<()> {
    tool::run("xfs_growfs", &["-d"], path, 0)
}

/// The kernel lets only a process with `CAP_SYS_RESOURCE` grow an ext4 that is mounted.
fn grows_ext4_online() -> Result<bool> {
    let sets = capabilities(None).map_err(Error::io("ask for", "the capabilities of this process"))?;
    Ok(sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}
