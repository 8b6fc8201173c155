//! Claims, the volumes that they are bound to, the pods that use them, and how full they are.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::Bytes;
use orlop_planner::{Claim, ClaimId, Claims, GrowthRecord, Outgrown, PodId, PodUse, Uid, Usage};

use super::{Change, ClaimFacts, KnownClaim, Observer, PodFacts, Version, VolumeFacts};

impl Observer {
    pub(super) fn claim(&mut self, change: Change<ClaimId, ClaimFacts>) {
        for (mut id, facts) in self.lists.claims.resolve(change, self.claims.keys()) {
            match facts {
                Some(mut facts) => {
                    self.share_claim(&mut id, &mut facts);
                    self.set_claim(id, facts);
                }
                None => self.remove_claim(id),
            }
        }
    }

    fn set_claim(&mut self, id: ClaimId, facts: ClaimFacts) {
        let before = self.view.claims.get(&id);
        let known = self.claims.get(&id).filter(|_| before.is_some_and(|claim| claim.uid == facts.uid));
        if !self.lists.claims.is_listing() && known.is_some_and(|known| is_older(facts.version, known.version)) {
            return;
        }
        let ClaimFacts {
            uid,
            version,
            labels,
            belonging,
            class,
            volume,
            raw_block,
            requested,
            capacity,
            resize,
            paused,
            growth,
            attributes,
            spelling,
        } = facts;
        let bound_to = bound_to(&self.volumes, &id, &uid, volume.as_deref().filter(|_| capacity.is_some()));
        let usage = bound_to.and_then(|(name, _)| self.measured.best(name));
        let same = before.filter(|before| before.uid == uid);
        let outgrown = same.and_then(|before| outgrown(before, capacity, usage.as_ref()));
        // Of a growth of ours its record says what no longer is a measurement from before.
        let is_shown = growth.as_deref().zip(usage.as_ref()).is_some_and(|(record, usage): (&GrowthRecord, &Usage)| {
            record.to == requested && usage.total > record.filesystem
        });
        let has_grown = outgrown.is_some() && outgrown != same.and_then(|before| before.outgrown.clone());
        if let Some((name, _)) = bound_to.filter(|_| has_grown && !is_shown) {
            self.measured.outgrown(name);
        }
        if has_grown {
            self.grown.insert(id.clone());
        }
        let claim = Claim {
            uid,
            labels,
            belonging,
            class,
            driver: bound_to.and_then(|(_, facts)| facts.driver.clone()),
            bound: bound_to.is_some(),
            raw_block,
            requested,
            capacity: capacity.unwrap_or(Bytes(0)),
            volume_capacity: bound_to.map_or(Bytes(0), |(_, facts)| facts.capacity),
            resize,
            paused,
            growth,
            pods: match before {
                Some(before) => before.pods.clone(),
                None => self.waiting.remove(&id).map_or_else(Vec::new, |pods| uses(&self.pods, &pods)),
            },
            usage,
            outgrown,
            attributes,
            load: same.and_then(|before| before.load.clone()),
            outlook: same.and_then(|before| before.outlook.clone()),
        };
        let is_news = before != Some(&claim);
        let is_same = same.is_some();
        // What was decided holds as long as what it was decided from.
        let known = self.claims.get(&id);
        let rest = known.filter(|_| !is_news).and_then(|known| known.rest.clone());
        // A load that was asked for goes with the question.
        let load = known.filter(|_| claim.load.is_some());
        let (load_watch, load_node) = load.map_or((None, None), |it| (it.load_watch.clone(), it.load_node.clone()));
        let known = KnownClaim { version, volume, spelling, rest, load_watch, load_node, trend: None };
        let mut known = self.claims.insert(id.clone(), known);
        // How a claim has filled that had the same name says nothing about this one.
        let trend = known.as_mut().and_then(|known| known.trend.take()).filter(|_| is_same);
        if trend.is_none() {
            self.forget_trend(&id);
        }
        if let Some(known) = self.claims.get_mut(&id) {
            known.trend = trend;
        }
        self.release(&id, known);
        if is_news {
            self.view.claims.insert(id.clone(), claim);
            self.regroup([&id]);
            self.charge(&id);
            self.dirty.claims.insert(id);
        }
    }

    /// Takes note of a volume that the claim had and has no longer.
    fn release(&mut self, id: &ClaimId, before: Option<KnownClaim>) {
        if let Some(volume) = before.and_then(|known| known.volume).filter(|it| self.volume_of(id) != Some(it)) {
            self.dirty.released.insert(volume);
        }
    }

