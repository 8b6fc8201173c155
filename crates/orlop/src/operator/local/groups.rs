//! Which node's snapshotter takes which group of snapshots. Pure: the objects are read and written in [`super::snapshots`].
//!
//! A snapshotter of one node sees only what carries the label of that node, and that goes for the classes of groups too
//! (external-snapshotter v8.7 watches both through one filter). A class can carry the label of one node at a time, so it
//! is lent to the nodes that have a group of that class to take: to each for a moment, in turn, as long as there are
//! several. A group that is taken needs its class no longer, not even for being deleted.

use std::collections::{BTreeMap, BTreeSet};

/// A group of snapshots, as far as its node goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The name of its content.
    pub(super) name: String,
    /// The node of its first volume.
    pub(super) node: String,
    /// The class that it is to be taken by; nothing, if it has been taken or is to be deleted.
    pub(super) class: Option<String>,
    /// The node that its content is labelled with.
    pub(super) label: Option<String>,
}

/// What is to be labelled, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Labels {
    /// Classes, each with its node.
    pub(super) classes: BTreeMap<String, String>,
    /// Contents, each with its node.
    pub(super) contents: BTreeMap<String, String>,
    /// Do several nodes wait for one class? Then it is to be decided again in the next turn.
    pub(super) contended: bool,
}

/// Decides for all groups. `turn` counts up while several nodes wait for one class.
pub(super) fn label(groups: &[Group], turn: u64) -> Labels {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for group in groups {
        if let Some(class) = &group.class {
            waiting.entry(class).or_default().insert(&group.node);
        }
    }
    let mut labels = Labels::default();
    for (class, nodes) in waiting {
        labels.contended |= nodes.len() > 1;
        // A remainder is below the number of nodes, which fits a usize.
        let index = usize::try_from(turn % nodes.len() as u64).unwrap_or(0);
        if let Some(node) = nodes.into_iter().nth(index) {
            labels.classes.insert(class.to_owned(), node.to_owned());
        }
    }
    for group in groups.iter().filter(|group| group.label.as_ref() != Some(&group.node)) {
        // Without its class, a snapshotter could only complain.
        if group.class.as_ref().is_none_or(|class| labels.classes.get(class) == Some(&group.node)) {
            labels.contents.insert(group.name.clone(), group.node.clone());
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(name: &str, node: &str) -> Group {
        Group { name: name.into(), node: node.into(), class: Some("class".into()), label: None }
    }

    fn pairs(labels: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
        labels.iter().map(|(object, node)| (object.as_str(), node.as_str())).collect()
    }

    #[test]
    fn a_group_goes_to_its_node_with_its_class() {
        let labels = label(&[waiting("g", "node-2")], 7);
        assert_eq!(pairs(&labels.classes), [("class", "node-2")]);
        assert_eq!(pairs(&labels.contents), [("g", "node-2")]);
        assert!(!labels.contended);
    }

    #[test]
    fn nodes_that_wait_for_one_class_have_it_in_turn() {
        let groups = [waiting("a", "node-1"), waiting("b", "node-2"), waiting("c", "node-2")];
        let (first, second) = (label(&groups, 0), label(&groups, 1));
        assert!(first.contended && second.contended);
        assert_eq!((pairs(&first.classes), pairs(&first.contents)), (vec![("class", "node-1")], vec![("a", "node-1")]));
        assert_eq!(pairs(&second.contents), [("b", "node-2"), ("c", "node-2")]);
    }

    #[test]
    fn a_group_that_was_taken_or_is_to_be_deleted_needs_no_class() {
        let labels = label(&[Group { class: None, ..waiting("g", "node-1") }], 0);
        assert_eq!((labels.classes.len(), pairs(&labels.contents)), (0, vec![("g", "node-1")]));
        let labelled = Group { class: None, label: Some("node-1".into()), ..waiting("g", "node-1") };
        assert_eq!(label(&[labelled], 0), Labels::default());
    }

    proptest! {
        #[test]
        fn every_group_has_its_turn(nodes in prop::collection::vec(0_u8..5, 1..12), start: u32) {
            let names = nodes.iter().enumerate().map(|(index, node)| waiting(&index.to_string(), &node.to_string()));
            let groups: Vec<_> = names.collect();
            let turns = (0..5).map(|turn| label(&groups, u64::from(start) + turn));
            let seen: BTreeSet<_> = turns.flat_map(|labels| labels.contents.into_keys()).collect();
            prop_assert_eq!(seen.len(), groups.len());
        }
    }
}
