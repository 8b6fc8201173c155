//! When something happens, by two clocks.

use std::time::Instant;

use jiff::Timestamp;

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
