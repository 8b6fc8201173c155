//! Custom resources whose operators make claims: of each just what its OwnerProfile speaks of is kept.

use std::sync::Arc;

use kube::core::DynamicObject;
use orlop_api::OwnerProfileSpec;
use orlop_planner::{Resource, ResourceId};

use super::{ObjectMeta, belonging::belonging, name, namespace, uid, version};
use crate::observe::ResourceFacts;

/// What a custom resource of this kind is called.
pub fn resource_id(definition: &Arc<str>, meta: &ObjectMeta) -> ResourceId {
    ResourceId { definition: definition.clone(), namespace: namespace(meta), name: name(meta).into() }
}

/// What matters of a custom resource.
pub fn resource(object: &DynamicObject, profile: &OwnerProfileSpec) -> ResourceFacts {
    let DynamicObject { metadata, data, .. } = object;
    ResourceFacts {
        version: version(metadata),
        resource: Resource {
            uid: uid(metadata),
            belonging: belonging(metadata, &profile.kind),
            fields: profile.prune(data),
        },
    }
}
