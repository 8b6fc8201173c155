use kube::core::DeserializeGuard;
use orlop_api::{Bytes, StoragePolicy};
use orlop_planner::{Class, Modification, Requirement, Resize, Selector};
use serde_json::{Value, json};

use super::{
    DeploymentObject, PodObject, SetObject, Unreadable, autoscaler, claim, class, deployment, pod, policy, set, volume,
};
use crate::observe::{ClaimFacts, PolicyFacts, Spelling};

fn claim_with(patch: Value) -> Result<ClaimFacts, Unreadable> {
    let mut object = json!({
        "metadata": { "name": "data", "namespace": "app", "uid": "u", "resourceVersion": "42" },
        "spec": {
            "storageClassName": "fast",
            "volumeName": "pv",
            "resources": { "requests": { "storage": "1024Mi" } },
        },
        "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } },
    });
    merge(&mut object, patch);
    claim(serde_json::from_value(object).unwrap())
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

#[test]
fn a_claim_is_kept_by_its_values_and_for_preconditions_to_the_letter() {
    let growth = r#"{"from":"512Mi","to":"1Gi","filesystem":"500Mi","crossed":"2026-01-01T00:00:00Z",
        "decided":"2026-01-01T00:00:01Z","reason":"BelowMinFree"}"#;
    let facts = claim_with(json!({ "metadata": { "annotations": { "orlop.dev/growth": growth } } })).unwrap();
    assert_eq!(facts.version, Some(42));
    assert_eq!((facts.requested, facts.capacity), (Bytes::GIB, Some(Bytes::GIB)));
    assert_eq!(facts.growth.as_ref().unwrap().from, Bytes(512 << 20));
    let spelling =
        Spelling { requested: "1024Mi".into(), growth: Some(growth.into()), annotated: true, ..Spelling::default() };
    assert_eq!(facts.spelling, spelling);
    assert!(!claim_with(json!({})).unwrap().spelling.annotated);
}

#[test]
fn a_text_in_the_annotation_that_is_no_growth_says_nothing_and_stays_a_precondition() {
    let facts = claim_with(json!({ "metadata": { "annotations": { "orlop.dev/growth": "yes please" } } })).unwrap();
    assert_eq!(facts.growth, None);
    assert_eq!(facts.spelling.growth.as_deref(), Some("yes please"));
}

#[test]
fn a_claim_is_paused_by_any_value_but_false() {
    let paused = |value: &str| {
        let facts = claim_with(json!({ "metadata": { "annotations": { "orlop.dev/paused": value } } })).unwrap();
        (facts.paused.as_deref().map(str::to_owned), facts.spelling.paused)
    };
    for value in ["true", "", "restoring a backup", "False"] {
        assert_eq!(paused(value), (Some(value.to_owned()), Some(value.into())));
    }
    assert_eq!(paused("false"), (None, Some("false".into())));
    assert_eq!(claim_with(json!({})).unwrap().paused, None);
}

#[test]
fn the_growth_of_a_claim_that_this_one_is_a_copy_of_is_not_its_own() {
    let growth_of = |claim: Option<&str>| {
        let mut growth = json!({
            "from": "512Mi", "to": "1Gi", "filesystem": "500Mi", "crossed": "2026-01-01T00:00:00Z",
            "decided": "2026-01-01T00:00:01Z", "reason": "BelowMinFree",
        });
        if let Some(claim) = claim {
            growth["claim"] = json!(claim);
        }
        let annotations = json!({ "orlop.dev/growth": growth.to_string() });
        claim_with(json!({ "metadata": { "annotations": annotations } })).unwrap().growth
    };
    assert_eq!(growth_of(Some("another")), None);
    assert_eq!(growth_of(Some("u")).unwrap().to, Bytes::GIB);
    assert_eq!(growth_of(None), growth_of(Some("u")), "written by an operator that did not say whose it is");
}

#[test]
fn only_a_bound_claim_that_is_not_being_deleted_has_a_volume() {
    assert_eq!(claim_with(json!({})).unwrap().volume.as_deref(), Some("pv"));
    assert_eq!(claim_with(json!({ "status": { "phase": "Pending" } })).unwrap().volume, None);
    assert_eq!(claim_with(json!({ "status": { "phase": "Lost" } })).unwrap().volume, None);
    let deleting = claim_with(json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } })).unwrap();
    assert_eq!(deleting.volume, None);
}

