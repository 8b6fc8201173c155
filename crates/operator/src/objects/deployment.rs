//! The part of a Deployment that is read: which claims its pods use, and how many pods it has.

use k8s_openapi::{api::apps::v1::Deployment as Object, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use orlop_api::names::{IN_VAIN_ANNOTATION, SCALED_ANNOTATION};
use orlop_planner::{Deployment, DeploymentId};
use serde::Deserialize;

use super::{belonging::belonging, name, namespace, note, pod::PodSpec, uid, version};

/// A Deployment as far as its volumes go.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = Object)]
pub struct DeploymentObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: Option<i32>,
    template: Template,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: PodSpec,
}

/// What a Deployment is called.
pub fn deployment_id(meta: &ObjectMeta) -> DeploymentId {
    DeploymentId { namespace: namespace(meta), name: name(meta).into() }
}

/// What matters of a Deployment; nothing where its template names no claim and nothing is written on it that is to be taken back.
pub fn deployment(object: DeploymentObject) -> Option<Deployment> {
    let DeploymentObject { metadata, spec } = object;
    let scaled = note(&metadata, SCALED_ANNOTATION);
    let volumes = spec.template.spec.volumes.into_iter();
    let claims: Box<[_]> =
        volumes.filter_map(|volume| Some(volume.persistent_volume_claim?.claim_name.into())).collect();
    (!claims.is_empty() || scaled.is_some()).then(|| Deployment {
        uid: uid(&metadata),
        belonging: belonging(&metadata, "Deployment"),
        // The API server writes 1 where a manifest says nothing.
        replicas: u32::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0),
        scaled,
        in_vain: note(&metadata, IN_VAIN_ANNOTATION),
        claims,
        deleting: metadata.deletion_timestamp.is_some(),
        version: version(&metadata),
    })
}
