//! Each built-in OwnerProfile against a small definition of our own that has the fields that the operator publishes: the
//! field of each claim is found, and the patch of it leaves an object that the definition allows.

use std::{collections::BTreeMap, fs, path::Path};

use orlop_api::{
    Bytes, OwnerProfile, OwnerProfileSpec,
    owner::{Located, Lookup, Pattern, built_in},
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    definition: Value,
    object: Value,
    claims: Vec<Claim>,
}

/// A claim, and where its size is written: in one of these ways, or nowhere, because it has no role.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Claim {
    name: String,
    labels: BTreeMap<String, String>,
    role: Option<String>,
    pointer: Option<String>,
    size: Option<Bytes>,
    absent: Option<Vec<String>>,
    not_passed_on: Option<String>,
}

fn case(profile: &OwnerProfile) -> Case {
    let name = profile.metadata.name.as_deref().expect("a profile has a name");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/owners/{name}.yaml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What of a value a structural schema does not allow.
fn disallowed(at: &str, value: &Value, schema: &Value) -> Vec<String> {
    let is_preserved = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let wrong = || vec![format!("{at}: {value} is no {}", schema["type"])];
    match value {
        Value::Object(fields) if schema["type"] == "object" => {
            let field = |(name, value): (&String, &Value)| {
                let at = format!("{at}/{name}");
                match schema["properties"].get(name).or_else(|| schema.get("additionalProperties")) {
                    Some(schema) => disallowed(&at, value, schema),
                    None if is_preserved => Vec::new(),
                    None => vec![format!("{at}: there is no such field")],
                }
            };
            fields.iter().flat_map(field).collect()
        }
        Value::Array(items) if schema["type"] == "array" => {
            let item = |(index, item)| disallowed(&format!("{at}/{index}"), item, &schema["items"]);
            items.iter().enumerate().flat_map(item).collect()
        }
        Value::String(_) | Value::Number(_) if schema["x-kubernetes-int-or-string"] == true => Vec::new(),
        Value::String(_) if schema["type"] == "string" => Vec::new(),
        Value::Number(number) if schema["type"] == "integer" && number.is_i64() => Vec::new(),
        Value::Bool(_) if schema["type"] == "boolean" => Vec::new(),
        _ => wrong(),
    }
}

fn locate(profile: &OwnerProfileSpec, claim: &Claim, object: &Value) -> Option<Located> {
    let labels = |key: &str| claim.labels.get(key).map(String::as_str);
    let owner = object["metadata"]["name"].as_str().expect("an object has a name");
    let lookup = Lookup { owner, claim: &claim.name, labels: &labels };
    assert_eq!(profile.role(lookup).map(|(role, _)| role.role.as_str()), claim.role.as_deref(), "{}", claim.name);
    let located = profile.locate(lookup, object);
    assert_eq!(located, profile.locate(lookup, &profile.prune(object)), "what is kept of an object is enough");
    located
}

#[test]
fn the_size_of_each_operators_claims_is_found_where_its_definition_has_it() {
    for profile in built_in::all() {
        let Case { definition, object, claims } = case(profile);
        let name = profile.metadata.name.as_deref().unwrap();
        assert_eq!(definition["metadata"]["name"], name);
        assert_eq!(definition["spec"]["names"]["kind"], *profile.spec.kind);
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert_eq!(disallowed("/spec", &object["spec"], schema), Vec::<String>::new(), "{name}");
        for claim in &claims {
            let context = format!("{name} {}", claim.name);
            let located = locate(&profile.spec, claim, &object);
            if let Some(absent) = &claim.absent {
                assert_eq!(located, Some(Located::Absent(absent.clone())), "{context}");
                continue;
            }
            let Some(pointer) = &claim.pointer else {
                assert_eq!(located, None, "{context}");
                continue;
            };
            let located = located.unwrap_or_else(|| panic!("{context} is found"));
            let why = if let Located::NotPassedOn(_, why) = &located { Some(why) } else { None };
            assert_eq!(why, claim.not_passed_on.as_ref(), "{context}");
            let field = located.field().unwrap();
            assert_eq!((&field.pointer, Some(field.size)), (pointer, claim.size), "{context}");

            let mut patched = object.clone();
            let patch: json_patch::Patch = serde_json::from_value(json!(field.patch("1", Bytes(1 << 50)))).unwrap();
            json_patch::patch(&mut patched, &patch).unwrap();
            assert_eq!(patched.pointer(pointer), Some(&json!("1Pi")), "{context}");
            assert_eq!(disallowed("/spec", &patched["spec"], schema), Vec::<String>::new(), "{context}");
        }
        let is_shown = |role: &str| claims.iter().any(|claim| claim.role.as_deref() == Some(role));
        assert!(profile.spec.claims.iter().all(|role| is_shown(&role.role)), "{name}: there is a claim of each role");
    }
}

#[test]
fn a_patch_fails_where_the_object_the_list_or_the_size_is_another_by_now() {
    let profile = built_in::all().find(|profile| profile.spec.kind == "PostgresCluster").unwrap();
    let Case { object, claims, .. } = case(profile);
    let field = locate(&profile.spec, &claims[0], &object).unwrap().field().unwrap().clone();
    let patch: json_patch::Patch = serde_json::from_value(json!(field.patch("1", Bytes(1 << 50)))).unwrap();
    for (pointer, value) in [
        ("/metadata/uid", json!("2")),
        ("/spec/instances/1/name", json!("c")),
        (&field.pointer, json!("12Gi")),
        (&field.pointer, json!("11264Mi")),
    ] {
        let mut changed = object.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let before = changed.clone();
        assert!(json_patch::patch(&mut changed, &patch).is_err(), "{pointer}");
        assert_eq!(changed, before);
    }
}

#[test]
fn a_size_is_not_passed_on_where_the_operator_was_not_told_to() {
    let profile = built_in::all().find(|profile| profile.spec.kind == "PerconaServerMongoDB").unwrap();
    let Case { object, claims, .. } = case(profile);
    let with = |scaling: Value, expansion: Value| {
        let mut object = object.clone();
        object["spec"]["storageScaling"] = scaling;
        object["spec"]["enableVolumeExpansion"] = expansion;
        match locate(&profile.spec, &claims[0], &object).unwrap() {
            Located::Field(_) => None,
            Located::NotPassedOn(_, why) => Some(why),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with(json!({ "enableVolumeScaling": true }), Value::Null), None);
    assert_eq!(with(Value::Null, json!(true)), None);
    let off = "its operator passes the size on only where spec.storageScaling.enableVolumeScaling or \
               spec.enableVolumeExpansion is true";
    assert_eq!(with(Value::Null, Value::Null).as_deref(), Some(off));
    assert_eq!(with(json!({ "enableVolumeScaling": false }), json!(true)).as_deref(), Some(off));
    let external = json!({ "enableVolumeScaling": true, "enableExternalAutoscaling": true });
    assert!(with(external, Value::Null).is_some());
}

#[test]
fn every_profile_says_where_it_comes_from_and_knows_what_its_variables_stand_for() {
    for profile in built_in::all() {
        let name = &profile.metadata.name;
        assert!(profile.spec.source.is_some() && profile.spec.as_of.is_some(), "{name:?}");
        for role in &profile.spec.claims {
            let patterns = role.labels.values().chain(&role.name);
            let known: Vec<_> = patterns.flat_map(Pattern::variables).chain(["owner"]).collect();
            for path in &role.size {
                assert!(path.variables().all(|variable| known.contains(&variable)), "{name:?} {}: {path}", role.role);
            }
        }
    }
}
