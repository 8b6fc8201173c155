//! The rules in the schemas, evaluated here as the API server evaluates them: what they refuse, with which sentence, and
//! that they accept nothing that this crate could not read.

use kube::CustomResourceExt;
use kube_cel::{CompiledSchema, Validator, compile_schema};
use orlop_api::{
    Bytes, ClusterStoragePolicy, Count, Decimal, DriverProfile, OwnerProfile, Period, StorageBudget, StoragePolicy,
    Threshold,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const NO_SIZE: &str = "is not a size: write a Kubernetes quantity above zero, such as 512Mi or 100Gi";
const NO_THRESHOLD: &str = "is not a threshold: write a value such as 10Gi or a percentage from 1% to 99%";
const NO_COUNT: &str = "is not a threshold: write a value such as 10000 or a percentage from 1% to 99%";
const NO_PERCENT: &str = "is not a percentage: write a whole number from 1% to 99%, such as 60%";
const NO_LABEL: &str =
    "is not the key of a label: write it as it stands on the claims, such as app.kubernetes.io/instance";
const NO_PERIOD: &str = "is not a period: write hours, minutes and seconds from 1s to 8760h, such as 90s, 10m or 1h30m";
const NO_DAYS: &str = "is not a number of days: write one from 1d to 99d, such as 7d";

const NO_DECIMAL: &str = "is not a decimal number: write it in quotes with at most twelve digits before and six after \
                          the point, such as '0.08' or '30'";
const NO_DAY: &str = "is not a day: write year, month and day, such as 2026-01-31";

/// The rules of one kind, ready to be evaluated.
struct Rules(CompiledSchema);

impl Rules {
    fn of<K: CustomResourceExt>() -> Self {
        let definition = K::crd();
        let schema = definition.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let compiled = compile_schema(&json!(schema.expect("a definition has a schema")));
        assert!(!compiled.has_errors(), "{:?}", compiled.compilation_errors());
        Self(compiled)
    }

    /// What the rules say of an object with this spec: one line for each refusal, as the API server prints it.
    fn refusals(&self, spec: &Value) -> Vec<String> {
        match Validator::new().validate_compiled(&self.0, &json!({ "spec": spec }), None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    fn accept(&self, spec: &Value) -> bool {
        self.refusals(spec).is_empty()
    }
}

fn with_capacity(field: &str, value: &str) -> Value {
    let mut capacity = json!({ "maximum": "1Gi" });
    capacity[field] = json!(value);
    json!({ "selector": {}, "capacity": capacity })
}

#[test]
fn a_policy_with_valid_values_is_accepted() {
    let rules = Rules::of::<StoragePolicy>();
    assert!(rules.accept(&json!({ "selector": {} })), "a policy without promises");
    for (field, values) in [
        ("maximum", &["1", "512Mi", "1.5Gi", "1e12", "2T"][..]),
        ("minFree", &["1%", "99%", "10Gi", "5"]),
        ("minFreeInodes", &["1%", "99%", "1", "999999999999999999"]),
        ("increase", &["25%", "1Gi"]),
        ("targetUtilization", &["1%", "60%", "79%"]),
        ("groupBy", &["app", "app.kubernetes.io/instance", "A_b.c-d", "a/b"]),
        ("timeToFull", &["1s", "90s", "10m", "1h30m", "8760h"]),
        ("horizon", &["1d", "7d", "99d"]),
    ] {
        for value in values {
            assert_eq!(rules.refusals(&with_capacity(field, value)), Vec::<String>::new(), "{field}: {value}");
        }
    }
}

#[test]
fn an_invalid_value_is_refused_with_a_sentence_that_says_what_to_write() {
    let rules = Rules::of::<StoragePolicy>();
    for (field, values, sentence) in [
        ("maximum", &["", "0", "-1Gi", "ten", "10 Gi", "1GB"][..], NO_SIZE),
        ("minFree", &["0%", "100%", "05%", "20 %", "%", "0", "-1Gi", "1.5%"], NO_THRESHOLD),
        ("minFreeInodes", &["0", "0%", "1k", "1Ki", "-1", "1000000000000000000"], NO_COUNT),
        ("increase", &["0", "100%", "a lot"], NO_THRESHOLD),
        ("targetUtilization", &["0%", "60", "05%", "5.%", "x%"], NO_PERCENT),
        ("groupBy", &["", "-app", "a/b/c", "/a", "a/", "app name", "App.io/x"], NO_LABEL),
        ("timeToFull", &["", "0s", "5", "1d", "m", "1h 30m", "8761h", "1.5h", "-1s"], NO_PERIOD),
        ("horizon", &["", "0d", "7", "07d", "1.5d", "-1d"], NO_DAYS),
    ] {
        for value in values {
            let expected = vec![format!("spec.capacity.{field}: {sentence}")];
            assert_eq!(rules.refusals(&with_capacity(field, value)), expected, "{field}: {value:?}");
        }
    }
}

#[test]
fn a_maintenance_window_is_long_enough_for_what_is_done_in_it() {
    let rules = Rules::of::<StoragePolicy>();
    let refusals = |duration: &str| {
        let mut spec = with_capacity("minFree", "20%");
        spec["capacity"]["maintenance"] = json!({ "windows": [{ "schedule": "0 3 * * 0", "duration": duration }] });
        rules.refusals(&spec)
    };
    for duration in ["20m", "2h", "24h"] {
        assert_eq!(refusals(duration), Vec::<String>::new(), "{duration}");
    }
    for duration in ["19m", "25h"] {
        let refusals = refusals(duration);
        assert!(refusals[0].contains("the duration of a maintenance window is from 20m to 24h"), "{refusals:?}");
    }
}

#[test]
fn a_target_utilization_leaves_more_free_than_minfree() {
    let rules = Rules::of::<StoragePolicy>();
    let refusals = |min_free: &str, target: &str| {
        let mut spec = with_capacity("minFree", min_free);
        spec["capacity"]["targetUtilization"] = json!(target);
        rules.refusals(&spec)
    };
    for (min_free, target) in [("20%", "79%"), ("1%", "98%"), ("10Gi", "99%")] {
        assert_eq!(refusals(min_free, target), Vec::<String>::new(), "{min_free} and {target}");
    }
    let sentence = "spec.capacity: targetUtilization leaves no more free than minFree, 20% where it is left out, so that \
                    the next growth would follow at once: make one of them smaller, so that together they are below 100%";
    for (min_free, target) in [("20%", "80%"), ("99%", "1%"), ("50%", "99%")] {
        assert_eq!(refusals(min_free, target), [sentence], "{min_free} and {target}");
    }
}

#[test]
fn both_kinds_of_policies_have_the_same_rules() {
    let (namespaced, cluster) = (Rules::of::<StoragePolicy>(), Rules::of::<ClusterStoragePolicy>());
    for value in ["20%", "10Gi", "0%", "ten"] {
        let spec = with_capacity("minFree", value);
        assert_eq!(namespaced.refusals(&spec), cluster.refusals(&spec), "{value}");
    }
}

#[test]
fn a_profile_has_sizes_above_zero() {
    let rules = Rules::of::<DriverProfile>();
    assert!(rules.accept(&json!({ "sizeIncrement": "4Gi", "maximumSize": "16Ti" })));
    let expected = ["spec.sizeIncrement", "spec.maximumSize"].map(|field| format!("{field}: {NO_SIZE}"));
    let mut refusals = rules.refusals(&json!({ "sizeIncrement": "0", "maximumSize": "all" }));
    refusals.sort_by_key(|line| !line.starts_with("spec.size"));
    assert_eq!(refusals, expected);
}

/// A profile with every field that there is, so that a test changes one of them.
fn whole_profile() -> Value {
    json!({
        "expansion": "Online",
        "sizeIncrement": "1Gi",
        "minimumSize": "1Gi",
        "maximumSize": "16Ti",
        "modifications": { "count": 4, "window": "24h", "cooldown": "1h", "source": "a page", "asOf": "2026-01-31" },
        "iops": { "baseline": 3000, "perGib": "0.75", "included": 3000, "minimum": 100, "maximum": 16000 },
        "throughput": { "maximum": 250, "maximumPerGib": 10 },
        "price": { "currency": "USD", "perGibMonth": "0.08", "source": "a list", "asOf": "2026-01-31" },
        "topologyKey": "topology.example.com/zone",
        "source": "a page",
        "asOf": "2026-01-31",
        "volumeTypes": [{
            "name": "fast",
            "parameters": [{ "name": "type", "aliases": ["kind"], "values": ["fast"], "default": true }],
            "minimumSize": "4Gi",
            "maximumSize": "64Ti",
            "source": "a page",
            "asOf": "2026-01-31",
        }],
    })
}

#[test]
fn a_profile_that_contradicts_itself_is_refused_with_a_sentence_that_says_what_to_do() {
    let rules = Rules::of::<DriverProfile>();
    assert_eq!(rules.refusals(&whole_profile()), Vec::<String>::new());
    assert!(rules.accept(&json!({})), "nothing needs to be known of a driver");
    let exchanged = "minimumSize is above maximumSize: exchange them, or leave out the one that is not known";
    let together = "source and asOf belong together: write both, or neither";
    for (field, value, at, sentence) in [
        ("/minimumSize", json!("17Ti"), "spec", exchanged),
        (
            "/sizeIncrement",
            json!("17Ti"),
            "spec",
            "sizeIncrement, 1Gi where it is left out, is above maximumSize, so that no size is left: make it smaller",
        ),
        ("/asOf", Value::Null, "spec", together),
        ("/source", Value::Null, "spec", together),
        ("/asOf", json!("31.1.2026"), "spec.asOf", NO_DAY),
        ("/asOf", json!("2026-13-01"), "spec.asOf", NO_DAY),
        ("/modifications/asOf", Value::Null, "spec.modifications", together),
        (
            "/modifications/cooldown",
            json!("25h"),
            "spec.modifications",
            "cooldown is longer than window, so that no more than one slot is ever used: make window as long",
        ),
        ("/modifications/window", json!("1d"), "spec.modifications.window", NO_PERIOD),
        (
            "/iops/minimum",
            json!(20_000),
            "spec.iops",
            "minimum is above maximum: exchange them, or leave out the one that is not known",
        ),
        (
            "/iops/included",
            json!(20_000),
            "spec.iops",
            "included is above maximum: no volume has so much, so write maximum in its place",
        ),
        ("/iops/perGib", json!("3/4"), "spec.iops.perGib", NO_DECIMAL),
        (
            "/price/currency",
            json!("$"),
            "spec.price.currency",
            "is not a currency: write its code of three capital letters, such as USD",
        ),
        ("/price/perGibMonth", json!("0,08"), "spec.price.perGibMonth", NO_DECIMAL),
        ("/price/asOf", json!("today"), "spec.price.asOf", NO_DAY),
        ("/volumeTypes/0/minimumSize", json!("65Ti"), "spec.volumeTypes[0]", exchanged),
        ("/volumeTypes/0/asOf", Value::Null, "spec.volumeTypes[0]", together),
        ("/volumeTypes/0/sizeIncrement", json!("0"), "spec.volumeTypes[0].sizeIncrement", NO_SIZE),
    ] {
        let mut profile = whole_profile();
        let (parent, name) = field.rsplit_once('/').unwrap();
        let parent = profile.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(name)
        } else {
            parent.insert(name.to_owned(), value.clone())
        };
        assert_eq!(rules.refusals(&profile), [format!("{at}: {sentence}")], "{field}: {value}");
    }
}

#[test]
fn what_the_rules_accept_of_a_whole_profile_can_be_read() {
    let profile = json!({ "metadata": { "name": "a" }, "spec": whole_profile() });
    let profile: DriverProfile = serde_json::from_value(profile).unwrap();
    assert_eq!(json!(profile.spec), whole_profile());
}

const NO_PATH: &str = "is not the path of a field: begin with spec, write points between fields, and the element of a list by \
                       a field of it, such as spec.nodeSets[name={set}].count";
const NO_PATTERN: &str = "is not a pattern: write text with variables in braces, such as data-{owner}-{ordinal}";

fn whole_owner() -> Value {
    json!({
        "kind": "Store",
        "nameLabel": "example.com/store",
        "writing": "Allowed",
        "requires": [{ "fields": ["spec.resize"], "values": ["true"], "default": true }],
        "claims": [{
            "role": "data",
            "labels": { "example.com/tier": "{tier}" },
            "name": "data-{owner}-{ordinal}",
            "size": ["spec.tiers[metadata.name={tier}].size", "spec.size"],
        }],
        "source": "a page",
        "asOf": "2026-01-31",
    })
}

#[test]
fn a_whole_profile_of_an_owner_is_accepted_and_can_be_read() {
    let object = |name: &str| json!({ "metadata": { "name": name }, "spec": whole_owner() });
    let Rules(compiled) = Rules::of::<OwnerProfile>();
    assert!(Validator::new().validate_compiled(&compiled, &object("stores.example.com"), None).is_ok());
    let profile: OwnerProfile = serde_json::from_value(object("stores.example.com")).unwrap();
    assert_eq!(json!(profile.spec), whole_owner());
    for name in ["stores", "stores."] {
        let refused = Validator::new().validate_compiled(&compiled, &object(name), None).unwrap_err();
        assert!(
            refused[0].to_string().contains("is not named after a CustomResourceDefinition"),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn a_profile_of_an_owner_that_makes_no_sense_is_refused_with_a_sentence_that_says_what_to_do() {
    let rules = Rules::of::<OwnerProfile>();
    let no_kind = "is not a kind: write it as in the kind of its objects, such as Cluster";
    let no_label = "is not the key of a label: write it as it stands on the claims, such as cnpg.io/cluster";
    let together = "source and asOf belong together: write both, or neither";
    let size = "spec.claims[0].size[0]";
    for (field, value, at, sentence) in [
        ("/kind", json!("stores.example.com"), "spec.kind", no_kind),
        ("/nameLabel", json!("a b"), "spec.nameLabel", no_label),
        ("/source", Value::Null, "spec", together),
        ("/claims/0/name", json!("data-{"), "spec.claims[0].name", NO_PATTERN),
        ("/claims/0/name", json!("data-{a-b}"), "spec.claims[0].name", NO_PATTERN),
        ("/claims/0/size/0", json!("metadata.name"), size, NO_PATH),
        ("/claims/0/size/0", json!("spec"), size, NO_PATH),
        ("/claims/0/size/0", json!("spec.a[0].b"), size, NO_PATH),
        ("/claims/0/size/0", json!("spec.a[name=].b"), size, NO_PATH),
        ("/claims/0/size/0", json!("spec.a/b"), size, NO_PATH),
        ("/requires/0/fields/0", json!("status.size"), "spec.requires[0].fields[0]", NO_PATH),
    ] {
        let mut profile = whole_owner();
        if value.is_null() {
            profile.as_object_mut().unwrap().remove(field.trim_start_matches('/'));
        } else {
            *profile.pointer_mut(field).unwrap() = value.clone();
        }
        let object = json!({ "metadata": { "name": "stores.example.com" }, "spec": profile });
        let refused = Validator::new().validate_compiled(&rules.0, &object, None).unwrap_err();
        let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(refused, [format!("{at}: {sentence}")], "{field}: {value}");
    }
    let mut profile = whole_owner();
    let role = profile["claims"][0].as_object_mut().unwrap();
    role.remove("name");
    role.remove("labels");
    let object = json!({ "metadata": { "name": "stores.example.com" }, "spec": profile });
    let refused = Validator::new().validate_compiled(&rules.0, &object, None).unwrap_err();
    let said = "spec.claims[0]: says of no claim that it is one of these: write labels, name or both";
    assert_eq!(refused[0].to_string(), said);
}

#[test]
fn a_budget_needs_a_limit_and_may_be_for_all_claims() {
    let rules = Rules::of::<StorageBudget>();
    for spec in [
        json!({ "limits": { "bytes": "2Ti" } }),
        json!({ "limits": { "monthlyCost": "150" } }),
        json!({ "limits": { "bytes": "2Ti", "monthlyCost": "0.5" }, "emergencyReserve": "5%" }),
        json!({ "limits": { "bytes": "2Ti", "monthlyCost": "1000000" }, "emergencyReserve": "100Gi" }),
        json!({ "limits": { "bytes": "1" }, "namespaceSelector": {}, "selector": { "matchLabels": { "a": "b" } } }),
    ] {
        assert_eq!(rules.refusals(&spec), Vec::<String>::new(), "{spec}");
        let object = json!({ "metadata": { "name": "a" }, "spec": spec });
        assert!(serde_json::from_value::<StorageBudget>(object).is_ok(), "{spec}");
    }
}

#[test]
fn a_budget_that_makes_no_sense_is_refused_with_a_sentence_that_says_what_to_do() {
    let rules = Rules::of::<StorageBudget>();
    let no_part = "emergencyReserve is a size, and limits has no bytes that it could be a part of: write a percentage";
    let too_large =
        "emergencyReserve leaves nothing of limits.bytes for other claims: make it smaller, or raise limits.bytes";
    let zero = "monthlyCost is zero, with which nothing could grow: write an amount above zero, or leave it out";
    for (spec, at, sentence) in [
        (
            json!({ "limits": {} }),
            "spec.limits",
            "there is no limit: write bytes, iops or monthlyCost, or several of them",
        ),
        (json!({ "limits": { "bytes": "0" } }), "spec.limits.bytes", NO_SIZE),
        (json!({ "limits": { "bytes": "a lot" }, "emergencyReserve": "1Gi" }), "spec.limits.bytes", NO_SIZE),
        (json!({ "limits": { "monthlyCost": "0.00" } }), "spec.limits", zero),
        (json!({ "limits": { "monthlyCost": "150 USD" } }), "spec.limits.monthlyCost", NO_DECIMAL),
        (json!({ "limits": { "monthlyCost": "5" }, "emergencyReserve": "1Gi" }), "spec", no_part),
        (json!({ "limits": { "bytes": "1Gi" }, "emergencyReserve": "1Gi" }), "spec", too_large),
        (json!({ "limits": { "bytes": "1Gi" }, "emergencyReserve": "2000Mi" }), "spec", too_large),
        (json!({ "limits": { "bytes": "1Gi" }, "emergencyReserve": "100%" }), "spec.emergencyReserve", NO_THRESHOLD),
        (json!({ "limits": { "bytes": "1Gi" }, "emergencyReserve": "some" }), "spec.emergencyReserve", NO_THRESHOLD),
    ] {
        assert_eq!(rules.refusals(&spec), [format!("{at}: {sentence}")], "{spec}");
    }
}

#[test]
fn what_a_status_says_of_a_budget_that_covers_nothing_is_accepted() {
    let status = json!(orlop_api::StorageBudgetStatus::default());
    let object = json!({ "spec": { "limits": { "bytes": "1Gi" } }, "status": status });
    let Rules(compiled) = Rules::of::<StorageBudget>();
    assert!(Validator::new().validate_compiled(&compiled, &object, None).is_ok(), "{status}");
}

/// Texts that are nearly units: many are not. They stay below 10^29, where the evaluator of these tests overflows (the
/// API server's does not).
const NEARLY_A_QUANTITY: &str =
    "[+-]?[0-9]{0,9}[.]?[0-9]{0,3}(|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[+-]?[0-9]|E3|i|%)";
const NEARLY_A_PERIOD: &str = "([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?";

proptest! {
    #[test]
    fn a_size_that_the_rules_accept_can_be_read(text in NEARLY_A_QUANTITY) {
        let rules = Rules::of::<StoragePolicy>();
        if rules.accept(&with_capacity("maximum", &text)) {
            prop_assert!(text.parse::<Bytes>().is_ok_and(|size| size > Bytes(0)));
        }
        if rules.accept(&with_capacity("minFree", &text)) {
            prop_assert!(text.parse::<Threshold<Bytes>>().is_ok());
        }
        if rules.accept(&with_capacity("minFreeInodes", &text)) {
            prop_assert!(text.parse::<Threshold<Count>>().is_ok());
        }
    }

    #[test]
    fn a_decimal_number_that_the_rules_accept_can_be_read(text in "[0-9]{0,13}[.]?[0-9]{0,7}") {
        let mut profile = whole_profile();
        profile["price"]["perGibMonth"] = json!(text);
        prop_assert_eq!(Rules::of::<DriverProfile>().accept(&profile), text.parse::<Decimal>().is_ok());
    }

    #[test]
    fn a_path_or_pattern_that_the_rules_accept_can_be_read(
        path in "spec([.][a-z]{1,3}([\\[{=}\\]][a-z={}.]{0,9})?){0,3}", pattern in "[a{}-]{0,8}"
    ) {
        let rules = Rules::of::<OwnerProfile>();
        let mut profile = whole_owner();
        profile["claims"][0]["size"] = json!([path]);
        profile["claims"][0]["name"] = json!(pattern);
        let object = json!({ "metadata": { "name": "stores.example.com" }, "spec": profile });
        let is_accepted = Validator::new().validate_compiled(&rules.0, &object, None).is_ok();
        prop_assert_eq!(is_accepted, serde_json::from_value::<OwnerProfile>(object).is_ok());
    }

    #[test]
    fn a_period_that_the_rules_accept_can_be_read(text in NEARLY_A_PERIOD) {
        if Rules::of::<StoragePolicy>().accept(&with_capacity("timeToFull", &text)) {
            prop_assert!(text.parse::<Period>().is_ok());
        }
    }
}

#[test]
fn a_performance_section_names_at_least_two_classes_each_once_and_has_a_gap_between_its_bounds() {
    let rules = Rules::of::<StoragePolicy>();
    let refusals = |performance: Value| rules.refusals(&json!({ "selector": {}, "performance": performance }));
    assert_eq!(refusals(json!({ "attributesClasses": ["slow", "fast"] })), Vec::<String>::new());
    let twice =
        "spec.performance.attributesClasses: names a class twice: name each once, from the slowest to the fastest";
    assert_eq!(refusals(json!({ "attributesClasses": ["slow", "fast", "slow"] })), [twice]);
    let bounds = |raise: &str, lower: &str| {
        refusals(json!({ "attributesClasses": ["slow", "fast"], "raiseAbove": raise, "lowerBelow": lower }))
    };
    assert_eq!(bounds("41%", "40%"), Vec::<String>::new());
    let no_gap = "spec.performance: lowerBelow is not below raiseAbove, so that a claim that has just been lowered would be \
                  raised again: make lowerBelow smaller, 40% where it is left out, or raiseAbove larger, 90% where it is \
                  left out";
    assert_eq!(bounds("40%", "40%"), [no_gap]);
    assert_eq!(bounds("90", "40%"), [format!("spec.performance.raiseAbove: {NO_PERCENT}")]);
}

#[test]
fn a_unit_is_for_parameters_that_limit_throughput() {
    let rules = Rules::of::<DriverProfile>();
    let refusals = |parameter: Value| rules.refusals(&json!({ "attributeParameters": [parameter] }));
    let valid = [
        json!({ "parameter": "iops", "limits": "Iops" }),
        json!({ "parameter": "throughput", "limits": "Throughput", "unit": "MiB" }),
        json!({ "parameter": "throughput", "limits": "ReadThroughput" }),
    ];
    for parameter in valid {
        assert_eq!(refusals(parameter), Vec::<String>::new());
    }
    let sentence = "spec.attributeParameters[0]: unit is for throughput alone: operations are counted, so leave it out";
    assert_eq!(refusals(json!({ "parameter": "iops", "limits": "WriteIops", "unit": "MB" })), [sentence]);
}

#[test]
fn metrics_of_what_exceeds_limits_are_named_as_prometheus_names_them() {
    let rules = Rules::of::<DriverProfile>();
    let refusals = |label: &str, metric: &str| {
        let counters = json!([{ "metric": metric, "exceeds": "Iops" }]);
        let saturation =
            json!({ "volumeLabel": label, "counters": counters, "source": "a page", "asOf": "2026-01-31" });
        rules.refusals(&json!({ "saturation": saturation }))
    };
    assert_eq!(refusals("volume_id", "storage:exceeded_seconds_total"), Vec::<String>::new());
    let no_label = "spec.saturation.volumeLabel: is not the name of a label of Prometheus: write letters, digits and \
                    underscores, and no digit first";
    assert_eq!(refusals("volume-id", "exceeded_seconds_total"), [no_label]);
    let no_metric = "spec.saturation.counters[0].metric: is not the name of a metric of Prometheus: write letters, digits, \
                     underscores and colons, and no digit first";
    assert_eq!(refusals("volume_id", r#"x"} or {"#), [no_metric]);
    assert_eq!(refusals("volume_id", "5xx"), [no_metric]);
}

#[test]
fn a_budget_may_limit_operations_alone() {
    let rules = Rules::of::<StorageBudget>();
    assert_eq!(rules.refusals(&json!({ "limits": { "iops": 1000 } })), Vec::<String>::new());
    let sentence = "spec.limits: there is no limit: write bytes, iops or monthlyCost, or several of them";
    assert_eq!(rules.refusals(&json!({ "limits": {} })), [sentence]);
}
