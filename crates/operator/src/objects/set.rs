//! The part of a StatefulSet that is read: what a pod of it runs is none of our business, and large.

use k8s_openapi::{
    api::{apps::v1::StatefulSet as Object, core::v1::VolumeResourceRequirements},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use orlop_api::names::{IN_VAIN_ANNOTATION, SCALED_ANNOTATION};
use orlop_planner::{ClaimTemplate, KeepsClaims, SetId, StatefulSet};
use serde::Deserialize;

use super::{belonging::belonging, name, namespace, note, storage, uid, version};

/// A StatefulSet as far as its volumes go.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = Object)]
pub struct SetObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: SetSpec,
    #[serde(default)]
    status: SetStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SetSpec {
    replicas: Option<i32>,
    volume_claim_templates: Vec<Template>,
    persistent_volume_claim_retention_policy: Retention,
}

#[derive(Debug, Clone, Deserialize)]
struct Template {
    metadata: TemplateMeta,
    #[serde(default)]
    spec: TemplateSpec,
}

#[derive(Debug, Clone, Deserialize)]
struct TemplateMeta {
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TemplateSpec {
    storage_class_name: Option<String>,
    resources: VolumeResourceRequirements,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Retention {
    when_deleted: Option<String>,
    when_scaled: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SetStatus {
    observed_generation: Option<i64>,
    replicas: i32,
    ready_replicas: i32,
    current_revision: String,
    update_revision: String,
}

/// What a StatefulSet is called.
pub fn set_id(meta: &ObjectMeta) -> SetId {
    SetId { namespace: namespace(meta), name: name(meta).into() }
}

/// What matters of a StatefulSet.
pub fn set(object: SetObject) -> StatefulSet {
    let SetObject { metadata, spec, status } = object;
    // The API server writes 1 where a manifest says nothing.
    let replicas = spec.replicas.unwrap_or(1);
    let is_rolled_out =
        status.current_revision == status.update_revision && status.observed_generation >= metadata.generation;
    StatefulSet {
        uid: uid(&metadata),
        belonging: belonging(&metadata, "StatefulSet"),
        replicas: u32::try_from(replicas).unwrap_or(0),
        scaled: note(&metadata, SCALED_ANNOTATION),
        in_vain: note(&metadata, IN_VAIN_ANNOTATION),
        templates: spec.volume_claim_templates.into_iter().map(template).collect(),
        settled: is_rolled_out && status.replicas == replicas && status.ready_replicas == replicas,
        deleting: metadata.deletion_timestamp.is_some(),
        keeps_claims: keeps_claims(&spec.persistent_volume_claim_retention_policy),
        version: version(&metadata),
    }
}

fn keeps_claims(policy: &Retention) -> KeepsClaims {
    let keeps = |what: &Option<String>| what.as_deref().is_none_or(|what| what == "Retain");
    KeepsClaims { when_deleted: keeps(&policy.when_deleted), when_scaled: keeps(&policy.when_scaled) }
}

fn template(Template { metadata, spec }: Template) -> ClaimTemplate {
    ClaimTemplate {
        name: metadata.name.into(),
        size: storage(spec.resources.requests.as_ref()).and_then(|size| size.0.parse().ok()),
        class: spec.storage_class_name.map(Into::into),
    }
}
