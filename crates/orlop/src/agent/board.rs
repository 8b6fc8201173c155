//! What the agent knows of each volume and what the operator knows of it: decides what is to be reported and how
//! closely a volume is looked at. Plain data: no clock, no I/O, nothing async.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use orlop_api::Bytes;
use orlop_planner::{
    Watch,
    forecast::{self, FillHistory},
};

use super::{
    load::{History, Level},
    probe::Reading,
};
use crate::rpc::agent_v1::{Sample, Samples};

/// A change of a hundredth of the volume is worth a report.
const MEANINGFUL_PARTS: u64 = 100;

/// A volume that has changed less than that is reported this often, so that what is shown of it is not far off.
const REPORTED_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// A volume that would reach its watch sooner than this is looked at closely.
const CLOSE_S: u64 = 3;

/// For this long after it crossed its watch a volume is looked at closely too: its growth is under way, and the
/// operator waits for the new bytes to be seen. One that stays crossed for longer is not about to change.
const CLOSE_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// At most this many samples are in one message, which keeps it far below the limit of what a peer accepts.
const SAMPLES_MAX: usize = 1_000;

/// How soon something is to be reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// There is nothing new.
    #[default]
    No,
    /// With the next of the reports that are made each second.
    Soon,
    /// At once.
    Now,
}

/// How closely a volume is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As the agent was told.
    Usual,
    /// Several times a second.
    Close,
}

/// All volumes of a node.
#[derive(Debug, Default)]
pub struct Board {
    volumes: BTreeMap<String, Entry>,
    /// Volumes that were reported on this stream and cannot be measured any more.
    gone: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Entry {
    history: FillHistory,
    /// What its device does.
    load: History,
    latest: Option<State>,
    /// How fast the volume filled between the latest two readings, bytes a second.
    step_rate: u64,
    watch: Option<Watch>,
    /// When the reading was taken that first was beyond the watch.
    crossed: Option<Timestamp>,
    /// What the operator was last told on this stream.
    reported: Option<Reported>,
}

/// A reading, with the rate that the readings up to it show.
#[derive(Debug, Clone, Copy)]
struct State {
    reading: Reading,
    rate: u64,
}

#[derive(Debug, Clone, Copy)]
struct Reported {
    state: State,
    crossed: bool,
    /// How much the volume did, where that was asked for and known.
    level: Option<Level>,
}

impl Board {
    /// A volume was measured. Says how soon that is to be reported.
    pub fn measured(&mut self, volume: &str, reading: Reading) -> Due {
        self.gone.remove(volume);
        let entry = match self.volumes.get_mut(volume) {
            Some(entry) => entry,
            None => self.volumes.entry(volume.to_owned()).or_default(),
        };
        entry.take_in(reading);
        entry.due()
    }

    /// A volume could not be measured: what was reported of it holds no longer, but what was asked for stays.
    pub fn missed(&mut self, volume: &str) -> Due {
        let Some(entry) = self.volumes.get_mut(volume) else { return Due::No };
        entry.latest = None;
        entry.crossed = None;
        entry.load.forget();
        if entry.reported.take().is_none() {
            return Due::No;
        }
        self.gone.insert(volume.to_owned());
        Due::Soon
    }

    /// A volume is no longer mounted.
    pub fn unmounted(&mut self, volume: &str) -> Due {
        let due = self.missed(volume);
        self.volumes.remove(volume);
        due
    }

    /// What the operator asks to be told at once; none to ask for nothing. Ignored for a volume that is not mounted.
    pub fn watch(&mut self, volume: &str, watch: Option<Watch>) -> Due {
        let Some(entry) = self.volumes.get_mut(volume) else { return Due::No };
        let load = |watch: Option<&Watch>| watch.and_then(|watch| watch.load.clone());
        if let Some(reported) = entry.reported.as_mut().filter(|_| load(entry.watch.as_ref()) != load(watch.as_ref())) {
            // What was said of the load answers another question.
            reported.level = None;
        }
        entry.load.watch(load(watch.as_ref()));
        entry.watch = watch;
        entry.notice_crossing();
        entry.due()
    }

    /// A new stream has begun: whoever is at its other end knows nothing yet, and has asked for nothing. The load goes on being
    /// judged by what was asked last, because the next operator mostly asks the same.
    pub fn stream_began(&mut self) {
        self.gone.clear();
        for entry in self.volumes.values_mut() {
            entry.reported = None;
            entry.watch = None;
        }
    }

