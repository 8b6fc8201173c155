use std::sync::Arc;

use orlop_api::owner::Pattern;
use serde_json::json;

use super::*;
use crate::{
    Labels, Manager, Owner,
    fixture::{CLUSTERS, asking_for, at, cluster_db, id, mib, owned, the_claim, the_cluster, unreadable},
};

fn found(view: &View) -> Option<WriteBack> {
    view.write_back(&id("data-0"), &view.claims[&id("data-0")])
}

/// A world that differs from the one of [`owned`].
fn with(change: impl FnOnce(&mut View)) -> Option<WriteBack> {
    let mut view = owned();
    change(&mut view);
    found(&view)
}

fn references(view: &mut View, uid: &str) {
    let owner = Owner {
        api_version: "postgresql.cnpg.io/v1".into(),
        kind: "Cluster".into(),
        name: "db".into(),
        uid: Uid(uid.into()),
    };
    the_claim(view).belonging = Some(Arc::new(Belonging { owner: Some(owner), manager: None }));
}

#[test]
fn the_owner_of_a_claim_is_found_by_its_references_or_by_its_label() {
    let by_label = with(|_| ()).unwrap();
    assert_eq!((by_label.id.clone(), by_label.size(), by_label.obstacle.clone()), (cluster_db(), Some(mib(512)), None));
    assert_eq!(by_label.to_string(), "Cluster db");
    let by_reference = with(|view| {
        references(view, "cluster");
        the_claim(view).labels = Labels::from([("cnpg.io/pvcRole", "PG_DATA")]);
    });
    assert_eq!(by_reference, Some(by_label));
}

#[test]
fn a_claim_that_only_looks_like_an_owners_has_none() {
    assert_eq!(with(|view| the_claim(view).labels = Labels::from([("cnpg.io/cluster", "db")])), None, "of no role");
    assert_eq!(with(|view| view.resources.objects.clear()), None, "what is left of a cluster that was deleted");
    assert_eq!(with(|view| view.resources.kinds.clear()), None, "the cluster has no such kind");
    let other = ResourceId { namespace: NamespaceName("web".into()), ..cluster_db() };
    assert_eq!(
        with(|view| {
            view.resources.objects.clear();
            view.resources.objects.insert(other, asking_for("512Mi"));
        }),
        None,
        "one of another namespace"
    );
}

#[test]
fn what_is_known_too_little_of_is_not_written() {
    let obstacle = |change: &dyn Fn(&mut View)| with(|view| change(view)).unwrap().obstacle.unwrap();
    assert_eq!(
        obstacle(&|view| references(view, "another")),
        "the cluster has no such object with the UID that the claim names"
    );
    assert_eq!(
        obstacle(&|view| {
            view.resources.objects.clear();
            view.resources.kinds.values_mut().for_each(|kind| *kind = unreadable());
        }),
        "it may not be read"
    );
    assert_eq!(
        obstacle(&|view| the_cluster(view).fields = json!({ "spec": {} })),
        "it has no spec.storage.size and no spec.storage.pvcTemplate.resources.requests.storage: set it"
    );
    assert_eq!(
        obstacle(&|view| the_cluster(view).fields = json!({ "spec": { "storage": { "size": "large" } } })),
        "what it has in spec.storage.size is no size"
    );
    assert_eq!(
        obstacle(&|view| {
            references(view, "cluster");
            the_claim(view).labels = Labels::default();
        }),
        "its OwnerProfile clusters.postgresql.cnpg.io has no role for such a claim"
    );
}

