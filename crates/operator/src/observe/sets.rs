//! StatefulSets, and what is stored of those that are being made anew. A change of one concerns its claims, which are found
//! by their names.

use std::collections::BTreeSet;

use orlop_planner::{ClaimId, SetId, StatefulSet, StoredSet};

use super::{Change, Observer, cluster::is_older};

impl Observer {
    pub(super) fn set(&mut self, change: Change<SetId, StatefulSet>) {
        for (id, set) in self.lists.sets.resolve(change, self.view.sets.keys()) {
            self.set_set(&id, set);
        }
    }

    fn set_set(&mut self, id: &SetId, set: Option<StatefulSet>) {
        let known = self.view.sets.get(id);
        if let Some((set, known)) = set.as_ref().zip(known)
            && !self.lists.sets.is_listing()
            && set.uid == known.uid
            && is_older(set.version, known.version)
        {
            return;
        }
        // A status of it is written at each step of each of its pods, and most of that matters to nobody.
        let matters = |set: &StatefulSet| StatefulSet { version: None, settled: true, ..set.clone() };
        let concerns_claims = known.map(matters) != set.as_ref().map(matters);
        if known != set.as_ref() {
            self.dirty.sets.insert(id.clone());
        }
        // Its claims before and after: its templates may be others.
        if concerns_claims {
            self.mark_claims_of(id);
            self.mark_scaled(id, set.as_ref());
        }
        match set {
            Some(set) => self.view.sets.insert(id.clone(), set),
            None => self.view.sets.remove(id),
        };
        if concerns_claims {
            self.mark_claims_of(id);
        }
    }

    fn mark_claims_of(&mut self, id: &SetId) {
        let Some((id, set)) = self.view.sets.get_key_value(id) else { return };
        let claims = set.templates.iter().flat_map(|template| self.view.claims_of(id, &template.name));
        let claims: Vec<ClaimId> = claims.map(|(_, claim, _)| claim.clone()).collect();
        self.dirty.claims.extend(claims);
    }

    /// Brings up to date for which claim the StatefulSet is scaled to zero, and has that decided about, also where it is gone.
    fn mark_scaled(&mut self, id: &SetId, set: Option<&StatefulSet>) {
        let claim = |name: &str| ClaimId { namespace: id.namespace.clone(), name: name.into() };
        let before = self.view.sets.get(id).and_then(|set| set.scaled.as_ref()).map(|it| claim(&it.claim));
        let after = set.and_then(|set| set.scaled.as_ref()).map(|it| claim(&it.claim));
        if before != after
            && let Some(before) = before
        {
            self.view.scaled.remove(&before);
            self.dirty.claims.insert(before);
        }
        if let Some(after) = after {
            self.view.scaled.insert(after.clone(), id.clone());
            self.dirty.claims.insert(after);
        }
    }

    /// These claims, and those for which the StatefulSets were stopped that they are of: when the last one is expanded, the
    /// StatefulSet is scaled back.
    pub(super) fn with_those_stopped_for(&self, claims: BTreeSet<ClaimId>) -> BTreeSet<ClaimId> {
        if self.view.scaled.is_empty() {
            return claims;
        }
        let stopped_for = claims.iter().filter_map(|id| {
            let pods = self.view.claims.get(id).map_or(&[][..], |claim| &claim.pods);
            let membership = self.view.membership(id, pods)?;
            let scaled = membership.set.scaled.as_ref()?;
            Some(ClaimId { namespace: id.namespace.clone(), name: (*scaled.claim).into() })
        });
        let stopped_for: Vec<_> = stopped_for.collect();
        claims.into_iter().chain(stopped_for).collect()
    }

    pub(super) fn autoscaler(&mut self, change: Change<SetId, SetId>) {
        for (id, target) in self.lists.autoscalers.resolve(change, self.autoscalers.keys()) {
            let before = match target.clone() {
                Some(target) => self.autoscalers.insert(id, target),
                None => self.autoscalers.remove(&id),
            };
            if before == target {
                continue;
            }
            let scaled = self.autoscalers.iter().map(|(autoscaler, set)| (set.clone(), (*autoscaler.name).into()));
            self.view.autoscalers = scaled.collect();
            for set in before.iter().chain(&target) {
                self.mark_claims_of(set);
            }
        }
    }

    pub(super) fn stored(&mut self, change: Change<SetId, StoredSet>) {
        for (id, stored) in self.lists.stored.resolve(change, self.view.stored.keys()) {
            match stored {
                Some(stored) => self.view.stored.insert(id.clone(), stored),
                None => self.view.stored.remove(&id),
            };
            self.dirty.sets.insert(id);
        }
    }

    /// Has it looked at again what is to be done about the StatefulSet's templates.
    pub fn mark_set(&mut self, id: SetId) {
        self.dirty.sets.insert(id);
    }
}
