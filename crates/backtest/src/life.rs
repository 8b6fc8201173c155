//! One claim through its history. Between two samples what is used changes evenly, and nothing can be decided but where a
//! limit is crossed, a growth lands or a wait may end: so most samples cost a few comparisons, and the planner is asked
//! at the others.

use jiff::Timestamp;
use orlop_api::{Bytes, Count, names::Reason};
use orlop_planner::{
    Capacity, ClaimId, Decision, Outcome, Source, Usage, Watch,
    forecast::{Forecast, Outlook, Trend},
};

use crate::{
    history::{Sample, time},
    line::Line,
    outline::Outline,
    room::{Room, Shape, claim_size, full_above, inodes_full_above},
    tally::Tally,
    world::{Terms, World},
};

/// A growth that the policy would have led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) at_ms: i64,
    pub(crate) from: Bytes,
    pub(crate) to: Bytes,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// A claim with what became of it so far.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) id: ClaimId,
    pub(crate) first_ms: i64,
    pub(crate) last: Sample,
    pub(crate) shape: Shape,
    /// What the simulated volume can hold.
    pub(crate) room: Room,
    pub(crate) first_recorded: Bytes,
    pub(crate) started: Bytes,
    /// The size that the claim had in the record.
    pub(crate) recorded: Bytes,
    pub(crate) tally: Tally,
    pub(crate) growths: Vec<Growth>,
    pub(crate) trend: Trend,
    pub(crate) outline: Option<Outline>,
    known: Option<Bytes>,
    increment: Bytes,
    limits: Limits,
    state: State,
    /// Does its policy ask for a forecast?
    has_horizon: bool,
}

/// How it stands with the simulated volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is called for.
    Calm,
    /// It has been asked for more, and has it from then on.
    Growing { to: Bytes, lands_ms: i64 },
    /// More is called for, and cannot be asked for.
    Waiting { reason: Reason, next: Next },
}

/// When a wait may end, but by what is used becoming less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Never: what stands in the way is none of what changes here.
    Never,
    /// At that time.
    At(i64),
    /// Any sample may end it.
    Sample,
}

/// Beyond which growth is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    usable: u64,
    available_below: u64,
    seconds_to_full_below: u64,
    inodes_above: u64,
    /// Is it called for anyhow, for the days ahead?
    foreseen: bool,
}

impl Limits {
    /// As the operator would have an agent watch for. Where nothing is watched, nothing is ever beyond.
    fn new(watch: Option<Watch>, foreseen: bool, room: &Room) -> Self {
        let nothing = Self {
            usable: u64::MAX,
            available_below: 0,
            seconds_to_full_below: 0,
            inodes_above: u64::MAX,
            foreseen: false,
        };
        watch.map_or(nothing, |watch| Self {
            foreseen,
            usable: room.usable,
            available_below: watch.available_below.0,
            seconds_to_full_below: watch.seconds_to_full_below,
            inodes_above: if room.inodes == 0 {
                u64::MAX
            } else {
                room.inodes.saturating_sub(watch.free_inodes_below.0)
            },
        })
    }

    /// The used bytes beyond which growth is called for, while they rise at that rate.
    fn used_above(&self, rise_per_second: u64) -> u64 {
        if self.foreseen {
            return 0;
        }
        let soon = rise_per_second.saturating_mul(self.seconds_to_full_below);
        self.usable.saturating_sub(self.available_below.max(soon))
    }
}

/// From one sample to the next.
#[derive(Debug, Clone, Copy)]
struct Span {
    from_ms: i64,
    used: Line,
    inodes: Line,
    rise_per_second: u64,
    /// With more than this used the recorded volume is full.
    recorded_full_above: u64,
    recorded_inodes_full_above: u64,
}

impl Span {
    fn between(one: &Sample, other: &Sample) -> Self {
        let lasts_ms = other.at_ms.abs_diff(one.at_ms);
        let used = Line { from: one.used.0, to: other.used.0, lasts_ms };
        Self {
            from_ms: one.at_ms,
            used,
            inodes: Line { from: one.inodes_used(), to: other.inodes_used(), lasts_ms },
            rise_per_second: used.rise_per_second(),
            recorded_full_above: full_above(one.usable(), one.capacity.0),
            recorded_inodes_full_above: inodes_full_above(one.inodes.map_or(0, |inodes| inodes.total.0)),
        }
    }

