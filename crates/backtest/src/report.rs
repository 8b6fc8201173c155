//! What came of a replay, as plain data: for each claim and for all of them, under the policy beside what was recorded.

mod of_lives;

use std::{collections::BTreeMap, ops::Add};

use jiff::Timestamp;
use orlop_api::{Bytes, Period, names::Reason};
use serde::Serialize;

use crate::{
    money::{Amount, GibMonths},
    outline::Outline,
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

impl ClaimReport {
    /// Its namespace and name.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
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
