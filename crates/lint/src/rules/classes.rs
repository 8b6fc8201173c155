//! StorageClasses that lead their claims into trouble.

use crate::{
    Findings,
    rule::{Rule, Severity},
    rules::policies,
    world::{Claim, Class, World},
};

/// What stands in for a driver where volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

pub(crate) static CLASS_NOT_EXPANDABLE: Rule = Rule {
    id: "class-not-expandable",
    severity: Severity::Warning,
    finds: "a StorageClass without `allowVolumeExpansion: true` that claims among the files use",
    why: "When such a volume is full, its data has to be moved to another one: the API server refuses a larger request. \
          Nothing is lost by allowing it.",
    remedy: "Set `allowVolumeExpansion: true`. It can be set on a class that is in use, and holds for its volumes at once.",
    source: "Kubernetes, Persistent Volumes, Expanding Persistent Volumes Claims",
};

pub(crate) static IMMEDIATE_BINDING: Rule = Rule {
    id: "immediate-binding",
    severity: Severity::Warning,
    finds: "a StorageClass with `volumeBindingMode: Immediate`, which is the default, whose volumes are tied to a zone or node",
    why: "The volume is made in any zone before it is known where the pod can run. A pod that needs two such volumes, or \
          has other constraints, then finds no node, and stays Pending for ever.",
    remedy: "Set `volumeBindingMode: WaitForFirstConsumer`. The field cannot be changed: make a new class. Where all \
             volumes belong in one place, say so by `allowedTopologies`.",
    source: "Kubernetes, Storage Classes, Volume binding mode; the key is the driver profile's `topologyKey`",
};

pub(crate) static RECLAIM_DELETE: Rule = Rule {
    id: "reclaim-delete",
    severity: Severity::Info,
    finds: "a StorageClass with `reclaimPolicy: Delete`, which is the default, that claims use, and no snapshots among the files",
    why: "Whoever deletes the claim, or its namespace, deletes the data, at once and for good.",
    remedy: "Set `reclaimPolicy: Retain`, or take snapshots and copies that outlive the volume. The field cannot be changed \
             on a class, but can be on each PersistentVolume.",
    source: "Kubernetes, Storage Classes, Reclaim policy",
};

pub(crate) static UNKNOWN_DRIVER: Rule = Rule {
    id: "unknown-driver",
    severity: Severity::Info,
    finds: "a StorageClass of a driver that Orlop has no profile of",
    why: "It is taken to expand volumes while they are used, in steps of 1Gi and as often as one likes, as most do. Its \
          sizes and limits are not checked here.",
    remedy: "Describe it by a DriverProfile, or correct its name.",
    source: "[driver profiles](driver-profiles.md#your-own)",
};

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    let has_snapshots = world.objects.iter().any(|object| object.group.ends_with("snapshot.storage.k8s.io"));
    for class in world.classes.values() {
        let users: Vec<_> = world.claims.iter().filter(|claim| is_of(world, claim, class)).collect();
        driver(world, class, found);
        binding(world, class, found);
        if let Some(user) = users.first() {
            expansion(world, class, &users, found);
            if !has_snapshots {
                reclaim(class, user, found);
            }
        }
    }
}

fn is_of(world: &World<'_>, claim: &Claim<'_>, class: &Class<'_>) -> bool {
    world.class_of(claim).is_some_and(|of| of.object.name == class.object.name)
}

fn driver(world: &World<'_>, class: &Class<'_>, found: &mut Findings) {
    let name = class.provisioner;
    if !name.is_empty() && name != NO_PROVISIONER && world.profile(name).is_none() {
        let message = format!(
            "nothing is known of the driver {name}: it is taken to expand volumes while they are used, in steps of 1Gi; \
             describe it by a DriverProfile, or correct its name"
        );
        found.add(&UNKNOWN_DRIVER, class.object.place("provisioner"), message);
    }
}

fn binding(world: &World<'_>, class: &Class<'_>, found: &mut Findings) {
    let node = class.object.node;
    let is_immediate = node.text("volumeBindingMode").is_none_or(|mode| mode == "Immediate");
    let key = match class.provisioner {
        NO_PROVISIONER => Some("kubernetes.io/hostname"),
        driver => world.profile(driver).and_then(|profile| profile.topology_key.as_deref()),
    };
    if let Some(key) = key.filter(|_| is_immediate && node.items("allowedTopologies").is_empty()) {
        let message = format!(
            "StorageClass {} binds a claim before its pod is scheduled, and its volumes can be used only where the label \
             {key} of a node fits: a pod may find no node for all its volumes; set volumeBindingMode: WaitForFirstConsumer",
            class.object.name
        );
        found.add(&IMMEDIATE_BINDING, class.object.place("volumeBindingMode"), message);
    }
}

/// Where a policy wants to grow the claims, that is the graver finding, and the only one.
fn expansion(world: &World<'_>, class: &Class<'_>, users: &[&Claim<'_>], found: &mut Findings) {
    let is_promised = users.iter().any(|claim| policies::growing(world, claim).is_some());
    let can = world.abilities(class).is_none_or(|abilities| abilities.expansion != orlop_api::Expansion::None);
    if !class.is_expandable && !is_promised && can && class.provisioner != NO_PROVISIONER {
        let message = format!(
            "StorageClass {} does not allow its volumes to be expanded, so {} can never be larger than it is now: set \
             allowVolumeExpansion: true",
            class.object.name,
            users[0].called()
        );
        found.add(&CLASS_NOT_EXPANDABLE, class.object.place("allowVolumeExpansion"), message);
    }
}

fn reclaim(class: &Class<'_>, user: &Claim<'_>, found: &mut Findings) {
    let policy = class.object.node.text("reclaimPolicy").unwrap_or("Delete");
    if policy == "Delete" && class.provisioner != NO_PROVISIONER {
        let message = format!(
            "with the claim its data is deleted for good, such as that of {}, and there are no snapshots among the files: \
             set reclaimPolicy: Retain on StorageClass {}, or take snapshots and copies",
            user.called(),
            class.object.name
        );
        found.add(&RECLAIM_DELETE, class.object.place("reclaimPolicy"), message);
    }
}
