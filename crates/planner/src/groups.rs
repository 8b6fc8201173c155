//! The groups of claims that are to stay equal: those of one namespace that one policy governs and that have the same value
//! of the label by which it groups. The index answers which of a group requests the most without looking at the others, and
//! says who is to be decided again when that changes.

use std::collections::{BTreeMap, BTreeSet};

use orlop_api::Bytes;

use crate::view::{Claim, ClaimId, Governance, NamespaceName, PolicyId, Resize, View};

/// The claims by their groups. A claim is in one at most: that of the policy that governs it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Groups {
    members: BTreeMap<Group, BTreeSet<(Bytes, ClaimId)>>,
    of: BTreeMap<ClaimId, (Group, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    policy: PolicyId,
    namespace: NamespaceName,
    value: Box<str>,
}

impl Groups {
    fn largest(&self, group: &Group) -> Option<&(Bytes, ClaimId)> {
        self.members.get(group)?.last()
    }

    fn remove(&mut self, id: &ClaimId, group: &Group, size: Bytes) {
        if let Some(members) = self.members.get_mut(group) {
            members.remove(&(size, id.clone()));
            if members.is_empty() {
                self.members.remove(group);
            }
        }
    }
}

impl View {
    /// Brings the index of groups up to date after claims, their namespace or a policy have changed, or claims have gone.
    /// Returns the claims that are to be decided again because the largest of their group is another.
    pub fn regroup<'a>(&mut self, claims: impl IntoIterator<Item = &'a ClaimId>) -> BTreeSet<ClaimId> {
        claims.into_iter().flat_map(|id| self.regroup_claim(id)).collect()
    }

    fn regroup_claim(&mut self, id: &ClaimId) -> Vec<ClaimId> {
        let after = self.claims.get(id).and_then(|claim| self.group_of(id, claim));
        let before = self.groups.of.get(id).cloned();
        if before == after {
            return Vec::new();
        }
        let groups: BTreeSet<Group> = [&before, &after].into_iter().flatten().map(|(group, _)| group.clone()).collect();
        let led: Vec<_> = groups.iter().map(|group| self.groups.largest(group).map(|(size, _)| *size)).collect();
        if let Some((group, size)) = before {
            self.groups.remove(id, &group, size);
            self.groups.of.remove(id);
        }
        if let Some((group, size)) = after {
            self.groups.members.entry(group.clone()).or_default().insert((size, id.clone()));
            self.groups.of.insert(id.clone(), (group, size));
        }
        let changed = groups.iter().zip(led).filter(|(group, led)| {
            let leads = self.groups.largest(group).map(|(size, _)| *size);
            leads != *led
        });
        let members = changed.filter_map(|(group, _)| self.groups.members.get(group)).flatten();
        members.map(|(_, member)| member.clone()).filter(|member| member != id).collect()
    }

    /// The group of a claim with what it is to the others: the size that it requests.
    fn group_of(&self, id: &ClaimId, claim: &Claim) -> Option<(Group, Bytes)> {
        if !claim.bound || claim.raw_block {
            return None;
        }
        let Governance::By(policy) = self.governance(id, claim) else { return None };
        let key = self.policies.get(&policy)?.capacity.as_ref()?.group_by.as_ref()?;
        let value = claim.labels.get(key)?.into();
        // What its driver has refused for good no other is to follow.
        let refused = matches!(claim.resize, Resize::Infeasible(_));
        let size = if refused { claim.requested.min(claim.capacity) } else { claim.requested };
        Some((Group { policy, namespace: id.namespace.clone(), value }, size))
    }

    /// The claim that requests the most of a claim's group, and how much that is; none where the claim is in no group, or
    /// none of its group requests more than `above`.
    pub fn leader(&self, id: &ClaimId, above: Bytes) -> Option<(&ClaimId, Bytes)> {
        let (group, _) = self.groups.of.get(id)?;
        self.groups.largest(group).filter(|(size, _)| *size > above).map(|(size, leader)| (leader, *size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Labels, Requirement, Selector,
        fixture::{claim, id, mib, namespaced, policy, the_spec, view},
    };

    fn member(size: u64, shard: &str) -> Claim {
        Claim { requested: mib(size), capacity: mib(size), labels: Labels::from([("shard", shard)]), ..claim() }
    }

    fn all(view: &mut View) -> BTreeSet<ClaimId> {
        let claims: Vec<_> = view.claims.keys().cloned().collect();
        view.regroup(&claims)
    }

    /// Four claims of two shards, under a policy that groups by shard.
    fn grouped() -> View {
        let mut view = view();
        the_spec(&mut view).group_by = Some("shard".to_owned());
        view.claims = [("a-0", 512, "a"), ("a-1", 640, "a"), ("b-0", 512, "b"), ("b-1", 512, "b")]
            .map(|(name, size, shard)| (id(name), member(size, shard)))
            .into();
        all(&mut view);
        view
    }

    fn change(view: &mut View, name: &str, after: Option<Claim>) -> Vec<String> {
        view.claims.remove(&id(name));
        view.claims.extend(after.map(|claim| (id(name), claim)));
        let concerned = view.regroup([&id(name)]);
        let mut anew = View { groups: Groups::default(), ..view.clone() };
        all(&mut anew);
        assert_eq!(view.groups, anew.groups, "the index is as if it were made anew");
        concerned.into_iter().map(|id| id.name.to_string()).collect()
    }

    fn leader(view: &View, name: &str) -> Option<(String, Bytes)> {
        let leader = view.leader(&id(name), view.claims[&id(name)].requested);
        leader.map(|(id, size)| (id.name.to_string(), size))
    }

    #[test]
    fn the_leader_of_a_claim_is_the_largest_of_its_group() {
        let view = grouped();
        assert_eq!(leader(&view, "a-0"), Some(("a-1".to_owned(), mib(640))));
        assert_eq!(leader(&view, "a-1"), None, "it leads");
        assert_eq!(leader(&view, "b-0"), None, "all of its group are equal");
    }

    #[test]
    fn a_change_concerns_the_others_of_a_group_only_when_its_largest_changes() {
        let mut view = grouped();
        let none = Vec::<String>::new();
        assert_eq!(change(&mut view, "a-0", Some(member(600, "a"))), none);
        assert_eq!(change(&mut view, "b-0", Some(member(600, "b"))), ["b-1"]);
        assert_eq!(change(&mut view, "a-1", None), ["a-0"], "it has gone");
        assert_eq!(change(&mut view, "b-0", Some(member(600, "a"))), ["b-1"], "a-0 requests as much as it");
        assert_eq!(change(&mut view, "c", Some(Claim { bound: false, ..member(9000, "a") })), none);
        let refused = Claim { resize: Resize::Infeasible(String::new()), capacity: mib(600), ..member(9000, "a") };
        assert_eq!(change(&mut view, "c", Some(refused)), none, "what was refused is no example");
    }

    #[test]
    fn claims_of_another_policy_or_namespace_do_not_lead() {
        let mut view = grouped();
        let elsewhere = ClaimId { namespace: NamespaceName("web".into()), name: "a-9".into() };
        view.claims.insert(elsewhere.clone(), member(9000, "a"));
        assert_eq!(view.regroup([&elsewhere]), [].into());
        let fenced = Selector(vec![Requirement::Exists("fenced".to_owned())]);
        view.policies.insert(namespaced("fenced"), crate::Policy { claims: fenced, ..policy() });
        let labels = Labels::from([("shard", "a"), ("fenced", "yes")]);
        let in_conflict = Claim { labels: labels.clone(), ..member(8000, "a") };
        assert_eq!(change(&mut view, "a-8", Some(in_conflict)), Vec::<String>::new());
        assert_eq!(
            change(&mut view, "a-1", Some(Claim { labels, ..member(640, "a") })),
            ["a-0"],
            "and it leads no more"
        );
        assert_eq!(leader(&view, "a-0"), None);
    }

    #[test]
    fn a_policy_that_groups_by_another_label_groups_anew() {
        let mut view = grouped();
        the_spec(&mut view).group_by = Some("zone".to_owned());
        all(&mut view);
        assert_eq!(view.groups, Groups::default());
        the_spec(&mut view).group_by = Some("shard".to_owned());
        assert_eq!(all(&mut view), [id("a-0")].into(), "which the larger one came after");
    }
}
