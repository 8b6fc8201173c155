//! The upkeep of volumes that are only remembered: nothing is ever full, slow or broken, unless a test says so.

use std::{collections::BTreeMap, time::Duration};

use orlop_api::Bytes;

use super::{BLOCK, FakeVolumes};
use crate::{Activity, Ailment, Error, Limits, PoolState, Result, Upkeep, VolumeId};

impl Upkeep for FakeVolumes {
    fn limit(&self, id: &VolumeId, limits: &Limits) -> Result<()> {
        let mut state = self.state();
        let volume = state.volumes.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
        volume.limits = *limits;
        Ok(())
    }

    fn activity(&self, id: &VolumeId) -> Result<Option<Activity>> {
        let state = self.state();
        state.get(id)?;
        Ok(state.mounts.values().any(|mounted| mounted == id).then(Activity::default))
    }

    fn health(&self, id: &VolumeId) -> Result<Vec<Ailment>> {
        let state = self.state();
        state.get(id)?;
        Ok(state.volume_ailments.get(id).cloned().unwrap_or_default())
    }

    fn health_of_all(&self) -> Result<BTreeMap<VolumeId, Result<Vec<Ailment>>>> {
        let state = self.state();
        let of = |id: &VolumeId| state.volume_ailments.get(id).cloned().unwrap_or_default();
        Ok(state.volumes.keys().map(|id| (id.clone(), Ok(of(id)))).collect())
    }

    fn pool(&self) -> Result<PoolState> {
        let state = self.state();
        let promised = Bytes(state.volumes.values().map(|volume| volume.size.0).sum());
        let allocated = Bytes(state.data.values().map(|data| data.len() as u64 * BLOCK).sum());
        let available = state.available(self.capacity);
        Ok(PoolState {
            total: self.capacity,
            free: Bytes(self.capacity.0.saturating_sub(allocated.0)),
            promised,
            outstanding: Bytes(promised.0.saturating_sub(allocated.0)),
            allocated,
            shared: Bytes(0),
            ballast: Bytes(0),
            available_thin: available,
            available_thick: available,
            ailments: state.pool_ailments.clone(),
            paused: false,
        })
    }

    fn watch_pool(&self) -> Result<Duration> {
        Ok(Duration::from_millis(200))
    }

    fn trim(&self, id: &VolumeId) -> Result<bool> {
        self.state().get(id).map(|_| false)
    }

    fn frozen_times(&self) -> Vec<Duration> {
        std::mem::take(&mut self.state().frozen)
    }
}
