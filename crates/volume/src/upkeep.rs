//! Upkeep.

use crate::*;

impl Upkeep for LocalVolumes {
    fn limit(&self, _id: &VolumeId, _limits: &Limits) -> Result<()> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn activity(&self, _id: &VolumeId) -> Result<Option<Activity>> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn health(&self, _id: &VolumeId) -> Result<Vec<Ailment>> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn pool(&self) -> Result<PoolState> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn watch_pool(&self) -> Result<()> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn trim(&self, _id: &VolumeId) -> Result<Bytes> {
        Err(Error::Busy(VolumeId::derive(&NodeTag::of("x"), "not built yet")))
    }
    fn frozen_times(&self) -> Vec<std::time::Duration> {
        Vec::new()
    }
}
