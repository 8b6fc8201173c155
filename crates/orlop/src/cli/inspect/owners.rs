//! The owners of claims among manifests: custom resources of kinds that a profile speaks of, built in or among the manifests.

use std::{collections::BTreeMap, sync::Arc};

use kube::core::DynamicObject;
use orlop_api::{OwnerProfileSpec, owner::built_in};
use orlop_operator::{
    objects,
    observe::{Change, Observation},
};
use orlop_planner::{Objects, Owner, OwnerKind};
use serde_json::{Value, json};

/// The UID of an owner whose manifest has none and that no claim names.
const ASSUMED: &str = "assumed";

/// What of the manifests may be an owner. A profile may stand after the objects that it speaks of.
#[derive(Default)]
pub(super) struct Owners {
    profiles: BTreeMap<String, Arc<OwnerProfileSpec>>,
    objects: Vec<Value>,
}

impl Owners {
    pub(super) fn profile(&mut self, definition: String, profile: Arc<OwnerProfileSpec>) {
        self.profiles.insert(definition, profile);
    }

    /// Takes in an object of a kind that is none of Kubernetes' and none of Orlop's.
    pub(super) fn object(&mut self, object: Value) {
        self.objects.push(object);
    }

    /// What a cluster with these objects would say of its owners. `named` are the owners that claims and StatefulSets name:
    /// a manifest that was never applied has no UID, and is taken to be the one that is named.
    pub(super) fn observed(self, named: &[Owner]) -> Vec<Observation> {
        let mut profiles: BTreeMap<_, _> =
            built_in::all().filter_map(|it| Some((it.metadata.name.clone()?, Arc::new(it.spec.clone())))).collect();
        profiles.extend(self.profiles.clone());
        let mut kinds = BTreeMap::new();
        let mut resources = Vec::new();
        for mut object in self.objects {
            let Some((definition, profile)) = profiles.iter().find(|(name, profile)| is_of(&object, name, profile))
            else {
                continue;
            };
            if object["metadata"]["uid"].is_null() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let as_named = named.iter().find(|owner| *owner.kind == *profile.kind && *owner.name == *name);
                object["metadata"]["uid"] = json!(as_named.map_or(ASSUMED, |owner| &*owner.uid.0));
            }
            let version =
                object["apiVersion"].as_str().and_then(|it| it.split_once('/')).map_or("", |(_, version)| version);
            let kind = OwnerKind::Served { version: version.into(), objects: Objects::Listed };
            let Ok(object) = serde_json::from_value::<DynamicObject>(object) else { continue };
            let id = objects::resource_id(&Arc::from(definition.as_str()), &object.metadata);
            kinds.insert(definition.clone(), kind);
            let resource = objects::resource(&object, profile);
            resources.push(Observation::Resource(definition.as_str().into(), Change::Is(id, resource)));
        }
        let given =
            self.profiles.into_iter().map(|(name, profile)| Observation::OwnerProfile(Change::Is(name, profile)));
        let kinds = kinds.into_iter().map(|(name, kind)| Observation::OwnerKind(Change::Is(name, kind)));
        let begins = [Observation::OwnerKind(Change::ListBegins)];
        let ends = [Observation::OwnerKind(Change::ListComplete)];
        given.chain(begins).chain(kinds).chain(ends).chain(resources).collect()
    }
}

/// Is the object of the kind that the profile is named after?
fn is_of(object: &Value, definition: &str, profile: &OwnerProfileSpec) -> bool {
    let group = object["apiVersion"].as_str().and_then(|version| Some(version.split_once('/')?.0));
    object["kind"] == *profile.kind && group.is_some() && group == definition.split_once('.').map(|(_, group)| group)
}