    /// What is due at least this soon, and is herewith reported; none where nothing is. Call it again until it says
    /// so: a message has a limit.
    pub fn report(&mut self, at_least: Due) -> Option<Samples> {
        let mut samples = Vec::new();
        for (volume, entry) in &mut self.volumes {
            if samples.len() == SAMPLES_MAX {
                break;
            }
            if let Some(state) = entry.latest.filter(|_| entry.due() >= at_least) {
                let level = entry.level();
                entry.reported = Some(Reported { state, crossed: entry.crossed.is_some(), level });
                let load = entry.load.report().filter(|_| level.is_some());
                samples.push(Sample { load, ..sample(volume, state, entry.crossed) });
            }
        }
        let gone: Vec<String> = std::mem::take(&mut self.gone).into_iter().collect();
        (!samples.is_empty() || !gone.is_empty()).then_some(Samples { samples, gone })
    }

    /// When the last of all reported volumes was measured: what a heartbeat may claim.
    pub fn confirmed(&self) -> Option<Timestamp> {
        let reported = self.volumes.values().filter(|entry| entry.reported.is_some());
        reported.filter_map(|entry| entry.latest).map(|state| state.reading.at).min()
    }

    /// Is it to be known how much the volume's pod waits for I/O?
    pub fn asks_for_pressure(&self, volume: &str) -> bool {
        self.volumes.get(volume).is_some_and(|entry| entry.load.is_watched())
    }

    /// How closely to look at a volume from now on.
    pub fn pace(&self, volume: &str) -> Pace {
        self.volumes.get(volume).map_or(Pace::Usual, Entry::pace)
    }
}

impl Entry {
    fn take_in(&mut self, reading: Reading) {
        let before = self.latest.map(|state| state.reading).filter(|before| before.total == reading.total);
        self.step_rate = before.map_or(0, |before| step_rate(&before, &reading));
        if before.is_none() {
            // Another size makes another whole: what was crossed was crossed by the size before.
            self.crossed = None;
        }
        self.load.push(reading.at, reading.counters, reading.stalls);
        self.history.push(forecast::Sample { at: reading.at, total: reading.total, available: reading.available });
        self.latest = Some(State { reading, rate: self.history.rate(reading.at) });
        self.notice_crossing();
    }

    fn notice_crossing(&mut self) {
        let Some((state, watch)) = self.latest.zip(self.watch.as_ref()) else {
            self.crossed = None;
            return;
        };
        self.crossed = if beyond(&state, watch) { self.crossed.or(Some(state.reading.at)) } else { None };
    }

    fn due(&self) -> Due {
        let Some(now) = self.latest else { return Due::No };
        let Some(then) = self.reported else { return Due::Now };
        let moved = now.moved_since(&then.state);
        let age = now.reading.at.duration_since(then.state.reading.at);
        let by_load = match (then.level, self.level()) {
            (before, after) if before == after => Due::No,
            (_, Some(Level::Busy | Level::Strained)) => Due::Now,
            _ => Due::Soon,
        };
        let by_fill = match self.crossed {
            _ if now.reading.total != then.state.reading.total => Due::Now,
            Some(_) if moved || !then.crossed => Due::Now,
            Some(_) if now.rate_changed_since(&then.state) => Due::Soon,
            None if moved || then.crossed => Due::Soon,
            // A clock that was set back must not silence the volume.
            _ if age >= REPORTED_EVERY || age.is_negative() => Due::Soon,
            _ => Due::No,
        };
        by_fill.max(by_load)
    }

    /// How much the volume does, where that is asked for and known.
    fn level(&self) -> Option<Level> {
        self.watch.as_ref()?.load.as_ref()?;
        self.load.level()
    }

