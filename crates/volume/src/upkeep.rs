//! [`Upkeep`] on a real pool.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    time::Duration,
};

use orlop_api::Bytes;

use crate::{
    Activity, Ailment, Content, Error, Limits, LocalVolumes, MountOptions, PodCgroups, PoolState, Provisioning, Result,
    Upkeep, VolumeId,
    limits::Limiter,
    loops::{self, Device, DeviceNumber},
    mounts::Table,
    pool::{Measure, Pressure, low_water},
    record::{Record, Recorded as _},
    trim,
};

impl LocalVolumes {
    /// Limits what volumes do by the cgroups of this node's pods, also of volumes that are attached already.
    #[must_use]
    pub fn limited_in(mut self, pods: PodCgroups) -> Self {
        self.limiter = Limiter::new(pods);
        self.limiter.forget_detached();
        for id in self.pool.ids().unwrap_or_default() {
            let attached = || match self.load(&id)? {
                (record, _) if record.limits == Limits::default() => Ok(None),
                (record, _) => Ok(loops::find(&self.pool.image(&id))?.map(|device| (record.limits, device))),
            };
            let limited = attached().and_then(|found: Option<(Limits, Device)>| {
                found.map_or(Ok(()), |(limits, device)| self.limiter.set(device.number, &limits))
            });
            if let Err(error) = limited {
                tracing::error!(%id, %error, "a volume that is in use goes on without its limits");
            }
        }
        self
    }

    /// Makes a device that has just been attached what its volume is to be: limited, and with all its bytes if it is
    /// thick.
    pub(crate) fn prepare(
        &self,
        id: &VolumeId,
        (record, size): (&Record, Bytes),
        device: &Device,
        options: &MountOptions,
    ) -> Result<()> {
        if record.provisioning == Provisioning::Thick {
            options.refuse("discard", "a thick volume keeps its bytes, whatever is deleted in it")?;
            device.refuse_discards()?;
            self.refill(id, size);
        }
        self.limiter.set(device.number, &record.limits)
    }

    /// Gives a thick volume the bytes back that it has lost. Its device refuses discards, and yet a loop device makes
    /// holes where zeros are written without their bytes, as guest filesystems do. The account has kept the room.
    fn refill(&self, id: &VolumeId, size: Bytes) {
        let image = self.pool.image(id);
        let filled = OpenOptions::new()
            .write(true)
            .open(&image)
            .map_err(Error::io("open the image", image.display()))
            .and_then(|file| self.pool.allocate(&file, size, Provisioning::Thick));
        if let Err(error) = filled {
            // It can be used all the same, and the room that it lacks is promised to nobody else.
            tracing::warn!(%id, %error, "a thick volume lacks some of its bytes");
        }
    }

    /// Does what the pool's room asks for, one thing after another until nothing more is to be done. Returns what is
    /// free then, and whether that is little.
    fn relieve(&self) -> Result<(Bytes, bool)> {
        /// More never follow from one look.
        const MEASURES: u32 = 3;
        let mut taken = 0;
        loop {
            let (total, free) = self.pool.measure()?;
            let (ballast, held) = self.pool.ballast();
            let pressure = Pressure { free, ballast, held, paused: self.pause.is_on() };
            let Some(measure) = pressure.measure().filter(|_| taken < MEASURES) else {
                return Ok((free, free < low_water(total)));
            };
            tracing::warn!(?measure, free = free.0, "the room in the pool has changed");
            match measure {
                Measure::GiveUpBallast => self.pool.give_up_ballast()?,
                Measure::MakeBallast => self.pool.make_ballast()?,
                Measure::Pause => self.pause.switch(true),
                Measure::Resume => self.pause.switch(false),
            }
            taken += 1;
        }
    }
}

impl Upkeep for LocalVolumes {
    fn limit(&self, id: &VolumeId, limits: &Limits) -> Result<()> {
        let _turn = self.locks.take(id)?;
        let (mut record, _) = self.load(id)?;
        record.limits = *limits;
        record.write(&self.pool.record(id))?;
        match loops::find(&self.pool.image(id))? {
            Some(device) => self.limiter.set(device.number, limits),
            None => Ok(()),
        }
    }

    fn activity(&self, id: &VolumeId) -> Result<Option<Activity>> {
        self.load(id)?;
        loops::find(&self.pool.image(id))?.map(|device| activity_of(device.number)).transpose()
    }

    fn health(&self, id: &VolumeId) -> Result<Vec<Ailment>> {
        self.examine(id, || Ok(self.state_of_pool()?.ailments))
    }

    fn health_of_all(&self) -> Result<BTreeMap<VolumeId, Result<Vec<Ailment>>>> {
        let of_pool = self.state_of_pool()?.ailments;
        let examined = self.pool.ids()?.into_iter().map(|id| {
            let health = self.examine(&id, || Ok(of_pool.clone()));
            (id, health)
        });
        // Some may have been deleted since their ids were read.
        Ok(examined.filter(|(_, health)| !matches!(health, Err(Error::NotFound(_)))).collect())
    }

    fn pool(&self) -> Result<PoolState> {
        self.state_of_pool()
    }

    fn watch_pool(&self) -> Result<Duration> {
        /// Few volumes write more than the ballast covers in that time while there is a lot of room.
        const AT_EASE: Duration = Duration::from_millis(200);
        const ON_THE_WATCH: Duration = Duration::from_millis(10);
        let relieved = self.relieve().and_then(|(free, low)| {
            self.bound_caches(free)?;
            self.hold_up()?;
            Ok(low)
        });
        self.limiter.sweep()?;
        Ok(if relieved? && !self.pause.is_on() { ON_THE_WATCH } else { AT_EASE })
    }

    fn trim(&self, id: &VolumeId) -> Result<bool> {
        let _turn = self.locks.take(id)?;
        let (record, _) = self.load(id)?;
        if record.provisioning == Provisioning::Thick || record.content == Content::Block || self.pause.is_on() {
            return Ok(false);
        }
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(false) };
        let table = Table::read()?;
        let Some(mount) = table.writable(&device).next() else { return Ok(false) };
        trim::trim(&mount.path)?;
        Ok(true)
    }

    fn frozen_times(&self) -> Vec<Duration> {
        self.freezer.take_times()
    }
}

/// What a device has done, as `Documentation/block/stat.rst` of the kernel describes the file.
fn activity_of((major, minor): DeviceNumber) -> Result<Activity> {
    let path = format!("/sys/dev/block/{major}:{minor}/stat");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    parse(&text).ok_or_else(|| Error::io("read", &path)(std::io::Error::from(std::io::ErrorKind::InvalidData)))
}

fn parse(stat: &str) -> Option<Activity> {
    /// The unit of the file, whatever the device's blocks are.
    const SECTOR: u64 = 512;
    let fields: Vec<u64> = stat.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [reads, _, read_sectors, read_ms, writes, _, written_sectors, write_ms, ..] = fields[..] else { return None };
    let (read_bytes, written_bytes) = (read_sectors * SECTOR, written_sectors * SECTOR);
    Some(Activity { reads, writes, read_bytes, written_bytes, read_ms, write_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_a_device_are_read_in_their_order() {
        let stat = "       9       1       80        4       20       2      400       7        0       30      11\n";
        let expected =
            Activity { reads: 9, writes: 20, read_bytes: 40_960, written_bytes: 204_800, read_ms: 4, write_ms: 7 };
        assert_eq!(parse(stat), Some(expected));
        assert_eq!(parse("9 1 80"), None);
    }
}
