//! Limits of what volumes do each second, kept up while they are attached.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Error, Limits, Result,
    cgroups::{Group, PodCgroups},
    loops::{DeviceNumber, is_attached},
};

/// The major number of loop devices (`Documentation/admin-guide/devices.txt`).
const LOOP_MAJOR: u32 = 7;

/// How often cgroups are looked through for new ones: where limits do not hold for the groups below, a container is
/// without them for so long after its start.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sees to it that devices have their limits.
#[derive(Debug)]
pub(crate) struct Limiter {
    cgroups: PodCgroups,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limits: BTreeMap<DeviceNumber, Limits>,
    /// The groups in which all of them are set, by their inodes.
    done: BTreeSet<u64>,
    swept: Option<Instant>,
}

impl Limiter {
    pub(crate) fn new(cgroups: PodCgroups) -> Self {
        Self { cgroups, state: Mutex::default() }
    }

    /// Sets the limits of a device at once. To have none is always possible, and takes away what may be left of its former
    /// use.
    pub(crate) fn set(&self, device: DeviceNumber, limits: &Limits) -> Result<()> {
        let mut state = self.state();
        if *limits == Limits::default() {
            let left = || matches!(self.cgroups.outermost(), Ok(Some(group)) if group.has_limits(device));
            if state.limits.remove(&device).is_some() || left() {
                self.clear(device);
            }
            return Ok(());
        }
        self.cgroups
            .groups()
            .and_then(|groups| groups.iter().try_for_each(|group| group.limit(device, limits)))
            .map_err(Error::io("limit the I/O of device", shown(device)))?;
        state.limits.insert(device, *limits);
        Ok(())
    }

    /// Sets the limits in groups that are new, and takes them from devices that are attached no longer, whose numbers
    /// others will get. Does nothing if it did so a moment ago.
    pub(crate) fn sweep(&self) -> Result<()> {
        let mut state = self.state();
        if state.limits.is_empty() || state.swept.is_some_and(|swept| swept.elapsed() < INTERVAL) {
            return Ok(());
        }
        state.swept = Some(Instant::now());
        let (kept, gone): (BTreeMap<_, _>, _) =
            std::mem::take(&mut state.limits).into_iter().partition(|(device, _)| is_attached(*device));
        state.limits = kept;
        for device in gone.keys() {
            self.clear(*device);
        }
        let groups = self.cgroups.groups().map_err(Error::io("limit the I/O of", "volumes"))?;
        for group in groups.iter().filter(|group| !state.done.contains(&group.inode)) {
            for (device, limits) in &state.limits {
                group.limit(*device, limits).map_err(Error::io("limit the I/O in", group.path.display()))?;
            }
        }
        state.done = groups.into_iter().map(|group| group.inode).collect();
        Ok(())
    }

    /// Takes limits away that an earlier process left on devices which are attached no longer.
    pub(crate) fn forget_detached(&self) {
        let Ok(groups) = self.cgroups.groups() else { return };
        let left: BTreeSet<_> = groups.iter().flat_map(Group::limited).collect();
        for device in left.into_iter().filter(|device| device.0 == LOOP_MAJOR && !is_attached(*device)) {
            self.clear(device);
        }
    }

    fn clear(&self, device: DeviceNumber) {
        let clear = |groups: Vec<Group>| -> io::Result<()> {
            groups.iter().try_for_each(|group| group.limit(device, &Limits::default()))
        };
        if let Err(error) = self.cgroups.groups().and_then(clear) {
            tracing::warn!(device = shown(device), %error, "limits stay on a device that should have none");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As the kernel's files have it.
fn shown((major, minor): DeviceNumber) -> String {
    format!("{major}:{minor}")
}
