//! What was counted over the last seconds: neither a burst nor a pause of a moment is to be taken for what is usual.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// Over how long it is counted.
const LENGTH: SignedDuration = SignedDuration::from_secs(10);

/// Readings that follow each other sooner than this are passed over, so that a volume that is looked at closely needs no more
/// memory than another.
const STEP: SignedDuration = SignedDuration::from_millis(500);

/// Counters as they were in the last seconds.
#[derive(Debug)]
pub(super) struct Window<T> {
    readings: VecDeque<(Timestamp, T)>,
}

/// What became of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It goes on what was before.
    In,
    /// It is too close to the one before.
    Not,
    /// Everything before is forgotten: it was of something else, or a clock was set, or nobody has looked for too long.
    Anew,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { readings: VecDeque::new() }
    }
}

impl<T> Window<T> {
    /// Takes in what was read; `goes_on` says whether that can follow what was read last.
    pub(super) fn push(&mut self, at: Timestamp, reading: T, goes_on: impl FnOnce(&T, &T) -> bool) -> Taken {
        let mut taken = Taken::In;
        if let Some((before, last)) = self.readings.back() {
            if *before > at || at.duration_since(*before) >= LENGTH * 3 || !goes_on(last, &reading) {
                self.readings.clear();
                taken = Taken::Anew;
            } else if at.duration_since(*before) < STEP {
                return Taken::Not;
            }
        }
        self.readings.push_back((at, reading));
        // The oldest is the youngest of those that are as old as the window.
        while self.readings.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= LENGTH) {
            self.readings.pop_front();
        }
        taken
    }

    /// The oldest and the latest reading, and what lies between them; none until that is the whole length.
    pub(super) fn span(&self) -> Option<(SignedDuration, &T, &T)> {
        let ((first, then), (last, now)) = (self.readings.front()?, self.readings.back()?);
        let length = last.duration_since(*first);
        (length >= LENGTH).then_some((length, then, now))
    }
}
