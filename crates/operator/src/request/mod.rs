//! What is asked of the API server: an action, or a status, as one request whose preconditions make it fail where the
//! object is no longer what was planned for.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use kube::core::params::Patch;
use orlop_api::{
    OwnerProfileSpec,
    names::{
        CLASS_ANNOTATION, GROWTH_ANNOTATION, IN_VAIN_ANNOTATION, PAUSED_ANNOTATION, PerformanceReason,
        SCALED_ANNOTATION, SYNC_ANNOTATION,
    },
};
use orlop_planner::{
    Action, BudgetName, ClaimId, ClassChange, GrowthRecord, PodId, PolicyId, ResourceId, Resources, Uid, WorkloadId,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    observe::{Spelling, Version},
    record,
};

/// A request that has not been answered by then is given up; whether it was carried out, the watch will tell.
pub const DEADLINE: Duration = Duration::from_secs(10);

const REQUEST: &str = "/spec/resources/requests/storage";
const CLASS: &str = "/spec/volumeAttributesClassName";
const MODIFY_STATUS: &str = "/status/modifyVolumeStatus/status";
const RESIZE_STATUS: &str = "/status/allocatedResourceStatuses/storage";
const ANNOTATIONS: &str = "/metadata/annotations";

/// What is patched, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is patched.
    pub target: Target,
    /// How: a JSON patch whose tests are the preconditions, or a merge patch that names the UID.
    pub patch: Patch<Value>,
}

/// The object of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A claim itself.
    Claim(ClaimId),
    /// A pod by its status: it has the same annotations, and whoever may patch it may not change what a pod runs.
    Pod(PodId),
    /// A StatefulSet or a Deployment.
    Workload(WorkloadId),
    /// The owner of claims.
    Owner(OwnerTarget),
    /// A status.
    Status(StatusId),
}

/// A custom resource, and how it is reached and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerTarget {
    /// The object.
    pub id: ResourceId,
    /// Its version.
    pub version: Arc<str>,
    /// By which what matters of it is found.
    pub profile: Arc<OwnerProfileSpec>,
}

/// Whose status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusId {
    /// That of a policy of either kind.
    Policy(PolicyId),
    /// That of a budget.
    Budget(BudgetName),
}

impl fmt::Display for StatusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy) => policy.fmt(f),
            Self::Budget(budget) => write!(f, "StorageBudget {budget}"),
        }
    }
}

/// The request that carries out an action. `spelling` is how the claim's fields are written, from the same state of
/// the claim that the plan was made from, and so are the custom resources; `version` is which state of the workload that was. None
/// where that is no longer known: then the plan is out of date.
pub(crate) fn request(
    action: &Action,
    spelling: Option<&Spelling>,
    resources: &Resources,
    version: Version,
) -> Option<Request> {
    match action {
        Action::Grow { claim, uid, record, .. } => {
            let operations = grow(uid, spelling?, record)?;
            Some(Request { target: Target::Claim(claim.clone()), patch: json_patch(operations)? })
        }
        Action::RecordGrowth { claim, uid, record, .. } => {
            let operations = note(uid, spelling?, record)?;
            Some(Request { target: Target::Claim(claim.clone()), patch: json_patch(operations)? })
        }
        Action::WriteOwner { owner, owner_uid, field, to, .. } => {
            // Without it the record before this one cannot be written.
            spelling?;
            let target = OwnerTarget {
                id: owner.clone(),
                version: resources.kinds.get(&*owner.definition)?.version()?.clone(),
                profile: Arc::new(resources.profile(&owner.definition)?.clone()),
            };
            Some(Request { target: Target::Owner(target), patch: json_patch(field.patch(&owner_uid.0, *to))? })
        }
        Action::TakeBack { claim, uid, record, .. } => {
            let operations = take_back(uid, spelling?, record)?;
            Some(Request { target: Target::Claim(claim.clone()), patch: json_patch(operations)? })
        }
        Action::RecordUsable { claim, uid, record, .. } => {
            let operations = record_usable(uid, spelling?, record)?;
            Some(Request { target: Target::Claim(claim.clone()), patch: json_patch(operations)? })
        }
        Action::SetClass { claim, uid, record, .. } => {
            let operations = set_class(uid, spelling?, record)?;
            Some(Request { target: Target::Claim(claim.clone()), patch: json_patch(operations)? })
        }
        Action::ScaleToZero { workload: id, uid, scaled, .. } => {
            let notes = json!({ SCALED_ANNOTATION: serde_json::to_string(scaled).ok()? });
            Some(scale(id, uid, version?, &notes, Some(0)))
        }
        Action::ScaleBack { workload: id, uid, scaled, replicas, in_vain, .. } => {
            let in_vain = in_vain.as_ref().map(serde_json::to_string).transpose().ok()?;
            let notes = json!({ SCALED_ANNOTATION: null, IN_VAIN_ANNOTATION: in_vain });
            Some(scale(id, uid, version?, &notes, (*replicas == 0).then_some(scaled.replicas)))
        }
        Action::SyncPod { pod, uid, value, .. } => {
            // A UID cannot be changed, so a patch that names another than the pod's own is refused.
            let patch = json!({ "metadata": { "uid": &*uid.0, "annotations": { SYNC_ANNOTATION: value } } });
            Some(Request { target: Target::Pod(pod.clone()), patch: Patch::Merge(patch) })
        }
    }
}

