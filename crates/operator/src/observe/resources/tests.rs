use jiff::Timestamp;
use orlop_api::Bytes;
use orlop_planner::{Labels, NamespaceName, Objects, Unknown};
use serde_json::json;

use super::*;
use crate::{
    objects,
    observe::{ClaimFacts, Observation, fixture::claim_facts},
};

const CLUSTERS: &str = "clusters.postgresql.cnpg.io";

fn claim_id(name: &str) -> ClaimId {
    ClaimId { namespace: NamespaceName("app".into()), name: name.into() }
}

fn claim(role: &str) -> ClaimFacts {
    let labels = Labels::from([("cnpg.io/cluster", "db"), ("cnpg.io/pvcRole", role)]);
    ClaimFacts { labels, class: None, volume: None, capacity: None, ..claim_facts() }
}

/// What is told of a Cluster that is so.
fn cluster(version: u64, object: &serde_json::Value) -> Observation {
    let mut object = object.clone();
    object["apiVersion"] = json!("postgresql.cnpg.io/v1");
    object["kind"] = json!("Cluster");
    object["metadata"] =
        json!({ "name": "db", "namespace": "app", "uid": "c", "resourceVersion": version.to_string() });
    let object = serde_json::from_value(object).unwrap();
    let profile = &orlop_api::owner::built_in::get(CLUSTERS).unwrap().spec;
    Observation::Resource(CLUSTERS.into(), Change::Is(id(), objects::resource(&object, profile)))
}

fn id() -> ResourceId {
    ResourceId { definition: CLUSTERS.into(), namespace: NamespaceName("app".into()), name: "db".into() }
}

fn kind(objects: Objects) -> Observation {
    is_so(OwnerKind::Served { version: "v1".into(), objects })
}

fn is_so(kind: OwnerKind) -> Observation {
    Observation::OwnerKind(Change::Is(CLUSTERS.to_owned(), kind))
}

fn unknown() -> Unknown {
    Unknown { why: "Orlop may not read it".to_owned(), since: Timestamp::UNIX_EPOCH }
}

/// An observer that knows of two claims of a Cluster which asks for 1Gi, and of one of nobody.
fn observer() -> Observer {
    let mut observer = Observer::default();
    for (name, role) in [("data", "PG_DATA"), ("wal", "PG_WAL"), ("own", "none")] {
        observer.observe(Observation::Claim(Change::Is(claim_id(name), claim(role))));
    }
    observer.observe(kind(Objects::Listed));
    observer.observe(cluster(1, &json!({ "spec": { "storage": { "size": "1Gi" }, "instances": 3 } })));
    observer.forget_dirty();
    observer
}

fn dirty(observer: &mut Observer) -> Vec<String> {
    observer.take_dirty(usize::MAX).claims.into_iter().map(|id| id.name.to_string()).collect()
}

fn size(observer: &Observer) -> Option<Bytes> {
    let view = observer.view();
    view.write_back(&claim_id("data"), &view.claims[&claim_id("data")])?.size()
}

#[test]
fn a_change_of_what_is_kept_of_an_owner_concerns_its_claims_and_no_other_does() {
    let mut observer = observer();
    let larger = json!({ "spec": { "storage": { "size": "2Gi" } } });
    observer.observe(cluster(2, &larger));
    assert_eq!(dirty(&mut observer), ["data", "wal"]);
    let of_its_status =
        json!({ "spec": { "storage": { "size": "2Gi" }, "instances": 5 }, "status": { "phase": "new" } });
    observer.observe(cluster(3, &of_its_status));
    assert_eq!(dirty(&mut observer), Vec::<String>::new());
    assert_eq!(size(&observer), Some(Bytes(2 << 30)));
    observer.observe(Observation::Resource(CLUSTERS.into(), Change::Gone(id())));
    assert_eq!(dirty(&mut observer), ["data", "wal"]);
    assert_eq!(size(&observer), None);
}

#[test]
fn a_state_that_comes_late_is_passed_over() {
    let mut observer = observer();
    observer.observe(cluster(5, &json!({ "spec": { "storage": { "size": "2Gi" } } })));
    observer.observe(cluster(4, &json!({ "spec": { "storage": { "size": "1Gi" } } })));
    assert_eq!(size(&observer), Some(Bytes(2 << 30)));
}

#[test]
fn what_a_list_does_not_name_is_gone_and_what_is_no_longer_served_is_forgotten() {
    let mut observer = observer();
    observer.observe(Observation::Resource(CLUSTERS.into(), Change::ListBegins));
    observer.observe(Observation::Resource(CLUSTERS.into(), Change::ListComplete));
    assert_eq!(size(&observer), None);
    observer.observe(cluster(9, &json!({ "spec": { "storage": { "size": "1Gi" } } })));
    observer.forget_dirty();
    observer.observe(Observation::OwnerKind(Change::Gone(CLUSTERS.to_owned())));
    assert_eq!(dirty(&mut observer), ["data", "wal"]);
    assert!(observer.view().resources.objects.is_empty());
}

#[test]
fn nothing_is_decided_before_the_kinds_of_the_start_are_listed_or_cannot_be() {
    let mut waits = Observer::default();
    waits.observe(Observation::OwnerKind(Change::ListBegins));
    waits.observe(kind(Objects::Listing));
    waits.observe(Observation::OwnerKind(Change::ListComplete));
    assert!(!waits.knows_owners);
    let mut listed = waits;
    listed.observe(Observation::Resource(CLUSTERS.into(), Change::ListBegins));
    listed.observe(Observation::Resource(CLUSTERS.into(), Change::ListComplete));
    listed.observe(kind(Objects::Listed));
    assert!(listed.knows_owners);
    let mut refused = Observer::default();
    refused.observe(Observation::OwnerKind(Change::ListBegins));
    refused.observe(kind(Objects::Listing));
    refused.observe(Observation::OwnerKind(Change::ListComplete));
    refused.observe(kind(Objects::Unknown(unknown())));
    assert!(refused.knows_owners, "what may not be read is waited for by nobody");
    refused.observe(kind(Objects::Listing));
    assert!(refused.knows_owners, "what was known once is not asked for again");
}

#[test]
fn a_kind_is_asked_for_until_it_is_answered_and_then_the_claims_that_wait_for_it_are_decided_again() {
    let mut observer = observer();
    assert_eq!(observer.wanted_kinds(), None, "a profile that is not known yet might say of another kind");
    observer.observe(Observation::OwnerProfile(Change::ListBegins));
    observer.observe(Observation::OwnerProfile(Change::ListComplete));
    assert_eq!(observer.wanted_kinds(), Some(&WantedKinds::default()));
    let asked = |observer: &Observer| observer.wanted_kinds().unwrap().asked.iter().cloned().collect::<Vec<_>>();
    let none = Vec::<String>::new();
    for answer in [
        OwnerKind::Absent(Timestamp::UNIX_EPOCH),
        // The same again, which changes nothing of what is known.
        OwnerKind::Absent(Timestamp::UNIX_EPOCH),
        OwnerKind::Unknown(unknown()),
    ] {
        observer.ask_for_kind(CLUSTERS, claim_id("own"));
        assert_eq!(asked(&observer), [CLUSTERS]);
        observer.forget_dirty();
        observer.observe(is_so(answer));
        assert_eq!(asked(&observer), none);
        assert!(dirty(&mut observer).contains(&"own".to_owned()));
    }
}
