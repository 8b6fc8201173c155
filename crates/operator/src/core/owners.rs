//! Growth by way of an owner, request by request.

use kube::core::params::Patch;
use orlop_api::Bytes;
use orlop_planner::{Objects, OwnerKind, ResourceId};
use serde_json::{Value, json};

use super::{
    tests::{core, id},
    *,
};
use crate::{
    errand::Next,
    objects,
    observe::{Change, ClaimFacts, Spelling},
    request::Target,
};

const CLUSTERS: &str = "clusters.postgresql.cnpg.io";

fn cluster(size: &str) -> Observation {
    labelled_cluster(size, &json!({}))
}

fn labelled_cluster(size: &str, labels: &Value) -> Observation {
    let object = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": { "name": "db", "namespace": "app", "uid": "c", "labels": labels },
        "spec": { "storage": { "size": size } },
    });
    let object: kube::core::DynamicObject = serde_json::from_value(object).unwrap();
    let definition: std::sync::Arc<str> = CLUSTERS.into();
    let id = objects::resource_id(&definition, &object.metadata);
    let profile = &orlop_api::owner::built_in::get(CLUSTERS).unwrap().spec;
    Observation::Resource(definition, Change::Is(id, objects::resource(&object, profile)))
}

/// The claim, of the Cluster, with this record as it was written.
fn claim(growth: Option<&str>) -> Observation {
    let object = json!({
        "metadata": {
            "name": "data", "namespace": "app", "uid": "u",
            "labels": { "cnpg.io/cluster": "db", "cnpg.io/pvcRole": "PG_DATA" },
            "annotations": growth.map(|text| json!({ "orlop.dev/growth": text })),
        },
        "spec": { "storageClassName": "fast", "volumeName": "pv", "resources": { "requests": { "storage": "1Gi" } } },
        "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } },
    });
    let facts: ClaimFacts = objects::claim(serde_json::from_value(object).unwrap()).unwrap();
    assert_ne!(facts.spelling, Spelling::default());
    Observation::Claim(Change::Is(id(), facts))
}

fn operations(request: &Request) -> Vec<Value> {
    let Patch::Json(patch) = &request.patch else { panic!("a JSON patch") };
    json!(patch).as_array().unwrap().clone()
}

/// The value that the operation with this path leaves.
fn leaves<'a>(operations: &'a [Value], path: &str) -> Option<&'a Value> {
    operations.iter().find(|it| it["path"] == path && it["op"] != "test").map(|it| &it["value"])
}

/// An operator that knows of the claim, which has too little room, and of this owner; and what it begins to do then.
fn called_for(owner: Observation) -> (Core, Moment, Vec<Errand>) {
    let mut core = core();
    core.observe(kind_is(OwnerKind::Served { version: "v1".into(), objects: Objects::Listed }));
    core.observe(owner);
    let (later, errands) = runs_full(&mut core);
    (core, later, errands)
}

fn kind_is(kind: OwnerKind) -> Observation {
    Observation::OwnerKind(Change::Is(CLUSTERS.to_owned(), kind))
}

/// The claim comes, and has too little room: what is begun then, and when.
fn runs_full(core: &mut Core) -> (Moment, Vec<Errand>) {
    core.observe(claim(None));
    let now = Moment::now();
    let usage = orlop_planner::Usage {
        at: now.time,
        source: orlop_planner::Source::Agent,
        total: Bytes::GIB,
        available: Bytes(100 << 20),
        inodes: None,
        fill_bytes_per_second: 0,
        crossed: None,
    };
    core.measure(Measurement::Sampled { node: "n".into(), volume: "pv".into(), usage }, now);
    core.turn(true, now);
    let later = Moment { instant: now.instant + Duration::from_secs(1), ..now };
    (later, core.turn(true, later).errands)
}

