//! StatefulSets, and what is stored of those that are being made anew. A change of one concerns its claims, which are found
//! by their names.

use orlop_planner::{SetId, StatefulSet, StoredSet, WorkloadId};

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
        let workload = WorkloadId::StatefulSet(id.clone());
        if concerns_claims {
            self.mark_claims_of(&workload);
            self.mark_scaled(&workload, set.as_ref().and_then(|set| set.scaled.as_deref()));
        }
        match set {
            Some(set) => self.view.sets.insert(id.clone(), set),
            None => self.view.sets.remove(id),
        };
        if concerns_claims {
            self.mark_claims_of(&workload);
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
