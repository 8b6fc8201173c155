//! New volumes that start with what a snapshot or another volume holds. Their image shares its bytes until either is
//! written to, so that this takes the same short time for every size.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use orlop_api::Bytes;

use crate::{
    Content, Error, LocalVolumes, NewVolume, Result, SnapshotId, Source, Step, VolumeId,
    freeze::Writable,
    identity,
    locks::Turn,
    pool::NewVolumeFolder,
    reflink::{share, share_ahead},
};

/// What a new volume starts with.
struct Origin<'a> {
    image: File,
    /// The size of the filesystem in it.
    filesystem_size: Bytes,
    /// The path of the image, if it is that of a volume in use.
    in_use: Option<PathBuf>,
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
        let filesystem_size = stored.record.filesystem_size;
        Ok(Origin { image, filesystem_size, in_use: None, frozen: Vec::new(), _turn: None })
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
        let in_use = self.device(id)?.map(|_| path);
        let frozen: Vec<_> = self.writable(id)?.into_iter().collect();
        // Also before the pool's turn is taken, which others wait for.
        frozen.iter().try_for_each(Writable::write_back)?;
        Ok(Origin { image, filesystem_size: record.filesystem_size, in_use, frozen, _turn: Some(turn) })
    }

    /// Makes the image at `to` share all bytes of the origin.
    fn copy_origin(&self, origin: &Origin<'_>, to: &Path) -> Result<()> {
        let fail = || Error::io("copy the source to", to.display());
        let new = File::options().write(true).open(to).map_err(fail())?;
        if let Some(image) = &origin.in_use {
            share_ahead(image, &new)?;
            origin.frozen.iter().try_for_each(Writable::write_back)?;
        }
        self.freezer.hold(&origin.frozen, || {
            self.reached(Step::CloneFrozen);
            share(&origin.image, &new).map_err(fail())?;
            self.reached(Step::CloneCopied);
            Ok(())
        })
    }
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
