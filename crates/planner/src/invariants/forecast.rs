//! A growth for the days ahead is called for by a forecast, and leaves a modification slot.

use orlop_api::{Abilities, names::Reason};

use super::Rule;
use crate::view::{Claim, ClaimId, Governance, GrowthRecord, View};

pub(super) fn foreseen(
    view: &View,
    id: &ClaimId,
    claim: &Claim,
    abilities: &Abilities<'_>,
    record: &GrowthRecord,
) -> Result<(), Rule> {
    if record.reason != Reason::FullWithinHorizon {
        return Ok(());
    }
    let Governance::By(policy) = view.governance(id, claim) else { return Err(Rule::NotGoverned) };
    let horizon = view.policies.get(&policy).and_then(|policy| policy.capacity.as_ref()?.horizon);
    let (horizon, forecast) =
        horizon.zip(claim.outlook.as_ref().and_then(|outlook| outlook.forecast())).ok_or(Rule::NotForeseen)?;
    let usage = claim.usage.as_ref().ok_or(Rule::NotMeasurable)?;
    let used = i128::from(usage.total.0 - usage.available.0).max(forecast.peak.0.into());
    let (high, median) = (i128::from(forecast.per_day.high), i128::from(forecast.per_day.median));
    let will_be_used = used + high.max(0) + median.max(0) * (i128::from(horizon.number()) - 1);
    if will_be_used <= usage.total.0.into() {
        return Err(Rule::NotForeseen);
    }
    let Some(rule) = abilities.modifications.filter(|rule| rule.count > 1) else { return Ok(()) };
    let window_ns = i128::from(rule.window.as_secs()) * 1_000_000_000;
    let is_taken = |at: &jiff::Timestamp| (record.decided.as_nanosecond() - at.as_nanosecond()).abs() < window_ns;
    let last = claim.growth.iter().filter(|last| last.to > last.from);
    let taken = last.flat_map(|last| last.earlier.iter().chain([&last.decided])).filter(|at| is_taken(at)).count();
    if taken + 1 < usize::try_from(rule.count).unwrap_or(usize::MAX) { Ok(()) } else { Err(Rule::LastSlot) }
}
