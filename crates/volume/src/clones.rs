//! New volumes that start with what a snapshot or another volume holds. Their image shares its bytes until either is
//! written to, so that this takes the same short time for every size.

use std::{fs::File, io, path::Path};

use orlop_api::Bytes;
use rustix::fs::ioctl_ficlone;

use crate::{
    Content, Error, LocalVolumes, NewVolume, Result, SnapshotId, Source, Step, VolumeId, freeze::Writable, identity,
    locks::Turn, pool::NewVolumeFolder,
};

/// What a new volume starts with.
struct Origin<'a> {
    image: File,
    /// The size of the filesystem in it.
    filesystem_size: Bytes,
    /// What is to be frozen meanwhile, and the turn of the volume that it is of.
    frozen: Vec<Writable>,
    _turn: Option<Turn<'a>>,
}

impl LocalVolumes {
    /// Makes the image of a new volume from what another or a snapshot holds, and returns it with the size of the
    /// filesystem in it, which is to be grown when the volume is staged.
    pub(crate) fn make_from(
        &self,
        source: &Source,
        id: &VolumeId,
        new: &NewVolume,
    ) -> Result<(NewVolumeFolder, Bytes)> {
        let origin = self.origin(source, new)?;
        let filesystem_size = origin.filesystem_size;
        let shares = match source {
            Source::Volume(id) => vec![id.clone()],
            // Its bytes are shared already.
            Source::Snapshot(_) => Vec::new(),
        };
        let folder = self.pool.promise_copies(&shares, new.size(), new.provisioning, || {
            let folder = self.pool.begin(id)?;
            self.copy_origin(&origin, &folder.image)?;
            self.lengthen_new(&folder, new)?;
            Ok(folder)
        })?;
        drop(origin);
        self.reached(Step::CreateReserved);
        if let Content::Filesystem(filesystem) = new.content {
            identity::renew(filesystem, &folder.image)?;
        }
        self.reached(Step::CloneIdentified);
        Ok((folder, filesystem_size))
    }

    /// Finds what a new volume is to start with, and sees that it fits.
    fn origin(&self, source: &Source, new: &NewVolume) -> Result<Origin<'_>> {
        match source {
            Source::Snapshot(id) => self.snapshot_origin(id, new),
            Source::Volume(id) => self.volume_origin(id, new),
        }
    }

    fn snapshot_origin(&self, id: &SnapshotId, new: &NewVolume) -> Result<Origin<'_>> {
        let missing = |error| match error {
            Error::NoSnapshot(_) => Error::SourceMissing(id.to_string()),
            error => error,
        };
        let stored = self.stored(id).map_err(missing)?;
        fits(id.as_str(), stored.record.content, stored.size, new)?;
        // Once it is open, the snapshot may be deleted.
        let image = stored.open_image().map_err(missing)?;
        Ok(Origin { image, filesystem_size: stored.record.filesystem_size, frozen: Vec::new(), _turn: None })
    }

    fn volume_origin(&self, id: &VolumeId, new: &NewVolume) -> Result<Origin<'_>> {
        let missing = |error| match error {
            Error::NotFound(_) => Error::SourceMissing(id.to_string()),
            error => error,
        };
        self.load(id).map_err(missing)?;
        let turn = self.locks.take(id)?;
        let (record, size) = self.load(id).map_err(missing)?;
        fits(id.as_str(), record.content, size, new)?;
        let path = self.pool.image(id);
        let image = File::open(&path).map_err(Error::io("open the image", path.display()))?;
        let frozen: Vec<_> = self.writable(id)?.into_iter().collect();
        frozen.iter().try_for_each(Writable::write_back)?;
        Ok(Origin { image, filesystem_size: record.filesystem_size, frozen, _turn: Some(turn) })
    }

    /// Makes the image at `to` share all bytes of the origin.
    fn copy_origin(&self, origin: &Origin<'_>, to: &Path) -> Result<()> {
        self.freezer.hold(&origin.frozen, || {
            self.reached(Step::CloneFrozen);
            let new = File::options().write(true).open(to).map_err(Error::io("open the image", to.display()))?;
            share(&origin.image, &new).map_err(Error::io("copy the source to", to.display()))?;
            self.reached(Step::CloneCopied);
            Ok(())
        })
    }
}

/// Makes `to` share all bytes of `from`.
///
/// That is one moment, also while `from` is written to through a loop device: the kernel holds off its writers until all
/// is shared, after it has waited for the writes that were under way. On XFS they wait for the inode's I/O lock
/// (`xfs_reflink_remap_prep`, and `XFS_IREMAPPING` where only readers go on), on btrfs for the inode's lock
/// (`btrfs_remap_file_range`). A guest's write that depends on an earlier one is submitted when that one is complete; so a
/// copy has both, the earlier one, or neither, which is what a loss of power leaves behind.
pub(crate) fn share(from: &File, to: &File) -> io::Result<()> {
    Ok(ioctl_ficlone(to, from)?)
}

fn fits(id: &str, present: Content, size: Bytes, new: &NewVolume) -> Result<()> {
    if present != new.content {
        return Err(Error::SourceDiffers {
            source_id: id.to_owned(),
            present: present.to_string(),
            asked: new.content.to_string(),
        });
    }
    if new.size() < size {
        return Err(Error::TooSmall { asked: new.at_least, content: format!("what {id} holds"), minimum: size });
    }
    Ok(())
}