#[test]
fn a_claim_without_a_readable_size_is_not_known() {
    let error = claim_with(json!({ "spec": { "resources": { "requests": { "storage": "-1Gi" } } } })).unwrap_err();
    assert!(error.to_string().starts_with("spec.resources.requests.storage: `-1Gi` is not a size"), "{error}");
    let error = claim_with(json!({ "spec": { "resources": Value::Null } })).unwrap_err();
    assert_eq!(error.to_string(), "spec.resources.requests.storage: is missing");
}

#[test]
fn how_a_resize_stands_is_read_from_the_status_and_where_there_is_none_from_the_conditions() {
    let resize = |allocated: Option<&str>, condition: Option<&str>| {
        let allocated = allocated.map(|status| json!({ "storage": status }));
        let condition = condition.map(|kind| json!([{ "type": kind, "status": "True", "message": "pool is full" }]));
        let status = json!({ "allocatedResourceStatuses": allocated, "conditions": condition });
        claim_with(json!({ "status": status })).unwrap().resize
    };
    assert_eq!(resize(None, None), Resize::Idle);
    assert_eq!(resize(Some("ControllerResizeInProgress"), None), Resize::Controller);
    assert_eq!(resize(Some("NodeResizePending"), Some("Resizing")), Resize::Node);
    assert_eq!(resize(Some("NodeResizeInProgress"), None), Resize::Node);
    assert_eq!(
        resize(Some("ControllerResizeInfeasible"), Some("ControllerResizeError")),
        Resize::Infeasible("pool is full".into())
    );
    assert_eq!(
        resize(Some("NodeResizeInfeasible"), Some("NodeResizeError")),
        Resize::NodeInfeasible("pool is full".into())
    );
    assert_eq!(resize(Some("NodeResizeInfeasible"), None), Resize::NodeInfeasible("the driver gave no reason".into()));
    assert_eq!(resize(None, Some("Resizing")), Resize::Controller);
    assert_eq!(resize(None, Some("FileSystemResizePending")), Resize::Node);
    assert_eq!(resize(None, Some("ModifyingVolume")), Resize::Idle);
}

#[test]
fn what_was_refused_of_another_size_says_nothing_of_the_one_that_is_requested() {
    let resize = |allocated: &str| {
        let status = json!({
            "allocatedResourceStatuses": { "storage": "ControllerResizeInfeasible" },
            "allocatedResources": { "storage": allocated },
        });
        claim_with(json!({ "status": status })).unwrap().resize
    };
    assert_eq!(resize("1Gi"), Resize::Infeasible("the driver gave no reason".into()));
    assert_eq!(resize("2Gi"), Resize::Controller, "it has yet to look at the new size");
}

#[test]
fn what_was_refused_of_another_class_says_nothing_of_the_one_that_is_requested() {
    let modification = |requested: &str| {
        let spec = json!({
            "resources": { "requests": { "storage": "1Gi" } },
            "volumeAttributesClassName": requested,
        });
        let status = json!({
            "currentVolumeAttributesClassName": "medium",
            "modifyVolumeStatus": { "targetVolumeAttributesClassName": "basic", "status": "Infeasible" },
        });
        claim_with(json!({ "spec": spec, "status": status })).unwrap().attributes.unwrap().modification
    };
    let refused = Modification::Infeasible("the driver gave no reason".into());
    assert_eq!(modification("basic"), refused);
    assert_eq!(modification("medium"), refused, "it is what the volume has");
    assert_eq!(modification("quick"), Modification::Pending(None), "it has yet to look at this one");
}

