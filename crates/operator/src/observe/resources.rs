//! The custom resources whose operators make claims. A change of one concerns its claims, and of the many changes of its
//! status it has none, for nothing of that is kept.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use orlop_api::OwnerProfileSpec;
use orlop_planner::{ClaimId, OwnerKind, ResourceId};

use super::{Change, Observer, ResourceFacts, WantedKinds, cluster::is_older};

impl Observer {
    pub(super) fn owner_profile(&mut self, change: Change<String, Arc<OwnerProfileSpec>>) {
        for (name, profile) in self.lists.owner_profiles.resolve(change, self.view.resources.profiles.keys()) {
            let before = self.claims_of_kind(&name);
            match profile {
                Some(profile) => drop(self.view.resources.profiles.insert(name.clone(), profile)),
                None => drop(self.view.resources.profiles.remove(&name)),
            }
            self.concerns(before);
            self.concerns(self.claims_of_kind(&name));
        }
        self.note_wanted();
    }

    pub(super) fn owner_kind(&mut self, change: Change<String, OwnerKind>) {
        for (name, kind) in self.lists.owner_kinds.resolve(change, self.view.resources.kinds.keys()) {
            let waiting = self.asked.remove(&name).unwrap_or_default();
            self.dirty.claims.extend(waiting);
            if self.view.resources.kinds.get(&name) == kind.as_ref() {
                continue;
            }
            let before = self.claims_of_kind(&name);
            if kind.as_ref().and_then(OwnerKind::version).is_none() {
                self.lists.resources.remove(&*name);
                self.resources.retain(|id, _| *id.definition != *name);
                self.view.resources.objects.retain(|id, _| *id.definition != *name);
            }
            match kind {
                Some(kind) => drop(self.view.resources.kinds.insert(name.clone(), kind)),
                None => drop(self.view.resources.kinds.remove(&name)),
            }
            self.concerns(before);
            self.concerns(self.claims_of_kind(&name));
        }
        self.note_wanted();
        self.note_lists();
    }

    /// Has it asked whether the cluster has a kind, and the claim decided again when that is known.
    pub(crate) fn ask_for_kind(&mut self, definition: &str, claim: ClaimId) {
        self.asked.entry(definition.to_owned()).or_default().insert(claim);
        self.note_wanted();
    }

    /// Brings up to date which kinds are looked for.
    fn note_wanted(&mut self) {
        let listed = self.lists.owner_profiles.is_complete();
        self.wanted_kinds = listed.then(|| WantedKinds {
            profiles: self.view.resources.profiles.clone(),
            asked: self.asked.keys().cloned().collect(),
        });
    }

    pub(super) fn resource(&mut self, definition: &Arc<str>, change: Change<ResourceId, ResourceFacts>) {
        let known = self.view.resources.objects.keys().filter(|id| id.definition == *definition);
        let list = self.lists.resources.entry(definition.clone()).or_default();
        let changed = list.resolve(change, known);
        let is_listing = list.is_listing();
        for (id, facts) in changed {
            self.set_resource(&id, facts, is_listing);
        }
        self.note_lists();
    }

    fn set_resource(&mut self, id: &ResourceId, facts: Option<ResourceFacts>, is_listing: bool) {
        let known = self.view.resources.objects.get(id);
        let version = self.resources.get(id).copied().flatten();
        if let Some(facts) = &facts
            && !is_listing
            && known.is_some_and(|known| known.uid == facts.resource.uid)
            && is_older(facts.version, version)
        {
            return;
        }
        let is_news = known != facts.as_ref().map(|facts| &facts.resource);
        let claims = |observer: &Self| -> Vec<ClaimId> {
            if is_news { observer.view.claims_of_resource(id).cloned().collect() } else { Vec::new() }
        };
        let before = claims(self);
        match facts {
            Some(ResourceFacts { version, resource }) => {
                self.resources.insert(id.clone(), version);
                self.view.resources.objects.insert(id.clone(), resource);
            }
            None => {
                self.resources.remove(id);
                self.view.resources.objects.remove(id);
            }
        }
        self.concerns(before);
        self.concerns(claims(self));
    }

    fn claims_of_kind(&self, definition: &str) -> Vec<ClaimId> {
        if self.view.resources.kinds.get(definition).is_none_or(OwnerKind::is_absent) {
            return Vec::new();
        }
        let of_kind = self.view.claims.iter().filter(|(id, claim)| {
            self.view.write_back(id, claim).is_some_and(|write_back| *write_back.id.definition == *definition)
        });
        of_kind.map(|(id, _)| id.clone()).collect()
    }

    /// Takes note of whether the kinds that the cluster had at the start have been listed. One that comes later, or whose
    /// list fails later, is not waited for: nothing is done to the claims of an owner that is not known.
    fn note_lists(&mut self) {
        let is_told = self.lists.owner_kinds.is_complete();
        self.view.resources.can_be_asked |= is_told;
        self.knows_owners |= is_told && !self.view.resources.kinds.values().any(OwnerKind::is_listing);
    }
}
