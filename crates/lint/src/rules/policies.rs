//! Policies that cannot do what they promise for the claims among the files.

use std::collections::BTreeSet;

use orlop_api::{CapacitySpec, Expansion, Mode, Threshold};
use orlop_planner::{Governance, Policy, PolicyId};

use crate::{
    Findings,
    rule::{Rule, Severity},
    world::{Claim, Class, ClassName, Object, World},
};

const MIN_FREE: &str = "spec.capacity.minFree";
const MAXIMUM: &str = "spec.capacity.maximum";

pub(crate) static POLICY_CANNOT_GROW: Rule = Rule {
    id: "policy-cannot-grow",
    severity: Severity::Error,
    finds: "a policy with `capacity` for a claim that nobody can expand",
    why: "The claim has no class, its class does not allow expansion, or its driver cannot. The policy would report \
          `NotExpandable` or `DriverCannotExpand`, and the volume fills up.",
    remedy: "Set `allowVolumeExpansion: true` on the class, or move the data to a class whose driver can expand.",
    source: "[reasons](growth.md#problems); [driver profiles](driver-profiles.md)",
};

pub(crate) static POLICY_GROWS_OFFLINE: Rule = Rule {
    id: "policy-grows-offline",
    severity: Severity::Warning,
    finds: "a policy with `capacity` for a claim whose driver expands only volumes that no pod uses",
    why: "While pods use the volume it cannot grow. The policy would report `OfflineOnly` when room is needed.",
    remedy: "Name a maintenance window in which its pods may be stopped, use a driver or kind of volume that expands online, \
             or ask for a size that lasts.",
    source: "[drivers that expand offline](growth.md#drivers-that-expand-offline)",
};

pub(crate) static POLICY_AT_MAXIMUM: Rule = Rule {
    id: "policy-at-maximum",
    severity: Severity::Error,
    finds: "a policy whose `maximum` is not above what a claim requests already",
    why: "The policy can never grow the claim. It would report `AtMaximum`, and the volume fills up.",
    remedy: "Raise `maximum`.",
    source: "[reasons](growth.md#problems)",
};

pub(crate) static MIN_FREE_ABOVE_MAXIMUM: Rule = Rule {
    id: "min-free-above-maximum",
    severity: Severity::Error,
    finds: "a policy whose `minFree` is a size that is not below its `maximum`",
    why: "No volume within `maximum` has so much free, not even an empty one: each is grown to its maximum at once.",
    remedy: "Lower `minFree`, or raise `maximum`.",
    source: "[the order of the questions](growth.md#the-order-of-the-questions)",
};

pub(crate) static MIN_FREE_ABOVE_SIZE: Rule = Rule {
    id: "min-free-above-size",
    severity: Severity::Warning,
    finds: "a policy whose `minFree` is a size that is not below what a claim requests",
    why: "The claim is grown as soon as it is used, before anything is written to it.",
    remedy: "Request more than `minFree`, or write `minFree` as a percentage.",
    source: "[the order of the questions](growth.md#the-order-of-the-questions)",
};

pub(crate) static POLICY_CONFLICT: Rule = Rule {
    id: "policy-conflict",
    severity: Severity::Error,
    finds: "several policies of one kind that select the same claim",
    why: "None of them is applied, and both report `PolicyConflict`.",
    remedy: "Change their selectors so that one does. A StoragePolicy goes before a ClusterStoragePolicy, and is no conflict.",
    source: "[the policy](growth.md#the-policy)",
};

pub(crate) static POLICY_SELECTS_NOTHING: Rule = Rule {
    id: "policy-selects-nothing",
    severity: Severity::Warning,
    finds: "a policy that selects none of the claims of its namespaces, though there are some among the files",
    why: "It is most likely a label that is written differently: the labels of a claim count, and not those of its pod. The \
          claims of a StatefulSet have the labels of their template and those of `spec.selector.matchLabels`.",
    remedy: "Correct the selector or the labels.",
    source: "[the policy](growth.md#the-policy)",
};

pub(crate) static POLICY_PROMISES_NOTHING: Rule = Rule {
    id: "policy-promises-nothing",
    severity: Severity::Warning,
    finds: "a policy without any section such as `capacity`",
    why: "It selects claims and does nothing about them, and it keeps ClusterStoragePolicies from doing so.",
    remedy: "Write the section that was meant, or `mode: \"Off\"`.",
    source: "[the policy](growth.md#the-policy)",
};

