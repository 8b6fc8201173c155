use super::{sets::set, *};

#[test]
fn a_statefulset_that_is_scaled_to_zero_is_known_by_the_claim_for_which_it_is_also_when_that_is_gone() {
    let mut observer = observer();
    let id = SetId { namespace: NamespaceName("app".into()), name: "db".into() };
    let at = Timestamp::from_second(100).unwrap();
    let scaled = |claim: &str| ScaledFrom { replicas: 2, claim: claim.into(), at, until: at };
    let noted = |version: u64, claim: Option<&str>| {
        let mut facts = set("s", version, "data", Bytes::GIB);
        facts.scaled = claim.map(|claim| Box::new(scaled(claim)));
        Observation::Set(Change::Is(id.clone(), facts))
    };
    observer.observe(noted(1, Some("data-db-0")));
    assert_eq!(observer.dirty_claims(), ["data-db-0"], "there is no such claim any more");
    let workload = WorkloadId::StatefulSet(id.clone());
    assert_eq!(observer.view().scaled_for(&claim_id("data-db-0")).next().unwrap().0, &workload);
    observer.observe(Observation::Claim(Change::Is(claim_id("data-db-1"), claim("data-db-1", 1))));
    assert_eq!(
        observer.dirty_claims(),
        ["data-db-0", "data-db-1"],
        "what becomes of the one may be waited for by the other"
    );
    observer.mark_all();
    assert!(observer.dirty_claims().contains(&"data-db-0".to_owned()));
    observer.observe(noted(2, None));
    assert_eq!(observer.dirty_claims(), ["data-db-0", "data-db-1"]);
    assert!(observer.view().scaled.is_empty());
}

#[test]
fn what_an_autoscaler_scales_is_known_and_waited_for_only_where_it_matters() {
    let mut observer = observer();
    let named = |name: &str| SetId { namespace: NamespaceName("app".into()), name: name.into() };
    let set_named = |name: &str| WorkloadId::StatefulSet(named(name));
    observer.observe(Observation::Set(Change::Is(named("db"), set("s", 1, "data", Bytes::GIB))));
    observer.observe(Observation::Claim(Change::Is(claim_id("data-db-0"), claim("data-db-0", 1))));
    observer.dirty_claims();
    observer.observe(Observation::Autoscaler(Change::Is(named("busy"), set_named("db"))));
    assert_eq!(observer.dirty_claims(), ["data-db-0"]);
    assert_eq!(observer.view().autoscalers.get(&set_named("db")).map(|name| &**name), Some("busy"));
    observer.observe(Observation::Autoscaler(Change::Gone(named("busy"))));
    assert!(observer.view().autoscalers.is_empty());
}

fn deployment(version: u64, claims: &[&str]) -> Deployment {
    Deployment {
        uid: Uid("d".into()),
        belonging: Belonging::default(),
        replicas: 1,
        scaled: None,
        in_vain: None,
        claims: claims.iter().map(|name| (*name).into()).collect(),
        deleting: false,
        version: Some(version),
    }
}

#[test]
fn a_deployment_concerns_the_claims_that_its_template_names_before_and_after() {
    let mut observer = observer();
    for name in ["data", "logs", "other"] {
        observer.observe(Observation::Claim(Change::Is(claim_id(name), claim(name, 1))));
    }
    observer.dirty_claims();
    let id = DeploymentId { namespace: NamespaceName("app".into()), name: "web".into() };
    let mut after = |change| {
        observer.observe(Observation::Deployment(change));
        observer.dirty_claims()
    };
    let none = Vec::<String>::new();
    assert_eq!(after(Change::Is(id.clone(), deployment(5, &["data"]))), ["data"]);
    assert_eq!(after(Change::Is(id.clone(), deployment(6, &["data"]))), none, "only its status has changed");
    assert_eq!(after(Change::Is(id.clone(), deployment(7, &["logs"]))), ["data", "logs"]);
    assert_eq!(after(Change::Is(id.clone(), deployment(6, &["data"]))), none, "an older state comes late");
    assert_eq!(after(Change::Gone(id.clone())), ["logs"]);
    let workload = WorkloadId::Deployment(id.clone());
    let busy = SetId { namespace: NamespaceName("app".into()), name: "busy".into() };
    observer.observe(Observation::Deployment(Change::Is(id, deployment(8, &["data"]))));
    observer.dirty_claims();
    observer.observe(Observation::Autoscaler(Change::Is(busy, workload.clone())));
    assert_eq!(observer.dirty_claims(), ["data"]);
    assert_eq!(observer.workload_version(&workload), Some(8));
}

#[test]
fn the_claims_of_a_deployment_that_is_stopped_are_decided_about_together_and_one_that_is_deleted_leaves_nothing() {
    let mut observer = observer();
    for name in ["data", "logs"] {
        observer.observe(Observation::Claim(Change::Is(claim_id(name), claim(name, 1))));
    }
    let at = Timestamp::from_second(100).unwrap();
    let scaled = Some(Box::new(ScaledFrom { replicas: 2, claim: "data".into(), at, until: at }));
    let id = |name: &str| DeploymentId { namespace: NamespaceName("app".into()), name: name.into() };
    let stopped = Deployment { scaled, ..deployment(5, &["data", "logs"]) };
    for name in ["web", "copy"] {
        observer.observe(Observation::Deployment(Change::Is(id(name), stopped.clone())));
    }
    observer.dirty_claims();
    observer.mark(claim_id("logs"));
    assert_eq!(observer.dirty_claims(), ["data", "logs"]);
    observer.observe(Observation::Deployment(Change::Gone(id("copy"))));
    let left: Vec<_> = observer.view().scaled_for(&claim_id("data")).map(|(id, ..)| id.to_string()).collect();
    assert_eq!(left, ["Deployment app/web"]);
    observer.observe(Observation::Deployment(Change::Gone(id("web"))));
    assert!(observer.view().scaled.is_empty());
    assert_eq!(observer.dirty_claims(), ["data", "logs"]);
}
