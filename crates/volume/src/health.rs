//! What is wrong with volumes and with their pool.

use std::{cmp::Reverse, fs, io};

use orlop_api::Bytes;
use rustix::io::Errno;

use crate::{
    Ailment, Content, Error, LocalVolumes, PoolState, Provisioning, Result, Severity, VolumeId, loops, mounts::Table,
    pool::low_water,
};

impl LocalVolumes {
    pub(crate) fn state_of_pool(&self) -> Result<PoolState> {
        let none = Bytes(0);
        let lost = |ailment| PoolState {
            total: none,
            free: none,
            promised: none,
            outstanding: none,
            allocated: none,
            shared: none,
            ballast: none,
            available_thin: none,
            available_thick: none,
            ailments: vec![ailment],
            paused: self.pause.is_on(),
        };
        if let Some(trouble) = self.pool.trouble() {
            return Ok(lost(trouble.ailment(self.pool.path())));
        }
        let account = self.pool.account()?;
        let read_only = self.pool.read_only()?;
        let (ballast, held) = self.pool.ballast();
        let available = |provisioning| if read_only.is_some() { none } else { account.available(provisioning) };
        let mut state = PoolState {
            total: account.total,
            free: account.free,
            promised: account.promised,
            outstanding: account.outstanding.total(),
            allocated: account.allocated,
            shared: account.shared,
            ballast: if held { ballast } else { none },
            available_thin: available(Provisioning::Thin),
            available_thick: available(Provisioning::Thick),
            ailments: read_only.map(|trouble| trouble.ailment(self.pool.path())).into_iter().collect(),
            paused: self.pause.is_on(),
        };
        state.ailments.extend(ailments_of_room(&state));
        Ok(state)
    }

    /// What is wrong with a volume, where `of_pool` tells what is wrong with its pool.
    pub(crate) fn examine(
        &self,
        id: &VolumeId,
        of_pool: impl FnOnce() -> Result<Vec<Ailment>>,
    ) -> Result<Vec<Ailment>> {
        if let Some(trouble) = self.pool.trouble() {
            return Ok(vec![trouble.ailment(self.pool.path())]);
        }
        let inaccessible = |reason, message| Ailment { severity: Severity::Inaccessible, reason, message };
        let lost = |reason, message| Ailment { severity: Severity::DataLoss, reason, message };
        let (record, size) = match self.load(id) {
            Ok(loaded) => loaded,
            Err(error @ Error::Damaged { .. }) => {
                let message = format!("{error}: restore it from a snapshot of the volume, or delete the volume");
                return Ok(vec![inaccessible("RecordDamaged", message)]);
            }
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let message = format!("the image of volume {id} is missing: restore the volume from a backup");
                return Ok(vec![lost("ImageMissing", message)]);
            }
            Err(error) => return Err(error),
        };
        let mut ailments = Vec::new();
        if size < record.filesystem_size {
            ailments.push(lost(
                "ImageShort",
                format!(
                    "the image of volume {id} has {}, and held {}: restore the volume from a backup",
                    size.human(),
                    record.filesystem_size.human()
                ),
            ));
        }
        if matches!(record.content, Content::Filesystem(_)) {
            ailments.extend(self.examine_filesystem(id)?);
        }
        if self.may_take_room(id, &record)? {
            ailments.extend(of_pool()?);
        }
        ailments.sort_by_key(|ailment| Reverse(ailment.severity));
        Ok(ailments)
    }

    fn examine_filesystem(&self, id: &VolumeId) -> Result<Option<Ailment>> {
        let Some(device) = loops::find(&self.pool.image(id))? else { return Ok(None) };
        let table = Table::read()?;
        let Some(mount) = table.of(&device).next() else { return Ok(None) };
        let shut_down = match fs::metadata(&mount.path) {
            // XFS answers nothing any more when it has shut down.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::IO | Errno::UCLEAN)) => true,
            Err(error) => return Err(Error::io("look at", mount.path.display())(error)),
            // Others refuse to write.
            Ok(_) => mount.has_failed,
        };
        Ok(shut_down.then(|| Ailment {
            severity: Severity::Inaccessible,
            reason: "FilesystemShutDown",
            message: format!(
                "the filesystem of volume {id} has shut down, which it does when it cannot write: see that its pool has \
                 room and the kernel's log tells of no bad disk, and restart the pods that use it; what was synced is \
                 there"
            ),
        }))
    }
}

/// What is wrong with how much room there is.
fn ailments_of_room(pool: &PoolState) -> Vec<Ailment> {
    let (free, outstanding) = (pool.free.human(), pool.outstanding.human());
    let remedy = "delete snapshots and volumes that are not needed, remove what else fills it, or enlarge it";
    let mut ailments = Vec::new();
    if pool.paused {
        ailments.push(Ailment {
            severity: Severity::Inaccessible,
            reason: "PoolPaused",
            message: format!("the pool has {free} free, and the writers of its volumes wait for more: {remedy}"),
        });
    }
    if pool.ballast == Bytes(0) {
        ailments.push(Ailment {
            severity: Severity::Degraded,
            reason: "PoolCritical",
            message: format!("the pool has {free} free with its ballast given up: {remedy}"),
        });
    }
    // A pool whose volumes take nothing more may be as full as it likes.
    let runs_low = pool.outstanding > Bytes(0) && pool.free < low_water(pool.total);
    if runs_low || pool.free < pool.outstanding {
        ailments.push(Ailment {
            severity: Severity::Degraded,
            reason: "PoolLow",
            message: format!("the pool has {free} free, and its volumes may yet take {outstanding}: {remedy}"),
        });
    }
    ailments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(free_mib: u64, outstanding_mib: u64, ballast_mib: u64, paused: bool) -> PoolState {
        let mib = |mib: u64| Bytes(mib << 20);
        PoolState {
            total: mib(10_000),
            free: mib(free_mib),
            promised: mib(outstanding_mib),
            outstanding: mib(outstanding_mib),
            allocated: mib(0),
            shared: mib(0),
            ballast: mib(ballast_mib),
            available_thin: mib(0),
            available_thick: mib(0),
            ailments: Vec::new(),
            paused,
        }
    }

    #[test]
    fn the_alarm_comes_before_the_ballast_goes_and_that_before_writers_wait() {
        let reasons = |pool: PoolState| -> Vec<_> { ailments_of_room(&pool).iter().map(|one| one.reason).collect() };
        assert!(reasons(pool(5000, 2000, 100, false)).is_empty());
        assert_eq!(reasons(pool(900, 800, 100, false)), ["PoolLow"], "less than a tenth");
        assert_eq!(reasons(pool(5000, 5001, 100, false)), ["PoolLow"], "less than may be taken");
        assert!(reasons(pool(200, 0, 100, false)).is_empty(), "nothing takes any more");
        assert_eq!(reasons(pool(150, 100, 0, false)), ["PoolCritical", "PoolLow"]);
        assert_eq!(reasons(pool(40, 100, 0, true)), ["PoolPaused", "PoolCritical", "PoolLow"]);
    }
}
