//! Texts that many objects have, each kept once: what lists of a large cluster tell is mostly the same namespaces, classes and
//! drivers again and again, and the names of claims and volumes by those who refer to them.

use std::{collections::HashSet, sync::Arc};

use orlop_planner::{ClaimId, NamespaceName, Uid};

use super::{ClaimFacts, Observer, PodFacts, VolumeFacts};

/// The texts of which a cluster has few.
#[derive(Debug, Default)]
pub(super) struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// The text as it is kept.
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        match self.0.get(text) {
            Some(known) => known.clone(),
            None => {
                let text: Arc<str> = text.into();
                self.0.insert(text.clone());
                text
            }
        }
    }

    fn share(&mut self, text: &mut Arc<str>) {
        match self.0.get(text) {
            Some(known) => *text = known.clone(),
            None => drop(self.0.insert(text.clone())),
        }
    }

    /// Forgets what nobody has any more.
    pub(super) fn prune(&mut self) {
        self.0.retain(|text| Arc::strong_count(text) > 1);
    }
}

impl Observer {
    /// Has a claim share what is known already.
    pub(super) fn share_claim(&mut self, id: &mut ClaimId, facts: &mut ClaimFacts) {
        self.texts.share(&mut id.namespace.0);
        if let Some(class) = &mut facts.class {
            self.texts.share(class);
        }
        if let Some((known, claim)) = self.view.claims.get_key_value(id) {
            *id = known.clone();
            share(&mut facts.uid, &claim.uid);
        }
        let Some((name, volume)) = facts.volume.as_ref().and_then(|name| self.volumes.get_key_value(name)) else {
            return;
        };
        facts.volume = Some(name.clone());
        // What names the claim was read before the claim was.
        if let Some((claim, uid)) = volume.claim.as_ref().filter(|(claim, _)| claim == id) {
            *id = claim.clone();
            share(&mut facts.uid, uid);
        }
    }

    /// Has a volume share what is known already.
    pub(super) fn share_volume(&mut self, name: &mut Arc<str>, facts: &mut VolumeFacts) {
        if let Some(driver) = &mut facts.driver {
            self.texts.share(driver);
        }
        let Some((id, uid)) = &mut facts.claim else { return };
        self.texts.share(&mut id.namespace.0);
        if let Some((known, claim)) = self.view.claims.get_key_value(id) {
            *id = known.clone();
            share(uid, &claim.uid);
        }
        if let Some(volume) = self.claims.get(id).and_then(|known| known.volume.as_ref()).filter(|it| *it == name) {
            *name = volume.clone();
        }
    }

    /// Has a pod share what is known already.
    pub(super) fn share_pod(&mut self, namespace: &mut NamespaceName, facts: &mut PodFacts) {
        self.texts.share(&mut namespace.0);
        for name in &mut facts.claims {
            let id = ClaimId { namespace: namespace.clone(), name: name.clone() };
            if let Some((known, _)) = self.view.claims.get_key_value(&id) {
                *name = known.name.clone();
            }
        }
    }
}

fn share(uid: &mut Uid, known: &Uid) {
    if uid == known {
        *uid = known.clone();
    }
}
