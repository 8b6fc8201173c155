//! What pods write and delete: each kind of workload as a row of stretches, in each of which the volume fills at one
//! rate.

use std::time::Duration;

use fastrand::Rng;
use orlop_api::{Bytes, Period};
use serde::{Deserialize, Serialize};

/// A workload. Rates are bytes a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Workload {
    /// Nothing is written.
    Idle {},
    /// The same all the time.
    Steady {
        /// How fast.
        rate: Bytes,
    },
    /// More by day than by night: between nothing and twice the mean.
    Daily {
        /// The mean.
        rate: Bytes,
    },
    /// A burst every now and then, and nothing in between.
    Bursts {
        /// How fast in a burst.
        rate: Bytes,
        /// How long a burst lasts.
        lasting: Period,
        /// How long from one to the next, on average.
        every: Period,
    },
    /// Logs that are deleted when there is so much of them.
    Rotation {
        /// How fast they are written.
        rate: Bytes,
        /// When they are deleted.
        keep: Bytes,
    },
    /// A table is loaded, once in a while.
    BulkLoad {
        /// How fast.
        rate: Bytes,
        /// How much at a time.
        bytes: Bytes,
        /// How long from one to the next, on average.
        every: Period,
    },
    /// A rate that doubles every hour: something has gone wrong.
    Runaway {
        /// The rate at first.
        rate: Bytes,
    },
}

/// A stretch of time in which a volume fills at one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// How much is deleted as it begins.
    pub(crate) freed: Bytes,
    /// How fast is written then, bytes a second.
    pub(crate) rate: Bytes,
    /// How long it lasts; none without end.
    pub(crate) lasting: Option<Duration>,
}

const HOUR: Duration = Duration::from_hours(1);

impl Workload {
    /// The stretch that begins at `now`, the `index`th of the workload.
    pub(crate) fn stretch(&self, index: u64, now: Duration, rng: &mut Rng) -> Stretch {
        let writing = |rate: Bytes, lasting| Stretch { freed: Bytes(0), rate, lasting };
        let is_pause = index.is_multiple_of(2);
        match *self {
            Self::Idle {} => writing(Bytes(0), None),
            Self::Steady { rate } => writing(rate, None),
            Self::Daily { rate } => {
                // A day as a triangle: nothing at midnight, twice the mean at noon.
                let hour = now.as_secs() / 3600 % 24;
                writing(Bytes(rate.0 * 2 * hour.min(24 - hour) / 12), Some(HOUR))
            }
            Self::Bursts { every, .. } if is_pause => writing(Bytes(0), Some(around(every, rng))),
            Self::Bursts { rate, lasting, .. } => writing(rate, Some(lasting.into())),
            Self::Rotation { rate, keep } => Stretch {
                freed: if index == 0 { Bytes(0) } else { keep },
                rate,
                lasting: Some(Duration::from_secs(keep.0 / rate.0.max(1))),
            },
            Self::BulkLoad { every, .. } if is_pause => writing(Bytes(0), Some(around(every, rng))),
            Self::BulkLoad { rate, bytes, .. } => writing(rate, Some(Duration::from_secs(bytes.0 / rate.0.max(1)))),
            Self::Runaway { rate } => {
                writing(Bytes(rate.0.saturating_mul(1_u64.checked_shl(index.min(30) as u32).unwrap_or(1))), Some(HOUR))
            }
        }
    }
}

/// Between half the period and one and a half.
pub(crate) fn around(period: Period, rng: &mut Rng) -> Duration {
    let seconds = period.as_secs().max(2);
    Duration::from_secs(rng.u64(seconds / 2..=seconds + seconds / 2))
}
