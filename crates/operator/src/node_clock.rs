//! How far a node's clock is off from the operator's, from messages that carry the node's time.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::moment::{Moment, WallClock};

/// Clocks that are kept right differ by less than this, and a message may be under way for as long: nothing is
/// corrected below it.
const TOLERATED: SignedDuration = SignedDuration::from_secs(2);

/// Beyond this somebody should look after the node's clock.
const REMARKABLE: SignedDuration = SignedDuration::from_secs(30);

/// So many of the latest messages are looked at, a minute's heartbeats: a clock that has been set is followed by then.
const LATEST: usize = 12;

/// A node's clock, as seen from here.
#[derive(Debug, Default)]
pub struct NodeClock {
    /// For the latest messages, how much later they were received than sent, by the two clocks.
    lags: VecDeque<SignedDuration>,
    remarked: bool,
    own: WallClock,
}

impl NodeClock {
    /// A message was received at `now` that the node sent when its clock said `sent`. Returns how far the clock is off
    /// when that is worth a remark, once.
    pub fn heard(&mut self, sent: Timestamp, now: Moment) -> Option<SignedDuration> {
        if let Some(set_by) = self.own.set_by(now) {
            self.lags.iter_mut().for_each(|lag| *lag += set_by);
        }
        if self.lags.len() == LATEST {
            self.lags.pop_front();
        }
        self.lags.push_back(now.time.duration_since(sent));
        let behind = self.behind();
        (behind.abs() >= REMARKABLE && !std::mem::replace(&mut self.remarked, true)).then_some(behind)
    }

    /// A time of the node's by our clock. None where there is no such time.
    pub fn ours(&self, at: Timestamp) -> Option<Timestamp> {
        at.checked_add(self.behind()).ok()
    }

    /// How far the node's clock is behind ours, negative where it is ahead: the smallest of the latest lags, since
    /// messages are late and never early.
    fn behind(&self) -> SignedDuration {
        let least = self.lags.iter().min().copied().unwrap_or_default();
        if least.abs() < TOLERATED { SignedDuration::ZERO } else { least }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::LazyLock,
        time::{Duration, Instant},
    };

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// A moment at which neither clock has ever been set.
    fn moment(seconds: i64) -> Moment {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        Moment { time: at(seconds), instant: *ORIGIN + Duration::from_secs(seconds.unsigned_abs()) }
    }

    #[test]
    fn a_clock_that_is_right_is_left_alone_however_late_a_message_is() {
        let mut clock = NodeClock::default();
        assert_eq!(clock.heard(at(100), moment(101)), None);
        assert_eq!(clock.heard(at(105), moment(145)), None, "this one was under way for long");
        assert_eq!(clock.ours(at(105)), Some(at(105)));
    }

    #[test]
    fn a_clock_that_is_off_either_way_is_corrected_and_remarked_once() {
        let mut clock = NodeClock::default();
        assert_eq!(clock.heard(at(100), moment(3_700)), Some(SignedDuration::from_secs(3_600)));
        assert_eq!(clock.heard(at(105), moment(3_705)), None);
        assert_eq!(clock.ours(at(105)), Some(at(3_705)));

        let mut clock = NodeClock::default();
        assert_eq!(clock.heard(at(100), moment(60)), Some(SignedDuration::from_secs(-40)));
        assert_eq!(clock.ours(at(100)), Some(at(60)));
    }

    #[test]
    fn a_clock_that_has_been_set_is_followed_within_a_minute() {
        let mut clock = NodeClock::default();
        clock.heard(at(0), moment(0));
        for beat in 0..LATEST {
            let beat = i64::try_from(beat).unwrap() * 5;
            clock.heard(at(beat), moment(beat + 600));
        }
        assert_eq!(clock.ours(at(1_000)), Some(at(1_600)));
    }

    #[test]
    fn a_time_beyond_all_times_is_none() {
        let mut clock = NodeClock::default();
        clock.heard(at(0), moment(3_600));
        assert_eq!(clock.ours(Timestamp::MAX), None);
    }

    #[test]
    fn that_our_own_clock_is_set_says_nothing_of_the_nodes() {
        let mut clock = NodeClock::default();
        clock.heard(at(100), moment(100));
        let ours = Moment { time: at(7_305), ..moment(105) };
        assert_eq!(clock.heard(at(105), ours), Some(SignedDuration::from_secs(7_200)), "it is off from ours now");
        assert_eq!(clock.ours(at(105)), Some(at(7_305)));
    }
}
