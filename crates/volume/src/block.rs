//! Raw block volumes. One that is staged is attached, and its device's node is bound to a file in the staging directory:
//! so the mount table tells that it is staged, also a driver that was started later, and forgets it when the node is
//! booted, as it should.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Content, Error, LocalVolumes, Result, VolumeId,
    loops::{self, Detach, Device},
    mounts::{Mount, Table},
    record::Record,
    stage::remove_mount_point,
};

/// The file in the staging directory.
pub(crate) const NODE: &str = "orlop-device";

/// Where a block volume's device is bound that is staged at `at`.
pub(crate) fn node(at: &Path) -> PathBuf {
    at.join(NODE)
}

/// Is that where a block volume is staged, rather than where a pod sees it?
pub(crate) fn is_staged(mount: &Mount) -> bool {
    mount.is_node() && mount.path.file_name() == Some(OsStr::new(NODE))
}

/// Attaches the image of a block volume, or finds the device that it has.
pub(crate) fn attach(id: &VolumeId, image: &Path) -> Result<Device> {
    let Some(device) = loops::find(image)? else { return loops::attach(image, Detach::WhenAsked) };
    if device.detaches_when_unused()? {
        let by = format!("{} is to be detached, and something still has it open", device.path.display());
        return Err(Error::InUse { id: id.clone(), by });
    }
    Ok(device)
}

/// Makes the device refuse writes while it is staged read-only, or all paths at which pods see it are read-only. For that
/// the flags of its mounts speak, which by themselves keep nobody from writing to a device.
pub(crate) fn follow_flags(device: &Device) -> Result<()> {
    let table = Table::read()?;
    let (staged, targets): (Vec<_>, Vec<_>) = table.of(device).partition(|mount| is_staged(mount));
    let read_only = staged.iter().any(|mount| mount.is_read_only())
        || !targets.is_empty() && targets.iter().all(|mount| mount.is_read_only());
    device.set_read_only(read_only)
}

/// Makes a file for a device to be bound to, not the directories above it. One that is there may be a device already, and
/// is not opened.
pub(crate) fn make_file(path: &Path) -> Result<PathBuf> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("make the file", path.display())(error))
        }
        _ => fs::canonicalize(path).map_err(Error::io("find", path.display())),
    }
}

impl LocalVolumes {
    /// Undoes the binding in the staging directory; nothing for a volume that is not a block volume.
    pub(crate) fn unbind_staged(&self, id: &VolumeId, at: &Path) -> Result<()> {
        let node = node(at);
        self.unmount(id, &node)?;
        remove_mount_point(&node)
    }

    /// Detaches a block volume; others go with their last mount.
    pub(crate) fn detach_block(&self, id: &VolumeId) -> Result<()> {
        let Some(device) = self.device(id)? else { return Ok(()) };
        let Ok((Record { content: Content::Block, .. }, _)) = self.load(id) else { return Ok(()) };
        if let Some(mount) = Table::read()?.of(&device).next() {
            // A device that was detached would soon be another volume's, and the path lead there.
            let by = format!("it is published at {}", mount.path.display());
            return Err(Error::InUse { id: id.clone(), by });
        }
        device.detach()
    }
}