    fn remove_claim(&mut self, id: ClaimId) {
        let known = self.claims.remove(&id);
        self.release(&id, known);
        self.forget_trend(&id);
        if let Some(claim) = self.view.claims.remove(&id) {
            if !claim.pods.is_empty() {
                self.waiting.insert(id.clone(), claim.pods.into_iter().map(|pod| pod.id).collect());
            }
            self.regroup([&id]);
            self.charge(&id);
            self.dirty.claims.insert(id);
        }
    }

    pub(super) fn volume(&mut self, change: Change<Arc<str>, VolumeFacts>) {
        for (mut name, mut facts) in self.lists.volumes.resolve(change, self.volumes.keys()) {
            if let Some(facts) = &mut facts {
                self.share_volume(&mut name, facts);
            }
            let before = if let Some(facts) = facts.clone() {
                self.volumes.insert(name, facts)
            } else {
                self.measured.forget(&name);
                self.volumes.remove(&name)
            };
            if before == facts {
                continue;
            }
            let claims: BTreeSet<ClaimId> =
                [before, facts].into_iter().flatten().filter_map(|facts| facts.claim).map(|(id, _)| id).collect();
            for id in claims {
                self.rebind(&id);
            }
        }
    }

    /// Brings what the view of a claim says of its volume up to date.
    fn rebind(&mut self, id: &ClaimId) {
        let Some(claim) = self.view.claims.get_mut(id) else { return };
        let volume = self.claims.get(id).and_then(|known| known.volume.as_deref());
        // A claim that has a volume has a capacity; see `bound_to`.
        let bound_to = bound_to(&self.volumes, id, &claim.uid, volume.filter(|_| claim.capacity > Bytes(0)));
        claim.bound = bound_to.is_some();
        claim.driver = bound_to.and_then(|(_, facts)| facts.driver.clone());
        claim.volume_capacity = bound_to.map_or(Bytes(0), |(_, facts)| facts.capacity);
        claim.usage = bound_to.and_then(|(name, _)| self.measured.best(name));
        self.regroup([id]);
        self.charge(id);
        self.dirty.claims.insert(id.clone());
    }

    pub(super) fn pod(&mut self, change: Change<PodId, PodFacts>) {
        for (mut id, mut facts) in self.lists.pods.resolve(change, self.pods.keys()) {
            if let Some(facts) = &mut facts {
                self.share_pod(&mut id.namespace, facts);
            }
            let is_old = facts
                .as_ref()
                .zip(self.pods.get(&id))
                .is_some_and(|(facts, known)| known.uid == facts.uid && is_older(facts.version, known.version));
            if self.lists.pods.is_listing() || !is_old {
                self.set_pod(&id, facts);
            }
        }
    }

    fn set_pod(&mut self, id: &PodId, facts: Option<PodFacts>) {
        let claims = |facts: Option<&PodFacts>| -> BTreeSet<ClaimId> {
            let names = facts.into_iter().flat_map(|facts| &facts.claims);
            names.map(|name| ClaimId { namespace: id.namespace.clone(), name: name.clone() }).collect()
        };
        let used = claims(facts.as_ref());
        let before = match facts {
            Some(facts) => self.pods.insert(id.clone(), facts),
            None => self.pods.remove(id),
        };
        let used_before = claims(before.as_ref());
        for claim in used_before.difference(&used) {
            self.unuse(claim, id);
        }
        for claim in used {
            self.use_claim(claim, id);
        }
    }

    fn use_claim(&mut self, claim_id: ClaimId, id: &PodId) {
        let Some(facts) = self.pods.get(id) else { return };
        let Some(claim) = self.view.claims.get_mut(&claim_id) else {
            self.waiting.entry(claim_id).or_default().insert(id.clone());
            return;
        };
        let pod = pod_use(id, facts);
        match claim.pods.binary_search_by(|known| known.id.cmp(id)) {
            Ok(index) if claim.pods[index] == pod => return,
            Ok(index) => claim.pods[index] = pod,
            Err(index) => {
                // Nearly every claim has one pod, and there are many claims.
                claim.pods.reserve_exact(1);
                claim.pods.insert(index, pod);
            }
        }
        self.dirty.claims.insert(claim_id);
    }

    fn unuse(&mut self, claim_id: &ClaimId, id: &PodId) {
        if let Some(claim) = self.view.claims.get_mut(claim_id) {
            claim.pods.retain(|pod| pod.id != *id);
            self.dirty.claims.insert(claim_id.clone());
        } else if let Some(pods) = self.waiting.get_mut(claim_id) {
            pods.remove(id);
            if pods.is_empty() {
                self.waiting.remove(claim_id);
            }
        }
    }

    pub(super) fn node(&mut self, change: Change<String, ()>) {
        for (name, node) in self.lists.nodes.resolve(change, self.nodes.iter()) {
            if node.is_some() {
                self.nodes.insert(name);
            } else {
                self.measured.forget_node(&name);
                self.nodes.remove(&name);
            }
        }
    }

