//! What I/O the volumes do, of those claims of which it is asked for: in the view, with since when it has been much or
//! little.

use std::sync::Arc;

use jiff::Timestamp;
use orlop_planner::{ClaimId, Exceeded, Excess, Load, LoadReading, LoadSample, LoadWatch};

use super::{Observer, cluster::claim_bound_to};

impl Observer {
    /// Takes note of what is asked for of a claim's volume from now on. What was measured for another question is no answer
    /// to this one.
    pub fn note_load_watch(&mut self, id: &ClaimId, watch: Option<&Arc<LoadWatch>>, now: Timestamp) {
        let Some((known, claim)) = self.claims.get_mut(id).zip(self.view.claims.get_mut(id)) else { return };
        if known.load_watch.as_ref() == watch {
            return;
        }
        known.load_watch = watch.cloned();
        claim.load = watch.map(|_| Box::new(Load::asked(now)));
    }

    /// A volume's I/O was measured.
    pub(super) fn load_sampled(&mut self, node: &str, volume: &str, reading: &LoadReading) {
        let Some((id, claim)) = claim_bound_to(&self.volumes, &mut self.view.claims, volume) else { return };
        let Some(known) = self.claims.get_mut(id) else { return };
        let Some((watch, load)) = known.load_watch.as_ref().zip(claim.load.as_mut()) else { return };
        if known.load_node.as_deref() != Some(node) {
            known.load_node = Some(node.into());
        }
        let before = load.sample.as_ref().map(outline);
        load.sampled(watch, reading);
        if before != load.sample.as_ref().map(outline) {
            self.dirty.claims.insert(id.clone());
        }
    }

    /// The driver's counters of a volume were read.
    pub(super) fn exceeded(&mut self, volume: &str, at: Timestamp, shares: Exceeded) {
        let Some((id, claim)) = claim_bound_to(&self.volumes, &mut self.view.claims, volume) else { return };
        let Some(load) = claim.load.as_mut() else { return };
        let was_known = load.excess.is_some();
        load.exceeded(at, shares);
        // While a limit is exceeded, each reading may be the one that shows it for long enough.
        if !was_known || load.excess.as_ref().is_some_and(|excess| excess.since.is_some()) {
            self.dirty.claims.insert(id.clone());
        }
    }

    /// What the driver has counted of a claim's volume, as far as it is known.
    pub fn excess_of(&self, id: &ClaimId) -> Option<&Excess> {
        self.view.claims.get(id)?.load.as_ref()?.excess.as_ref()
    }

    /// The agent of a node no longer measures the volume: what it has measured is confirmed by nobody from now on.
    pub(super) fn load_gone(&mut self, node: &str, volume: &str) {
        let claim = self.volumes.get(volume).and_then(|facts| facts.claim.as_ref());
        if let Some(known) = claim.and_then(|(id, _)| self.claims.get_mut(id)) {
            known.load_node.take_if(|known| **known == *node);
        }
    }

    /// What a claim's volume does, as it was last confirmed.
    pub fn load_of(&self, id: &ClaimId) -> Option<LoadSample> {
        let mut load = self.view.claims.get(id)?.load.as_deref()?.clone();
        if let Some(at) = self.load_confirmed(id) {
            load.confirmed(at);
        }
        load.sample
    }

    fn load_confirmed(&self, id: &ClaimId) -> Option<Timestamp> {
        let node = self.claims.get(id)?.load_node.as_deref()?;
        self.measured.last_confirmed(node)
    }

    /// Brings up to date when the claim's load was last confirmed.
    pub(super) fn refresh_load(&mut self, id: &ClaimId) {
        let confirmed = self.load_confirmed(id);
        let load = self.view.claims.get_mut(id).and_then(|claim| claim.load.as_mut());
        if let Some((load, at)) = load.zip(confirmed) {
            load.confirmed(at);
        }
    }
}

/// What of a load leads to another decision: since when it has been much or little, or waited for.
fn outline(sample: &LoadSample) -> [Option<Timestamp>; 3] {
    [sample.busy, sample.strained, sample.quiet.as_ref().map(|quiet| quiet.since)]
}
