//! Upkeep.

use crate::*;

impl Upkeep for LocalVolumes {
    fn limit(&self, _id: &VolumeId, _limits: &Limits) -> Result<()> {
        Err(Error::Busy("not built yet".into()))
    }
    fn activity(&self, _id: &VolumeId) -> Result<Option<Activity>> {
        Err(Error::Busy("not built yet".into()))
    }
    fn health(&self, _id: &VolumeId) -> Result<Vec<Ailment>> {
        Err(Error::Busy("not built yet".into()))
    }
    fn pool(&self) -> Result<PoolState> {
        Err(Error::Busy("not built yet".into()))
    }
    fn watch_pool(&self) -> Result<()> {
        Err(Error::Busy("not built yet".into()))
    }
    fn trim(&self, _id: &VolumeId) -> Result<Bytes> {
        Err(Error::Busy("not built yet".into()))
    }
    fn frozen_times(&self) -> Vec<std::time::Duration> {
        self.freezer.take_times()
    }
}
