//! StatefulSets and their claims.

use orlop_planner::{Labels, Selector};

use crate::{
    Findings,
    document::Node,
    rule::{Rule, Severity},
    world::{Claim, ClassName, Object, World},
};

pub(crate) static TEMPLATE_MISMATCH: Rule = Rule {
    id: "template-mismatch",
    severity: Severity::Warning,
    finds: "a claim that is one of a StatefulSet's by its name, and differs from the set's template in size or class",
    why: "The set takes the claim as it is. A replica that is added later gets one of the template's: smaller, or on \
          other disks than the rest.",
    remedy: "Bring the template into line with the claims. It cannot be changed in place: delete the set with \
             `--cascade=orphan` and create it again.",
    source: "Kubernetes, StatefulSets, Stable Storage; Forbidden updates to statefulset spec",
};

pub(crate) static CLAIMS_DELETED: Rule = Rule {
    id: "claims-deleted",
    severity: Severity::Warning,
    finds: "a StatefulSet with `persistentVolumeClaimRetentionPolicy: Delete`",
    why: "The claims, and most often the data with them, are deleted with the set (`whenDeleted`) or with each replica that \
          is scaled away (`whenScaled`), such as by an autoscaler or a slip of the hand.",
    remedy: "Write `Retain`, the default, and delete claims by hand.",
    source: "Kubernetes, StatefulSets, PersistentVolumeClaim retention",
};

pub(crate) static NO_DISRUPTION_BUDGET: Rule = Rule {
    id: "no-disruption-budget",
    severity: Severity::Info,
    finds: "a StatefulSet with claims and several replicas that no PodDisruptionBudget among the files is for",
    why: "Nodes that are drained for an upgrade may take all replicas at once, however many are needed for a quorum.",
    remedy: "Write a PodDisruptionBudget that selects the pods, with `maxUnavailable: 1`.",
    source: "Kubernetes, Disruptions, Pod disruption budgets",
};

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    for template in world.claims.iter().filter(|claim| claim.is_template) {
        for claim in world.claims.iter().filter(|claim| is_made_of(claim, template)) {
            mismatch(world, claim, template, found);
        }
    }
    for set in world.objects.iter().filter(|object| object.is("apps", "StatefulSet")) {
        retention(set, found);
        disruption(world, set, found);
    }
}

/// Claims of a StatefulSet are known by their names: template, set, ordinal.
pub(crate) fn is_made_of(claim: &Claim<'_>, template: &Claim<'_>) -> bool {
    let prefix = format!("{}-{}-", template.node.text("metadata.name").unwrap_or_default(), template.object.name);
    let ordinal = claim.object.name.strip_prefix(&prefix);
    !claim.is_template
        && claim.object.namespace == template.object.namespace
        && ordinal.is_some_and(|ordinal| !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit()))
}

fn mismatch(world: &World<'_>, claim: &Claim<'_>, template: &Claim<'_>, found: &mut Findings) {
    let at = world.whereabouts(template.place("spec"));
    let mut differ = |path: &str, claims: String, templates: String| {
        let message = format!(
            "{} {claims}, and {} ({at}) {templates}: the next replica will differ; bring the template into line",
            claim.called(),
            template.called()
        );
        found.add(&TEMPLATE_MISMATCH, claim.place(path), message);
    };
    if let (Some(own), Some(other)) = (claim.request(), template.request())
        && own != other
    {
        differ("spec.resources.requests.storage", format!("requests {own}"), other.to_string());
    }
    let named = |class: ClassName<'_>| match class {
        ClassName::Named(name) => format!("StorageClass {name}"),
        ClassName::None => "no StorageClass".to_owned(),
        ClassName::Default => "the default StorageClass".to_owned(),
    };
    // A claim that is bound by name says nothing of where others should come from, and which class is the default one
    // nobody knows here.
    let says_nothing = claim.class() == ClassName::None && claim.node.get("spec.volumeName").is_some();
    if claim.class() != template.class() && template.class() != ClassName::Default && !says_nothing {
        differ("spec.storageClassName", format!("has {}", named(claim.class())), named(template.class()));
    }
}

fn retention(set: &Object<'_>, found: &mut Findings) {
    for (field, when) in [("whenDeleted", "the set is deleted"), ("whenScaled", "the set is scaled down")] {
        let path = format!("spec.persistentVolumeClaimRetentionPolicy.{field}");
        if set.node.text(&path) == Some("Delete") {
            let message = format!(
                "when {when}, the claims of {} are deleted with their data: write `Retain`, and delete claims by hand",
                set.called()
            );
            found.add(&CLAIMS_DELETED, set.place(&path), message);
        }
    }
}

fn disruption(world: &World<'_>, set: &Object<'_>, found: &mut Findings) {
    let replicas = set.node.whole("spec.replicas").unwrap_or(1);
    if replicas < 2 || set.node.items("spec.volumeClaimTemplates").is_empty() {
        return;
    }
    let pods: Labels = set.labels("spec.template.metadata.labels").into();
    let covers = |budget: &Object<'_>| {
        budget.is("policy", "PodDisruptionBudget")
            && budget.namespace == set.namespace
            && selector(budget.node).is_none_or(|selector| selector.matches(&pods))
    };
    if !world.objects.iter().any(covers) {
        let message = format!(
            "no PodDisruptionBudget among the files is for the {replicas} replicas of {}: nodes that are drained may take \
             all of them at once; write one with maxUnavailable: 1",
            set.called()
        );
        found.add(&NO_DISRUPTION_BUDGET, set.place("spec.replicas"), message);
    }
}

/// The selector of a budget; none where it is none, and then the budget is taken to be meant for the pods.
fn selector(budget: &Node) -> Option<Selector> {
    let selector = serde_json::from_value(budget.get("spec.selector")?.to_json()).ok()?;
    orlop_operator::objects::selector("spec.selector", selector).ok()
}
