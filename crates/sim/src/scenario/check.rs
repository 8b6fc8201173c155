//! That everything which a scenario names is in it.

use super::{Deed, Scenario, ScenarioError, Trouble};
use crate::simulation::sets;

impl Scenario {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let unknown = |what: String, place| Err(ScenarioError::Unknown(what, place));
        let templates = self.sets.iter().map(|(name, set)| (name, &set.template));
        for (name, claim) in self.claims.iter().chain(templates) {
            if !self.classes.contains_key(&claim.class) {
                return unknown(format!("class {} of claim {name}", claim.class), "classes");
            }
            if let Some(name) = claim.attributes_class.as_ref().filter(|it| !self.attributes_classes.contains_key(*it))
            {
                return unknown(format!("attributes class {name}"), "attributesClasses");
            }
            self.check_node(claim.node)?;
        }
        for (name, attributes) in &self.attributes_classes {
            if !self.classes.contains_key(&attributes.class) {
                return unknown(format!("class {} of attributes class {name}", attributes.class), "classes");
            }
        }
        self.agentless.iter().try_for_each(|node| self.check_node(*node))?;
        for fault in &self.faults {
            if let Some(operator) = fault.what.operator().filter(|operator| *operator >= self.operators) {
                return unknown(format!("operator {operator}"), "operators");
            }
            fault.what.node().map_or(Ok(()), |node| self.check_node(node))?;
            match &fault.what {
                Trouble::CrashLoop { claim } if !self.has_claim(claim) => {
                    return unknown(format!("claim {claim}"), "claims");
                }
                Trouble::ModificationRefused { class: Some(class) } if !self.attributes_classes.contains_key(class) => {
                    return unknown(format!("attributes class {class}"), "attributesClasses");
                }
                _ => {}
            }
        }
        for change in &self.changes {
            if let Some(claim) = change.what.claim().filter(|claim| !self.has_claim(claim)) {
                return unknown(format!("claim {claim}"), "claims");
            }
            match &change.what {
                Deed::Scale { set, .. } if !self.sets.contains_key(set) => {
                    return unknown(format!("StatefulSet {set}"), "sets");
                }
                Deed::Policy { name, .. } if !self.policies.contains_key(name) => {
                    return unknown(format!("policy {name}"), "policies");
                }
                Deed::Budget { name, .. } if !self.budgets.contains_key(name) => {
                    return unknown(format!("budget {name}"), "budgets");
                }
                Deed::Start { node, .. } => self.check_node(*node)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_node(&self, node: usize) -> Result<(), ScenarioError> {
        if node < self.nodes { Ok(()) } else { Err(ScenarioError::Unknown(format!("node {node}"), "nodes")) }
    }

    /// Is there such a claim, or a StatefulSet that may have it?
    fn has_claim(&self, name: &str) -> bool {
        self.claims.contains_key(name) || sets::replica(name).is_some_and(|(set, _)| self.sets.contains_key(set))
    }
}
