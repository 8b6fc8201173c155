//! StatefulSets: a change of one concerns its claims, which are found by their names.

use std::collections::BTreeSet;

use orlop_planner::{ClaimId, SetId};

use super::{Change, Observer, SetFacts, cluster::is_older};

impl Observer {
    pub(super) fn set(&mut self, change: Change<SetId, SetFacts>) {
        for (id, facts) in self.lists.sets.resolve(change, self.sets.keys()) {
            self.set_set(id, facts);
        }
    }

    fn set_set(&mut self, id: SetId, facts: Option<SetFacts>) {
        let known = self.view.sets.get(&id);
        let version = self.sets.get(&id).copied().flatten();
        if let Some(facts) = &facts
            && !self.lists.sets.is_listing()
            && known.is_some_and(|known| known.uid == facts.set.uid)
            && is_older(facts.version, version)
        {
            return;
        }
        // A status of it is written at every step of each of its pods, and of that nothing is kept.
        let is_news = known != facts.as_ref().map(|facts| &facts.set);
        // Its claims before and after: its templates may be others.
        if is_news {
            self.mark_claims_of(&id);
            self.mark_scaled(&id, facts.as_ref());
        }
        match facts {
            Some(SetFacts { version, set }) => {
                self.sets.insert(id.clone(), version);
                self.view.sets.insert(id.clone(), set);
            }
            None => {
                self.sets.remove(&id);
                self.view.sets.remove(&id);
            }
        }
        if is_news {
            self.mark_claims_of(&id);
        }
    }

    fn mark_claims_of(&mut self, id: &SetId) {
        let Some((id, set)) = self.view.sets.get_key_value(id) else { return };
        let claims = set.templates.iter().flat_map(|template| self.view.claims_of(id, &template.name));
        let claims: Vec<ClaimId> = claims.map(|(_, claim, _)| claim.clone()).collect();
        self.dirty.claims.extend(claims);
    }

    /// Brings up to date for which claim the StatefulSet is scaled to zero, and has that decided about, also where it is gone.
    fn mark_scaled(&mut self, id: &SetId, facts: Option<&SetFacts>) {
        let claim = |name: &str| ClaimId { namespace: id.namespace.clone(), name: name.into() };
        let before = self.view.sets.get(id).and_then(|set| set.scaled.as_ref()).map(|it| claim(&it.claim));
        let after = facts.and_then(|facts| facts.set.scaled.as_ref()).map(|it| claim(&it.claim));
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
}
