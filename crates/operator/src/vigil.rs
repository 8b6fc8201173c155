//! Which claims wait for nothing but that the agent of their node falls silent. Nearly all claims of a cluster at rest do, and
//! to look at each of them again and again would be most of what the operator does: so it looks at the nodes.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use orlop_planner::ClaimId;

/// The claims by the node whose agent confirms their measurement.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    nodes: HashMap<Arc<str>, BTreeSet<ClaimId>>,
    kept: HashMap<ClaimId, Arc<str>>,
    /// Each of the nodes once, with a time before which its agent is not silent.
    queue: BinaryHeap<Reverse<(Timestamp, Arc<str>)>>,
}

impl Vigil {
    /// The claim waits for the agent of the node, which is silent at this time if it says nothing until then.
    pub(crate) fn keep(&mut self, claim: &ClaimId, node: &Arc<str>, silent_at: Timestamp) {
        if self.kept.get(claim) == Some(node) {
            return;
        }
        self.leave(claim);
        let claims = self.nodes.entry(node.clone()).or_insert_with(|| {
            self.queue.push(Reverse((silent_at, node.clone())));
            BTreeSet::new()
        });
        claims.insert(claim.clone());
        self.kept.insert(claim.clone(), node.clone());
    }

    /// The claim waits for something else, or is no more.
    pub(crate) fn leave(&mut self, claim: &ClaimId) {
        if let Some(claims) = self.kept.remove(claim).and_then(|node| self.nodes.get_mut(&node)) {
            claims.remove(claim);
        }
    }

    /// Nothing is known of any claim.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When to look at the next node.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// The claims of the nodes whose agents have fallen silent; they are kept no longer. `silent_at` is when the agent of a
    /// node is silent if it says nothing more.
    pub(crate) fn take_due(&mut self, now: Timestamp, silent_at: impl Fn(&str) -> Option<Timestamp>) -> Vec<ClaimId> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= now) {
            let Some(Reverse((_, node))) = self.queue.pop() else { break };
            match silent_at(&node).filter(|at| *at > now && !self.nodes[&node].is_empty()) {
                Some(at) => self.queue.push(Reverse((at, node))),
                None => due.extend(self.nodes.remove(&node).unwrap_or_default()),
            }
        }
        for claim in &due {
            self.kept.remove(claim);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use orlop_planner::NamespaceName;

    use super::*;

    fn claim(name: &str) -> ClaimId {
        ClaimId { namespace: NamespaceName("ns".into()), name: name.into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A vigil for the claims a and b of one node and for c of another, whose agents were silent at second 30 and 40.
    fn vigil() -> Vigil {
        let mut vigil = Vigil::default();
        for (name, node, silent_at) in [("a", "n1", 30), ("b", "n1", 33), ("c", "n2", 40), ("a", "n1", 50)] {
            vigil.keep(&claim(name), &node.into(), at(silent_at));
        }
        vigil
    }

    #[test]
    fn claims_are_due_when_their_nodes_agent_has_fallen_silent() {
        let mut vigil = vigil();
        assert_eq!(vigil.next(), Some(at(30)));
        assert_eq!(vigil.take_due(at(30), |_| Some(at(45))), [], "it has been heard meanwhile");
        assert_eq!(vigil.next(), Some(at(40)));
        assert_eq!(vigil.take_due(at(45), |_| Some(at(45))), [claim("c"), claim("a"), claim("b")]);
        assert_eq!((vigil.next(), vigil.take_due(at(1_000), |_| None)), (None, vec![]), "and then no longer kept");
    }

    #[test]
    fn the_claims_of_a_node_that_is_gone_are_due() {
        let mut vigil = vigil();
        assert_eq!(vigil.take_due(at(30), |_| None), [claim("a"), claim("b")]);
    }

    #[test]
    fn a_claim_that_moves_or_leaves_waits_for_its_node_no_longer() {
        let mut vigil = vigil();
        vigil.keep(&claim("a"), &"n2".into(), at(40));
        vigil.leave(&claim("b"));
        vigil.leave(&claim("d"));
        assert_eq!(vigil.take_due(at(30), |_| Some(at(60))), []);
        assert_eq!(vigil.take_due(at(100), |_| None), [claim("a"), claim("c")]);
        assert!(vigil.nodes.is_empty() && vigil.kept.is_empty(), "nothing is kept of a node without claims");
    }
}
