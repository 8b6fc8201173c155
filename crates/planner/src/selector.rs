//! Which policy governs a claim: labels against selectors, and the namespaced kind before the cluster-wide one.

use std::collections::BTreeMap;

use crate::view::{Claim, ClaimId, Governance, Policy, PolicyId, PolicyKind, Requirement, Selector, View};

impl Selector {
    /// Does every requirement hold for these labels?
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

impl View {
    /// The policy that governs the claim `id`. Looks only at the policies of the claim's namespace and, where none of
    /// them selects it, at those of the cluster.
    pub fn governance(&self, id: &ClaimId, claim: &Claim) -> Governance {
        let namespaced = self
            .policies_of(PolicyKind::Namespaced(id.namespace.clone()))
            .filter(|(_, policy)| policy.claims.matches(&claim.labels));
        match sole(namespaced) {
            Governance::None => sole(
                self.policies_of(PolicyKind::Cluster)
                    .filter(|(_, policy)| policy.claims.matches(&claim.labels) && self.is_for_namespace_of(policy, id)),
            ),
            governance => governance,
        }
    }

    fn policies_of(&self, kind: PolicyKind) -> impl Iterator<Item = (&PolicyId, &Policy)> {
        let first = PolicyId { kind: kind.clone(), name: String::new() };
        self.policies.range(first..).take_while(move |(id, _)| id.kind == kind)
    }

    /// A namespace whose labels are not known is picked only by a selector that picks all: it would be a guess to
    /// hold that a label is not there.
    fn is_for_namespace_of(&self, policy: &Policy, id: &ClaimId) -> bool {
        self.namespaces
            .get(&id.namespace)
            .map_or(policy.namespaces.0.is_empty(), |labels| policy.namespaces.matches(labels))
    }
}

fn sole<'a>(mut selecting: impl Iterator<Item = (&'a PolicyId, &'a Policy)>) -> Governance {
    let Some((first, _)) = selecting.next() else { return Governance::None };
    let others: Vec<_> = selecting.map(|(id, _)| id.clone()).collect();
    if others.is_empty() {
        Governance::By(first.clone())
    } else {
        Governance::Conflict([vec![first.clone()], others].concat())
    }
}