#[test]
fn a_class_is_kept_with_the_parameters_by_which_it_asks_for_a_kind_of_volume() {
    let facts = |object: Value| class(serde_json::from_value(object).unwrap());
    let known = facts(json!({
        "provisioner": "ebs.csi.aws.com", "allowVolumeExpansion": true, "parameters": { "type": "st1" },
    }));
    let parameters = [("type".to_owned(), "st1".to_owned())].into();
    assert_eq!(known, Class { provisioner: "ebs.csi.aws.com".into(), expandable: true, parameters });
    let bare = Class { provisioner: "tape".into(), expandable: false, parameters: [].into() };
    assert_eq!(facts(json!({ "provisioner": "tape" })), bare);
}

#[test]
fn a_volume_names_its_claim_only_with_the_claims_uid() {
    let volume = |claim_ref: Value| {
        let spec = json!({
            "capacity": { "storage": "2Gi" },
            "csi": { "driver": "local.orlop.dev", "volumeHandle": "v" },
            "claimRef": claim_ref,
        });
        volume(serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap()).unwrap()
    };
    let bound = volume(json!({ "namespace": "app", "name": "data", "uid": "u" }));
    assert_eq!(&*bound.claim.unwrap().1.0, "u");
    assert_eq!((bound.capacity, bound.driver.as_deref()), (Bytes(2 << 30), Some("local.orlop.dev")));
    assert_eq!(volume(json!({ "namespace": "app", "name": "data" })).claim, None, "reserved, and not bound yet");
    let by_driver = |handle: &str| {
        let csi = json!({ "driver": "d", "volumeHandle": handle });
        let spec = json!({ "capacity": { "storage": "1Gi" }, "csi": csi });
        let object = json!({ "metadata": { "name": "pvc-1" }, "spec": spec });
        super::volume(serde_json::from_value(object).unwrap()).unwrap().handle
    };
    assert_eq!(by_driver("vol-1").as_deref(), Some("vol-1"));
    assert_eq!(by_driver("pvc-1"), None, "it is the volume's own name");
}

#[test]
fn the_claims_of_a_pod_are_those_that_it_names_and_those_of_its_ephemeral_volumes() {
    let pod_with = |volumes: Value| {
        let object =
            json!({ "metadata": { "name": "web-0", "namespace": "app", "uid": "u" }, "spec": { "volumes": volumes } });
        pod(&serde_json::from_value::<PodObject>(object).unwrap())
    };
    let facts = pod_with(json!([
        { "name": "tmp", "emptyDir": {} },
        { "name": "data", "persistentVolumeClaim": { "claimName": "data-web-0" } },
        { "name": "scratch", "ephemeral": { "volumeClaimTemplate": { "spec": { "accessModes": [] } } } },
    ]));
    assert_eq!(facts.unwrap().claims.iter().map(|name| &**name).collect::<Vec<_>>(), ["data-web-0", "web-0-scratch"]);
    assert_eq!(pod_with(json!([{ "name": "tmp", "emptyDir": {} }])), None);
}

fn policy_with(spec: &Value) -> PolicyFacts {
    let object = json!({
        "apiVersion": "orlop.dev/v1alpha1",
        "kind": "StoragePolicy",
        "metadata": { "name": "p", "namespace": "app", "uid": "u", "generation": 7 },
        "spec": spec,
    });
    policy(serde_json::from_value::<DeserializeGuard<StoragePolicy>>(object).unwrap().0)
}

#[test]
fn every_operator_of_a_label_selector_is_understood() {
    let selector = json!({
        "matchLabels": { "app": "db" },
        "matchExpressions": [
            { "key": "tier", "operator": "In", "values": ["a", "b"] },
            { "key": "env", "operator": "NotIn", "values": ["test"] },
            { "key": "owner", "operator": "Exists" },
            { "key": "temporary", "operator": "DoesNotExist", "values": [] },
        ],
    });
    let claims = policy_with(&json!({ "selector": selector })).policy.unwrap().claims;
    let expected = Selector(vec![
        Requirement::In("app".into(), vec!["db".into()]),
        Requirement::In("tier".into(), vec!["a".into(), "b".into()]),
        Requirement::NotIn("env".into(), vec!["test".into()]),
        Requirement::Exists("owner".into()),
        Requirement::DoesNotExist("temporary".into()),
    ]);
    assert_eq!(claims, expected);
}

