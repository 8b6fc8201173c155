//! What came of a replay, as plain data: for each claim and for all of them, under the policy beside what was recorded.

use std::{collections::BTreeMap, ops::Add};

use jiff::Timestamp;
use orlop_api::{Bytes, Period, names::Reason};
use orlop_planner::{Decision, Governance};
use serde::Serialize;

use crate::{
    history::time,
    life::{Growth, Life},
    money::{Amount, GibMonths},
    outline::Outline,
    tally::{Fills, Tally, Waited},
    world::{Terms, World},
};

/// What came of a replay.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The time of the first sample.
    pub from: Timestamp,
    /// The time of the last sample.
    pub to: Timestamp,
    /// How many samples were replayed.
    pub samples: u64,
    /// Of all claims together.
    pub totals: Totals,
    /// What a reader must know to judge the rest.
    pub notes: Vec<String>,
    /// By their names.
    pub claims: Vec<ClaimReport>,
}

/// A figure as it was recorded, as it would have been under the policy, and for a volume that had all along the smallest
/// size that holds the peak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compared<T> {
    /// By the recorded sizes.
    pub recorded: T,
    /// By the sizes under the policy.
    pub policy: T,
    /// By a size that is the peak's, and never another: what perfect foresight would have chosen.
    pub peak: T,
}

/// Of all claims together.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// How many claims have a history.
    pub claims: usize,
    /// How many of them a policy governs.
    pub governed: usize,
    /// How often volumes were full in the record.
    pub recorded_full: Full,
    /// How often they would have been under the policy.
    pub policy_full: Full,
    /// How many of the recorded times would not have been.
    pub averted: u64,
    /// How many growths there would have been.
    pub growths: usize,
    /// How many of the claims would have grown.
    pub grown: usize,
    /// How long growth would have waited, by the reason.
    pub waits: BTreeMap<Reason, WaitTotal>,
    /// What was held.
    pub gib_months: Compared<GibMonths>,
    /// What that cost, by currency.
    pub costs: BTreeMap<String, Compared<Amount>>,
    /// The claims whose price is not known; they are in no cost.
    pub unpriced: Vec<String>,
}

/// How often something was full, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Full {
    /// How often.
    pub times: u64,
    /// How long in all, in seconds.
    pub seconds: u64,
    /// The first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
}

/// Waits of several claims for one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WaitTotal {
    /// How many claims.
    pub claims: usize,
    /// How long in all, in seconds.
    pub seconds: u64,
}

/// What came of one claim.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The policy that governs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The driver, and the kind of volume where the driver's profile knows it.
    pub driver: String,
    /// When its history begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// How many samples it has.
    pub samples: u64,
    /// How often the samples are so far apart that nothing is said of the time between them.
    pub gaps: u64,
    /// How much of the history is not such a gap, in seconds.
    pub watched_seconds: u64,
    /// The recorded size at the beginning.
    pub first_recorded: Bytes,
    /// The recorded size at the end.
    pub last_recorded: Bytes,
    /// The size under the policy at the beginning.
    pub first_size: Bytes,
    /// The size under the policy at the end.
    pub last_size: Bytes,
    /// The most that was used.
    pub peak_used: Bytes,
    /// The smallest size that holds that.
    pub peak_size: Bytes,
    /// The growths, the first one first.
    pub growths: Vec<GrowthReport>,
    /// The times at which it was full in the record.
    pub recorded_full: Full,
    /// The times at which it would have been under the policy.
    pub policy_full: Full,
    /// How many of the recorded times would not have been.
    pub averted: u64,
    /// Waits for what stands in the way of a growth.
    pub waits: Vec<WaitReport>,
    /// The driver's modification slots, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<SlotsReport>,
    /// What is decided at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
    /// What was held.
    pub gib_months: Compared<GibMonths>,
    /// What that cost; none where the price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// How long the volume lasts at the end, by its last two weeks; none where they have too little of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    #[serde(skip)]
    pub(crate) outline: Option<Outline>,
    #[serde(skip)]
    pub(crate) filesystem_per_size: (Bytes, Bytes),
}

/// A growth that there would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrowthReport {
    /// When it would have been asked for.
    pub at: Timestamp,
    /// From this size.
    pub from: Bytes,
    /// To this size.
    pub to: Bytes,
    /// Why.
    pub reason: Reason,
    /// Why, in the planner's words.
    pub message: String,
}

/// A growth was called for and had to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitReport {
    /// For what.
    pub reason: Reason,
    /// How often.
    pub times: u64,
    /// How long in all, in seconds.
    pub seconds: u64,
    /// When first.
    pub first: Timestamp,
    /// The planner's words of the first time.
    pub message: String,
}

