//! From the API server's objects to what the observer keeps of them. An object that cannot be read is an error that
//! names the field; it concerns that object alone.

mod autoscaler;
mod belonging;
mod deployment;
mod pod;
mod resource;
mod set;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus},
        storage::v1::{StorageClass, VolumeAttributesClass},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};
use kube::core::error_boundary::InvalidObject;
use orlop_api::{
    Bytes, CapacitySpec, ClusterStoragePolicy, Mode, PerformanceSpec, PolicyStatus, StorageBudget, StoragePolicy,
    names::{CLASS_ANNOTATION, GROWTH_ANNOTATION, PAUSED_ANNOTATION, SYNC_ANNOTATION},
};
use orlop_planner::{
    AttributesClass, Belonging, Budget, BudgetName, ClaimId, Class, ClassUse, Modification, NamespaceName, PodId,
    Policy, PolicyId, PolicyKind, Requirement, Resize, Selector, Uid, maintenance::Windows,
};
use serde::de::DeserializeOwned;

use self::belonging::{belonging, controller};
pub use self::{
    autoscaler::{autoscaler, autoscaler_id},
    deployment::{DeploymentObject, deployment, deployment_id},
    pod::PodObject,
    resource::{resource, resource_id},
    set::{SetObject, set, set_id},
};
use crate::{
    observe::{BudgetFacts, ClaimFacts, PodFacts, PolicyFacts, Spelling, Version, VolumeFacts},
    record,
};

/// Why an object cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

impl From<InvalidObject> for Unreadable {
    fn from(invalid: InvalidObject) -> Self {
        Self(invalid.error)
    }
}

/// The object's name.
pub fn name(meta: &ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}

fn namespace(meta: &ObjectMeta) -> NamespaceName {
    NamespaceName(meta.namespace.as_deref().unwrap_or_default().into())
}

/// The name of a namespace.
pub fn namespace_name(meta: &ObjectMeta) -> NamespaceName {
    NamespaceName(name(meta).into())
}

/// What a claim is called.
pub fn claim_id(meta: &ObjectMeta) -> ClaimId {
    ClaimId { namespace: namespace(meta), name: name(meta).into() }
}

/// What a pod is called.
pub fn pod_id(meta: &ObjectMeta) -> PodId {
    PodId { namespace: namespace(meta), name: name(meta).into() }
}

/// What a StoragePolicy is called.
pub fn policy_id(meta: &ObjectMeta) -> PolicyId {
    PolicyId { kind: PolicyKind::Namespaced(namespace(meta)), name: name(meta).into() }
}

/// What a ClusterStoragePolicy is called.
pub fn cluster_policy_id(meta: &ObjectMeta) -> PolicyId {
    PolicyId { kind: PolicyKind::Cluster, name: name(meta).into() }
}

/// What a StorageBudget is called.
pub fn budget_name(meta: &ObjectMeta) -> BudgetName {
    BudgetName(name(meta).into())
}

fn uid(meta: &ObjectMeta) -> Uid {
    Uid(meta.uid.as_deref().unwrap_or_default().into())
}

fn version(meta: &ObjectMeta) -> Version {
    meta.resource_version.as_deref()?.parse().ok()
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    meta.annotations.as_ref()?.get(key)
}

/// What an annotation says that is written as JSON; nothing where somebody else has written something else.
fn note<T: DeserializeOwned>(meta: &ObjectMeta, key: &str) -> Option<T> {
    serde_json::from_str(annotation(meta, key)?).ok()
}

fn storage(quantities: Option<&BTreeMap<String, Quantity>>) -> Option<&Quantity> {
    quantities?.get("storage")
}

fn bytes(field: &str, quantity: &Quantity) -> Result<Bytes, Unreadable> {
    quantity.0.parse().map_err(|error| Unreadable(format!("{field}: {error}")))
}