#[test]
fn of_every_kind_with_a_profile_that_a_claim_names_it_is_asked_whether_the_cluster_has_it() {
    let unasked = |change: &dyn Fn(&mut View)| {
        let mut view = owned();
        view.resources = Resources { can_be_asked: true, ..Resources::default() };
        change(&mut view);
        view.unasked_owner(&id("data-0"), &view.claims[&id("data-0")], at(0))
    };
    let cluster = Some(NamedOwner { id: cluster_db(), kind: "Cluster".to_owned() });
    assert_eq!(unasked(&|_| ()), cluster, "by its label");
    let by_reference = |view: &mut View| {
        references(view, "any");
        the_claim(view).labels = Labels::default();
    };
    assert_eq!(unasked(&by_reference), cluster, "whatever its role is");
    assert_eq!(unasked(&|view| the_claim(view).labels = Labels::default()), None, "it names nobody");
    assert_eq!(unasked(&|view| view.resources.can_be_asked = false), None, "there is nobody to ask");
    let asked = |seconds: i64| {
        unasked(&|view| {
            view.resources.kinds.insert(CLUSTERS.to_owned(), OwnerKind::Absent(at(seconds)));
        })
    };
    assert_eq!((asked(-9), asked(-11)), (None, cluster), "an answer counts for ten seconds");
    let of_the_users_own = |view: &mut View| {
        by_reference(view);
        let owner = Owner {
            api_version: "db.example.com/v1".into(),
            kind: "Store".into(),
            name: "s".into(),
            uid: Uid("s".into()),
        };
        the_claim(view).belonging = Some(Arc::new(Belonging { owner: Some(owner), manager: None }));
        let profile = OwnerProfileSpec { kind: "Store".to_owned(), ..built_in::get(CLUSTERS).unwrap().spec.clone() };
        view.resources.profiles.insert("stores.db.example.com".to_owned(), Arc::new(profile));
    };
    assert_eq!(unasked(&of_the_users_own).unwrap().id.to_string(), "stores.db.example.com shop/s");
}

#[test]
fn what_others_would_set_back_is_not_written_and_still_passed_on() {
    let owner =
        with(|view| the_cluster(view).belonging.manager = Some(Manager::FluxKustomization("apps".into()))).unwrap();
    assert_eq!(
        owner.obstacle.as_deref(),
        Some("Flux Kustomization apps applies its manifest and would set it back: commit the size there")
    );
    assert!(owner.is_passed_on);
    let off = json!({ "spec": { "storage": { "size": "512Mi", "resizeInUseVolumes": false } } });
    let owner = with(|view| the_cluster(view).fields = off).unwrap();
    assert_eq!(
        owner.obstacle.as_deref(),
        Some("its operator passes the size on only where spec.storage.resizeInUseVolumes is true")
    );
    assert!(!owner.is_passed_on);
}

#[test]
fn a_profile_of_the_clusters_own_takes_the_place_of_the_built_in_one() {
    let owner = with(|view| {
        let mut profile = built_in::get("clusters.postgresql.cnpg.io").unwrap().spec.clone();
        profile.claims[0].size = vec!["spec.size".parse().unwrap()];
        profile.claims[0].labels = BTreeMap::from([("app".to_owned(), "{app}".parse::<Pattern>().unwrap())]);
        view.resources.profiles.insert("clusters.postgresql.cnpg.io".to_owned(), Arc::new(profile));
        the_cluster(view).fields = json!({ "spec": { "size": "1Gi" } });
    });
    assert_eq!(owner.unwrap().size(), Some(Bytes::GIB));
}

#[test]
fn whoever_may_can_do_it_with_a_command() {
    let command = found(&owned()).unwrap().command(mib(640)).unwrap();
    let (head, patch) = command.split_once(" -p ").unwrap();
    assert_eq!(head, "kubectl patch clusters.postgresql.cnpg.io db -n shop --type=json");
    let patch: Value = serde_json::from_str(patch.trim_matches('\'')).unwrap();
    assert_eq!(patch[2], json!({ "op": "replace", "path": "/spec/storage/size", "value": "640Mi" }));
}

#[test]
fn claims_of_one_field_are_siblings_and_those_of_another_role_are_not() {
    let mut view = owned();
    let data = view.claims[&id("data-0")].clone();
    let labels = Labels::from([("cnpg.io/cluster", "db"), ("cnpg.io/pvcRole", "PG_WAL")]);
    view.claims.insert(id("data-1"), data.clone());
    view.claims.insert(id("wal-0"), Claim { labels, ..data.clone() });
    view.claims.insert(id("other"), Claim { labels: Labels::default(), ..data });
    let owner = found(&view).unwrap();
    let names: Vec<_> = view.siblings(&owner).map(|(id, _)| &*id.name).collect();
    assert_eq!(names, ["data-0", "data-1"]);
    let of_it: Vec<_> = view.claims_of_resource(&owner.id).map(|id| &*id.name).collect();
    assert_eq!(of_it, ["data-0", "data-1", "wal-0"]);
}
