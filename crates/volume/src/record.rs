//! What is written beside a volume's image. The image's length is the volume's size, and the only place that says so.

use std::{fs, io, path::Path};

use orlop_api::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Content, Error, Limits, NewVolume, Provisioning, Result, Source, durable};

/// The present version of the record. A reader refuses a later one.
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
    pub(crate) fn new(new: &NewVolume, filesystem_size: Bytes) -> Self {
        let NewVolume { name, content, provisioning, source, limits, .. } = new.clone();
        Self { format: FORMAT, name, content, provisioning, source, limits, filesystem_size }
    }

    /// The record at `path`, or `None` if there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let damaged = |reason| Error::Damaged { path: path.to_owned(), reason };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path.display())(error)),
        };
        let record: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if record.format > FORMAT {
            return Err(damaged(format!("it has format {}, which a later release of Orlop wrote", record.format)));
        }
        Ok(Some(record))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(Error::io("encode", path.display()))?;
        durable::replace(path, &text).map_err(Error::io("write", path.display()))
    }
}

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