    fn time_ms(&self, offset_ms: u64) -> i64 {
        self.from_ms.saturating_add_unsigned(offset_ms)
    }

    /// Whether at this moment the recorded volume is full, and one with that room.
    fn full(&self, room: &Room, at_ms: u64) -> (bool, bool) {
        let (used, inodes) = (self.used.at(at_ms), self.inodes.at(at_ms));
        (
            used > self.recorded_full_above || inodes > self.recorded_inodes_full_above,
            used > room.full_above || inodes > room.inodes_full_above,
        )
    }

    /// When next one of the two comes to be full, or ceases to be.
    fn full_changes(&self, room: &Room, after_ms: u64) -> Option<u64> {
        let bytes = [self.recorded_full_above, room.full_above].map(|limit| self.used.crosses(limit, after_ms));
        let inodes =
            [self.recorded_inodes_full_above, room.inodes_full_above].map(|limit| self.inodes.crosses(limit, after_ms));
        bytes.into_iter().chain(inodes).flatten().min()
    }
}

impl Life {
    /// A claim at its first sample.
    pub(crate) fn new(id: ClaimId, sample: &Sample, world: &mut World, terms: &Terms, outline: bool) -> Self {
        world.add(&id, moment(sample.at_ms));
        let known = world.known_size(&id);
        let abilities = world.driver(&id).map(|(_, abilities)| abilities);
        let increment = abilities.map_or(Bytes::GIB, |abilities| abilities.size_increment);
        let recorded = claim_size(sample.capacity, known, increment);
        let shape = Shape::new(recorded, sample);
        let needed = abilities.map(|it| shape.size_for(sample.used.0, sample.inodes_used(), &it));
        let started = match (terms.start_size, needed) {
            (Some(size), Some(needed)) => size.round_up(increment).max(needed).min(recorded),
            _ => recorded,
        };
        let mut life = Self {
            id,
            first_ms: sample.at_ms,
            last: *sample,
            shape,
            room: shape.room(started),
            first_recorded: recorded,
            started,
            recorded,
            tally: Tally::default(),
            growths: Vec::new(),
            trend: Trend::default(),
            outline: outline.then(Outline::default),
            known,
            increment,
            limits: Limits::new(None, false, &shape.room(started)),
            state: State::Calm,
            has_horizon: false,
        };
        life.resize(started, world);
        life.has_horizon = world.has_horizon(&life.id);
        life.see(sample, world);
        life
    }

    /// Lives on to the next sample, which is later than the last one.
    pub(crate) fn advance(&mut self, next: &Sample, world: &mut World, terms: &Terms) {
        let lasts_ms = next.at_ms.abs_diff(self.last.at_ms);
        self.tally.span_ms += lasts_ms;
        self.tally.recorded_byte_ms += byte_ms(self.recorded, lasts_ms);
        if lasts_ms > terms.gap.as_secs().saturating_mul(1000) {
            self.pass_gap(next.at_ms, world);
        } else {
            self.tally.watched_ms += lasts_ms;
            let span = Span::between(&self.last, next);
            if !self.passes_quietly(&span) {
                self.live(&span, world, terms);
            }
        }
        self.last = *next;
        self.see(next, world);
    }

    /// What is decided at the end, for the claim's state in the report.
    pub(crate) fn conclude(&self, world: &mut World) -> Option<Decision> {
        let (used, inodes) = (self.last.used.0, self.last.inodes_used());
        world.decide(&self.id, self.usage(used, inodes, 0, self.last.at_ms), moment(self.last.at_ms))
    }

    fn see(&mut self, sample: &Sample, world: &mut World) {
        self.tally.samples += 1;
        self.tally.most_used = self.tally.most_used.max(sample.used.0);
        self.tally.most_inodes_used = self.tally.most_inodes_used.max(sample.inodes_used());
        self.recorded = claim_size(sample.capacity, self.known, self.increment);
        if self.trend.push(moment(sample.at_ms), sample.used) && self.has_horizon {
            self.look_ahead(world);
        }
        if let Some(outline) = &mut self.outline {
            outline.push(sample);
        }
    }

