use jiff::Timestamp;
use kube::core::{Status, params::Patch};
use orlop_api::{
    Bytes, StorageBudgetStatus,
    budget::BudgetUse,
    names::{PerformanceReason, Reason},
};
use orlop_planner::{
    Action, BudgetName, ClaimId, ClassChange, DeploymentId, GrowthRecord, NamespaceName, PodId, Resources, SetId, Uid,
    WorkloadId,
    maintenance::{InVain, ScaledFrom},
};
use serde_json::{Value, json};

use super::{StatusId, Target, request, status};
use crate::{failure::Failure, observe::Spelling};

const RECORD: &str = r#"{"claim":"u","from":"1Gi","to":"2Gi","filesystem":"1000Mi","crossed":"1970-01-01T00:00:10Z","decided":"1970-01-01T00:00:11Z","reason":"BelowMinFree"}"#;
const USABLE: &str = r#"{"claim":"u","from":"1Gi","to":"2Gi","filesystem":"1000Mi","crossed":"1970-01-01T00:00:10Z","decided":"1970-01-01T00:00:11Z","reason":"BelowMinFree","usable":"1970-01-01T00:00:12Z"}"#;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn record() -> GrowthRecord {
    GrowthRecord {
        from: Bytes::GIB,
        to: Bytes(2 << 30),
        filesystem: Bytes(1000 << 20),
        crossed: at(10),
        decided: at(11),
        reason: Reason::BelowMinFree,
        earlier: Vec::new(),
        refused: Vec::new(),
        usable: None,
        owner: None,
    }
}

fn claim() -> ClaimId {
    ClaimId { namespace: NamespaceName("app".into()), name: "data".into() }
}

fn grow() -> Action {
    Action::Grow { claim: claim(), uid: Uid("u".into()), previous: None, record: record() }
}

