//! The report of claims that have lived through their histories.

use orlop_api::{Bytes, Period, names::Reason};
use orlop_planner::{Decision, Governance, Policy};

use super::{
    ClaimReport, Closing, Compared, Cost, Forecast, Full, GrowthReport, Report, SlotsReport, Totals, WaitReport,
};
use crate::{
    history::time,
    life::{Growth, Life},
    money::{Amount, GibMonths},
    tally::{Fills, Tally, Waited},
    world::{Terms, World},
};

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
    let is_grouped = |policy: &Policy| policy.capacity.as_ref().is_some_and(|spec| spec.group_by.is_some());
    if world.policies().values().any(is_grouped) {
        notes.push("claims of a group are replayed each for itself: none of them follows a larger one".to_owned());
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
    let forecast = life.trend.forecast()?;
    let full = forecast.time_to_full(Bytes(life.room.usable));
    let seconds = |duration: Option<jiff::SignedDuration>| duration.map(|duration| duration.as_secs());
    Some(Forecast {
        bytes_per_day: forecast.per_day.median,
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