#[test]
fn before_a_claim_is_changed_that_names_an_owner_it_is_asked_whether_there_is_such_a_kind() {
    let mut core = core();
    let (now, errands) = runs_full(&mut core);
    assert!(errands.is_empty(), "{errands:?}");
    assert_eq!(core.ledger().decision(&id()).unwrap().reason, Reason::AwaitingOwner);
    let asked = |core: &Core| core.observer().wanted_kinds().unwrap().asked.clone();
    assert_eq!(asked(&core), [CLUSTERS.to_owned()].into());
    let turn = |core: &mut Core, observation: Observation| {
        core.observe(observation);
        core.turn(true, now);
        let later = Moment { instant: now.instant + Duration::from_secs(1), ..now };
        core.turn(true, later).errands.iter().map(|it| it.request().target.clone()).collect::<Vec<_>>()
    };
    let served = |objects| kind_is(OwnerKind::Served { version: "v1".into(), objects });
    assert_eq!(turn(&mut core, served(Objects::Listing)), []);
    assert!(asked(&core).is_empty());
    assert_eq!(core.ledger().decision(&id()).unwrap().reason, Reason::AwaitingOwner);
    assert_eq!(turn(&mut core, cluster("1Gi")), []);
    assert_eq!(turn(&mut core, served(Objects::Listed)), [Target::Claim(id())]);
    let decision = core.ledger().decision(&id()).unwrap();
    assert!(decision.message.contains("set spec.storage.size of Cluster db"), "{}", decision.message);
}

#[test]
fn a_claim_that_names_an_owner_of_a_kind_that_the_cluster_does_not_have_is_grown_when_that_is_said() {
    let mut core = core();
    let (now, _) = runs_full(&mut core);
    core.observe(kind_is(OwnerKind::Absent(now.time)));
    core.turn(true, now);
    let later = Moment { instant: now.instant + Duration::from_secs(1), ..now };
    let errands = core.turn(true, later).errands;
    let sizes: Vec<_> = errands
        .iter()
        .map(|it| leaves(&operations(it.request()), "/spec/resources/requests/storage").cloned())
        .collect();
    assert_eq!(sizes.len(), 1);
    assert!(sizes[0].is_some(), "the claim itself is made larger");
}

#[test]
fn what_others_are_to_write_is_explained_with_the_command_that_writes_it() {
    let flux = json!({ "kustomize.toolkit.fluxcd.io/name": "apps" });
    let (core, now, errands) = called_for(labelled_cluster("1Gi", &flux));
    assert!(errands.is_empty());
    let account = crate::inspect::claim(&core, &id(), now).unwrap();
    assert_eq!(account.decision.reason, Reason::OwnedElsewhere);
    let written = account.owner.unwrap().write_back.unwrap();
    assert_eq!((&*written.owner, written.field.as_deref()), ("Cluster db", Some("spec.storage.size")));
    assert!(written.obstacle.unwrap().starts_with("Flux Kustomization apps applies"));
    let command = written.command.unwrap();
    assert!(command.starts_with("kubectl patch clusters.postgresql.cnpg.io db -n app --type=json -p '["), "{command}");
    assert!(command.contains(&account.decision.target.unwrap().to_string()), "{command}");
}

#[test]
fn the_record_is_written_first_and_then_the_owner_and_the_claims_size_never() {
    let (mut core, later, mut errands) = called_for(cluster("1Gi"));
    let errand = errands.pop().expect("a growth is called for");
    assert_eq!(errand.request().target, Target::Claim(id()));
    let first = operations(errand.request());
    let record = leaves(&first, "/metadata/annotations").unwrap()["orlop.dev/growth"].as_str().unwrap().to_owned();
    assert_eq!(leaves(&first, "/spec/resources/requests/storage"), None, "the claim's size is its owner's");

    let Next::Request(errand) = errand.answered(Ok(Some(claim(Some(&record))))) else { panic!("there is a second") };
    let Target::Owner(owner) = &errand.request().target else { panic!("{:?}", errand.request()) };
    let expected = ResourceId { definition: CLUSTERS.into(), namespace: id().namespace, name: "db".into() };
    assert_eq!((&owner.id, &*owner.version), (&expected, "v1"));
    let second = operations(errand.request());
    assert_eq!(second.len(), 3, "its UID, the size that it has, and the size that it is to have");
    let size = leaves(&second, "/spec/storage/size").unwrap().as_str().unwrap().to_owned();
    let Next::Ended(acted) = errand.answered(Ok(Some(cluster(&size)))) else { panic!("that is all") };
    core.acted(acted, later.instant);
    core.turn(true, later);
    let later = Moment { instant: later.instant + Duration::from_secs(1), ..later };
    let mut errands = core.turn(true, later).errands;
    let errand = errands.pop().expect("that the owner asks for it is recorded");
    let third = operations(errand.request());
    let record = leaves(&third, "/metadata/annotations/orlop.dev~1growth").unwrap().as_str().unwrap();
    assert!(record.contains(r#""written":"#), "{record}");
    assert_eq!(core.ledger().decision(&id()).unwrap().reason, Reason::Growing);
}