/// The body of the request for an action.
fn body(action: &Action, spelling: &Spelling) -> Value {
    match request(action, Some(spelling), &Resources::default(), None).unwrap().patch {
        Patch::Json(patch) => json!(patch),
        Patch::Merge(patch) => patch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_growth_tests_everything_that_it_was_planned_from_and_writes_size_and_record_together() {
    let spelling = Spelling {
        requested: "1024Mi".into(),
        growth: Some("before".into()),
        paused: Some("false".into()),
        annotated: true,
        ..Spelling::default()
    };
    let expected = json!([
        { "op": "test", "path": "/metadata/uid", "value": "u" },
        { "op": "test", "path": "/spec/resources/requests/storage", "value": "1024Mi" },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1growth", "value": "before" },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1attributes-class", "value": null },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1paused", "value": "false" },
        { "op": "add", "path": "/metadata/annotations/orlop.dev~1growth", "value": RECORD },
        { "op": "replace", "path": "/spec/resources/requests/storage", "value": "2Gi" },
    ]);
    assert_eq!(body(&grow(), &spelling), expected);
}

#[test]
fn the_first_growth_of_a_claim_tests_that_there_was_none() {
    let spelling = Spelling { requested: "1Gi".into(), annotated: true, ..Spelling::default() };
    let operations = body(&grow(), &spelling);
    let absent = |path: &str| json!({ "op": "test", "path": path, "value": null });
    assert_eq!(operations[2], absent("/metadata/annotations/orlop.dev~1growth"));
    assert_eq!(operations[3], absent("/metadata/annotations/orlop.dev~1attributes-class"), "nor a change of class");
    assert_eq!(operations[4], absent("/metadata/annotations/orlop.dev~1paused"), "nor has it been paused meanwhile");
}

#[test]
fn a_claim_without_annotations_gets_the_map_only_if_it_still_has_none() {
    let spelling = Spelling { requested: "1Gi".into(), ..Spelling::default() };
    let operations = body(&grow(), &spelling);
    assert_eq!(operations[2], json!({ "op": "test", "path": "/metadata/annotations", "value": null }));
    let add = json!({ "op": "add", "path": "/metadata/annotations", "value": { "orlop.dev/growth": RECORD } });
    assert_eq!(operations[3], add);
}

#[test]
fn a_growth_is_taken_back_only_while_its_driver_refuses_it() {
    let smaller = GrowthRecord { to: Bytes(3 << 29), refused: vec![Bytes(2 << 30)], ..record() };
    let action = Action::TakeBack { claim: claim(), uid: Uid("u".into()), previous: record(), record: smaller.clone() };
    let spelling =
        Spelling { requested: "2Gi".into(), growth: Some(RECORD.into()), annotated: true, ..Spelling::default() };
    let written = crate::record::write(&Uid("u".into()), &smaller).unwrap();
    assert!(written.contains(r#""refused":["2Gi"]"#), "{written}");
    let expected = json!([
        { "op": "test", "path": "/status/allocatedResourceStatuses/storage", "value": "ControllerResizeInfeasible" },
        { "op": "test", "path": "/metadata/uid", "value": "u" },
        { "op": "test", "path": "/spec/resources/requests/storage", "value": "2Gi" },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1growth", "value": RECORD },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1attributes-class", "value": null },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1paused", "value": null },
        { "op": "add", "path": "/metadata/annotations/orlop.dev~1growth", "value": written },
        { "op": "replace", "path": "/spec/resources/requests/storage", "value": "1536Mi" },
    ]);
    assert_eq!(body(&action, &spelling), expected);
}

fn change() -> ClassChange {
    ClassChange {
        from: Some("slow".into()),
        to: Some("fast".into()),
        decided: at(11),
        reason: PerformanceReason::Saturated,
        earlier: Vec::new(),
        refused: Vec::new(),
    }
}

#[test]
fn another_class_tests_everything_that_it_was_planned_from_and_is_written_together_with_its_record() {
    let action = Action::SetClass { claim: claim(), uid: Uid("u".into()), previous: None, record: change() };
    let spelling =
        Spelling { class: Some("slow".into()), growth: Some(RECORD.into()), annotated: true, ..Spelling::default() };
    let written = r#"{"claim":"u","from":"slow","to":"fast","decided":"1970-01-01T00:00:11Z","reason":"Saturated"}"#;
    let expected = json!([
        { "op": "test", "path": "/metadata/uid", "value": "u" },
        { "op": "test", "path": "/spec/volumeAttributesClassName", "value": "slow" },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1growth", "value": RECORD },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1attributes-class", "value": null },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1paused", "value": null },
        { "op": "add", "path": "/metadata/annotations/orlop.dev~1attributes-class", "value": written },
        { "op": "add", "path": "/spec/volumeAttributesClassName", "value": "fast" },
    ]);
    assert_eq!(body(&action, &spelling), expected);
}

#[test]
fn a_class_is_taken_back_only_while_its_driver_refuses_it() {
    let record =
        ClassChange { from: Some("fast".into()), to: None, reason: PerformanceReason::ClassTakenBack, ..change() };
    let action = Action::SetClass { claim: claim(), uid: Uid("u".into()), previous: Some(change()), record };
    let spelling = Spelling { class: Some("fast".into()), annotated: true, ..Spelling::default() };
    let operations = body(&action, &spelling);
    assert_eq!(
        operations[2],
        json!({ "op": "test", "path": "/status/modifyVolumeStatus/status", "value": "Infeasible" })
    );
    assert_eq!(operations[7], json!({ "op": "remove", "path": "/spec/volumeAttributesClassName" }));
}

#[test]
fn a_record_is_completed_only_in_place_of_the_one_that_was_read() {
    let usable = GrowthRecord { usable: Some(at(12)), ..record() };
    let action = Action::RecordUsable { claim: claim(), uid: Uid("u".into()), previous: record(), record: usable };
    let spelling =
        Spelling { requested: "2Gi".into(), growth: Some(RECORD.into()), annotated: true, ..Spelling::default() };
    let expected = json!([
        { "op": "test", "path": "/metadata/uid", "value": "u" },
        { "op": "test", "path": "/metadata/annotations/orlop.dev~1growth", "value": RECORD },
        { "op": "replace", "path": "/metadata/annotations/orlop.dev~1growth", "value": USABLE },
    ]);
    assert_eq!(body(&action, &spelling), expected);
}

#[test]
fn a_pod_is_touched_by_its_uid() {
    let pod = PodId { namespace: NamespaceName("app".into()), name: "db-0".into() };
    let action = Action::SyncPod { claim: claim(), pod: pod.clone(), uid: Uid("p".into()), value: "data=2Gi".into() };
    let expected = json!({ "metadata": { "uid": "p", "annotations": { "orlop.dev/volume-sync": "data=2Gi" } } });
    assert_eq!(body(&action, &Spelling::default()), expected);
    assert_eq!(request(&action, None, &Resources::default(), None).unwrap().target, Target::Pod(pod));
}

#[test]
fn a_claim_that_is_no_longer_known_is_not_written() {
    assert!(request(&grow(), None, &Resources::default(), None).is_none());
}

fn failure(status: Value) -> Failure {
    Failure::from(&serde_json::from_value::<Status>(status).unwrap())
}

/// The answers are those of Kubernetes 1.36.
#[test]
fn an_answer_is_understood_by_what_is_to_be_done_about_it() {
    let test_failed = json!({
        "status": "Failure", "code": 422, "reason": "Invalid", "details": {},
        "message": "the server rejected our request due to an error in our request",
    });
    assert_eq!(failure(test_failed), Failure::Overtaken);
    let other_uid = json!({
        "status": "Failure", "code": 422, "reason": "Invalid", "message": "field is immutable",
        "details": { "name": "p", "kind": "Pod", "causes": [{ "reason": "FieldValueInvalid", "field": "metadata.uid" }] },
    });
    assert_eq!(failure(other_uid), Failure::Overtaken);
    let gone = json!({ "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found" });
    assert_eq!(failure(gone), Failure::Overtaken);

    let too_small = "field can not be less than status.capacity";
    let invalid = json!({
        "status": "Failure", "code": 422, "reason": "Invalid", "message": too_small,
        "details": { "name": "data", "causes": [{ "field": "spec.resources.requests.storage" }] },
    });
    assert_eq!(failure(invalid), Failure::Refused(too_small.into()));
    let quota = json!({ "status": "Failure", "code": 403, "reason": "Forbidden", "message": "exceeded quota" });
    assert_eq!(failure(quota), Failure::Refused("exceeded quota".into()));

    let busy = json!({ "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "try later" });
    assert_eq!(failure(busy), Failure::Unanswered("try later".into()));
    let down = json!({ "status": "Failure", "code": 503, "reason": "ServiceUnavailable", "message": "etcd" });
    assert_eq!(failure(down), Failure::Unanswered("etcd".into()));
}

#[test]
fn a_workload_is_scaled_with_its_notes_in_one_request_and_only_as_it_was_observed() {
    let (namespace, uid) = (|| NamespaceName("app".into()), || Uid("s".into()));
    let scaled = || ScaledFrom { replicas: 3, claim: "data".into(), at: at(10), until: at(900) };
    let text = serde_json::to_string(&scaled()).unwrap();
    let in_vain = InVain { at: at(10), claims: ["data".into()].into() };
    for workload in [
        WorkloadId::StatefulSet(SetId { namespace: namespace(), name: "db".into() }),
        WorkloadId::Deployment(DeploymentId { namespace: namespace(), name: "db".into() }),
    ] {
        let stop = Action::ScaleToZero { claim: claim(), workload: workload.clone(), uid: uid(), scaled: scaled() };
        let back = |replicas, in_vain: Option<&InVain>| Action::ScaleBack {
            claim: claim(),
            workload: workload.clone(),
            uid: uid(),
            scaled: scaled(),
            replicas,
            in_vain: in_vain.cloned(),
        };
        let body = |action: &Action| {
            let request = request(action, None, &Resources::default(), Some(7)).unwrap();
            assert_eq!(request.target, Target::Workload(workload.clone()));
            let Patch::Merge(patch) = request.patch else { panic!("a merge patch") };
            assert_eq!((&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]), (&json!("s"), &json!("7")));
            (patch["spec"].clone(), patch["metadata"]["annotations"].clone())
        };
        assert_eq!(body(&stop), (json!({ "replicas": 0 }), json!({ "orlop.dev/scaled-from": text })));
        let none = json!({ "orlop.dev/scaled-from": null, "orlop.dev/stopped-in-vain": null });
        assert_eq!(body(&back(0, None)), (json!({ "replicas": 3 }), none.clone()));
        assert_eq!(body(&back(5, None)), (Value::Null, none), "somebody has scaled it meanwhile");
        let (_, notes) = body(&back(0, Some(&in_vain)));
        let noted = json!({ "at": "1970-01-01T00:00:10Z", "claims": ["data"] }).to_string();
        assert_eq!(notes["orlop.dev/stopped-in-vain"], json!(noted));
        assert!(request(&stop, None, &Resources::default(), None).is_none(), "which state it is in is not known");
    }
}

#[test]
fn a_status_takes_back_what_it_no_longer_says() {
    let of = StatusId::Budget(BudgetName("team".into()));
    let used = BudgetUse { iops: Some(500), ..BudgetUse::default() };
    let before = StorageBudgetStatus { share: Some("50%".to_owned()), used, ..StorageBudgetStatus::default() };
    let after = StorageBudgetStatus::default();
    let Patch::Merge(patch) = status(&of, &Uid("b".into()), Some(&before), &after).patch else {
        panic!("a merge patch")
    };
    for field in ["/status/share", "/status/used/iops"] {
        assert_eq!(patch.pointer(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(patch.pointer("/status/used/bytes"), Some(&json!("0")));
}
