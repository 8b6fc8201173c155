//! Snapshots.

use crate::*;

impl Snapshots for LocalVolumes {
    fn snapshot(&self, _name: &str, _volume: &VolumeId) -> Result<Snapshot> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn delete_snapshot(&self, _id: &SnapshotId) -> Result<()> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn get_snapshot(&self, _id: &SnapshotId) -> Result<Snapshot> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn list_snapshots(&self) -> Result<Vec<Snapshot>> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn snapshot_group(&self, _name: &str, _volumes: &[VolumeId]) -> Result<Group> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn delete_group(&self, _id: &GroupId) -> Result<()> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn get_group(&self, _id: &GroupId) -> Result<Group> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn allocated(&self, _id: &SnapshotId, _from: u64, _count: usize) -> Result<Vec<Extent>> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn changed(&self, _base: &SnapshotId, _target: &SnapshotId, _from: u64, _count: usize) -> Result<Vec<Extent>> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
}
