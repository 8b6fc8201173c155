//! The files in `examples/`: they are YAML, their objects of ours satisfy the rules in the schemas, and every field in
//! them is one that exists.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kube::CustomResourceExt;
use kube_cel::{Validator, compile_schema};
use orlop_api::{ClusterStoragePolicy, DriverProfile, OwnerProfile, StorageBudget, StoragePolicy, driver, owner};
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.ends_with("examples/values") {
            // Values for the chart, which `cargo xtask test` renders it with.
        } else if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found
}

fn objects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file can be read");
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect()
}

/// Checks an object against the rules in its kind's schema, and that reading it loses nothing.
fn check<K: CustomResourceExt + DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let definition = K::crd();
    let schema = definition.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    Validator::new()
        .validate_compiled(&compile_schema(&json!(schema)), object, None)
        .map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect::<String>())?;
    let read: K = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    match lost("", object, &json!(read)) {
        Some(field) => Err(format!("there is no field {field}")),
        None => Ok(()),
    }
}

/// The first field of `written` that `read` does not have.
fn lost(path: &str, written: &Value, read: &Value) -> Option<String> {
    let Value::Object(fields) = written else { return None };
    fields.iter().find_map(|(name, value)| {
        let path = format!("{path}.{name}");
        match read.get(name) {
            Some(read) => lost(&path, value, read),
            None => Some(path),
        }
    })
}

fn check_any(object: &Value) -> Result<bool, String> {
    if !object["apiVersion"].as_str().ok_or("has no apiVersion")?.starts_with("orlop.dev/") {
        return Ok(false);
    }
    match object["kind"].as_str() {
        Some("StoragePolicy") => check::<StoragePolicy>(object),
        Some("ClusterStoragePolicy") => check::<ClusterStoragePolicy>(object),
        Some("StorageBudget") => check::<StorageBudget>(object),
        Some("DriverProfile") => check::<DriverProfile>(object),
        Some("OwnerProfile") => check::<OwnerProfile>(object),
        kind => Err(format!("there is no kind {kind:?}")),
    }
    .map(|()| true)
}

#[test]
fn every_example_is_valid() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut ours = 0;
    for path in files(&directory) {
        for object in objects(&path) {
            let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
            ours +=
                usize::from(check_any(&object).unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display())));
        }
    }
    assert!(ours > 0, "there are examples");
}

#[test]
fn every_built_in_profile_is_valid_as_a_user_could_apply_it() {
    for (directory, built_in) in
        [("profiles", driver::built_in::all().count()), ("owners", owner::built_in::all().count())]
    {
        let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory));
        assert_eq!(files.len(), built_in, "each file is built in");
        for path in files {
            let [object] = &objects(&path)[..] else { panic!("{} has one object", path.display()) };
            assert_eq!(check_any(object), Ok(true), "{}", path.display());
            assert_eq!(path.file_stem().unwrap().to_str(), object["metadata"]["name"].as_str());
        }
    }
}

#[test]
fn a_field_that_does_not_exist_is_found() {
    let policy = |capacity: Value| {
        json!({
            "apiVersion": "orlop.dev/v1alpha1",
            "kind": "StoragePolicy",
            "metadata": { "name": "a", "namespace": "b" },
            "spec": { "selector": {}, "capacity": capacity },
        })
    };
    assert_eq!(check_any(&policy(json!({ "maximum": "1Gi" }))), Ok(true));
    let misspelt = check_any(&policy(json!({ "maximum": "1Gi", "minfree": "20%" })));
    assert_eq!(misspelt, Err("there is no field .spec.capacity.minfree".to_owned()));
}
