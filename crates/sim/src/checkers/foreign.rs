//! Nothing is changed that is not ours: of a claim that an Auto policy governs the request and our record, of its pods our
//! annotation, of a policy the status. And nothing is ever deleted: the operator has no request for that.

use orlop_api::{
    Mode,
    names::{
        CLASS_ANNOTATION, GROWTH_ANNOTATION, IN_VAIN_ANNOTATION, PAUSED_ANNOTATION, SCALED_ANNOTATION, SYNC_ANNOTATION,
    },
};
use orlop_planner::Action;
use serde_json::Value;

use super::Checker;
use crate::{
    fact::{Entry, Fact},
    simulation::Simulation,
};

pub(super) struct Foreign;

impl Checker for Foreign {
    fn name(&self) -> &'static str {
        "nothing is changed that is not ours"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        let Fact::Applied { action, before, after, .. } = &entry.fact else { return None };
        let mut rest = after.clone();
        let restore = |rest: &mut Value, path: &str| put_back(rest, before, path);
        restore(&mut rest, "/metadata/resourceVersion");
        match action {
            None => restore(&mut rest, "/status"),
            Some(Action::ScaleToZero { .. } | Action::ScaleBack { .. }) => {
                restore(&mut rest, "/spec/replicas");
                restore(&mut rest, "/metadata/generation");
                restore_annotation(&mut rest, before, SCALED_ANNOTATION);
                restore_annotation(&mut rest, before, IN_VAIN_ANNOTATION);
            }
            Some(Action::SyncPod { .. }) => restore_annotation(&mut rest, before, SYNC_ANNOTATION),
            // No claim of the world has an owner.
            Some(action @ (Action::RecordGrowth { .. } | Action::WriteOwner { .. })) => {
                return Some(format!("there are no owners: {action}"));
            }
            Some(Action::SetClass { claim, .. }) => {
                restore_annotation(&mut rest, before, CLASS_ANNOTATION);
                restore(&mut rest, "/spec/volumeAttributesClassName");
                if let Some(why) = not_governed(world, before) {
                    return Some(format!("another class was asked for {claim}, and {why}"));
                }
            }
            Some(Action::Grow { claim, .. } | Action::TakeBack { claim, .. } | Action::RecordUsable { claim, .. }) => {
                restore_annotation(&mut rest, before, GROWTH_ANNOTATION);
                if !matches!(action, Some(Action::RecordUsable { .. })) {
                    restore(&mut rest, "/spec/resources/requests/storage");
                    if let Some(why) = not_governed(world, before) {
                        return Some(format!("another size was asked for {claim}, and {why}"));
                    }
                }
            }
        }
        (rest != *before).then(|| format!("more was changed than is ours: {before} became {after}"))
    }
}

/// Why nothing may be done to a claim; none where an Auto policy selects it and it is not paused. The scenario's policies are the truth, and
/// those that a user has changed meanwhile count in either form, since the operator learns of it a little later.
fn not_governed(world: &Simulation, claim: &Value) -> Option<String> {
    if is_paused(claim) {
        return Some("its annotation says that it is paused".to_owned());
    }
    let selects = |policy: &crate::scenario::Policy| {
        policy.mode == Mode::Auto
            && policy.labels.iter().all(|(key, value)| claim["metadata"]["labels"][key] == **value)
    };
    let changed = world.scenario.changes.iter().filter_map(|change| match &change.what {
        crate::scenario::Deed::Policy { spec, .. } => Some(spec),
        _ => None,
    });
    let governed = world.scenario.policies.values().chain(changed).any(selects);
    (!governed).then(|| "no policy in mode Auto selects it".to_owned())
}

pub(super) fn is_paused(claim: &Value) -> bool {
    claim["metadata"]["annotations"][PAUSED_ANNOTATION].as_str().is_some_and(|value| value != "false")
}

fn put_back(object: &mut Value, before: &Value, path: &str) {
    let Some((parent, key)) = path.rsplit_once('/') else { return };
    let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) else { return };
    match before.pointer(path) {
        Some(value) => parent.insert(key.to_owned(), value.clone()),
        None => parent.remove(key),
    };
}

fn restore_annotation(object: &mut Value, before: &Value, key: &str) {
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    match before["metadata"]["annotations"].get(key) {
        Some(value) => {
            annotations.insert(key.to_owned(), value.clone());
        }
        None => {
            annotations.remove(key);
        }
    }
    if annotations.is_empty() && before.pointer("/metadata/annotations").is_none() {
        put_back(object, before, "/metadata/annotations");
    }
}
