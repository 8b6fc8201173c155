//! When something happens, by two clocks.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A moment. The wall clock may be set, forwards and backwards; what is only waited for goes by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock.
    pub time: Timestamp,
    /// By the clock that only runs.
    pub instant: Instant,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { time: Timestamp::now(), instant: Instant::now() }
    }
}

/// The two clocks drift apart by far less between two looks. Beyond this somebody has set the wall clock.
const SET: SignedDuration = SignedDuration::from_secs(2);

/// Sees when the wall clock is set.
#[derive(Debug, Default)]
pub(crate) struct WallClock {
    before: Option<Moment>,
}

impl WallClock {
    /// By how much it was set since the last look, forwards or, where that is negative, back.
    pub(crate) fn set_by(&mut self, now: Moment) -> Option<SignedDuration> {
        let before = self.before.replace(now)?;
        let elapsed = SignedDuration::try_from(now.instant.saturating_duration_since(before.instant)).ok()?;
        let set_by = now.time.duration_since(before.time) - elapsed;
        (set_by.abs() > SET).then_some(set_by)
    }
}
