//! How claims fill over days: kept for those that are governed by a policy with a horizon, and fed by whatever is measured of
//! them, whoever measures it. It is in memory alone: two weeks of hours are less than a KiB each, and an operator that has just
//! begun asks a Prometheus server for them where it knows one, or measures anew.

use std::collections::BTreeSet;

use jiff::Timestamp;
use orlop_api::{Bytes, Mode};
use orlop_planner::{Claim, ClaimId, Governance, Usage, View, forecast::Trend};

use super::{Measurement, Observer};
use crate::measure::History;

/// Of how many claims at rest the trend is brought up to date at once.
const AT_ONCE: usize = 512;

const HOUR_S: i64 = 3600;

/// The claims that have a trend.
#[derive(Debug, Default)]
pub(super) struct Trends {
    pub(super) claims: BTreeSet<ClaimId>,
    /// Those whose history before the first own measurement was not asked for yet.
    unasked: BTreeSet<ClaimId>,
    /// The hour in which the trends of claims at rest were last brought up to date, since the beginning of 1970.
    hour: i64,
    /// Up to this claim they are, in this hour.
    until: Option<ClaimId>,
}

impl Observer {
    /// Begins or ends to follow how the claim fills over days, as the policy asks that governs it.
    pub(super) fn follow(&mut self, id: &ClaimId, governance: &Governance) {
        let is_wanted = has_horizon(&self.view, governance);
        let Some(known) = self.claims.get_mut(id) else { return };
        match (is_wanted, known.trend.is_some()) {
            (true, false) => {
                known.trend = Some(Box::default());
                self.trends.claims.insert(id.clone());
                self.trends.unasked.insert(id.clone());
                self.trend_goes_on(id);
            }
            (false, true) => {
                known.trend = None;
                self.forget_trend(id);
            }
            _ => {}
        }
    }

    /// The claim is gone, or nothing is forecast for it any more.
    pub(super) fn forget_trend(&mut self, id: &ClaimId) {
        self.trends.claims.remove(id);
        self.trends.unasked.remove(id);
        if let Some(claim) = self.view.claims.get_mut(id) {
            claim.outlook = None;
        }
    }

    /// Adds the latest measurement to the claim's trend. When a new forecast is due and says something else than the last one,
    /// the claim is decided again.
    pub(super) fn trend_goes_on(&mut self, id: &ClaimId) {
        let Some(trend) = self.claims.get_mut(id).and_then(|known| known.trend.as_mut()) else { return };
        let measured = self.view.claims.get(id).and_then(|claim| Some((claim, claim.usage.as_ref()?)));
        if measured.is_some_and(|(claim, usage)| add(trend, claim, usage)) {
            self.forecast_anew(id);
        }
    }

    fn forecast_anew(&mut self, id: &ClaimId) {
        let trend = self.claims.get(id).and_then(|known| known.trend.as_ref());
        let Some((trend, claim)) = trend.zip(self.view.claims.get_mut(id)) else { return };
        let outlook = trend.outlook();
        if claim.outlook.as_deref() != outlook.as_ref() {
            claim.outlook = outlook.map(Box::new);
            self.dirty.claims.insert(id.clone());
        }
    }

    /// Brings the trends of claims up to date of which nothing new is measured, because nothing is written: once an hour, and
    /// of some claims at each call.
    pub fn trends_go_on(&mut self, now: Timestamp) {
        let hour = now.as_second().div_euclid(HOUR_S);
        if self.trends.hour != hour {
            (self.trends.hour, self.trends.until) = (hour, None);
        }
        let claims: Vec<_> = match &self.trends.until {
            None => self.trends.claims.iter().take(AT_ONCE).cloned().collect(),
            Some(last) => {
                let rest = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
                self.trends.claims.range::<ClaimId, _>(rest).take(AT_ONCE).cloned().collect()
            }
        };
        for id in &claims {
            self.refresh(id);
            self.trend_goes_on(id);
        }
        self.trends.until = claims.last().cloned().or(self.trends.until.take());
    }

    /// The claims whose history is wanted, each once.
    pub fn take_unasked(&mut self) -> Vec<ClaimId> {
        std::mem::take(&mut self.trends.unasked).into_iter().collect()
    }

    /// Takes in how a claim has filled before it was measured here.
    pub fn remember(&mut self, history: History) {
        let History { claim, hours } = history;
        if let Some(trend) = self.claims.get_mut(&claim).and_then(|known| known.trend.as_mut()) {
            trend.precede(hours);
            self.forecast_anew(&claim);
        }
    }

    /// The claim whose trend a measurement brings further.
    pub(super) fn followed_by(&self, measurement: &Measurement) -> Option<ClaimId> {
        self.claim_of(measurement).filter(|_| !self.trends.claims.is_empty()).cloned()
    }
}

fn has_horizon(view: &View, governance: &Governance) -> bool {
    let Governance::By(policy) = governance else { return false };
    let policy = view.policies.get(policy).filter(|policy| policy.mode != Mode::Off);
    policy.and_then(|policy| policy.capacity.as_ref()?.horizon).is_some()
}

/// Adds a measurement that makes sense, by itself and for the claim's volume; all counts as used that is not available. Returns
/// whether a new forecast is due.
fn add(trend: &mut Trend, claim: &Claim, usage: &Usage) -> bool {
    // What is larger than the volume by more than a driver rounds up is shared with others, or nonsense, as for a decision.
    let volume = u128::from(claim.capacity.max(claim.volume_capacity).0);
    usage.total > Bytes(0)
        && usage.available <= usage.total
        && u128::from(usage.total.0) * 10 <= volume * 11
        && trend.push(usage.at, Bytes(usage.total.0 - usage.available.0))
}
