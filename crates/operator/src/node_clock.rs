//! How far a node's clock is off from the operator's, from messages that carry the node's time.

use std::{collections::VecDeque, time::Instant};

use jiff::{SignedDuration, Timestamp};

use crate::moment::{Moment, WallClock};

/// Clocks that are kept right differ by less than this, and a message may be under way for as long: nothing is
/// corrected below it.
const TOLERATED: SignedDuration = SignedDuration::from_secs(2);

/// Beyond this somebody should look after the node's clock.
const REMARKABLE: SignedDuration = SignedDuration::from_secs(30);

/// How much earlier a time may be than one that was asked for before, where it was overtaken on its way.
const OVERTAKEN_BY: SignedDuration = SignedDuration::from_secs(60);

/// So many of the latest messages are looked at, a minute's heartbeats: a clock that has been set is followed by then.
const LATEST: usize = 12;

/// A node's clock, as seen from here.
#[derive(Debug, Default)]
pub struct NodeClock {
    /// For the latest messages, how much later they were received than sent, by the two clocks.
    lags: VecDeque<SignedDuration>,
    remarked: bool,
    own: WallClock,
    /// When the latest message was sent by the node's clock, and received by ours that only runs.
    latest: Option<(Timestamp, Instant)>,
    /// The newest time of the node that was asked for, and what it is by our clock.
    newest: Option<(Timestamp, Timestamp)>,
}

impl NodeClock {
    /// A message was received at `now` that the node sent when its clock said `sent`. Returns how far the clock is off
    /// when that is worth a remark, once.
    pub fn heard(&mut self, sent: Timestamp, now: Moment) -> Option<SignedDuration> {
        self.follow_our_own(now);
        let lag = now.time.duration_since(sent);
        // A message that had to wait is later than others, and never earlier.
        if self.is_backlog(sent, now.instant) && self.lags.iter().min().is_some_and(|least| *least < lag) {
            return None;
        }
        if self.lags.len() == LATEST {
            self.lags.pop_front();
        }
        self.lags.push_back(lag);
        let behind = self.behind();
        (behind.abs() >= REMARKABLE && !std::mem::replace(&mut self.remarked, true)).then_some(behind)
    }

    /// Did the message come much sooner after the one before than it was sent, or in another order? Then it had been waiting, here or on the
    /// way, and how long says nothing of the node's clock.
    fn is_backlog(&mut self, sent: Timestamp, received: Instant) -> bool {
        let Some((sent_before, received_before)) = self.latest.replace((sent, received)) else { return false };
        let apart = SignedDuration::try_from(received.saturating_duration_since(received_before)).unwrap_or_default();
        apart < sent.duration_since(sent_before).abs() / 2
    }

    /// A time of the node's by our clock as it is now. None where there is no such time. What is known of the node's clock may
    /// have changed since a later time was asked for: the earlier one then is as much earlier by our clock, too.
    pub fn ours(&mut self, at: Timestamp, now: Moment) -> Option<Timestamp> {
        self.follow_our_own(now);
        let ours = at.checked_add(self.behind()).ok()?;
        let before = self.newest.map(|(newest, ours)| (newest.duration_since(at), ours));
        match before.filter(|(earlier, _)| earlier.is_positive() && *earlier <= OVERTAKEN_BY) {
            Some((earlier, newest)) => newest.checked_sub(earlier).ok().map(|at| at.min(ours)),
            // A time that is much earlier is by a clock that was set back.
            None => {
                self.newest = Some((at, ours));
                Some(ours)
            }
        }
    }

    /// A time of the node's long before others by our clock as it is now. None where there is no such time.
    pub fn ours_long_ago(&self, at: Timestamp) -> Option<Timestamp> {
        at.checked_add(self.behind()).ok()
    }