#[test]
fn a_policy_that_cannot_be_read_says_why_and_is_known() {
    let why = |expression: Value| {
        policy_with(&json!({ "selector": { "matchExpressions": [expression] } })).policy.unwrap_err()
    };
    assert_eq!(
        why(json!({ "key": "app", "operator": "Equals", "values": ["db"] })),
        "spec.selector: `Equals` is not an operator: write In, NotIn, Exists or DoesNotExist"
    );
    assert_eq!(
        why(json!({ "key": "app", "operator": "In" })),
        "spec.selector: In of label app needs at least one value"
    );
    assert_eq!(
        why(json!({ "key": "app", "operator": "Exists", "values": ["x"] })),
        "spec.selector: Exists of label app takes no values"
    );
    let broken = policy_with(&json!({ "selector": {}, "capacity": { "maximum": "a lot" } }));
    assert!(broken.policy.unwrap_err().contains("`a lot` is not a size"));
    assert_eq!((&*broken.uid.0, broken.generation), ("u", Some(7)));
}

#[test]
fn a_maintenance_window_that_cannot_be_understood_is_said_with_its_field() {
    let why = |schedule: &str, zone: &str| {
        let windows = json!([{ "schedule": schedule, "timeZone": zone, "duration": "1h" }]);
        let capacity = json!({ "maximum": "1Gi", "maintenance": { "windows": windows } });
        policy_with(&json!({ "selector": {}, "capacity": capacity })).policy.map(|policy| policy.maintenance.is_some())
    };
    assert_eq!(why("0 3 * * 0", "Europe/Berlin"), Ok(true));
    let schedule = why("at night", "UTC").unwrap_err();
    assert!(schedule.starts_with("spec.capacity.maintenance.windows[0].schedule: `at night` is not"), "{schedule}");
    let zone = why("0 3 * * 0", "Middle/Earth").unwrap_err();
    assert!(zone.starts_with("spec.capacity.maintenance.windows[0].timeZone: `Middle/Earth` is not"), "{zone}");
}

#[test]
fn an_autoscaler_is_kept_by_the_workload_that_it_scales_and_one_of_another_kind_is_not() {
    let scales = |kind: &str| {
        let target = json!({ "apiVersion": "apps/v1", "kind": kind, "name": "db" });
        let object = json!({ "metadata": { "name": "busy", "namespace": "app" },
            "spec": { "maxReplicas": 3, "scaleTargetRef": target } });
        autoscaler(serde_json::from_value(object).unwrap()).map(|set| set.to_string())
    };
    assert_eq!(scales("StatefulSet").as_deref(), Some("StatefulSet app/db"));
    assert_eq!(scales("Deployment").as_deref(), Some("Deployment app/db"));
    assert_eq!(scales("Rollout"), None);
}

#[test]
fn what_a_statefulset_was_scaled_from_is_read_and_what_is_no_such_note_is_not() {
    let read = |note: &str| {
        let object = json!({
            "metadata": { "name": "db", "annotations": { "orlop.dev/scaled-from": note } },
            "spec": { "replicas": 0, "volumeClaimTemplates": [{ "metadata": { "name": "data" } }] },
        });
        set(serde_json::from_value::<SetObject>(object).unwrap()).scaled.map(|scaled| scaled.replicas)
    };
    let note = r#"{"replicas":3,"claim":"data-db-0","at":"2026-01-01T03:00:00Z","until":"2026-01-01T03:55:00Z"}"#;
    assert_eq!(read(note), Some(3));
    assert_eq!(read("three"), None);
}

