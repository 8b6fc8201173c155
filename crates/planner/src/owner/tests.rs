use std::sync::Arc;

use super::*;
use crate::fixture::{claim, id, mib, pod, the_claim, the_usage, view};

fn set_id(name: &str) -> SetId {
    SetId { namespace: NamespaceName("shop".into()), name: name.into() }
}

fn set(templates: &[&str]) -> StatefulSet {
    let template = |name: &&str| ClaimTemplate { name: (*name).into(), size: Some(mib(512)), class: None };
    StatefulSet {
        uid: Uid("set".into()),
        belonging: Belonging::default(),
        replicas: 1,
        scaled: None,
        in_vain: None,
        templates: templates.iter().map(template).collect(),
        settled: true,
        deleting: false,
        keeps_claims: KeepsClaims::default(),
        version: Some(1),
    }
}

fn owner(api_version: &str, kind: &str) -> Owner {
    Owner { api_version: api_version.into(), kind: kind.into(), name: "main".into(), uid: Uid("owner".into()) }
}

/// The world with StatefulSets of these names, each with these templates.
fn with_sets(sets: &[(&str, &[&str])]) -> View {
    let mut view = view();
    view.sets = sets.iter().map(|(name, templates)| (set_id(name), set(templates))).collect();
    view
}

fn member(view: &View, claim: &str, pods: &[&str]) -> Option<(String, usize, u32)> {
    let pods: Vec<_> = pods.iter().map(|name| pod(name)).collect();
    let membership = view.membership(&id(claim), &pods)?;
    Some((membership.id.name.to_string(), membership.template, membership.ordinal))
}

#[test]
fn a_claim_is_of_the_statefulset_that_would_look_for_it_by_its_name() {
    let view = with_sets(&[("db", &["wal", "data"]), ("my-db", &["data"])]);
    assert_eq!(member(&view, "data-db-0", &[]), Some(("db".to_owned(), 1, 0)));
    assert_eq!(member(&view, "wal-db-12", &[]), Some(("db".to_owned(), 0, 12)));
    assert_eq!(member(&view, "data-my-db-0", &[]), Some(("my-db".to_owned(), 0, 0)));
    for other in ["data-db-00", "data-db", "data-db-x", "logs-db-0", "data-cache-0", "db-0", "data-db--1", "data-db-+1"]
    {
        assert_eq!(member(&view, other, &[]), None, "{other}");
    }
    let elsewhere = ClaimId { namespace: NamespaceName("web".into()), name: "data-db-0".into() };
    assert_eq!(view.membership(&elsewhere, &[]), None);
}

#[test]
fn the_pod_that_uses_a_claim_tells_of_which_of_two_statefulsets_it_is() {
    let view = with_sets(&[("b-c", &["a"]), ("c", &["a-b"])]);
    assert_eq!(member(&view, "a-b-c-0", &["b-c-0"]), Some(("b-c".to_owned(), 0, 0)));
    assert_eq!(member(&view, "a-b-c-0", &["c-0"]), Some(("c".to_owned(), 0, 0)));
    assert_eq!(member(&view, "a-b-c-0", &["c-1"]), None, "another pod of the set would not use it");
    assert_eq!(member(&view, "a-b-c-0", &["restore"]), None, "somebody else has taken it");
}

#[test]
fn the_claims_of_a_template_are_those_of_its_statefulset_alone() {
    let mut view = with_sets(&[("a", &["t", "t-a"]), ("a-a", &["t"])]);
    let names = ["t-a-0", "t-a-1", "t-a-10", "t-a-a-0", "t-a-x", "t-b-0"];
    view.claims = names.iter().map(|name| (id(name), crate::Claim { pods: Vec::new(), ..claim() })).collect();
    let of = |set: &str, template: &str| -> Vec<_> {
        let set = set_id(set);
        view.claims_of(&set, template).map(|(number, id, _)| (number, id.name.to_string())).collect()
    };
    let named =
        |claims: &[(u32, &str)]| -> Vec<_> { claims.iter().map(|(it, name)| (*it, (*name).to_owned())).collect() };
    assert_eq!(of("a", "t"), named(&[(0, "t-a-0"), (1, "t-a-1"), (10, "t-a-10")]));
    assert_eq!(of("a-a", "t"), named(&[(0, "t-a-a-0")]));
    assert_eq!(of("a", "t-a"), named(&[]), "either could have it, and the first template by its name does");
    assert_eq!(of("b", "t"), named(&[]), "there is no such StatefulSet");
}

