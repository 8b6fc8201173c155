//! StatefulSets: a change of one concerns its claims, which are found by their names.

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
}
