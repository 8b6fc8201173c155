//! Texts that many objects have, each kept once: what lists of a large cluster tell is mostly the same namespaces, classes and
//! drivers again and again, and the names of claims and volumes by those who refer to them.

use std::{collections::HashSet, sync::Arc};

use orlop_planner::{ClaimId, NamespaceName, Uid};

use super::{ClaimFacts, Observer, PodFacts, VolumeFacts};

/// Of fewer texts than this none is forgotten.
const FEW: usize = 64;

/// The texts of which a cluster has few.
#[derive(Debug, Default)]
pub(super) struct Texts {
    kept: HashSet<Arc<str>>,
    /// When there are so many, those are forgotten that nobody has any more.
    prune_at: usize,
}

impl Texts {
    /// The text as it is kept.
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        match self.kept.get(text) {
            Some(known) => known.clone(),
            None => self.keep(text.into()),
        }
    }

    fn share(&mut self, text: &mut Arc<str>) {
        match self.kept.get(text) {
            Some(known) => *text = known.clone(),
            None => drop(self.keep(text.clone())),
        }
    }

    fn keep(&mut self, text: Arc<str>) -> Arc<str> {
        if self.kept.len() >= self.prune_at {
            self.kept.retain(|text| Arc::strong_count(text) > 1);
            self.prune_at = FEW.max(2 * self.kept.len());
        }
        self.kept.insert(text.clone());
        text
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

#[cfg(test)]
mod tests {
    use orlop_api::Bytes;

    use super::super::{Change, Observation, fixture::claim_facts};
    use super::*;

    #[test]
    fn texts_that_nobody_has_any_more_are_forgotten() {
        let mut texts = Texts::default();
        let held: Vec<_> = (0..10).map(|number| texts.get(&format!("held-{number}"))).collect();
        for number in 0..100 * FEW {
            texts.get(&format!("node-{number}"));
        }
        assert!(texts.kept.len() <= FEW + held.len(), "{}", texts.kept.len());
        assert!(held.iter().all(|text| Arc::ptr_eq(text, &texts.get(text))));
    }

    /// Whichever of them is listed first.
    #[test]
    fn a_claim_and_its_volume_have_their_names_but_once() {
        let id = || ClaimId { namespace: NamespaceName("app".into()), name: "data".into() };
        let claim = || Observation::Claim(Change::Is(id(), claim_facts()));
        let facts = || VolumeFacts {
            capacity: Bytes::GIB,
            driver: Some("d".into()),
            handle: None,
            claim: Some((id(), Uid("u".into()))),
        };
        let volume = || Observation::Volume(Change::Is("pv".into(), facts()));
        for order in [[claim(), volume()], [volume(), claim()]] {
            let mut observer = Observer::default();
            for observation in order {
                observer.observe(observation);
            }
            let (name, volume) = observer.volumes.get_key_value("pv").unwrap();
            let (of_volume, uid) = volume.claim.as_ref().unwrap();
            let (of_claim, claim) = observer.view.claims.get_key_value(&id()).unwrap();
            assert!(Arc::ptr_eq(name, observer.volume_of(of_claim).unwrap()));
            assert!(Arc::ptr_eq(&of_volume.name, &of_claim.name) && Arc::ptr_eq(&uid.0, &claim.uid.0));
            assert!(Arc::ptr_eq(&of_volume.namespace.0, &of_claim.namespace.0));
            assert!(Arc::ptr_eq(volume.driver.as_ref().unwrap(), claim.driver.as_ref().unwrap()));
        }
    }
}