    /// The fast path: does nothing happen in this span, by its numbers alone?
    fn passes_quietly(&mut self, span: &Span) -> bool {
        let (most, most_inodes) = (span.used.most(), span.inodes.most());
        if most > self.room.full_above.min(span.recorded_full_above)
            || most_inodes > self.room.inodes_full_above.min(span.recorded_inodes_full_above)
        {
            return false;
        }
        let used_above = self.limits.used_above(span.rise_per_second);
        match self.state {
            State::Calm if most <= used_above && most_inodes <= self.limits.inodes_above => {}
            State::Waiting { reason, next: Next::Never } if span.used.from.min(span.used.to) > used_above => {
                self.tally.wait(reason, span.used.lasts_ms);
            }
            _ => return false,
        }
        self.tally.policy_byte_ms += byte_ms(self.room.size, span.used.lasts_ms);
        true
    }

    fn live(&mut self, span: &Span, world: &mut World, terms: &Terms) {
        let mut now_ms = 0;
        while now_ms < span.used.lasts_ms {
            self.attend(span, now_ms, world, terms);
            let until_ms = self.next_event(span, now_ms);
            self.account(span, now_ms, until_ms);
            now_ms = until_ms;
        }
    }

    /// Does what is to be done at this moment.
    fn attend(&mut self, span: &Span, now_ms: u64, world: &mut World, terms: &Terms) {
        let at_ms = span.time_ms(now_ms);
        let (used, inodes) = (span.used.at(now_ms), span.inodes.at(now_ms));
        if let State::Growing { to, lands_ms } = self.state
            && lands_ms <= at_ms
        {
            self.land(to, used, inodes, at_ms, world);
        }
        let is_called_for = used > self.limits.used_above(span.rise_per_second) || inodes > self.limits.inodes_above;
        match self.state {
            State::Calm if is_called_for => self.decide(span, now_ms, world, terms),
            State::Waiting { .. } if !is_called_for => self.state = State::Calm,
            State::Waiting { next: Next::At(then_ms), .. } if then_ms <= at_ms => {
                self.decide(span, now_ms, world, terms);
            }
            State::Waiting { next: Next::Sample, .. } if now_ms == 0 => self.decide(span, now_ms, world, terms),
            _ => {}
        }
    }

    /// When next something is to be done: at the end of the span at the latest.
    fn next_event(&self, span: &Span, now_ms: u64) -> u64 {
        let end_ms = span.used.lasts_ms;
        let offset = |at_ms: i64| u64::try_from(at_ms - span.from_ms).ok().filter(|offset| *offset > now_ms);
        let crosses = || {
            let by_bytes = span.used.crosses(self.limits.used_above(span.rise_per_second), now_ms);
            let by_inodes = span.inodes.crosses(self.limits.inodes_above, now_ms);
            [by_bytes, by_inodes].into_iter().flatten().min()
        };
        let next = match self.state {
            State::Growing { lands_ms, .. } => offset(lands_ms),
            State::Waiting { next: Next::At(at_ms), .. } => [offset(at_ms), crosses()].into_iter().flatten().min(),
            State::Calm | State::Waiting { .. } => crosses(),
        };
        next.into_iter().chain(span.full_changes(&self.room, now_ms)).min().map_or(end_ms, |next| next.min(end_ms))
    }

    /// Counts a time in which everything stays as it is at its beginning.
    fn account(&mut self, span: &Span, from_ms: u64, to_ms: u64) {
        self.tally.policy_byte_ms += byte_ms(self.room.size, to_ms - from_ms);
        if let State::Waiting { reason, .. } = self.state {
            self.tally.wait(reason, to_ms - from_ms);
        }
        let times_ms = (span.time_ms(from_ms), span.time_ms(to_ms));
        let (recorded, policy) = span.full(&self.room, from_ms);
        let (recorded, policy) = (recorded.then_some(times_ms), policy.then_some(times_ms));
        self.tally.full(recorded, policy);
        if let Some(outline) = &mut self.outline {
            outline.full(recorded, policy);
        }
    }