#[test]
fn of_a_deployment_the_claims_that_its_template_names_are_kept_and_of_one_without_any_nothing() {
    let read = |volumes: Value, annotations: Value| {
        let object = json!({
            "metadata": {
                "name": "web", "namespace": "app", "uid": "u", "resourceVersion": "7", "annotations": annotations,
            },
            "spec": {
                "replicas": 3, "selector": { "matchLabels": { "app": "web" } },
                "template": { "metadata": {}, "spec": { "containers": [], "volumes": volumes } },
            },
            "status": { "replicas": 2 },
        });
        deployment(serde_json::from_value::<DeploymentObject>(object).unwrap())
    };
    let own = json!({ "name": "data", "persistentVolumeClaim": { "claimName": "web-data" } });
    let scratch = json!({ "name": "scratch", "ephemeral": { "volumeClaimTemplate": { "spec": {} } } });
    let tmp = json!({ "name": "tmp", "emptyDir": {} });
    let facts = read(json!([own, scratch, tmp]), Value::Null).unwrap();
    let claims: Vec<_> = facts.claims.iter().map(|name| &**name).collect();
    assert_eq!((claims, facts.replicas, facts.version), (vec!["web-data"], 3, Some(7)));
    assert_eq!(read(json!([scratch, tmp]), Value::Null), None, "what goes with its pods is none of its own");
    assert_eq!(read(json!([]), Value::Null), None);

    let note = r#"{"replicas":3,"claim":"web-data","at":"2026-01-01T03:00:00Z","until":"2026-01-01T03:55:00Z"}"#;
    let facts = read(json!([tmp]), json!({ "orlop.dev/scaled-from": note })).unwrap();
    assert_eq!(
        facts.scaled.map(|scaled| scaled.replicas),
        Some(3),
        "it is scaled back though its template has changed"
    );
    let in_vain = r#"{"at":"2026-01-01T03:00:00Z","claims":["web-data"]}"#;
    let facts = read(json!([own]), json!({ "orlop.dev/stopped-in-vain": in_vain })).unwrap();
    assert_eq!(facts.in_vain.map(|in_vain| in_vain.claims.len()), Some(1));
}

#[test]
fn of_a_statefulset_its_templates_are_kept() {
    let read = |templates: &Value| {
        let object = json!({
            "metadata": { "name": "db", "namespace": "app", "uid": "u", "resourceVersion": "7" },
            "spec": { "replicas": 3, "serviceName": "db", "template": {}, "volumeClaimTemplates": templates },
            "status": { "replicas": 2 },
        });
        set(serde_json::from_value::<SetObject>(object).unwrap())
    };
    let facts = read(&json!([
        { "metadata": { "name": "data" }, "spec": {
            "storageClassName": "fast", "resources": { "requests": { "storage": "1024Mi" } } } },
        { "metadata": { "name": "odd" }, "spec": { "resources": { "requests": { "storage": "much" } } } },
    ]));
    assert_eq!((facts.version, facts.replicas), (Some(7), 3));
    let templates: Vec<_> = facts.templates.iter().map(|it| (&*it.name, it.size, it.class.as_deref())).collect();
    assert_eq!(templates, [("data", Some(Bytes::GIB), Some("fast")), ("odd", None, None)]);
    assert!(read(&json!([])).templates.is_empty());
}

#[test]
fn a_statefulset_is_settled_when_all_its_pods_are_ready_and_of_its_latest_revision() {
    let read = |patch: Value| {
        let mut object = json!({
            "metadata": { "name": "db", "namespace": "app", "uid": "u", "generation": 4 },
            "spec": { "replicas": 2 },
            "status": {
                "observedGeneration": 4, "replicas": 2, "readyReplicas": 2, "currentRevision": "a", "updateRevision": "a",
            },
        });
        merge(&mut object, patch);
        set(serde_json::from_value::<SetObject>(object).unwrap())
    };
    assert!(read(json!({})).settled);
    for status in [
        json!({ "observedGeneration": 3 }),
        json!({ "readyReplicas": 1 }),
        json!({ "replicas": 3 }),
        json!({ "updateRevision": "b" }),
    ] {
        assert!(!read(json!({ "status": status })).settled, "{status}");
    }
    let keeps = |policy: Value| {
        let keeps = read(json!({ "spec": { "persistentVolumeClaimRetentionPolicy": policy } })).keeps_claims;
        (keeps.when_deleted, keeps.when_scaled)
    };
    assert_eq!(keeps(json!({})), (true, true));
    assert_eq!(keeps(json!({ "whenDeleted": "Delete", "whenScaled": "Retain" })), (false, true));
    assert_eq!(keeps(json!({ "whenDeleted": "Retain", "whenScaled": "Delete" })), (true, false));
    assert!(read(json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } })).deleting);
}
