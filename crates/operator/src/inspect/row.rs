//! What the documents say of a decision and a measurement, whichever document it is.

use jiff::Timestamp;
use orlop_planner::{Claim, ClaimId, Decision, Governance, Usage, forecast::Outlook, stale_at};

use super::document::{ClaimRow, DecisionAccount, ForecastAccount, InodeAccount, PerDayAccount, UsageAccount};
use crate::Core;

/// A claim in one line. Its measurement is the latest, also where that only confirms the one that was decided by.
pub(super) fn row(core: &Core, id: &ClaimId, claim: &Claim) -> ClaimRow {
    let decision = core.ledger().decision(id);
    ClaimRow {
        namespace: id.namespace.0.to_string(),
        name: id.name.to_string(),
        size: claim.requested,
        policy: decision.and_then(|decision| governing(&decision.governance)),
        driver: core.observer().view().driver_of(claim).map(str::to_owned),
        decision: decision.map(|it| self::decision(core, id, it, core.ledger().since(id))),
        usage: core.observer().latest(id).map(|it| usage(&it, None)),
        forecast: forecast(claim),
    }
}

/// The policy that governs, by its kind and name.
pub(super) fn governing(governance: &Governance) -> Option<String> {
    match governance {
        Governance::By(policy) => Some(policy.to_string()),
        Governance::None | Governance::Conflict(_) => None,
    }
}

pub(super) fn decision(core: &Core, id: &ClaimId, decision: &Decision, since: Option<Timestamp>) -> DecisionAccount {
    DecisionAccount {
        act: decision.outcome.into(),
        target: decision.target().filter(|target| *target != decision.size),
        reason: decision.reason,
        message: decision.message.clone(),
        problem: decision.is_problem(),
        mode: decision.mode,
        since,
        next_look: core.next_look(id).or(decision.again_at),
        acting: core.is_acting_on(id),
    }
}

pub(super) fn usage(usage: &Usage, node: Option<&str>) -> UsageAccount {
    UsageAccount {
        at: usage.at,
        source: usage.source,
        node: node.map(str::to_owned),
        stale_at: stale_at(usage),
        total: usage.total,
        available: usage.available,
        inodes: usage.counted_inodes().map(|inodes| InodeAccount { total: inodes.total, free: inodes.free }),
        fill_bytes_per_second: usage.fill_bytes_per_second,
        seconds_to_full: usage.available.0.checked_div(usage.fill_bytes_per_second),
    }
}

/// How the claim's volume will fill over days; none where nothing is forecast for it.
pub(super) fn forecast(claim: &Claim) -> Option<ForecastAccount> {
    let forecast = match **claim.outlook.as_ref()? {
        Outlook::From(at) => return Some(ForecastAccount { known_from: Some(at), ..ForecastAccount::default() }),
        Outlook::Known(forecast) => forecast,
    };
    let total = claim.usage.as_ref().map_or(claim.capacity, |usage| usage.total);
    let full = forecast.time_to_full(total);
    let seconds = |span: Option<jiff::SignedDuration>| u64::try_from(span?.as_secs()).ok();
    let per_day = forecast.per_day;
    Some(ForecastAccount {
        known_from: None,
        peak: Some(forecast.peak),
        per_day: Some(PerDayAccount { low: per_day.low, median: per_day.median, high: per_day.high }),
        earliest_seconds: seconds(full.earliest),
        median_seconds: seconds(full.median),
        latest_seconds: seconds(full.latest),
    })
}