    fn decide(&mut self, span: &Span, now_ms: u64, world: &mut World, terms: &Terms) {
        let at_ms = span.time_ms(now_ms);
        let (used, inodes) = (span.used.at(now_ms), span.inodes.at(now_ms));
        let usage = self.usage(used, inodes, span.rise_per_second, at_ms);
        let Some(decision) = world.decide(&self.id, usage, moment(at_ms)) else { return };
        let reason = decision.reason;
        match decision.outcome {
            Outcome::Grow(to) => {
                let message = decision.message;
                self.growths.push(Growth { at_ms, from: decision.size, to, reason, message });
                let takes_ms = terms.growth_takes.as_secs().saturating_mul(1000);
                self.state = State::Growing { to, lands_ms: at_ms.saturating_add_unsigned(takes_ms) };
            }
            Outcome::Wait | Outcome::Growing(_) => {
                if !matches!(self.state, State::Waiting { reason: before, .. } if before == reason) {
                    self.tally.begin_wait(reason, at_ms, &decision.message);
                }
                self.state = State::Waiting { reason, next: self.next(reason, at_ms, world) };
            }
            // In mode Auto nothing is only recommended, and what is kept needs nothing.
            Outcome::Keep | Outcome::Recommend(_) => self.state = State::Calm,
        }
    }

    fn next(&self, reason: Reason, at_ms: i64, world: &World) -> Next {
        match reason {
            // By policy, class, driver and size, none of which changes while it waits.
            Reason::AtMaximum | Reason::NotExpandable | Reason::DriverCannotExpand | Reason::OfflineOnly => Next::Never,
            Reason::NoModificationSlot => world
                .slot_may_be_free_at(&self.id, moment(at_ms))
                .map_or(Next::Sample, |at| Next::At(at.as_millisecond())),
            _ => Next::Sample,
        }
    }

    /// The growth can be used, and a measurement shows it.
    fn land(&mut self, to: Bytes, used: u64, inodes: u64, at_ms: i64, world: &mut World) {
        self.resize(to, world);
        world.decide(&self.id, self.usage(used, inodes, 0, at_ms), moment(at_ms));
        self.state = State::Calm;
    }

    fn resize(&mut self, to: Bytes, world: &mut World) {
        self.room = self.shape.room(to);
        world.resize(&self.id, to);
        self.limit(world);
    }

    fn limit(&mut self, world: &World) {
        let usage = self.usage(0, 0, 0, self.first_ms);
        let watch = world.watch(&self.id, usage.clone());
        let foreseen = self.has_horizon && world.is_foreseen(&self.id, usage);
        self.limits = Limits::new(watch, foreseen, &self.room);
    }

    /// The operator counts as used all that is not available, and so do its forecasts.
    fn look_ahead(&mut self, world: &mut World) {
        let held_back = self.room.total.0.saturating_sub(self.room.usable);
        let outlook = self.trend.outlook().map(|outlook| match outlook {
            Outlook::Known(Forecast { per_day, peak }) => {
                Outlook::Known(Forecast { per_day, peak: Bytes(peak.0.saturating_add(held_back)) })
            }
            from @ Outlook::From(_) => from,
        });
        world.set_outlook(&self.id, outlook);
        self.limit(world);
    }

    /// Nothing is known of the time until then, but that the volumes were there, and that a growth lands.
    fn pass_gap(&mut self, until_ms: i64, world: &mut World) {
        self.tally.gaps += 1;
        let mut from_ms = self.last.at_ms;
        if let State::Growing { to, lands_ms } = self.state
            && lands_ms < until_ms
        {
            self.tally.policy_byte_ms += byte_ms(self.room.size, lands_ms.abs_diff(from_ms));
            self.land(to, self.last.used.0, self.last.inodes_used(), lands_ms, world);
            from_ms = lands_ms;
        }
        self.tally.policy_byte_ms += byte_ms(self.room.size, until_ms.abs_diff(from_ms));
    }

    /// What an agent would have measured.
    fn usage(&self, used: u64, inodes: u64, rise_per_second: u64, at_ms: i64) -> Usage {
        let counted = |total: u64| Capacity { total: Count(total), free: Count(total.saturating_sub(inodes)) };
        Usage {
            at: moment(at_ms),
            source: Source::Agent,
            total: self.room.total,
            available: Bytes(self.room.usable.saturating_sub(used)),
            inodes: (self.room.inodes > 0).then(|| counted(self.room.inodes)),
            fill_bytes_per_second: rise_per_second,
            crossed: None,
        }
    }
}

/// A sample's time has been checked, and no span reaches beyond a sample.
fn moment(at_ms: i64) -> Timestamp {
    time(at_ms).unwrap_or(Timestamp::MAX)
}

fn byte_ms(size: Bytes, lasts_ms: u64) -> u128 {
    u128::from(size.0) * u128::from(lasts_ms)
}
