//! Which policy governs a claim: labels against selectors, and the namespaced kind before the cluster-wide one.

use crate::{
    labels::Labels,
    view::{Claim, ClaimId, Governance, NamespaceName, Policy, PolicyId, PolicyKind, Requirement, Selector, View},
};

impl Selector {
    /// Does every requirement hold for these labels?
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.iter().any(|it| it == value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| values.iter().all(|it| it != value)),
            Self::Exists(key) => labels.get(key).is_some(),
            Self::DoesNotExist(key) => labels.get(key).is_none(),
        }
    }
}

impl View {
    /// The policy that governs the claim `id`. Looks only at the policies of the claim's namespace and, where none of
    /// them selects it, at those of the cluster.
    pub fn governance(&self, id: &ClaimId, claim: &Claim) -> Governance {
        self.governance_of(id, &claim.labels)
    }

    /// The policy that governs, or would govern, a claim `id` with these labels.
    pub fn governance_of(&self, id: &ClaimId, labels: &Labels) -> Governance {
        match sole(self.selecting_of(PolicyKind::Namespaced(id.namespace.clone()), id, labels)) {
            Governance::None => sole(self.selecting_of(PolicyKind::Cluster, id, labels)),
            governance => governance,
        }
    }

    /// Every policy that selects the claim `id`, those of its namespace first: also the ones that do not govern it,
    /// because another takes precedence.
    pub fn selecting(&self, id: &ClaimId, claim: &Claim) -> Vec<PolicyId> {
        let kinds = [PolicyKind::Namespaced(id.namespace.clone()), PolicyKind::Cluster];
        let selecting = kinds.into_iter().flat_map(|kind| self.selecting_of(kind, id, &claim.labels));
        selecting.map(|(policy, _)| policy.clone()).collect()
    }

    fn selecting_of(
        &self,
        kind: PolicyKind,
        id: &ClaimId,
        labels: &Labels,
    ) -> impl Iterator<Item = (&PolicyId, &Policy)> {
        self.policies_of(kind).filter(move |(policy_id, policy)| {
            policy.claims.matches(labels) && self.is_for(policy_id, policy, &id.namespace)
        })
    }

    fn policies_of(&self, kind: PolicyKind) -> impl Iterator<Item = (&PolicyId, &Policy)> {
        let first = PolicyId { kind: kind.clone(), name: "".into() };
        self.policies.range(first..).take_while(move |(id, _)| id.kind == kind)
    }

    /// Is the policy for claims of this namespace?
    pub fn is_for(&self, id: &PolicyId, policy: &Policy, namespace: &NamespaceName) -> bool {
        match &id.kind {
            PolicyKind::Namespaced(own) => own == namespace,
            PolicyKind::Cluster => self.picks(&policy.namespaces, namespace),
        }
    }

    /// Does the selector pick the namespace? One whose labels are not known is picked only by a selector that picks all: it
    /// would be a guess to hold that a label is not there.
    pub(crate) fn picks(&self, selector: &Selector, namespace: &NamespaceName) -> bool {
        self.namespaces.get(namespace).map_or(selector.0.is_empty(), |labels| selector.matches(labels))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{cluster, id, namespaced, policy, view};

    fn in_values(key: &str, values: &[&str]) -> Requirement {
        Requirement::In(key.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
    }

    fn not_in_values(key: &str, values: &[&str]) -> Requirement {
        Requirement::NotIn(key.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn requirements_hold_as_kubernetes_says() {
        let db = Labels::from([("app", "db")]);
        let none = Labels::from([]);
        for (requirement, for_db, for_none) in [
            (in_values("app", &["db", "web"]), true, false),
            (in_values("app", &["web"]), false, false),
            (not_in_values("app", &["db"]), false, true),
            (not_in_values("app", &["web"]), true, true),
            (Requirement::Exists("app".to_owned()), true, false),
            (Requirement::DoesNotExist("app".to_owned()), false, true),
        ] {
            let selector = Selector(vec![requirement.clone()]);
            assert_eq!((selector.matches(&db), selector.matches(&none)), (for_db, for_none), "{requirement:?}");
        }
    }

    #[test]
    fn every_requirement_must_hold_and_none_selects_everything() {
        let db = Labels::from([("app", "db")]);
        let both = Selector(vec![in_values("app", &["db"]), Requirement::Exists("tier".to_owned())]);
        assert!(!both.matches(&db));
        assert!(both.matches(&Labels::from([("app", "db"), ("tier", "gold")])));
        assert!(Selector::default().matches(&Labels::from([])));
    }

    fn governance(view: &View) -> Governance {
        view.governance(&id("data-0"), &view.claims[&id("data-0")])
    }

    fn selecting(app: &str) -> Policy {
        Policy { claims: Selector(vec![in_values("app", &[app])]), ..policy() }
    }

    #[test]
    fn a_namespaced_policy_wins_over_cluster_policies() {
        let mut view = view();
        view.policies.insert(cluster("all"), policy());
        assert_eq!(governance(&view), Governance::By(namespaced("keep")));
        let selecting_it = view.selecting(&id("data-0"), &view.claims[&id("data-0")]);
        assert_eq!(selecting_it, [namespaced("keep"), cluster("all")], "and both select it");
        view.policies.insert(namespaced("keep"), selecting("web"));
        assert_eq!(governance(&view), Governance::By(cluster("all")), "one that selects something else does not");
        view.policies.insert(cluster("all"), selecting("web"));
        assert_eq!(governance(&view), Governance::None);
    }

    #[test]
    fn policies_of_one_kind_that_select_the_same_claim_conflict() {
        let mut view = view();
        view.policies.insert(namespaced("also"), policy());
        view.policies.insert(namespaced("web"), selecting("web"));
        assert_eq!(governance(&view), Governance::Conflict(vec![namespaced("also"), namespaced("keep")]));
        view.policies = [cluster("b"), cluster("a")].map(|id| (id, policy())).into();
        assert_eq!(governance(&view), Governance::Conflict(vec![cluster("a"), cluster("b")]));
    }

    #[test]
    fn policies_of_other_namespaces_do_not_count() {
        let mut view = view();
        for other in ["sho", "shop2"] {
            let kind = PolicyKind::Namespaced(crate::NamespaceName(other.into()));
            view.policies.insert(PolicyId { kind, name: "keep".into() }, policy());
        }
        assert_eq!(governance(&view), Governance::By(namespaced("keep")));
    }

    #[test]
    fn a_cluster_policy_is_for_the_namespaces_that_it_picks() {
        let mut view = view();
        let not_prod = Policy { namespaces: Selector(vec![not_in_values("stage", &["prod"])]), ..policy() };
        view.policies = [(cluster("all"), not_prod)].into();
        assert_eq!(governance(&view), Governance::By(cluster("all")));
        view.namespaces.insert(id("").namespace, Labels::from([("stage", "prod")]));
        assert_eq!(governance(&view), Governance::None);
        view.namespaces.clear();
        assert_eq!(governance(&view), Governance::None, "what labels the namespace has is not known");
        view.policies = [(cluster("all"), policy())].into();
        assert_eq!(governance(&view), Governance::By(cluster("all")), "and does not matter to this one");
    }
}