pub(crate) static MAINTENANCE_WITHOUT_NEED: Rule = Rule {
    id: "maintenance-without-need",
    severity: Severity::Info,
    finds: "a policy with `maintenance` all of whose claims are of drivers that expand volumes while pods use them",
    why: "No pods are ever stopped for it: the claims grow when they need to, in no window.",
    remedy: "Leave `maintenance` out, or keep it for claims to come.",
    source: "[drivers that expand offline](growth.md#drivers-that-expand-offline)",
};

/// What a spec says beside its promises.
const NO_PROMISE: [&str; 3] = ["mode", "namespaceSelector", "selector"];

/// The policy that would grow this claim, or recommend it.
pub(crate) fn growing<'w>(
    world: &'w World<'_>,
    claim: &Claim<'_>,
) -> Option<(PolicyId, &'w Object<'w>, &'w CapacitySpec)> {
    let Governance::By(governing) = world.governance(claim) else { return None };
    let (_, policy, object) = world.policies().find(|(id, ..)| **id == governing)?;
    let capacity = policy.capacity.as_ref().filter(|_| policy.mode != Mode::Off)?;
    Some((governing, object, capacity))
}

pub(crate) fn check(world: &World<'_>, found: &mut Findings) {
    for (id, policy, object) in world.policies() {
        alone(policy, object, found);
        selection(world, id, policy, object, found);
        maintenance(world, id, policy, object, found);
    }
    conflicts(world, found);
    let mut stuck = BTreeSet::new();
    for claim in &world.claims {
        let Some((id, object, capacity)) = growing(world, claim) else { continue };
        // In a maintenance window its pods are stopped.
        let in_a_window = |it: &Hindrance| it.rule.id == POLICY_GROWS_OFFLINE.id && capacity.maintenance.is_some();
        match hindrance(world, claim).filter(|it| !in_a_window(it)) {
            // One finding for each policy and class, and not for each of many claims.
            Some(hindrance) => {
                if stuck.insert((id.clone(), hindrance.place)) {
                    found.add(hindrance.rule, hindrance.place, hindrance.sentence(&id, claim));
                }
            }
            None => sizes(object, &id, capacity, claim, found),
        }
    }
}

/// What is wrong with a policy whatever claims there are.
fn alone(policy: &Policy, object: &Object<'_>, found: &mut Findings) {
    if policy.mode == Mode::Off {
        return;
    }
    if object.node.fields("spec").iter().all(|(name, _)| NO_PROMISE.contains(&&**name)) {
        let message =
            format!("{} promises nothing, and so does nothing: write a section such as capacity", object.called());
        found.add(&POLICY_PROMISES_NOTHING, object.place("spec"), message);
    }
    if let Some(CapacitySpec { min_free: Threshold::Absolute(min_free), maximum, .. }) = &policy.capacity
        && min_free >= maximum
    {
        let message = format!(
            "no volume within maximum {maximum} has minFree {min_free} free, so each is grown to its maximum at once: \
             lower minFree, or raise maximum"
        );
        found.add(&MIN_FREE_ABOVE_MAXIMUM, object.place(MIN_FREE), message);
    }
}

/// Windows that no claim of the policy needs.
fn maintenance(world: &World<'_>, id: &PolicyId, policy: &Policy, object: &Object<'_>, found: &mut Findings) {
    if policy.capacity.as_ref().is_none_or(|capacity| capacity.maintenance.is_none()) {
        return;
    }
    let governed = world.claims.iter().filter(|claim| world.governance(claim) == Governance::By(id.clone()));
    let expands = |claim| world.class_of(claim).and_then(|class| world.abilities(class)).map(|it| it.expansion);
    let mut known = governed.map(|claim| (claim, expands(claim))).peekable();
    let Some(first) = known.peek().map(|(claim, _)| claim.called()) else { return };
    if known.all(|(_, expansion)| expansion == Some(Expansion::Online)) {
        let message = format!(
            "every claim of {} among the files, such as {first}, grows while pods use it, so nothing is ever done in these \
             windows: leave maintenance out, or keep it for claims to come",
            object.called()
        );
        found.add(&MAINTENANCE_WITHOUT_NEED, object.place("spec.capacity.maintenance"), message);
    }
}