    fn pace(&self) -> Pace {
        let Some((State { reading, rate }, watch)) = self.latest.zip(self.watch.as_ref()) else {
            return Pace::Usual;
        };
        let close = if let Some(crossed) = self.crossed {
            reading.at.duration_since(crossed) < CLOSE_AFTER
        } else {
            let rate = rate.max(self.step_rate);
            let left = reading.available.0.saturating_sub(watch.available_below.0);
            let ahead = watch.seconds_to_full_below.saturating_add(CLOSE_S);
            left < rate.saturating_mul(CLOSE_S)
                || (watch.seconds_to_full_below > 0 && full_within(reading.available, rate, ahead))
        };
        if close { Pace::Close } else { Pace::Usual }
    }
}

impl State {
    /// Has a hundredth of the bytes or of the inodes come or gone?
    fn moved_since(&self, then: &Self) -> bool {
        let part = |now: u64, then: u64, whole: u64| now.abs_diff(then) >= (whole / MEANINGFUL_PARTS).max(1);
        part(self.reading.available.0, then.reading.available.0, self.reading.total.0)
            || match (self.reading.inodes, then.reading.inodes) {
                (Some(now), Some(then)) => part(now.free.0, then.free.0, now.total.0),
                (now, then) => now.is_some() != then.is_some(),
            }
    }

