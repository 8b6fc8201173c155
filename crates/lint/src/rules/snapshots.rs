//! Snapshots of claims among the files.

use orlop_planner::Labels;

use crate::{
    Findings,
    rule::{Rule, Severity},
    world::{Claim, Object, World},
};

pub(crate) static SNAPSHOT_CLASS_OF_ANOTHER_DRIVER: Rule = Rule {
    id: "snapshot-class-of-another-driver",
    severity: Severity::Error,
    finds: "a snapshot whose class is for another driver than that of the claim",
    why: "The snapshot is never taken. It is reported in the snapshot's status, where nobody looks until it is needed.",
    remedy: "Name a class of the claim's driver.",
    source: "Kubernetes, Volume Snapshot Classes, Driver; external-snapshotter, `GetSnapshotClass`",
};

/// A snapshot's kind, the field with its class, and the class's kind.
const KINDS: [(&str, &str, &str, &str); 2] = [
    ("snapshot.storage.k8s.io", "VolumeSnapshot", "spec.volumeSnapshotClassName", "VolumeSnapshotClass"),
    (
        "groupsnapshot.storage.k8s.io",
        "VolumeGroupSnapshot",
        "spec.volumeGroupSnapshotClassName",
        "VolumeGroupSnapshotClass",
    ),
];

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    for (group, kind, field, class_kind) in KINDS {
        for snapshot in world.objects.iter().filter(|object| object.is(group, kind)) {
            let Some(name) = snapshot.node.text(field) else { continue };
            let mut classes = world.objects.iter().filter(|object| object.is(group, class_kind));
            let class = classes.find(|object| object.name == name);
            let Some(driver) = class.and_then(|class| class.node.text("driver")) else { continue };
            for claim in world.claims.iter().filter(|claim| is_source(snapshot, claim)) {
                let Some(class) = world.class_of(claim).filter(|class| class.provisioner != driver) else { continue };
                let message = format!(
                    "{class_kind} {name} is for {driver}, and {} is a volume of {}: the snapshot is never taken; name a \
                     class of that driver",
                    claim.called(),
                    class.provisioner
                );
                found.add(&SNAPSHOT_CLASS_OF_ANOTHER_DRIVER, snapshot.place(field), message);
                break;
            }
        }
    }
}

fn is_source(snapshot: &Object<'_>, claim: &Claim<'_>) -> bool {
    if claim.object.namespace != snapshot.namespace {
        return false;
    }
    if let Some(name) = snapshot.node.text("spec.source.persistentVolumeClaimName") {
        return *claim.id.name == *name;
    }
    let Some(selector) = snapshot.node.get("spec.source.selector") else { return false };
    is_selected(selector.to_json(), &claim.labels)
}

fn is_selected(selector: serde_json::Value, labels: &Labels) -> bool {
    let selector = serde_json::from_value(selector).ok();
    let selector =
        selector.and_then(|selector| orlop_operator::objects::selector("spec.source.selector", selector).ok());
    selector.is_some_and(|selector| selector.matches(labels))
}
