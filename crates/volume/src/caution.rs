//! Bounding what is cached for volumes as their pool fills up. What a guest has accepted into its cache may have no
//! room in the pool yet, and may be gigabytes; nothing can be done for it once the pool is full. So all caches together
//! hold at most an eighth of what is free, and in the end so little that it fits into the ballast when writers are held
//! up.
//!
//! Measured on a disk that writes 2 GB/s: with 16 MiB of cache buffered writes reached 840 MB/s, with 4 MiB 350 MB/s,
//! and with 1 MiB 80 MB/s.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use orlop_api::Bytes;

use crate::{
    LocalVolumes, Provisioning, Result, VolumeId,
    loops::{self, Device, DeviceNumber},
    record::Record,
};

/// What the caches of volumes may hold before their writers wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Caution(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// All of them together; `None` until it is known.
    most: Option<Bytes>,
    /// The devices of volumes that may take more room.
    devices: BTreeSet<DeviceNumber>,
}

impl Caution {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalVolumes {
    /// Bounds caches as it befits what is free in the pool.
    pub(crate) fn bound_caches(&self, free: Bytes) -> Result<()> {
        let most = room_for_caches(free, self.pool.ballast().0);
        let mut state = self.caution.state();
        if state.most == Some(most) {
            return Ok(());
        }
        if state.most.is_none() {
            // What an earlier process has bounded is found once.
            for id in self.pool.ids()? {
                let Some(record) = self.readable_record(&id)? else { continue };
                if self.may_take_room(&id, &record)? {
                    state.devices.extend(loops::find(&self.pool.image(&id))?.map(|device| device.number));
                }
            }
        }
        state.most = Some(most);
        state.apply();
        Ok(())
    }

    /// Bounds the caches of a volume that has just been mounted, or lets them go: a device keeps its bound from its
    /// former use.
    pub(crate) fn bound_cache_of(&self, id: &VolumeId, record: &Record, device: &Device) -> Result<()> {
        if self.may_take_room(id, record)? {
            let mut state = self.caution.state();
            state.devices.insert(device.number);
            state.apply();
        } else {
            bound(device.number, None);
        }
        Ok(())
    }

    /// May the volume take more room than it has? A thick one has its bytes, and needs room only for what it shares.
    pub(crate) fn may_take_room(&self, id: &VolumeId, record: &Record) -> Result<bool> {
        Ok(record.provisioning == Provisioning::Thin || self.pool.shares(id)?)
    }
}

impl State {
    fn apply(&mut self) {
        self.devices.retain(|device| loops::is_attached(*device));
        let count = u64::try_from(self.devices.len()).unwrap_or(u64::MAX).max(1);
        // The kernel bounds all caches of the machine anyway, which is enough while there is a lot of room.
        let most = self.most.filter(|most| kernels_bound().is_none_or(|kernels| *most < kernels));
        // With less than that, nothing can be written any more.
        let share = most.map(|most| Bytes((most.0 / count).max(Bytes::MIB.0)));
        self.devices.iter().for_each(|device| bound(*device, share));
    }
}

/// An eighth of what is free, rounded down to a power of two so that it changes seldom, and a quarter of the ballast at
/// least.
fn room_for_caches(free: Bytes, ballast: Bytes) -> Bytes {
    let eighth = (free.0 / 8).checked_ilog2().map_or(0, |exponent| 1 << exponent);
    Bytes(eighth.max(ballast.0 / 4))
}

/// How much the kernel lets all caches of the machine hold, as `/proc/vmstat` has it.
fn kernels_bound() -> Option<Bytes> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    let pages: u64 = text.lines().find_map(|line| line.strip_prefix("nr_dirty_threshold "))?.parse().ok()?;
    Some(Bytes(pages.saturating_mul(u64::try_from(rustix::param::page_size()).ok()?)))
}

/// Sets the bound of a device's caches, or takes it away.
fn bound(device: DeviceNumber, most: Option<Bytes>) {
    for cache in caches(device) {
        if let Err(error) = bound_one(&cache, most) {
            tracing::warn!(cache = %cache.display(), %error, "the cache of a volume cannot be bounded");
        }
    }
}

/// By the files that `Documentation/ABI/testing/sysfs-class-bdi` describes. A kernel before 6.2 does not have them, and
/// then caches are as they are.
fn bound_one(cache: &Path, most: Option<Bytes>) -> io::Result<()> {
    let set = |file: &str, value: &str| fs::write(cache.join(file), value);
    match most {
        Some(most) => set("strict_limit", "1").and_then(|()| set("max_bytes", &most.0.to_string())),
        None => set("strict_limit", "0").and_then(|()| set("max_ratio", "100")),
    }
}

/// The device's own cache, and that of a btrfs on it, which has one for all of its devices.
fn caches((major, minor): DeviceNumber) -> Vec<PathBuf> {
    let filesystems = fs::read_dir("/sys/fs/btrfs").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let on_device = filesystems.filter(|filesystem| filesystem.join(format!("devices/loop{minor}")).exists());
    let own = PathBuf::from(format!("/sys/class/bdi/{major}:{minor}"));
    on_device.map(|filesystem| filesystem.join("bdi")).chain([own]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_hold_an_eighth_of_what_is_free_and_fit_into_the_ballast_at_last() {
        let (mib, ballast) = (|mib: u64| Bytes(mib << 20), Bytes(64 << 20));
        assert_eq!(room_for_caches(mib(8192), ballast), mib(1024));
        assert_eq!(room_for_caches(mib(8191), ballast), mib(512));
        assert_eq!(room_for_caches(mib(100), ballast), mib(16));
        assert_eq!(room_for_caches(Bytes(0), ballast), mib(16));
    }
}