    /// Where our own clock was set, all that was heard is as much later or earlier by it. What was dated before is dated
    /// anew at the same time, and what comes between that and the next message must not be dated as if nothing had
    /// happened: one that was overtaken on its way would be the newest.
    fn follow_our_own(&mut self, now: Moment) {
        if let Some(set_by) = self.own.set_by(now) {
            self.lags.iter_mut().for_each(|lag| *lag += set_by);
            self.newest = self.newest.and_then(|(at, ours)| Some((at, ours.checked_add(set_by).ok()?)));
        }
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
    use std::{sync::LazyLock, time::Duration};

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
        assert_eq!(clock.ours(at(105), moment(145)), Some(at(105)));
    }

    #[test]
    fn a_clock_that_is_off_either_way_is_corrected_and_remarked_once() {
        let mut clock = NodeClock::default();
        assert_eq!(clock.heard(at(100), moment(3_700)), Some(SignedDuration::from_secs(3_600)));
        assert_eq!(clock.heard(at(105), moment(3_705)), None);
        assert_eq!(clock.ours(at(105), moment(3_705)), Some(at(3_705)));

        let mut clock = NodeClock::default();
        assert_eq!(clock.heard(at(100), moment(60)), Some(SignedDuration::from_secs(-40)));
        assert_eq!(clock.ours(at(100), moment(60)), Some(at(60)));
    }

    #[test]
    fn a_clock_that_has_been_set_is_followed_within_a_minute() {
        let mut clock = NodeClock::default();
        clock.heard(at(0), moment(0));
        for beat in 0..LATEST {
            let beat = i64::try_from(beat).unwrap() * 5;
            clock.heard(at(beat), moment(beat + 600));
        }
        assert_eq!(clock.ours(at(1_000), moment(655)), Some(at(1_600)));
    }

    #[test]
    fn a_time_beyond_all_times_is_none() {
        let mut clock = NodeClock::default();
        clock.heard(at(0), moment(3_600));
        assert_eq!(clock.ours(Timestamp::MAX, moment(3_600)), None);
    }

    #[test]
    fn what_had_to_wait_says_nothing_of_the_nodes_clock() {
        let mut clock = NodeClock::default();
        clock.heard(at(0), moment(0));
        // We stood still for 15 minutes, and then read at once what was sent meanwhile.
        for beat in 1..180 {
            assert_eq!(clock.heard(at(beat * 5), moment(900)), None);
            assert_eq!(clock.ours(at(beat * 5), moment(900)), Some(at(beat * 5)));
        }
    }

    #[test]
    fn that_our_own_clock_is_set_says_nothing_of_the_nodes() {
        let mut clock = NodeClock::default();
        clock.heard(at(100), moment(100));
        let ours = Moment { time: at(7_305), ..moment(105) };
        assert_eq!(clock.heard(at(105), ours), Some(SignedDuration::from_secs(7_200)), "it is off from ours now");
        assert_eq!(clock.ours(at(105), ours), Some(at(7_305)));
    }

    #[test]
    fn what_was_overtaken_on_its_way_stays_older_however_late_messages_make_the_nodes_clock_look() {
        let mut clock = NodeClock::default();
        clock.heard(at(0), moment(0));
        assert_eq!(clock.ours(at(100), moment(100)), Some(at(100)));
        for beat in 0..LATEST {
            let beat = i64::try_from(beat).unwrap() * 5 + 100;
            clock.heard(at(beat), moment(beat + 20));
        }
        assert_eq!(clock.ours(at(95), moment(176)), Some(at(95)), "it was made before");
        assert_eq!(clock.ours(at(170), moment(190)), Some(at(190)), "as far as can be known");
        assert_eq!(clock.ours(at(100), moment(191)), Some(at(120)), "the node's clock was set back");
    }

    #[test]
    fn what_comes_just_after_our_own_clock_was_set_is_dated_by_it() {
        let mut clock = NodeClock::default();
        clock.heard(at(100), moment(100));
        let set = |seconds: i64| Moment { time: at(seconds + 7_200), ..moment(seconds) };
        assert_eq!(clock.ours(at(101), set(102)), Some(at(7_301)));
        assert_eq!(clock.ours(at(103), moment(104)), Some(at(103)), "and it is right again");
    }
}