fn selection(world: &World<'_>, id: &PolicyId, policy: &Policy, object: &Object<'_>, found: &mut Findings) {
    let mut within_reach = world.claims.iter().filter(|claim| world.reaches(id, policy, claim)).peekable();
    let Some(first) = within_reach.peek().map(|claim| claim.called()) else { return };
    if !within_reach.any(|claim| world.selects(id, policy, claim)) {
        let message = format!(
            "{} selects no claim among the files, also not {first}: correct the selector, or the claims' labels",
            object.called()
        );
        found.add(&POLICY_SELECTS_NOTHING, object.place("spec.selector"), message);
    }
}

fn conflicts(world: &World<'_>, found: &mut Findings) {
    let mut known = BTreeSet::new();
    for claim in &world.claims {
        let Governance::Conflict(ids) = world.governance(claim) else { continue };
        if !known.insert(ids.clone()) {
            continue;
        }
        let among = world.policies().filter(|(id, ..)| ids.contains(id)).map(|(_, _, object)| object);
        let mut objects: Vec<_> = among.map(|object| (object.place("spec.selector"), object)).collect();
        objects.sort_by_key(|(place, _)| *place);
        let Some(((last, object), others)) = objects.split_last() else { continue };
        let others: Vec<_> =
            others.iter().map(|(place, other)| format!("{} ({})", other.called(), world.whereabouts(*place))).collect();
        let message = format!(
            "{} and {} both select {}, so none of them is applied: change their selectors so that one does",
            object.called(),
            others.join(" and "),
            claim.called()
        );
        found.add(&POLICY_CONFLICT, *last, message);
    }
}

/// Why a claim cannot grow, or not while it is used.
struct Hindrance {
    rule: &'static Rule,
    place: crate::Place,
    what: String,
    when: &'static str,
    remedy: &'static str,
}

impl Hindrance {
    fn sentence(&self, id: &PolicyId, claim: &Claim<'_>) -> String {
        format!("{}, so {id} cannot grow {}{}: {}", self.what, claim.called(), self.when, self.remedy)
    }
}

fn hindrance(world: &World<'_>, claim: &Claim<'_>) -> Option<Hindrance> {
    if claim.class() == ClassName::None {
        return Some(Hindrance {
            rule: &POLICY_CANNOT_GROW,
            place: claim.place("spec.storageClassName"),
            what: "without a StorageClass Kubernetes does not expand a claim".to_owned(),
            when: "",
            remedy: "name a class in storageClassName",
        });
    }
    let class = world.class_of(claim)?;
    if !class.is_expandable {
        return Some(Hindrance {
            rule: &POLICY_CANNOT_GROW,
            place: class.object.place("allowVolumeExpansion"),
            what: format!("StorageClass {} does not allow expansion", class.object.name),
            when: "",
            remedy: "set allowVolumeExpansion: true",
        });
    }
    driver(world, class)
}

fn driver(world: &World<'_>, class: &Class<'_>) -> Option<Hindrance> {
    let abilities = world.abilities(class)?;
    let place = class.object.place("provisioner");
    let volumes = abilities.volume_type.map_or("volumes".to_owned(), |kind| format!("volumes of type {kind}"));
    let driver = class.provisioner;
    match abilities.expansion {
        Expansion::Online => None,
        Expansion::Offline => Some(Hindrance {
            rule: &POLICY_GROWS_OFFLINE,
            place,
            what: format!("by its profile {driver} expands {volumes} only while no pod uses them"),
            when: " when room is needed",
            remedy: "use another class, or request a size that lasts",
        }),
        Expansion::None => Some(Hindrance {
            rule: &POLICY_CANNOT_GROW,
            place,
            what: format!("by its profile {driver} cannot expand {volumes}"),
            when: "",
            remedy: "use a class of another driver, or correct the profile",
        }),
    }
}

fn sizes(object: &Object<'_>, id: &PolicyId, capacity: &CapacitySpec, claim: &Claim<'_>, found: &mut Findings) {
    let Some(request) = claim.request() else { return };
    let maximum = capacity.maximum;
    if request >= maximum {
        let message = format!(
            "{} requests {request} already, so {id} can never grow it within maximum {maximum}: raise maximum",
            claim.called()
        );
        found.add(&POLICY_AT_MAXIMUM, object.place(MAXIMUM), message);
    } else if let Threshold::Absolute(min_free) = capacity.min_free
        && min_free >= request
        && min_free < maximum
    {
        let message = format!(
            "{} requests {request}, of which minFree {min_free} cannot be free: {id} grows it before anything is written; \
             request more, or write minFree as a percentage",
            claim.called()
        );
        found.add(&MIN_FREE_ABOVE_SIZE, object.place(MIN_FREE), message);
    }
}