    /// Is it filling at least twice as fast, or at most half as fast?
    fn rate_changed_since(&self, then: &Self) -> bool {
        let (low, high) = (self.rate.min(then.rate), self.rate.max(then.rate));
        low < high && low <= high / 2
    }
}

/// Is a volume beyond what its watch asks to be told of? The planner's own questions.
fn beyond(state: &State, watch: &Watch) -> bool {
    let reading = &state.reading;
    reading.available < watch.available_below
        || reading.inodes.is_some_and(|inodes| inodes.free < watch.free_inodes_below)
        || full_within(reading.available, state.rate, watch.seconds_to_full_below)
}

fn full_within(available: Bytes, rate: u64, seconds: u64) -> bool {
    u128::from(available.0) < u128::from(rate) * u128::from(seconds)
}

/// How fast a volume filled between two readings, bytes a second.
fn step_rate(before: &Reading, after: &Reading) -> u64 {
    let filled = before.available.0.saturating_sub(after.available.0);
    let Ok(milliseconds @ 1..) = u128::try_from(after.at.duration_since(before.at).as_millis()) else { return 0 };
    u64::try_from(u128::from(filled) * 1_000 / milliseconds).unwrap_or(u64::MAX)
}

fn sample(volume: &str, state: State, crossed: Option<Timestamp>) -> Sample {
    let Reading { at, total, available, inodes, counters: _, stalls: _ } = state.reading;
    Sample {
        volume: volume.to_owned(),
        measured_at_ms: at.as_millisecond(),
        total_bytes: total.0,
        available_bytes: available.0,
        total_inodes: inodes.map_or(0, |inodes| inodes.total.0),
        free_inodes: inodes.map_or(0, |inodes| inodes.free.0),
        fill_bytes_per_second: state.rate,
        crossed_at_ms: crossed.map_or(0, Timestamp::as_millisecond),
        load: None,
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::Count;
    use orlop_planner::Capacity;
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    fn reading(at_ms: i64, available: u64) -> Reading {
        let at = Timestamp::from_millisecond(at_ms).unwrap();
        Reading { at, total: Bytes(GIB), available: Bytes(available), inodes: None, counters: None, stalls: None }
    }

    /// Fewer than 200 MiB, fewer than 100 inodes.
    const WATCH: Watch = Watch {
        available_below: Bytes(200 * MIB),
        free_inodes_below: Count(100),
        seconds_to_full_below: 0,
        load: None,
    };

    fn volumes(samples: Option<Samples>) -> Vec<String> {
        samples.into_iter().flat_map(|samples| samples.samples).map(|sample| sample.volume).collect()
    }

    /// A board with one volume that has 500 MiB available, is watched, and has been reported.
    fn reported() -> Board {
        let mut board = Board::default();
        assert_eq!(board.measured("v", reading(0, 500 * MIB)), Due::Now);
        assert_eq!(board.watch("v", Some(WATCH)), Due::Now);
        assert_eq!(volumes(board.report(Due::Now)), ["v"]);
        board
    }

    #[test]
    fn a_volume_that_crosses_its_watch_is_reported_at_once_with_the_time_of_the_crossing() {
        let mut board = reported();
        assert_eq!(board.measured("v", reading(1_000, 300 * MIB)), Due::Soon);
        assert_eq!(board.report(Due::Now), None);
        assert_eq!(board.measured("v", reading(2_000, 199 * MIB)), Due::Now);
        assert_eq!(board.measured("v", reading(2_100, 150 * MIB)), Due::Now);
        let samples = board.report(Due::Now).unwrap().samples;
        assert_eq!((samples[0].measured_at_ms, samples[0].crossed_at_ms), (2_100, 2_000));
        assert_eq!(board.measured("v", reading(2_200, 150 * MIB - 1)), Due::No);
        assert_eq!(board.measured("v", reading(2_300, 139 * MIB)), Due::Now, "it goes on changing");
    }

    #[test]
    fn a_volume_that_runs_out_of_inodes_is_reported_at_once() {
        let mut board = reported();
        let inodes = |free| Some(Capacity { total: Count(1_000_000), free: Count(free) });
        let few = Reading { inodes: inodes(99), ..reading(1_000, 500 * MIB) };
        assert_eq!(board.measured("v", few), Due::Now);
        assert_eq!(board.report(Due::Now).unwrap().samples[0].free_inodes, 99);
    }

    #[test]
    fn a_volume_that_would_be_full_too_soon_is_reported_at_once() {
        let mut board = reported();
        board.watch("v", Some(Watch { available_below: Bytes(0), seconds_to_full_below: 60, ..WATCH }));
        assert_eq!(board.measured("v", reading(1_000, 499 * MIB)), Due::No, "500 seconds remain");
        assert_eq!(board.measured("v", reading(2_000, 470 * MIB)), Due::Now, "31 seconds remain");
    }

    #[test]
    fn a_growth_is_reported_at_once_and_starts_the_crossing_anew() {
        let mut board = reported();
        board.measured("v", reading(1_000, 100 * MIB));
        board.report(Due::Now);
        let grown = Reading { total: Bytes(GIB + MIB), ..reading(1_500, 101 * MIB) };
        assert_eq!(board.measured("v", grown), Due::Now);
        assert_eq!(board.report(Due::Now).unwrap().samples[0].crossed_at_ms, 1_500);
    }

    #[test]
    fn a_watch_that_is_already_crossed_when_it_comes_is_reported_at_once() {
        let mut board = reported();
        assert_eq!(board.watch("v", Some(Watch { available_below: Bytes(GIB), ..WATCH })), Due::Now);
    }

    #[test]
    fn small_changes_wait_for_a_minute_and_no_longer() {
        let mut board = reported();
        assert_eq!(board.measured("v", reading(59_999, 499 * MIB)), Due::No);
        assert_eq!(board.measured("v", reading(60_000, 499 * MIB)), Due::Soon);
        board.report(Due::Soon);
        assert_eq!(board.measured("v", reading(50_000, 499 * MIB)), Due::Soon, "the clock was set back");
    }

    #[test]
    fn a_writer_that_stops_beyond_the_watch_is_reported() {
        let mut board = reported();
        board.measured("v", reading(1_000, 150 * MIB));
        assert!(board.report(Due::Now).unwrap().samples[0].fill_bytes_per_second > 0);
        let due: Vec<_> = (2..70).map(|second| board.measured("v", reading(second * 1_000, 150 * MIB))).collect();
        assert_eq!(due.iter().position(|due| *due != Due::No).map(|at| due[at]), Some(Due::Soon));
    }

    #[test]
    fn a_volume_that_cannot_be_measured_is_neither_confirmed_nor_left_standing() {
        let mut board = reported();
        board.measured("w", reading(5_000, MIB));
        board.report(Due::Now);
        assert_eq!(board.confirmed(), Some(Timestamp::from_millisecond(0).unwrap()));
        assert_eq!(board.missed("v"), Due::Soon);
        assert_eq!(board.report(Due::Soon).unwrap().gone, ["v"]);
        assert_eq!(board.confirmed(), Some(Timestamp::from_millisecond(5_000).unwrap()));
        assert_eq!(board.missed("v"), Due::No, "it is said once");
        assert_eq!(board.measured("v", reading(6_000, 500 * MIB)), Due::Now);
        assert_eq!(board.unmounted("v"), Due::No, "it had not been reported again");
    }

    #[test]
    fn a_new_stream_is_told_everything_in_messages_of_limited_size() {
        let mut board = Board::default();
        for number in 0..=SAMPLES_MAX {
            board.measured(&number.to_string(), reading(0, MIB));
        }
        for _ in 0..2 {
            board.stream_began();
            assert_eq!(volumes(board.report(Due::Soon)).len(), SAMPLES_MAX);
            assert_eq!(volumes(board.report(Due::Soon)).len(), 1);
            assert_eq!(board.report(Due::Soon), None);
        }
    }

    #[test]
    fn a_volume_is_looked_at_closely_shortly_before_its_watch_and_for_a_minute_after() {
        let mut board = reported();
        assert_eq!(board.pace("v"), Pace::Usual);
        board.measured("v", reading(1_000, 470 * MIB));
        assert_eq!(board.pace("v"), Pace::Usual, "at 30 MiB/s nine seconds remain");
        board.measured("v", reading(2_000, 370 * MIB));
        assert_eq!(board.pace("v"), Pace::Close, "at 100 MiB/s less than two seconds remain");
        board.measured("v", reading(3_000, 100 * MIB));
        board.measured("v", reading(62_999, 100 * MIB));
        assert_eq!(board.pace("v"), Pace::Close);
        board.measured("v", reading(63_000, 100 * MIB));
        assert_eq!(board.pace("v"), Pace::Usual);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Measured { later_ms: i64, total: u64, available: u64, free_inodes: u64 },
        Missed,
        Unmounted,
        Watch(Option<Watch>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1..20_000_i64, 1..3_u64, 0..1_000_u64, 0..1_000_u64).prop_map(|(later_ms, total, available, free_inodes)| {
                Step::Measured { later_ms, total: total * 1_000, available, free_inodes }
            }),
            1 => Just(Step::Missed),
            1 => Just(Step::Unmounted),
            2 => proptest::option::of((0..1_000_u64, 0..1_000_u64, 0..100_u64).prop_map(|(bytes, inodes, seconds)| Watch {
                available_below: Bytes(bytes),
                free_inodes_below: Count(inodes),
                seconds_to_full_below: seconds,
                load: None,
            }))
            .prop_map(Step::Watch),
        ]
    }

    proptest! {
        #[test]
        fn what_the_operator_knows_is_true_but_for_less_than_a_hundredth(steps in proptest::collection::vec(step(), 1..60)) {
            let mut board = Board::default();
            let (mut now, mut truth, mut watch, mut known) = (0, None, None, None::<Sample>);
            for step in steps {
                let due = match step {
                    Step::Measured { later_ms, total, available, free_inodes } => {
                        now += later_ms;
                        let inodes = Some(Capacity { total: Count(1_000), free: Count(free_inodes) });
                        let reading = Reading { total: Bytes(total), inodes, ..reading(now, available) };
                        truth = Some(reading);
                        board.measured("v", reading)
                    }
                    Step::Missed => {
                        truth = None;
                        board.missed("v")
                    }
                    Step::Unmounted => {
                        (truth, watch) = (None, None);
                        board.unmounted("v")
                    }
                    Step::Watch(new) => {
                        watch = new.clone().filter(|_| board.volumes.contains_key("v"));
                        board.watch("v", new)
                    }
                };
                let below = |watch: &Watch, reading: Reading| {
                    reading.available < watch.available_below || reading.inodes.unwrap().free < watch.free_inodes_below
                };
                let is_below = watch.as_ref().zip(truth).is_some_and(|(watch, truth)| below(watch, truth));
                if is_below && known.as_ref().is_some_and(|known| known.crossed_at_ms == 0) {
                    prop_assert_eq!(due, Due::Now);
                }
                let told = board.report(Due::Soon);
                prop_assert_eq!(due == Due::No, told.is_none());
                if let Some(samples) = told {
                    if !samples.gone.is_empty() {
                        known = None;
                    }
                    known = samples.samples.into_iter().next().or(known);
                }
                prop_assert_eq!(truth.is_some(), known.is_some());
                let Some((truth, known)) = truth.zip(known.as_ref()) else { continue };
                prop_assert_eq!(truth.total.0, known.total_bytes);
                prop_assert!(truth.available.0.abs_diff(known.available_bytes) < (truth.total.0 / 100).max(1));
                prop_assert!(truth.inodes.unwrap().free.0.abs_diff(known.free_inodes) < 10);
                prop_assert!(now - known.measured_at_ms < 60_000);
                if is_below {
                    prop_assert!(known.crossed_at_ms > 0 && known.crossed_at_ms <= now);
                }
                if watch.is_none() {
                    prop_assert_eq!(known.crossed_at_ms, 0);
                }
                prop_assert!(board.confirmed().unwrap().as_millisecond() <= now);
            }
        }
    }
}
