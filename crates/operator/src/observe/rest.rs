//! Claims at rest: what was decided about them holds until what is measured becomes stale, or says something else. Most
//! claims are at rest most of the time, and what an operator costs is what it does about them.

use std::sync::Arc;

use jiff::Timestamp;
use orlop_api::names::Reason;
use orlop_planner::{ClaimId, Decision, Usage, Watch, silent_at, stale_at, still_enough};

use super::{Measurement, Observer};

/// What can end a claim's rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rest {
    /// Every measurement that says something else.
    AnyChange,
    /// A measurement that leaves too little room.
    Crossing(Watch),
}

impl Rest {
    /// Does what is measured now lead to the decision that what was measured before has led to?
    pub(super) fn goes_on(&self, before: Option<&Usage>, now: Option<&Usage>) -> bool {
        match (self, before, now) {
            (Self::Crossing(watch), Some(before), Some(now)) => still_enough(watch, before, now),
            _ => false,
        }
    }
}

impl Observer {
    /// Takes note of what was decided about a claim from what is known now, under this watch. Returns whether it is at rest.
    pub fn note_decision(&mut self, id: &ClaimId, decision: &Decision, watch: Option<Watch>) -> bool {
        self.follow(id, &decision.governance);
        let usage = self.view.claims.get(id).and_then(|claim| claim.usage.as_ref());
        let rests = usage.is_some_and(|usage| decision.again_at == Some(stale_at(usage)));
        let enough = watch.filter(|_| decision.reason == Reason::EnoughRoom);
        if let Some(known) = self.claims.get_mut(id) {
            known.rest = rests.then(|| enough.map_or(Rest::AnyChange, Rest::Crossing));
        }
        rests
    }

    /// Until when a claim at rest is that if nothing is measured or confirmed any more; none for one that is not at rest.
    pub fn rests_until(&self, id: &ClaimId) -> Option<Timestamp> {
        self.claims.get(id)?.rest.as_ref()?;
        Some(stale_at(&self.measured.best(self.volume_that_names(id)?)?))
    }

    /// The measurement is to be decided about even where it says the same of a claim at rest.
    pub fn disturb(&mut self, measurement: &Measurement) {
        let volume = match measurement {
            Measurement::Sampled { volume, .. } => volume.as_str(),
            Measurement::SampledClaim { claim, .. } => self.volume_that_names(claim).map_or("", |volume| volume),
            Measurement::Load { .. }
            | Measurement::Exceeded { .. }
            | Measurement::Confirmed { .. }
            | Measurement::Gone { .. } => return,
        };
        let claim = self.volumes.get(volume).and_then(|facts| facts.claim.as_ref());
        if let Some(known) = claim.and_then(|(id, _)| self.claims.get_mut(id)) {
            known.rest = None;
        }
    }

    /// The node whose agent keeps the claim's measurement from becoming stale, by confirming it, and when that agent is
    /// silent if it says nothing more; none where there is no such agent.
    pub fn kept_by(&self, id: &ClaimId) -> Option<(&Arc<str>, Timestamp)> {
        let node = self.measured.only_agent(self.volume_that_names(id)?)?;
        Some((node, self.silent_at(node)?))
    }

    /// When the agent of a node is silent if it says nothing more; none where it has never confirmed anything.
    pub fn silent_at(&self, node: &str) -> Option<Timestamp> {
        self.measured.last_confirmed(node).map(silent_at)
    }
}
