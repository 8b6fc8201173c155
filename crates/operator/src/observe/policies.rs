//! Policies, and what else bears on many claims at once: namespaces, classes, driver profiles. Each change concerns
//! only the claims that it can mean something to.

use std::collections::BTreeMap;

use orlop_api::{DriverProfileSpec, driver::profile_name};
use orlop_planner::{
    AttributesClass, Claim, ClaimId, Class, Labels, NamespaceName, Policy, PolicyId, PolicyKind, View,
};

use super::{Change, KnownPolicy, Observer, PolicyFacts};

impl Observer {
    pub(super) fn policy(&mut self, change: Change<PolicyId, PolicyFacts>) {
        let known = self.policies.keys().filter(|id| id.kind != PolicyKind::Cluster);
        for (id, facts) in self.lists.policies.resolve(change, known) {
            self.set_policy(id, facts);
        }
    }

    pub(super) fn cluster_policy(&mut self, change: Change<PolicyId, PolicyFacts>) {
        let known = self.policies.keys().filter(|id| id.kind == PolicyKind::Cluster);
        for (id, facts) in self.lists.cluster_policies.resolve(change, known) {
            self.set_policy(id, facts);
        }
    }

    fn set_policy(&mut self, id: PolicyId, facts: Option<PolicyFacts>) {
        let Some(PolicyFacts { uid, generation, policy, status }) = facts else {
            self.policies.remove(&id);
            self.replace_policy(&id, None);
            self.dirty.policies.insert(id);
            return;
        };
        let (policy, invalid) = match policy {
            Ok(policy) => (Some(policy), None),
            Err(why) => (None, Some(why)),
        };
        self.replace_policy(&id, policy.as_ref());
        self.policies.insert(id.clone(), KnownPolicy { uid, generation, invalid, status });
        self.dirty.policies.insert(id);
    }

    /// Puts a policy in the place of another. Concerned are the claims that either selects. The status of a policy
    /// changes more often than its spec, and concerns none.
    fn replace_policy(&mut self, id: &PolicyId, policy: Option<&Policy>) {
        let before = match policy {
            Some(policy) => self.view.policies.insert(id.clone(), policy.clone()),
            None => self.view.policies.remove(id),
        };
        if before.as_ref() == policy {
            return;
        }
        let namespaces = &self.view.namespaces;
        let selects = |policy: &Policy, claim_id: &ClaimId, claim: &Claim| {
            let in_namespace = id.kind != PolicyKind::Cluster
                || namespaces.get(&claim_id.namespace).is_none_or(|labels| policy.namespaces.matches(labels));
            in_namespace && policy.claims.matches(&claim.labels)
        };
        let selected = in_scope(&self.view, &id.kind).filter(|(claim_id, claim)| {
            [before.as_ref(), policy].into_iter().flatten().any(|policy| selects(policy, claim_id, claim))
        });
        let selected: Vec<_> = selected.map(|(claim_id, _)| claim_id.clone()).collect();
        self.regroup(&selected);
        self.dirty.claims.extend(selected);
    }

    pub(super) fn namespace(&mut self, change: Change<NamespaceName, Labels>) {
        for (name, labels) in self.lists.namespaces.resolve(change, self.view.namespaces.keys()) {
            if put(&mut self.view.namespaces, &name, labels) {
                let inside: Vec<_> = self.view.claims_in(&name).map(|(id, _)| id.clone()).collect();
                self.regroup(&inside);
                self.concerns(inside);
            }
        }
    }

    pub(super) fn class(&mut self, change: Change<String, Class>) {
        for (name, class) in self.lists.classes.resolve(change, self.view.classes.keys()) {
            if put(&mut self.view.classes, &name, class) {
                let of_class = self.view.claims.iter().filter(|(_, claim)| claim.class.as_deref() == Some(&*name));
                let claims = of_class.map(|(id, _)| id.clone()).collect();
                self.concerns(claims);
            }
        }
    }

    pub(super) fn attributes_class(&mut self, change: Change<String, AttributesClass>) {
        for (name, class) in self.lists.attributes_classes.resolve(change, self.view.attributes_classes.keys()) {
            if !put(&mut self.view.attributes_classes, &name, class) {
                continue;
            }
            // What a class gives is counted of those that have it, and matters to all that could have it.
            let names = |policy: &Policy| {
                policy.performance.as_ref().is_some_and(|spec| spec.attributes_classes.contains(&name))
            };
            let is_named = self.view.policies.values().any(names);
            let has = |claim: &Claim| {
                claim
                    .attributes
                    .as_ref()
                    .is_some_and(|it| it.requested.as_ref() == Some(&name) || it.current.as_ref() == Some(&name))
            };
            let concerned = self.view.claims.iter().filter(|(_, claim)| is_named || has(claim));
            let claims = concerned.map(|(id, _)| id.clone()).collect();
            self.concerns(claims);
        }
    }

    pub(super) fn driver(&mut self, change: Change<String, DriverProfileSpec>) {
        for (name, profile) in self.lists.drivers.resolve(change, self.view.drivers.keys()) {
            if !put(&mut self.view.drivers, &name, profile) {
                continue;
            }
            let classes = &self.view.classes;
            // A claim whose volume names no driver is judged by the driver of its class.
            let of_driver =
                self.view.claims.iter().filter(|(_, claim)| match (claim.driver.as_deref(), claim.class.as_deref()) {
                    (Some(driver), _) => profile_name(driver) == name,
                    (None, Some(class)) => {
                        classes.get(class).is_some_and(|class| profile_name(&class.provisioner) == name)
                    }
                    (None, None) => false,
                });
            let claims = of_driver.map(|(id, _)| id.clone()).collect();
            self.concerns(claims);
        }
    }

    /// Something has changed on which the budgets or the price of these claims may depend.
    pub(super) fn concerns(&mut self, claims: Vec<ClaimId>) {
        for id in &claims {
            self.charge(id);
        }
        self.dirty.claims.extend(claims);
    }
}

/// Puts a value in the place of another, or removes it. Is it another than before?
fn put<K: Ord + Clone, V: PartialEq>(known: &mut BTreeMap<K, V>, key: &K, value: Option<V>) -> bool {
    let is_other = known.get(key) != value.as_ref();
    match value {
        Some(value) if is_other => drop(known.insert(key.clone(), value)),
        None => drop(known.remove(key)),
        Some(_) => {}
    }
    is_other
}

/// The claims that a policy of this kind can select at all.
fn in_scope<'a>(view: &'a View, kind: &PolicyKind) -> Box<dyn Iterator<Item = (&'a ClaimId, &'a Claim)> + 'a> {
    match kind {
        PolicyKind::Cluster => Box::new(view.claims.iter()),
        PolicyKind::Namespaced(namespace) => Box::new(view.claims_in(namespace)),
    }
}