/// What matters of a claim.
pub fn claim(claim: PersistentVolumeClaim) -> Result<ClaimFacts, Unreadable> {
    let PersistentVolumeClaim { metadata, spec, status } = claim;
    let spec = spec.unwrap_or_default();
    let status = status.unwrap_or_default();
    let requests = spec.resources.and_then(|resources| resources.requests);
    let requested = storage(requests.as_ref())
        .ok_or_else(|| Unreadable("spec.resources.requests.storage: is missing".to_owned()))?;
    let is_bound = status.phase.as_deref() == Some("Bound") && metadata.deletion_timestamp.is_none();
    let written = annotation(&metadata, GROWTH_ANNOTATION);
    let paused = annotation(&metadata, PAUSED_ANNOTATION);
    let change = annotation(&metadata, CLASS_ANNOTATION).cloned();
    let uid = uid(&metadata);
    let belonging = belonging(&metadata, "PersistentVolumeClaim");
    let requested_class = spec.volume_attributes_class_name.clone().filter(|class| !class.is_empty());
    let current_class = status.current_volume_attributes_class_name.clone().filter(|class| !class.is_empty());
    let attributes = ClassUse {
        modification: modification(&status, requested_class.as_deref().filter(|_| requested_class != current_class)),
        requested: requested_class,
        current: current_class,
        change: change.as_deref().and_then(|text| record::read(text, &uid)),
    };
    Ok(ClaimFacts {
        attributes: (attributes != ClassUse::default()).then(|| Box::new(attributes)),
        belonging: (belonging != Belonging::default()).then(|| Arc::new(belonging)),
        version: version(&metadata),
        class: spec.storage_class_name.filter(|class| !class.is_empty()).map(Into::into),
        volume: spec.volume_name.filter(|_| is_bound).map(Into::into),
        raw_block: spec.volume_mode.as_deref() == Some("Block"),
        requested: bytes("spec.resources.requests.storage", requested)?,
        capacity: storage(status.capacity.as_ref())
            .map(|capacity| bytes("status.capacity.storage", capacity))
            .transpose()?,
        resize: resize(&status, requested),
        paused: paused.filter(|value| *value != "false").map(|value| value.as_str().into()),
        // Another text in the annotation says nothing of the claim's growth; it stays a precondition of a patch.
        growth: written.and_then(|text| record::read(text, &uid)).map(Box::new),
        spelling: Spelling {
            requested: requested.0.as_str().into(),
            growth: written.map(|text| text.as_str().into()),
            paused: paused.map(|text| text.as_str().into()),
            class: spec.volume_attributes_class_name.map(Into::into),
            change: change.map(Into::into),
            annotated: metadata.annotations.as_ref().is_some_and(|annotations| !annotations.is_empty()),
        },
        labels: metadata.labels.unwrap_or_default().into(),
        uid,
    })
}

/// How a change of its VolumeAttributesClass stands. The words of the driver, or of the resizer, are in the conditions that go
/// with it. `wanted` is the class that is requested, where the volume does not have it: what was refused may be another than is
/// requested since, at which the driver's controller has yet to look.
fn modification(status: &PersistentVolumeClaimStatus, wanted: Option<&str>) -> Modification {
    let Some(modify) = &status.modify_volume_status else { return Modification::Idle };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let condition = conditions.iter().find(|it| it.type_ == "ModifyVolumeError" && it.status == "True");
    let words = condition.and_then(|condition| condition.message.clone()).filter(|message| !message.is_empty());
    let refused = modify.target_volume_attributes_class_name.as_deref();
    match modify.status.as_str() {
        "Infeasible" if wanted.zip(refused).is_some_and(|(wanted, refused)| wanted != refused) => {
            Modification::Pending(None)
        }
        "Infeasible" => Modification::Infeasible(words.unwrap_or_else(|| "the driver gave no reason".to_owned())),
        _ => Modification::Pending(words),
    }
}

