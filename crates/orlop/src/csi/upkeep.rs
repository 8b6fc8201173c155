//! What the driver does without being asked: it looks after its pool several times a second, and gives back to it, once a
//! day and volume, what was deleted in the volumes.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use orlop_volume::{Content, Provisioning, Volume, VolumeId};
use tokio_util::sync::CancellationToken;

use super::{Driver, metrics::Metrics};
use crate::spread::spread;

/// When the pool is looked after again after that has failed.
const WATCH_AGAIN: Duration = Duration::from_millis(200);

/// How often it is asked which volumes are due to be trimmed.
const TRIM_CHECK_EVERY: Duration = Duration::from_secs(10);

impl Driver {
    /// Looks after the pool until `stop`, on a thread of its own: nothing that waits for a volume may hold this up.
    pub fn watch_pool(&self, metrics: Metrics, stop: CancellationToken) -> std::io::Result<thread::JoinHandle<()>> {
        let volumes = self.volumes.clone();
        thread::Builder::new().name("pool-watch".into()).spawn(move || {
            let mut failed = None;
            while !stop.is_cancelled() {
                // An error that goes on is logged once.
                let (pause, error) = match volumes.watch_pool() {
                    Ok(pause) => (pause, None),
                    Err(error) => (WATCH_AGAIN, Some(error.to_string())),
                };
                if error != failed {
                    match &error {
                        Some(error) => tracing::error!(error, "cannot look after the pool"),
                        None => tracing::info!("the pool is looked after again"),
                    }
                    failed = error;
                }
                volumes.frozen_times().into_iter().for_each(|time| metrics.frozen(time));
                thread::sleep(pause);
            }
        })
    }

    /// Trims each mounted thin volume once every `interval`, one after the other, and each at a time of its own, so that
    /// a node's disk never has all of it to do at once. Does not return.
    pub async fn trim_volumes(self, interval: Duration) {
        let mut before = since_epoch();
        loop {
            tokio::time::sleep(TRIM_CHECK_EVERY).await;
            let now = since_epoch();
            let driver = self.clone();
            let trimmed = tokio::task::spawn_blocking(move || driver.trim_due(before, now, interval)).await;
            if let Err(panic) = trimmed {
                tracing::error!(%panic, "trimming ended unexpectedly");
            }
            before = now;
        }
    }

    fn trim_due(&self, before: Duration, now: Duration, interval: Duration) {
        let volumes = match self.volumes.list() {
            Ok(volumes) => volumes,
            Err(error) => return tracing::warn!(%error, "cannot look for volumes to trim"),
        };
        for Volume { id, .. } in volumes.into_iter().filter(is_trimmed) {
            if !is_due(&id, before, now, interval) {
                continue;
            }
            match self.volumes.trim(&id) {
                Ok(true) => tracing::info!(%id, "trimmed"),
                Ok(false) => {}
                // In the middle of something else: the next time is soon enough.
                Err(error) => tracing::warn!(%id, %error, "cannot trim"),
            }
        }
    }
}

fn is_trimmed(volume: &Volume) -> bool {
    volume.provisioning == Provisioning::Thin && matches!(volume.content, Content::Filesystem(_))
}

/// Has the volume's own time in the interval come since `before`? By the clock, so that a driver which is often started
/// again trims as often as one that is not.
fn is_due(id: &VolumeId, before: Duration, now: Duration, interval: Duration) -> bool {
    let own = spread(id, interval).as_millis();
    let interval = interval.as_millis().max(1);
    let passed = |time: Duration| (time.as_millis() + interval - own % interval) / interval;
    passed(now) > passed(before)
}

/// The time by the clock, after 1970.
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use orlop_volume::NodeTag;

    use super::*;

    #[test]
    fn each_volume_is_due_once_an_interval_and_they_are_spread_over_it() {
        let day = Duration::from_hours(24);
        let start = Duration::from_hours(24 * 20_000);
        let checks: Vec<_> = (0..=24 * 3).map(|hour| start + Duration::from_hours(hour)).collect();
        let mut hours = std::collections::BTreeSet::new();
        for number in 0..100 {
            let id = VolumeId::derive(&NodeTag::of("a"), &number.to_string());
            let due: Vec<_> = checks.windows(2).filter(|pair| is_due(&id, pair[0], pair[1], day)).collect();
            assert_eq!(due.len(), 3);
            hours.insert(due[0][1]);
        }
        assert!(hours.len() > 12, "{hours:?}");
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_makes_nothing_due() {
        let id = VolumeId::derive(&NodeTag::of("a"), "v");
        let (noon, day) = (Duration::from_hours(12), Duration::from_hours(24));
        assert!(!is_due(&id, noon, noon, day));
        assert!(!is_due(&id, noon, Duration::ZERO, day));
    }
}
