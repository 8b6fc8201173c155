//! What is written beside the image of a volume or a snapshot. The image's length is its size, and the only place that
//! says so.

use std::{fs, io, path::Path, time::SystemTime};

use orlop_api::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Content, Error, GroupId, Limits, NewVolume, Provisioning, Result, Source, VolumeId, durable};

/// The present version of the records. A reader refuses a later one.
const FORMAT: u32 = 1;

/// A volume's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    format: u32,
    /// The name that the volume was asked for by.
    pub name: String,
    pub content: Content,
    #[serde(default)]
    pub provisioning: Provisioning,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    #[serde(default)]
    pub limits: Limits,
    /// The size that the filesystem has for certain. Below the image's length, a growth is to be completed. A block
    /// volume has none, and here the image's length at its birth.
    pub filesystem_size: Bytes,
}

impl Record {
    /// Of a new volume, in which the filesystem has that size.
    pub(crate) fn new(new: &NewVolume, filesystem_size: Bytes) -> Self {
        let NewVolume { name, content, provisioning, source, limits, .. } = new.clone();
        Self { format: FORMAT, name, content, provisioning, source, limits, filesystem_size }
    }
}

/// A snapshot's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SnapshotRecord {
    format: u32,
    /// The name that the snapshot was asked for by.
    pub name: String,
    pub volume: VolumeId,
    pub content: Content,
    /// As in the volume's record at that moment.
    pub filesystem_size: Bytes,
    pub taken: SystemTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
}

impl SnapshotRecord {
    /// Of a snapshot of a volume that has the record `of`.
    pub(crate) fn new(name: String, volume: VolumeId, of: &Record, group: Option<GroupId>, taken: SystemTime) -> Self {
        let Record { content, filesystem_size, .. } = *of;
        Self { format: FORMAT, name, volume, content, filesystem_size, taken, group }
    }
}

/// A group's record. Its snapshots have records of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupRecord {
    format: u32,
    /// The name that the group was asked for by.
    pub name: String,
    pub taken: SystemTime,
}

impl GroupRecord {
    /// Of a group that is being taken.
    pub(crate) fn new(name: &str, taken: SystemTime) -> Self {
        Self { format: FORMAT, name: name.to_owned(), taken }
    }
}

/// A record in its file.
pub(crate) trait Recorded: Serialize + DeserializeOwned {
    /// The record at `path`, or `None` if there is no such file. [`Error::Damaged`] if it cannot be understood.
    fn read(path: &Path) -> Result<Option<Self>> {
        /// What all records, also later ones, have.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }

        let damaged = |reason| Error::Damaged { path: path.to_owned(), reason };
        let invalid = |error: serde_json::Error| damaged(error.to_string());
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path.display())(error)),
        };
        let Head { format } = serde_json::from_slice(&text).map_err(invalid)?;
        if format > FORMAT {
            return Err(damaged(format!("it has format {format}, which a later release of Orlop wrote")));
        }
        serde_json::from_slice(&text).map(Some).map_err(invalid)
    }

    /// Writes the record durably, in place of what is there.
    fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(Error::io("encode", path.display()))?;
        durable::replace(path, &text).map_err(Error::io("write", path.display()))
    }
}

impl Recorded for Record {}
impl Recorded for SnapshotRecord {}
impl Recorded for GroupRecord {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Filesystem;

    #[test]
    fn a_record_reads_back_and_a_damaged_or_later_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        assert_eq!(Record::read(&path).unwrap(), None);
        let new = NewVolume {
            name: "pvc-1".into(),
            at_least: Bytes::GIB,
            at_most: None,
            content: Content::Filesystem(Filesystem::Xfs),
            provisioning: Provisioning::Thick,
            source: None,
            limits: Limits::default(),
        };
        let record = Record::new(&new, Bytes::GIB);
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), Some(record.clone()));
        Record { format: FORMAT + 1, ..record }.write(&path).unwrap();
        assert!(Record::read(&path).unwrap_err().to_string().contains("later release"));
        fs::write(&path, "{").unwrap();
        assert!(matches!(Record::read(&path), Err(Error::Damaged { .. })));
    }
}