/// How the resize to the requested size stands. The driver's own words are in the condition that goes with an infeasible
/// resize.
fn resize(status: &PersistentVolumeClaimStatus, requested: &Quantity) -> Resize {
    let condition = |kind: &str| {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
    };
    let words = |kind: &str| {
        let words = condition(kind).and_then(|condition| condition.message.clone());
        words.unwrap_or_else(|| "the driver gave no reason".to_owned())
    };
    let allocated = status.allocated_resource_statuses.as_ref().and_then(|statuses| statuses.get("storage"));
    match allocated.map(String::as_str) {
        // What was refused may be another size than is requested since, at which the driver's controller has yet to look.
        Some("ControllerResizeInfeasible") if is_of_another_size(status, requested) => Resize::Controller,
        Some("ControllerResizeInfeasible") => Resize::Infeasible(words("ControllerResizeError")),
        Some("NodeResizeInfeasible") => Resize::NodeInfeasible(words("NodeResizeError")),
        Some("ControllerResizeInProgress") => Resize::Controller,
        Some("NodeResizePending" | "NodeResizeInProgress") => Resize::Node,
        _ if condition("FileSystemResizePending").is_some() => Resize::Node,
        _ if condition("Resizing").is_some() => Resize::Controller,
        _ => Resize::Idle,
    }
}

/// Is the size that the driver was last asked for known, and another than this?
fn is_of_another_size(status: &PersistentVolumeClaimStatus, requested: &Quantity) -> bool {
    let size = |quantity: &Quantity| quantity.0.parse::<Bytes>().ok();
    let allocated = storage(status.allocated_resources.as_ref()).and_then(size);
    allocated.is_some_and(|allocated| size(requested) != Some(allocated))
}

/// What matters of a volume.
pub fn volume(volume: PersistentVolume) -> Result<VolumeFacts, Unreadable> {
    let spec = volume.spec.unwrap_or_default();
    let capacity =
        storage(spec.capacity.as_ref()).ok_or_else(|| Unreadable("spec.capacity.storage: is missing".to_owned()))?;
    let claim = spec.claim_ref.and_then(|claim| {
        let id = ClaimId { namespace: NamespaceName(claim.namespace?.into()), name: claim.name?.into() };
        Some((id, Uid(claim.uid?.into())))
    });
    let name = volume.metadata.name;
    let (driver, handle) = spec.csi.map(|csi| (csi.driver.into(), csi.volume_handle)).unzip();
    let handle = handle.filter(|handle| name.as_ref() != Some(handle)).map(String::into_boxed_str);
    Ok(VolumeFacts { capacity: bytes("spec.capacity.storage", capacity)?, driver, handle, claim })
}

/// What matters of a pod; nothing where it uses no claim.
pub fn pod(pod: &PodObject) -> Option<PodFacts> {
    let mut claims: Vec<_> = pod
        .spec
        .volumes
        .iter()
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some(source.claim_name.as_str().into()),
            (None, Some(_)) => Some(format!("{}-{}", name(&pod.metadata), volume.name).into()),
            (None, None) => None,
        })
        .collect();
    let is_ending = pod.metadata.deletion_timestamp.is_some();
    claims.shrink_to_fit();
    (!claims.is_empty()).then(|| PodFacts {
        uid: uid(&pod.metadata),
        version: version(&pod.metadata),
        since: pod.metadata.creation_timestamp.as_ref().filter(|_| !is_ending).map(|created| created.0),
        synced: annotation(&pod.metadata, SYNC_ANNOTATION).cloned(),
        controller: controller(&pod.metadata).map(Arc::new),
        claims,
    })
}

/// What matters of a StorageClass.
pub fn class(class: StorageClass) -> Class {
    Class {
        provisioner: class.provisioner,
        expandable: class.allow_volume_expansion.unwrap_or(false),
        parameters: class.parameters.unwrap_or_default(),
    }
}

/// What matters of a VolumeAttributesClass.
pub fn attributes_class(class: VolumeAttributesClass) -> AttributesClass {
    AttributesClass { driver: class.driver_name, parameters: class.parameters.unwrap_or_default() }
}

/// What matters of a StoragePolicy, also of one that cannot be read.
pub fn policy(object: Result<StoragePolicy, InvalidObject>) -> PolicyFacts {
    match object {
        Ok(StoragePolicy { metadata, spec, status }) => {
            let namespaces = Ok(Selector::default());
            let claims = selector("spec.selector", spec.selector);
            let policy = assemble(spec.mode, namespaces, claims, (spec.capacity, spec.performance));
            policy_facts(&metadata, policy, status)
        }
        Err(invalid) => policy_facts(&invalid.metadata, Err(Unreadable(invalid.error)), None),
    }
}

