//! Whoever must look at a claim is told so: each reason that is a problem stands in an alert of the chart, and in the panel of
//! its dashboard that counts problems.

use std::{collections::BTreeSet, fs, path::Path};

use orlop_api::names::Reason;
use serde_json::Value;

fn chart(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/orlop/files").join(file);
    fs::read_to_string(path).expect("the file can be read")
}

/// Every reason, as its schema names them.
fn reasons() -> Vec<Reason> {
    let schema = schemars::schema_for!(Reason).to_value();
    let named = schema["oneOf"].as_array().into_iter().flatten().flat_map(|one| {
        one["const"]
            .as_str()
            .map(str::to_owned)
            .into_iter()
            .chain(one["enum"].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)))
    });
    let read = |name: String| serde_json::from_value(Value::String(name)).expect("it is a reason");
    named.map(read).collect()
}

/// The reasons for which expressions in the text select.
fn selected(text: &str) -> BTreeSet<String> {
    let text = text.replace("\\\"", "\"");
    let lists = text.split("reason=").skip(1).filter_map(|rest| rest.trim_start_matches('~').split('"').nth(1));
    lists.flat_map(|list| list.split('|')).map(str::to_owned).collect()
}

#[test]
fn every_reason_that_is_a_problem_has_an_alert_and_is_counted_on_the_dashboard() {
    let problems: BTreeSet<_> =
        reasons().into_iter().filter(|reason| reason.is_problem()).map(|reason| reason.to_string()).collect();
    assert!(problems.contains("OwnedElsewhere"), "{problems:?}");
    for file in ["rules.yaml", "dashboard.json"] {
        let selected = selected(&chart(file));
        assert_eq!(problems.difference(&selected).collect::<Vec<_>>(), Vec::<&String>::new(), "{file}");
    }
}