/// How the modification slots were used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotsReport {
    /// So many modifications the driver allows…
    pub count: u32,
    /// …within this time.
    pub window: Period,
    /// How many there would have been in all.
    pub used: usize,
    /// How many at most within a window.
    pub most_in_window: usize,
}

/// What is decided at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Closing {
    /// The reason.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
}

/// What a claim cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// In this currency, by its code.
    pub currency: String,
    /// So much.
    #[serde(flatten)]
    pub amount: Compared<Amount>,
}

/// How long a volume lasts at the rates of the last two weeks. Seconds from the end of the history; none where at that
/// rate it is never full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// By how many bytes its daily peak rises in a day, in the median.
    pub bytes_per_day: i64,
    /// At the rate that one day in ten exceeds.
    pub earliest_seconds: Option<i64>,
    /// At the median rate.
    pub median_seconds: Option<i64>,
    /// At the rate that one day in ten falls short of.
    pub latest_seconds: Option<i64>,
}

impl Report {
    pub(crate) fn of(lives: Vec<Life>, world: &mut World, terms: &Terms) -> Self {
        let claims: Vec<_> = lives.into_iter().map(|life| ClaimReport::of(life, world)).collect();
        let totals = Totals::of(&claims);
        Self {
            from: claims.iter().map(|claim| claim.from).min().unwrap_or_default(),
            to: claims.iter().map(|claim| claim.to).max().unwrap_or_default(),
            samples: claims.iter().map(|claim| claim.samples).sum(),
            notes: notes(&claims, world, terms),
            totals,
            claims,
        }
    }

    /// The claims in the order in which they are worth a look: those that would have been full, those that were, those
    /// that would have waited, and those that would have grown most often.
    pub fn by_interest(&self) -> Vec<&ClaimReport> {
        let mut claims: Vec<_> = self.claims.iter().collect();
        claims.sort_by_key(|claim| {
            let waited: u64 = claim.waits.iter().map(|wait| wait.seconds).sum();
            std::cmp::Reverse((claim.policy_full.seconds, claim.recorded_full.seconds, waited, claim.growths.len()))
        });
        claims
    }
}

fn notes(claims: &[ClaimReport], world: &World, terms: &Terms) -> Vec<String> {
    let mut notes = Vec::new();
    let ceilings = claims.iter().filter(|claim| claim.recorded_full.times > 0).count();
    if ceilings > 0 {
        notes.push(format!(
            "{ceilings} of the claims were full in the record: what their workloads would have written beyond that is \
             not in it, so under the policy they may have grown earlier and further than is shown"
        ));
    }
    let gaps: u64 = claims.iter().map(|claim| claim.gaps).sum();
    if gaps > 0 {
        notes.push(format!(
            "in {gaps} places samples are more than {} apart: of the time between them nothing is said but what the \
             volumes cost",
            terms.gap
        ));
    }
    if world.violations > 0 {
        notes.push(format!(
            "{} actions broke a rule that no plan may break, and were refused: report it as a bug in the planner",
            world.violations
        ));
    }
    notes
}

impl Totals {
    fn of(claims: &[ClaimReport]) -> Self {
        let mut totals = Self { claims: claims.len(), ..Self::default() };
        for claim in claims {
            totals.governed += usize::from(claim.policy.is_some());
            totals.recorded_full.add(&claim.recorded_full);
            totals.policy_full.add(&claim.policy_full);
            totals.averted += claim.averted;
            totals.growths += claim.growths.len();
            totals.grown += usize::from(!claim.growths.is_empty());
            for wait in &claim.waits {
                let total = totals.waits.entry(wait.reason).or_default();
                total.claims += 1;
                total.seconds += wait.seconds;
            }
            totals.gib_months = totals.gib_months + claim.gib_months;
            match &claim.cost {
                Some(cost) => {
                    let total = totals.costs.entry(cost.currency.clone()).or_default();
                    *total = *total + cost.amount;
                }
                None => totals.unpriced.push(claim.id()),
            }
        }
        totals
    }
}

impl Full {
    fn of(fills: &Fills) -> Self {
        Self { times: fills.times, seconds: fills.lasting_ms / 1000, first: fills.first_ms.and_then(time) }
    }

    fn add(&mut self, other: &Self) {
        self.times += other.times;
        self.seconds += other.seconds;
        self.first = self.first.into_iter().chain(other.first).min();
    }
}

impl<T> Compared<T> {
    fn map<U>(self, map: impl Fn(T) -> U) -> Compared<U> {
        Compared { recorded: map(self.recorded), policy: map(self.policy), peak: map(self.peak) }
    }
}

