//! What is stored of a StatefulSet while it is made anew: a ConfigMap in the operator's own namespace, where nobody else
//! writes. Whoever could put one there would have the operator create what it says.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use orlop_api::{
    Bytes,
    names::{PURPOSE_LABEL, STORED_SET_ANNOTATION, STORED_SET_PURPOSE},
};
use orlop_planner::{NamespaceName, Resizes, SetId, StoredSet, Uid};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::objects::Unreadable;

/// In the ConfigMap: the UID of the StatefulSet.
const UID: &str = "uid";

/// In the ConfigMap: which state of it was stored.
const VERSION: &str = "resourceVersion";

/// In the ConfigMap: the manifest, as JSON, with the larger templates.
const MANIFEST: &str = "manifest";

/// What the API server gives to an object, and takes from nobody.
const GIVEN: [&str; 7] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionGracePeriodSeconds",
];

/// The name of the ConfigMap. A namespace and a name can be longer together than a name may be, so it ends in their digest.
pub fn name(id: &SetId) -> String {
    let digest = Sha256::digest(format!("{}/{}", id.namespace.0, id.name));
    let digest = u64::from_be_bytes(std::array::from_fn(|index| digest[index]));
    let set = id.name[..id.name.floor_char_boundary(200)].trim_end_matches(['.', '-']);
    format!("orlop-statefulset-{set}-{digest:016x}")
}

/// The StatefulSet that such a ConfigMap is of.
pub fn set_id(meta: &ObjectMeta) -> SetId {
    let of = meta.annotations.as_ref().and_then(|it| it.get(STORED_SET_ANNOTATION)).map_or("", String::as_str);
    let (namespace, name) = of.split_once('/').unwrap_or_default();
    SetId { namespace: NamespaceName(namespace.into()), name: name.into() }
}

/// What matters of such a ConfigMap.
pub fn facts(map: &ConfigMap) -> Result<StoredSet, Unreadable> {
    let manifest = manifest(map)?;
    let version = field(map, VERSION)?;
    Ok(StoredSet {
        uid: Uid(map.metadata.uid.as_deref().unwrap_or_default().into()),
        set: Uid(field(map, UID)?.into()),
        version: version.parse().map_err(|_| Unreadable(format!("data.{VERSION}: `{version}` is not a number")))?,
        sizes: sizes(&manifest),
    })
}

fn field<'a>(map: &'a ConfigMap, name: &str) -> Result<&'a str, Unreadable> {
    let data = map.data.as_ref().and_then(|data| data.get(name)).map(String::as_str);
    data.ok_or_else(|| Unreadable(format!("data.{name}: is missing")))
}

/// The manifest that is in such a ConfigMap.
pub fn manifest(map: &ConfigMap) -> Result<Value, Unreadable> {
    serde_json::from_str(field(map, MANIFEST)?).map_err(|error| Unreadable(format!("data.{MANIFEST}: {error}")))
}

/// Why a StatefulSet cannot be stored as was planned: it is no longer what it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the StatefulSet is no longer what was planned for: {0}")]
pub struct Changed(&'static str);

/// The manifest of a StatefulSet as it is made anew, and the ConfigMap that it is stored in. `object` is the StatefulSet as it
/// is; it must have this UID, and templates that ask for what the plan expects.
pub fn store(id: &SetId, uid: &Uid, resizes: &Resizes, object: &Value) -> Result<(Value, ConfigMap), Changed> {
    if object["metadata"]["uid"] != json!(*uid.0) {
        return Err(Changed("it has another UID"));
    }
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Err(Changed("it is being deleted"));
    }
    let Some(version) = object["metadata"]["resourceVersion"].as_str() else {
        return Err(Changed("it has no resourceVersion"));
    };
    let mut manifest = object.clone();
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = manifest["metadata"].as_object_mut() {
        meta.retain(|field, _| !GIVEN.contains(&field.as_str()));
    }
    resize(&mut manifest, resizes)?;
    let data = [(UID, uid.0.to_string()), (VERSION, version.to_owned()), (MANIFEST, manifest.to_string())];
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(id)),
            labels: Some([(PURPOSE_LABEL.to_owned(), STORED_SET_PURPOSE.to_owned())].into()),
            annotations: Some([(STORED_SET_ANNOTATION.to_owned(), format!("{}/{}", id.namespace.0, id.name))].into()),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        // What is stored is what is created.
        immutable: Some(true),
        ..ConfigMap::default()
    };
    Ok((manifest, map))
}

fn resize(manifest: &mut Value, resizes: &Resizes) -> Result<(), Changed> {
    let mut to_do = resizes.len();
    for template in manifest["spec"]["volumeClaimTemplates"].as_array_mut().into_iter().flatten() {
        let Some((from, to)) = template["metadata"]["name"].as_str().and_then(|name| resizes.get(name)).copied() else {
            continue;
        };
        if size(template) != Some(from) {
            return Err(Changed("a template asks for another size"));
        }
        template["spec"]["resources"]["requests"]["storage"] = json!(to);
        to_do -= 1;
    }
    if to_do == 0 { Ok(()) } else { Err(Changed("a template is not there")) }
}

fn sizes(manifest: &Value) -> BTreeMap<Box<str>, Bytes> {
    let templates = manifest["spec"]["volumeClaimTemplates"].as_array();
    let sized = |template: &Value| Some((template["metadata"]["name"].as_str()?.into(), size(template)?));
    templates.into_iter().flatten().filter_map(sized).collect()
}

fn size(template: &Value) -> Option<Bytes> {
    template["spec"]["resources"]["requests"]["storage"].as_str()?.parse().ok()
}
