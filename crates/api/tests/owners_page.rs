//! The table in `docs/owners.md` is what is built in, and so are the kinds that the chart lets the operator read and patch.

use std::{fs, path::Path};

use orlop_api::{
    Writing,
    owner::{FieldPath, built_in},
};
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).expect("the file can be read")
}

/// One row for each role of claims.
fn table() -> String {
    let mut rows = vec!["| custom resource | claims | size |".to_owned(), "|---|---|---|".to_owned()];
    for profile in built_in::all() {
        let name = profile.metadata.name.as_deref().expect("a profile has a name");
        let paths =
            |paths: &[FieldPath]| paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", or ");
        for role in &profile.spec.claims {
            let only = if profile.spec.writing == Writing::RecommendOnly { " (recommended only)" } else { "" };
            rows.push(format!("| {} `{name}` | {} | {}{only} |", profile.spec.kind, role.role, paths(&role.size)));
        }
    }
    rows.join("\n")
}

#[test]
fn the_page_of_owners_has_what_is_built_in() {
    let table = table();
    assert!(read("docs/owners.md").contains(&table), "replace the table in docs/owners.md by:\n\n{table}\n");
}

#[test]
fn the_chart_grants_the_kinds_that_are_built_in() {
    let values: Value = serde_yaml_ng::from_str(&read("charts/orlop/values.yaml")).unwrap();
    let granted: Vec<_> =
        values["operator"]["owners"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let built_in: Vec<_> = built_in::all().map(|profile| profile.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(granted, built_in);
}