/// What matters of a ClusterStoragePolicy, also of one that cannot be read.
pub fn cluster_policy(object: Result<ClusterStoragePolicy, InvalidObject>) -> PolicyFacts {
    match object {
        Ok(ClusterStoragePolicy { metadata, spec, status }) => {
            let namespaces = selector("spec.namespaceSelector", spec.namespace_selector);
            let claims = selector("spec.selector", spec.selector);
            let policy = assemble(spec.mode, namespaces, claims, (spec.capacity, spec.performance));
            policy_facts(&metadata, policy, status)
        }
        Err(invalid) => policy_facts(&invalid.metadata, Err(Unreadable(invalid.error)), None),
    }
}

/// What matters of a StorageBudget, also of one that cannot be read.
pub fn budget(object: Result<StorageBudget, InvalidObject>) -> BudgetFacts {
    let facts = |meta: &ObjectMeta, budget: Result<Budget, Unreadable>, status| BudgetFacts {
        uid: uid(meta),
        generation: meta.generation,
        budget: budget.map_err(|why| why.0),
        status,
    };
    match object {
        Ok(StorageBudget { metadata, spec, status }) => {
            let namespaces = selector("spec.namespaceSelector", spec.namespace_selector);
            let claims = selector("spec.selector", spec.selector);
            let budget = namespaces.and_then(|namespaces| {
                Ok(Budget { namespaces, claims: claims?, limits: spec.limits, reserve: spec.emergency_reserve })
            });
            facts(&metadata, budget, status)
        }
        Err(invalid) => facts(&invalid.metadata, Err(Unreadable(invalid.error)), None),
    }
}

fn assemble(
    mode: Mode,
    namespaces: Result<Selector, Unreadable>,
    claims: Result<Selector, Unreadable>,
    (capacity, performance): (Option<CapacitySpec>, Option<PerformanceSpec>),
) -> Result<Policy, Unreadable> {
    let maintenance = capacity.as_ref().and_then(|capacity| capacity.maintenance.as_ref());
    let maintenance = maintenance.map(Windows::parse).transpose();
    let maintenance = maintenance.map_err(|why| Unreadable(format!("spec.capacity.maintenance.{why}")))?.map(Arc::new);
    Ok(Policy { mode, namespaces: namespaces?, claims: claims?, capacity, performance, maintenance })
}

fn policy_facts(meta: &ObjectMeta, policy: Result<Policy, Unreadable>, status: Option<PolicyStatus>) -> PolicyFacts {
    PolicyFacts { uid: uid(meta), generation: meta.generation, policy: policy.map_err(|why| why.0), status }
}

/// A label selector, `field` of a manifest. The API server takes any text for an operator in a custom resource, so it is
/// checked here.
pub fn selector(field: &str, selector: LabelSelector) -> Result<Selector, Unreadable> {
    let exact =
        selector.match_labels.unwrap_or_default().into_iter().map(|(key, value)| Ok(Requirement::In(key, vec![value])));
    let expressions = selector.match_expressions.unwrap_or_default().into_iter().map(|expression| {
        let values = expression.values.unwrap_or_default();
        let key = expression.key;
        match (expression.operator.as_str(), values.is_empty()) {
            ("In", false) => Ok(Requirement::In(key, values)),
            ("NotIn", false) => Ok(Requirement::NotIn(key, values)),
            ("Exists", true) => Ok(Requirement::Exists(key)),
            ("DoesNotExist", true) => Ok(Requirement::DoesNotExist(key)),
            ("In" | "NotIn", true) => {
                Err(Unreadable(format!("{field}: {} of label {key} needs at least one value", expression.operator)))
            }
            ("Exists" | "DoesNotExist", false) => {
                Err(Unreadable(format!("{field}: {} of label {key} takes no values", expression.operator)))
            }
            (other, _) => Err(Unreadable(format!(
                "{field}: `{other}` is not an operator: write In, NotIn, Exists or DoesNotExist"
            ))),
        }
    });
    exact.chain(expressions).collect::<Result<_, _>>().map(Selector)
}