    /// The volume that a claim is bound to: only where both name each other, see `bound_to`.
    pub(super) fn volume_that_names(&self, id: &ClaimId) -> Option<&Arc<str>> {
        let uid = &self.view.claims.get(id)?.uid;
        bound_to(&self.volumes, id, uid, self.volume_of(id).map(|it| &**it)).map(|(name, _)| name)
    }

    /// Brings what the view says of the volume's fill up to date.
    pub(super) fn measured_anew(&mut self, volume: &str) {
        let Some((id, claim)) = claim_bound_to(&self.volumes, &mut self.view.claims, volume) else { return };
        let usage = self.measured.best(volume);
        if claim.usage == usage {
            return;
        }
        let rest = self.claims.get(id).and_then(|known| known.rest.as_ref());
        if !rest.is_some_and(|rest| rest.goes_on(claim.usage.as_ref(), usage.as_ref())) {
            self.dirty.claims.insert(id.clone());
        }
        claim.usage = usage;
    }

    /// It is now: claims that were seen to grow since this was last said had grown by now, and what is measured later shows it.
    pub fn date_growths(&mut self, now: Timestamp) {
        let until = now.checked_add(ON_ITS_WAY).unwrap_or(now);
        for id in std::mem::take(&mut self.grown) {
            if let Some(outgrown) = self.view.claims.get_mut(&id).and_then(|claim| claim.outgrown.as_mut()) {
                outgrown.until = outgrown.until.max(until);
            }
        }
    }

    /// Brings what the view says of the claim's fill up to date: a confirmation alone does not.
    pub(super) fn refresh(&mut self, id: &ClaimId) {
        let volume = self.claims.get(id).and_then(|known| known.volume.as_deref());
        if let Some((claim, volume)) = self.view.claims.get_mut(id).filter(|claim| claim.bound).zip(volume) {
            claim.usage = self.measured.best(volume);
        }
        self.refresh_load(id);
    }
}

/// The volume that a claim is bound to: only where both name each other, because a claim alone can name any volume.
fn bound_to<'a>(
    volumes: &'a HashMap<Arc<str>, VolumeFacts>,
    id: &ClaimId,
    uid: &Uid,
    volume: Option<&str>,
) -> Option<(&'a Arc<str>, &'a VolumeFacts)> {
    let (name, facts) = volumes.get_key_value(volume?)?;
    let (claim, claim_uid) = facts.claim.as_ref()?;
    (claim == id && claim_uid == uid).then_some((name, facts))
}

/// The claim that is bound to a volume, with its name.
pub(super) fn claim_bound_to<'a>(
    volumes: &'a HashMap<Arc<str>, VolumeFacts>,
    claims: &'a mut Claims,
    volume: &str,
) -> Option<(&'a ClaimId, &'a mut Claim)> {
    let (id, uid) = volumes.get(volume)?.claim.as_ref()?;
    let claim = claims.get_mut(id).filter(|claim| claim.bound && claim.uid == *uid)?;
    Some((id, claim))
}

fn uses(pods: &HashMap<PodId, PodFacts>, ids: &BTreeSet<PodId>) -> Vec<PodUse> {
    let mut uses: Vec<_> = ids.iter().filter_map(|id| Some(pod_use(id, pods.get(id)?))).collect();
    uses.shrink_to_fit();
    uses
}

fn pod_use(id: &PodId, facts: &PodFacts) -> PodUse {
    PodUse {
        id: id.clone(),
        uid: facts.uid.clone(),
        synced: facts.synced.clone(),
        since: facts.since,
        controller: facts.controller.clone(),
    }
}

/// A state that is older than the known one comes late, and is passed over: the answer to a write overtakes the watch.
pub(super) const fn is_older(version: Version, known: Version) -> bool {
    matches!((version, known), (Some(version), Some(known)) if version < known)
}

/// After a claim was seen to have grown, and after the last measurement that was known then, how far the clocks may differ by
/// which one is dated that was made before.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(10);

/// What the claim's volume was when its capacity grew, now or before. A filesystem that is larger than the capacity was has
/// been measured since.
fn outgrown(before: &Claim, capacity: Option<Bytes>, usage: Option<&Usage>) -> Option<Outgrown> {
    if capacity.is_none_or(|capacity| capacity <= before.capacity) || before.capacity == Bytes(0) {
        return before.outgrown.clone();
    }
    let usage = usage.filter(|usage| usage.total <= before.capacity)?;
    Some(Outgrown { total: usage.total, until: usage.at.checked_add(ON_ITS_WAY).ok()? })
}