fn the_set(view: &mut View) -> &mut StatefulSet {
    view.sets.get_mut(&set_id("db")).unwrap()
}

fn belongs(view: &mut View, belonging: Belonging) {
    view.claims.get_mut(&id("data-db-0")).unwrap().belonging = Some(Arc::new(belonging));
}

/// Who there is, and how that reads.
#[test]
fn the_chain_has_the_outermost_owner_first() {
    let world = |change: &dyn Fn(&mut View)| {
        let mut view = with_sets(&[("db", &["data"])]);
        let claim = crate::Claim { pods: Vec::new(), ..claim() };
        view.claims = crate::Claims::from([(id("data-db-0"), claim)]);
        change(&mut view);
        let claim = &view.claims[&id("data-db-0")];
        let ownership = view.ownership(&id("data-db-0"), claim);
        let kinds: Vec<_> = ownership.chain.iter().map(|link| link.kind.to_owned()).collect();
        (kinds, ownership.to_string())
    };
    let percona = || Some(owner("psmdb.percona.com/v1", "PerconaServerMongoDB"));
    let flux = || Some(Manager::FluxKustomization("apps".into()));

    let (kinds, text) = world(&|_| {});
    assert_eq!((kinds, &*text), (vec!["StatefulSet".to_owned()], "StatefulSet db"));
    let (kinds, text) = world(&|view| the_set(view).belonging = Belonging { owner: percona(), manager: flux() });
    assert_eq!(kinds, ["PerconaServerMongoDB", "StatefulSet"]);
    assert_eq!(text, "StatefulSet db of PerconaServerMongoDB main, which Flux Kustomization apps applies");
    let (kinds, text) = world(&|view| belongs(view, Belonging { owner: percona(), manager: None }));
    assert_eq!(kinds, ["PerconaServerMongoDB", "StatefulSet"], "the claim alone says it, as ECK has it");
    assert_eq!(text, "StatefulSet db of PerconaServerMongoDB main");
    let (kinds, text) = world(&|view| {
        view.sets.clear();
        belongs(view, Belonging { owner: Some(owner("postgresql.cnpg.io/v1", "Cluster")), manager: None });
    });
    assert_eq!((kinds, &*text), (vec!["Cluster".to_owned()], "Cluster main"));
    let (kinds, text) = world(&|view| {
        view.sets.clear();
        belongs(view, Belonging { owner: None, manager: Some(Manager::Helm("shop".into())) });
    });
    assert_eq!((kinds, &*text), (vec![], "a claim that Helm release shop applies"));
    assert_eq!(world(&|view| view.sets.clear()), (vec![], String::new()));
}

#[test]
fn an_operator_that_makes_pods_itself_owns_what_they_use_and_a_deployment_does_not() {
    let kind_of = |controller: Owner| {
        let mut view = view();
        the_claim(&mut view).pods[0].controller = Some(Arc::new(controller));
        let ownership = view.ownership(&id("data-0"), &view.claims[&id("data-0")]);
        ownership.chain.first().map(|link| link.kind.to_owned())
    };
    assert_eq!(kind_of(owner("core.strimzi.io/v1beta2", "StrimziPodSet")).as_deref(), Some("StrimziPodSet"));
    assert_eq!(kind_of(owner("apps/v1", "ReplicaSet")), None);
    assert_eq!(kind_of(owner("batch/v1", "Job")), None);
}

#[test]
fn the_sentence_of_a_growth_names_the_owner() {
    let mut view = view();
    the_usage(&mut view).available = mib(50);
    let (_, decision) = crate::fixture::decide_at(&view, 1);
    assert!(decision.message.ends_with("; grow from 512Mi to 640Mi"), "{}", decision.message);
    let belonging = Belonging { owner: Some(owner("postgresql.cnpg.io/v1", "Cluster")), manager: None };
    the_claim(&mut view).belonging = Some(Arc::new(belonging));
    let (_, decision) = crate::fixture::decide_at(&view, 1);
    assert!(decision.message.ends_with("; grow from 512Mi to 640Mi, for Cluster main"), "{}", decision.message);
}