/// A workload that has changed since it was observed refuses this, and so does another of the same name.
fn scale(id: &WorkloadId, uid: &Uid, version: u64, notes: &Value, replicas: Option<u32>) -> Request {
    let mut patch = json!({ "metadata": {
        "uid": &*uid.0, "resourceVersion": version.to_string(), "annotations": notes,
    } });
    if let Some(replicas) = replicas {
        patch["spec"] = json!({ "replicas": replicas });
    }
    Request { target: Target::Workload(id.clone()), patch: Patch::Merge(patch) }
}

/// The request that writes a status in place of the one that was observed.
pub(crate) fn status<S: Serialize>(of: &StatusId, uid: &Uid, before: Option<&S>, status: &S) -> Request {
    let mut status = json!(status);
    take_back_missing(&json!(before), &mut status);
    // A UID cannot be changed, so another object of the same name refuses this status.
    let patch = json!({ "metadata": { "uid": &*uid.0 }, "status": status });
    Request { target: Target::Status(of.clone()), patch: Patch::Merge(patch) }
}

/// A merge patch leaves what it does not name: what is no longer said has to be named, as nothing.
fn take_back_missing(before: &Value, after: &mut Value) {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) else { return };
    for (field, value) in before {
        match after.get_mut(field) {
            Some(after) => take_back_missing(value, after),
            None => {
                after.insert(field.clone(), Value::Null);
            }
        }
    }
}

fn grow(uid: &Uid, spelling: &Spelling, record: &GrowthRecord) -> Option<Vec<Value>> {
    let mut operations = note(uid, spelling, record)?;
    operations.push(json!({ "op": "replace", "path": REQUEST, "value": record.to }));
    Some(operations)
}

/// Writes the record alone, with all that a growth tests.
fn note(uid: &Uid, spelling: &Spelling, record: &GrowthRecord) -> Option<Vec<Value>> {
    let mut operations = vec![is("/metadata/uid", &*uid.0), is(REQUEST, &spelling.requested)];
    operations.extend(annotate(spelling, GROWTH_ANNOTATION, &record::write(uid, record)?));
    Some(operations)
}

fn set_class(uid: &Uid, spelling: &Spelling, record: &ClassChange) -> Option<Vec<Value>> {
    let mut operations = vec![is("/metadata/uid", &*uid.0), is(CLASS, &spelling.class)];
    if record.reason == PerformanceReason::ClassTakenBack {
        // The driver may have taken it meanwhile.
        operations.push(is(MODIFY_STATUS, "Infeasible"));
    }
    operations.extend(annotate(spelling, CLASS_ANNOTATION, &record::write(uid, record)?));
    operations.push(match &record.to {
        Some(class) => json!({ "op": "add", "path": CLASS, "value": class }),
        None => json!({ "op": "remove", "path": CLASS }),
    });
    Some(operations)
}

/// Writes a record, where all of ours are as they were observed: the slots that one says to be taken the other must count.
fn annotate(spelling: &Spelling, key: &str, text: &str) -> Vec<Value> {
    if !spelling.annotated {
        // The map itself is missing then, and nothing can be added to it.
        return vec![is(ANNOTATIONS, Value::Null), json!({ "op": "add", "path": ANNOTATIONS, "value": { key: text } })];
    }
    // An annotation that is not there equals null.
    vec![
        is(&annotation(GROWTH_ANNOTATION), &spelling.growth),
        is(&annotation(CLASS_ANNOTATION), &spelling.change),
        is(&annotation(PAUSED_ANNOTATION), &spelling.paused),
        json!({ "op": "add", "path": annotation(key), "value": text }),
    ]
}

/// Beside what a growth tests: that the driver still refuses. It may have found room meanwhile.
fn take_back(uid: &Uid, spelling: &Spelling, record: &GrowthRecord) -> Option<Vec<Value>> {
    let mut operations = vec![is(RESIZE_STATUS, "ControllerResizeInfeasible")];
    operations.extend(grow(uid, spelling, record)?);
    Some(operations)
}

fn record_usable(uid: &Uid, spelling: &Spelling, record: &GrowthRecord) -> Option<Vec<Value>> {
    let text = record::write(uid, record)?;
    Some(vec![
        is("/metadata/uid", &*uid.0),
        is(&annotation(GROWTH_ANNOTATION), spelling.growth.as_ref()?),
        json!({ "op": "replace", "path": annotation(GROWTH_ANNOTATION), "value": text }),
    ])
}

/// A precondition: the value at the path is this one.
fn is(path: &str, value: impl Serialize) -> Value {
    json!({ "op": "test", "path": path, "value": value })
}

/// The path of an annotation, in which a JSON pointer spells the slash `~1`.
fn annotation(key: &str) -> String {
    format!("{ANNOTATIONS}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn json_patch(operations: Vec<Value>) -> Option<Patch<Value>> {
    serde_json::from_value(Value::Array(operations)).ok().map(Patch::Json)
}