impl<T: Add<Output = T>> Add for Compared<T> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            recorded: self.recorded + other.recorded,
            policy: self.policy + other.policy,
            peak: self.peak + other.peak,
        }
    }
}

impl ClaimReport {
    fn of(life: Life, world: &mut World) -> Self {
        let closing = life.conclude(world);
        let Life { id, tally, growths, .. } = &life;
        let driver = world.driver(id);
        let abilities = driver.as_ref().map(|(_, abilities)| abilities);
        let peak_size = abilities
            .map_or(life.recorded, |abilities| life.shape.size_for(tally.most_used, tally.most_inodes_used, abilities));
        let held = held(tally, peak_size);
        let price = abilities.and_then(|abilities| abilities.price);
        let slots = abilities.and_then(|abilities| abilities.modifications).map(|rule| SlotsReport {
            count: rule.count,
            window: rule.window,
            used: growths.len(),
            most_in_window: most_within(growths.iter().map(|growth| growth.at_ms), rule.window),
        });
        Self {
            namespace: id.namespace.0.to_string(),
            name: id.name.to_string(),
            policy: closing.as_ref().and_then(governing),
            driver: driver.as_ref().map_or_else(
                || "unknown".to_owned(),
                |(driver, abilities)| {
                    abilities.volume_type.map_or_else(|| (*driver).to_owned(), |kind| format!("{driver} {kind}"))
                },
            ),
            from: time(life.first_ms).unwrap_or_default(),
            to: time(life.last.at_ms).unwrap_or_default(),
            samples: tally.samples,
            gaps: tally.gaps,
            watched_seconds: tally.watched_ms / 1000,
            first_recorded: life.first_recorded,
            last_recorded: life.recorded,
            first_size: life.started,
            last_size: growths.last().map_or(life.started, |growth| growth.to),
            peak_used: Bytes(tally.most_used),
            peak_size,
            growths: growths.iter().map(GrowthReport::of).collect(),
            recorded_full: Full::of(&tally.recorded_full),
            policy_full: Full::of(&tally.policy_full),
            averted: tally.averted,
            waits: waits(tally),
            slots,
            closing: closing.map(|decision| Closing { reason: decision.reason, message: decision.message }),
            gib_months: held.map(GibMonths::of),
            cost: price.map(|price| Cost {
                currency: price.currency.clone(),
                amount: held.map(|byte_ms| Amount::of(byte_ms, price)),
            }),
            forecast: forecast(&life),
            filesystem_per_size: (life.room.total, life.room.size),
            outline: life.outline,
        }
    }

    /// Its namespace and name.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn governing(decision: &Decision) -> Option<String> {
    match &decision.governance {
        Governance::By(policy) => Some(policy.to_string()),
        Governance::None | Governance::Conflict(_) => None,
    }
}

fn held(tally: &Tally, peak_size: Bytes) -> Compared<u128> {
    Compared {
        recorded: tally.recorded_byte_ms,
        policy: tally.policy_byte_ms,
        peak: u128::from(peak_size.0) * u128::from(tally.span_ms),
    }
}

fn waits(tally: &Tally) -> Vec<WaitReport> {
    let report = |(reason, waited): (&Reason, &Waited)| WaitReport {
        reason: *reason,
        times: waited.times,
        seconds: waited.lasting_ms / 1000,
        first: time(waited.first_ms).unwrap_or_default(),
        message: waited.message.clone(),
    };
    tally.waits.iter().map(report).collect()
}

fn forecast(life: &Life) -> Option<Forecast> {
    let per_day = life.trend.per_day()?;
    let full = life.trend.time_to_full(Bytes(life.room.usable))?;
    let seconds = |duration: Option<jiff::SignedDuration>| duration.map(|duration| duration.as_secs());
    Some(Forecast {
        bytes_per_day: per_day.median,
        earliest_seconds: seconds(full.earliest),
        median_seconds: seconds(full.median),
        latest_seconds: seconds(full.latest),
    })
}

/// How many of these times, which are in order, are at most within a window.
fn most_within(times_ms: impl Iterator<Item = i64>, window: Period) -> usize {
    let window_ms = i64::try_from(window.as_secs().saturating_mul(1000)).unwrap_or(i64::MAX);
    let times: Vec<i64> = times_ms.collect();
    let within =
        |(index, at): (usize, &i64)| times[index..].iter().take_while(|later| **later - at < window_ms).count();
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

impl GrowthReport {
    fn of(growth: &Growth) -> Self {
        Self {
            at: time(growth.at_ms).unwrap_or_default(),
            from: growth.from,
            to: growth.to,
            reason: growth.reason,
            message: growth.message.clone(),
        }
    }
}
