mod budgets;
mod measured;
mod sets;
mod trends;
mod workloads;

use jiff::Timestamp;
use orlop_api::{BudgetLimits, Bytes, CapacitySpec, DriverProfileSpec, Expansion, Mode};
use orlop_planner::{
    Belonging, Budget, BudgetName, ClaimId, ClaimTemplate, Class, Deployment, DeploymentId, KeepsClaims, Labels,
    LoadReading, LoadWatch, NamespaceName, PodId, Policy, PolicyId, PolicyKind, Rates, Requirement, Selector, SetId,
    Source, StatefulSet, Uid, Usage, WorkloadId, maintenance::ScaledFrom,
};

use super::{fixture::claim_facts, *};

fn claim_id(name: &str) -> ClaimId {
    ClaimId { namespace: NamespaceName("app".into()), name: name.into() }
}

/// A claim `name` with UID `name-uid`, bound to the volume `pv-name`.
fn claim(name: &str, version: u64) -> ClaimFacts {
    ClaimFacts {
        uid: Uid(format!("{name}-uid").into()),
        version: Some(version),
        labels: Labels::from([("app", name)]),
        volume: Some(format!("pv-{name}").into()),
        spelling: Spelling { requested: "1Gi".into(), ..Spelling::default() },
        ..claim_facts()
    }
}

fn volume(name: &str) -> VolumeFacts {
    VolumeFacts {
        capacity: Bytes::GIB,
        driver: Some("driver".into()),
        handle: None,
        claim: Some((claim_id(name), Uid(format!("{name}-uid").into()))),
    }
}

fn pod(uid: &str, claims: &[&str]) -> PodFacts {
    PodFacts {
        uid: Uid(uid.into()),
        version: Some(1),
        since: Some(Timestamp::UNIX_EPOCH),
        synced: None,
        controller: None,
        claims: claims.iter().map(|name| (*name).into()).collect(),
    }
}

fn pod_id(name: &str) -> PodId {
    PodId { namespace: NamespaceName("app".into()), name: name.into() }
}

fn policy_id(namespace: &str, name: &str) -> PolicyId {
    PolicyId { kind: PolicyKind::Namespaced(NamespaceName(namespace.into())), name: name.into() }
}

fn cluster_policy_id(name: &str) -> PolicyId {
    PolicyId { kind: PolicyKind::Cluster, name: name.into() }
}

fn selects(key: &str, value: &str) -> Selector {
    Selector(vec![Requirement::In(key.into(), vec![value.into()])])
}

fn policy(claims: Selector) -> PolicyFacts {
    let capacity = CapacitySpec::up_to(Bytes(10 << 30));
    PolicyFacts {
        uid: Uid("policy-uid".into()),
        generation: Some(1),
        policy: Ok(Policy {
            mode: Mode::Auto,
            namespaces: Selector::default(),
            claims,
            capacity: Some(capacity),
            performance: None,
            maintenance: None,
        }),
        status: None,
    }
}

fn usage(source: Source, at: i64, available: u64) -> Usage {
    Usage {
        at: Timestamp::from_second(at).unwrap(),
        source,
        total: Bytes::GIB,
        available: Bytes(available),
        inodes: None,
        fill_bytes_per_second: 0,
        crossed: None,
    }
}

fn sampled(node: &str, volume: &str, usage: Usage) -> Measurement {
    Measurement::Sampled { node: node.into(), volume: volume.into(), usage }
}

/// An observer that knows claims `a` and `b` with their volumes, and whose news has been taken.
fn observer() -> Observer {
    let mut observer = Observer::default();
    for name in ["a", "b"] {
        observer.observe(Observation::Volume(Change::Is(format!("pv-{name}").into(), volume(name))));
        observer.observe(Observation::Claim(Change::Is(claim_id(name), claim(name, 10))));
    }
    observer.take_dirty(usize::MAX);
    observer
}

impl Observer {
    fn seen(&self, name: &str) -> &orlop_planner::Claim {
        &self.view.claims[&claim_id(name)]
    }

    fn dirty_claims(&mut self) -> Vec<String> {
        self.take_dirty(usize::MAX).claims.into_iter().map(|id| id.name.to_string()).collect()
    }
}

#[test]
fn nothing_may_be_decided_before_every_kind_has_been_listed() {
    let mut observer = Observer::default();
    macro_rules! list {
        ($($kind:ident),*) => { vec![$((
            Observation::$kind(Change::ListBegins),
            Observation::$kind(Change::ListComplete),
        )),*] };
    }
    for (begins, complete) in list!(
        Claim,
        Volume,
        Pod,
        Namespace,
        Class,
        AttributesClass,
        Policy,
        ClusterPolicy,
        Budget,
        Driver,
        Set,
        Stored,
        Node,
        OwnerKind
    ) {
        assert!(!observer.is_synced());
        observer.observe(begins);
        assert!(!observer.is_synced());
        observer.observe(complete);
    }
    assert!(observer.is_synced());
    observer.observe(Observation::Claim(Change::ListBegins));
    assert!(observer.is_synced(), "a watch that lists again still knows what it knew");
}

#[test]
fn a_claim_is_bound_when_it_and_its_volume_name_each_other_in_whichever_order_they_are_seen() {
    let mut observer = Observer::default();
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 1))));
    assert!(!observer.seen("a").bound);
    observer.observe(Observation::Volume(Change::Is("pv-a".into(), volume("a"))));
    assert!(observer.seen("a").bound);
    assert_eq!(observer.seen("a").driver.as_deref(), Some("driver"));
    assert_eq!(observer.seen("a").volume_capacity, Bytes::GIB);

    let mut observer = Observer::default();
    observer.observe(Observation::Volume(Change::Is("pv-a".into(), volume("a"))));
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 1))));
    assert!(observer.seen("a").bound);
}

#[test]
fn a_kubelets_measurement_of_a_claim_reaches_the_claim_and_not_one_that_only_names_its_volume() {
    let mut observer = observer();
    let measured = |name| Measurement::SampledClaim {
        node: "n".into(),
        claim: claim_id(name),
        usage: usage(Source::Kubelet, 1_000, 5),
    };
    let thief = ClaimFacts { volume: Some("pv-a".into()), ..claim("thief", 11) };
    observer.observe(Observation::Claim(Change::Is(claim_id("thief"), thief)));
    observer.measure(measured("thief"));
    observer.measure(measured("unknown"));
    assert_eq!(observer.view().claims[&claim_id("a")].usage, None);
    observer.measure(measured("a"));
    assert_eq!(observer.view().claims[&claim_id("a")].usage, Some(usage(Source::Kubelet, 1_000, 5)));
}

#[test]
fn a_claim_that_names_the_volume_of_another_gets_nothing_of_it() {
    let mut observer = observer();
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 1, 500)));
    observer.take_dirty(usize::MAX);
    let thief = ClaimFacts { volume: Some("pv-a".into()), ..claim("thief", 11) };
    observer.observe(Observation::Claim(Change::Is(claim_id("thief"), thief)));
    assert!(!observer.seen("thief").bound);
    assert_eq!(observer.seen("thief").usage, None);
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 2, 400)));
    assert_eq!(observer.seen("thief").usage, None);
    assert_eq!(observer.seen("a").usage.as_ref().unwrap().available, Bytes(400));
}

#[test]
fn a_claim_made_anew_under_the_same_name_has_nothing_of_the_former() {
    let mut observer = observer();
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 1, 500)));
    let anew = ClaimFacts { uid: Uid("other-uid".into()), version: Some(5), ..claim("a", 0) };
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), anew)));
    assert!(!observer.seen("a").bound);
    assert_eq!(observer.seen("a").usage, None);
    assert_eq!(observer.seen("a").uid, Uid("other-uid".into()));
}

#[test]
fn a_volume_that_has_grown_is_news_of_its_claim_alone() {
    let mut observer = observer();
    observer.observe(Observation::Volume(Change::Is(
        "pv-a".into(),
        VolumeFacts { capacity: Bytes(2 << 30), ..volume("a") },
    )));
    assert_eq!(observer.seen("a").volume_capacity, Bytes(2 << 30));
    assert_eq!(observer.dirty_claims(), ["a"]);
    observer.observe(Observation::Volume(Change::Gone("pv-a".into())));
    assert!(!observer.seen("a").bound);
    assert_eq!(observer.dirty_claims(), ["a"]);
}

#[test]
fn a_volume_is_released_when_its_claim_is_being_deleted_and_only_then() {
    let mut observer = observer();
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 11))));
    assert!(observer.take_dirty(usize::MAX).released.is_empty());
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), ClaimFacts { volume: None, ..claim("a", 12) })));
    observer.observe(Observation::Claim(Change::Gone(claim_id("b"))));
    assert_eq!(
        observer.take_dirty(usize::MAX).released.into_iter().collect::<Vec<_>>(),
        ["pv-a".into(), "pv-b".into()]
    );
}

#[test]
fn what_is_seen_again_unchanged_is_no_news() {
    let mut observer = observer();
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 11))));
    observer.observe(Observation::Volume(Change::Is("pv-a".into(), volume("a"))));
    observer.observe(Observation::Pod(Change::Is(pod_id("other"), pod("p", &["unknown"]))));
    assert!(!observer.is_dirty());
}

#[test]
fn the_answer_to_a_write_is_not_undone_by_an_older_state_that_comes_late() {
    let mut observer = observer();
    let grown = ClaimFacts { requested: Bytes(2 << 30), ..claim("a", 20) };
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), grown)));
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 15))));
    assert_eq!(observer.seen("a").requested, Bytes(2 << 30));
    // A store that was restored from a backup counts from anew; its list is believed.
    observer.observe(Observation::Claim(Change::ListBegins));
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 3))));
    assert_eq!(observer.seen("a").requested, Bytes::GIB);
}

#[test]
fn what_a_list_does_not_name_is_gone_when_the_list_is_complete() {
    let mut observer = observer();
    observer.observe(Observation::Claim(Change::ListBegins));
    observer.observe(Observation::Claim(Change::Is(claim_id("b"), claim("b", 10))));
    assert_eq!(observer.view.claims.len(), 2, "the list may still name it");
    // The list breaks off and begins again.
    observer.observe(Observation::Claim(Change::ListBegins));
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 10))));
    observer.observe(Observation::Claim(Change::ListComplete));
    assert_eq!(observer.view.claims.keys().collect::<Vec<_>>(), [&claim_id("a")]);
    assert_eq!(observer.dirty_claims(), ["b"]);
    assert_eq!(observer.spelling(&claim_id("b")), None);
}

#[test]
fn the_pods_of_a_claim_are_known_whichever_is_seen_first() {
    let mut observer = Observer::default();
    observer.observe(Observation::Pod(Change::Is(pod_id("p"), pod("p-uid", &["a", "c"]))));
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 1))));
    assert_eq!(observer.seen("a").pods.len(), 1);
    observer.take_dirty(usize::MAX);

    let touched = PodFacts { version: Some(2), synced: Some("a=1Gi".into()), ..pod("p-uid", &["a", "c"]) };
    observer.observe(Observation::Pod(Change::Is(pod_id("p"), touched)));
    assert_eq!(observer.seen("a").pods[0].synced.as_deref(), Some("a=1Gi"));
    assert_eq!(observer.dirty_claims(), ["a"]);
    observer.observe(Observation::Pod(Change::Is(pod_id("p"), pod("p-uid", &["a", "c"]))));
    assert_eq!(observer.seen("a").pods[0].synced.as_deref(), Some("a=1Gi"), "an older state comes late");

    observer.observe(Observation::Pod(Change::Gone(pod_id("p"))));
    assert_eq!(observer.seen("a").pods, []);
    assert_eq!(observer.dirty_claims(), ["a"]);
}

#[test]
fn a_claim_that_comes_back_has_its_pods_again_and_nothing_is_kept_of_pods_that_are_gone() {
    let mut observer = observer();
    observer.observe(Observation::Pod(Change::Is(pod_id("p"), pod("p-uid", &["a", "c"]))));
    observer.observe(Observation::Claim(Change::Gone(claim_id("a"))));
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 20))));
    assert_eq!(observer.seen("a").pods.len(), 1);
    observer.observe(Observation::Claim(Change::Gone(claim_id("a"))));
    observer.observe(Observation::Pod(Change::Gone(pod_id("p"))));
    assert!(observer.pods.is_empty() && observer.waiting.is_empty());
}

#[test]
fn what_is_not_taken_of_the_news_is_left_for_the_next_time() {
    let mut observer = observer();
    observer.mark_all();
    assert_eq!(observer.take_dirty(1).claims.into_iter().collect::<Vec<_>>(), [claim_id("a")]);
    assert_eq!(observer.take_dirty(1).claims.into_iter().collect::<Vec<_>>(), [claim_id("b")]);
    assert!(!observer.is_dirty());
}

#[test]
fn a_policy_concerns_the_claims_of_its_namespace_that_its_old_or_new_selector_picks() {
    let mut observer = observer();
    let elsewhere = ClaimId { namespace: NamespaceName("other".into()), name: "a".into() };
    observer.observe(Observation::Claim(Change::Is(elsewhere, claim("a", 1))));
    observer.take_dirty(usize::MAX);

    let id = policy_id("app", "p");
    observer.observe(Observation::Policy(Change::Is(id.clone(), policy(selects("app", "a")))));
    let dirty = observer.take_dirty(usize::MAX);
    assert_eq!(dirty.claims.into_iter().collect::<Vec<_>>(), [claim_id("a")]);
    assert_eq!(dirty.policies.into_iter().collect::<Vec<_>>(), std::slice::from_ref(&id));

    observer.observe(Observation::Policy(Change::Is(id.clone(), policy(selects("app", "b")))));
    assert_eq!(observer.dirty_claims(), ["a", "b"]);
    observer.observe(Observation::Policy(Change::Gone(id)));
    assert_eq!(observer.dirty_claims(), ["b"]);
    assert!(observer.view.policies.is_empty() && observer.policies.is_empty());
}

#[test]
fn the_status_of_a_policy_concerns_no_claim() {
    let mut observer = observer();
    let id = policy_id("app", "p");
    observer.observe(Observation::Policy(Change::Is(id.clone(), policy(Selector::default()))));
    observer.take_dirty(usize::MAX);
    let written = PolicyFacts { status: Some(PolicyStatus::default()), ..policy(Selector::default()) };
    observer.observe(Observation::Policy(Change::Is(id.clone(), written)));
    assert_eq!(observer.take_dirty(usize::MAX), Dirty { policies: [id].into(), ..Dirty::default() });
}

#[test]
fn a_policy_that_cannot_be_read_governs_nothing_and_is_known_all_the_same() {
    let mut observer = observer();
    let id = policy_id("app", "p");
    observer.observe(Observation::Policy(Change::Is(id.clone(), policy(Selector::default()))));
    observer.take_dirty(usize::MAX);
    let invalid = PolicyFacts { policy: Err("no such operator".into()), ..policy(Selector::default()) };
    observer.observe(Observation::Policy(Change::Is(id.clone(), invalid)));
    assert!(observer.view.policies.is_empty());
    assert_eq!(observer.known_policy(&id).unwrap().invalid.as_deref(), Some("no such operator"));
    assert_eq!(observer.dirty_claims(), ["a", "b"]);
}

#[test]
fn a_cluster_policy_concerns_the_namespaces_that_it_picks_and_a_list_of_the_other_kind_leaves_it_alone() {
    let mut observer = observer();
    let other = NamespaceName("other".into());
    let elsewhere = ClaimId { namespace: other.clone(), name: "a".into() };
    observer.observe(Observation::Claim(Change::Is(elsewhere.clone(), claim("a", 1))));
    let app = NamespaceName("app".into());
    observer.observe(Observation::Namespace(Change::Is(app.clone(), Labels::from([("team", "red")]))));
    observer.observe(Observation::Namespace(Change::Is(other, Labels::from([("team", "blue")]))));
    observer.take_dirty(usize::MAX);

    let mut facts = policy(selects("app", "a"));
    facts.policy.as_mut().unwrap().namespaces = selects("team", "red");
    observer.observe(Observation::ClusterPolicy(Change::Is(cluster_policy_id("p"), facts)));
    assert_eq!(observer.take_dirty(usize::MAX).claims.into_iter().collect::<Vec<_>>(), [claim_id("a")]);

    observer.observe(Observation::Policy(Change::ListBegins));
    observer.observe(Observation::Policy(Change::ListComplete));
    assert_eq!(observer.view.policies.len(), 1);

    observer.observe(Observation::Namespace(Change::Is(app, Labels::from([("team", "blue")]))));
    assert_eq!(observer.dirty_claims(), ["a", "b"]);
}

#[test]
fn a_class_concerns_its_claims_and_a_driver_profile_those_of_the_driver() {
    let mut observer = observer();
    let unbound = ClaimFacts { class: Some("slow".into()), volume: None, capacity: None, ..claim("c", 1) };
    observer.observe(Observation::Claim(Change::Is(claim_id("c"), unbound)));
    observer.take_dirty(usize::MAX);

    let class = |provisioner: &str| Class { provisioner: provisioner.into(), expandable: true, parameters: [].into() };
    observer.observe(Observation::Class(Change::Is("slow".into(), class("tape"))));
    assert_eq!(observer.dirty_claims(), ["c"]);
    observer.observe(Observation::Class(Change::Is("slow".into(), class("tape"))));
    assert!(!observer.is_dirty());

    let profile = DriverProfileSpec { expansion: Expansion::Offline, ..DriverProfileSpec::default() };
    observer.observe(Observation::Driver(Change::Is("driver".into(), profile.clone())));
    assert_eq!(observer.dirty_claims(), ["a", "b"]);
    observer.observe(Observation::Driver(Change::Is("tape".into(), profile)));
    assert_eq!(observer.dirty_claims(), ["c"], "a claim without a volume is judged by its class");

    observer.observe(Observation::Class(Change::Is("slow".into(), class("example.com/tape"))));
    observer.take_dirty(usize::MAX);
    let slow = DriverProfileSpec { expansion: Expansion::None, ..DriverProfileSpec::default() };
    observer.observe(Observation::Driver(Change::Is("example.com.tape".into(), slow)));
    assert_eq!(observer.dirty_claims(), ["c"], "whose name cannot be an object's as it is");
}

#[test]
fn the_claims_of_a_group_are_decided_again_when_the_largest_of_them_changes() {
    let mut observer = observer();
    let labelled = |name: &str, version: u64, size: u64| ClaimFacts {
        labels: Labels::from([("shard", "a")]),
        requested: Bytes(size << 30),
        ..claim(name, version)
    };
    let mut grouping = policy(Selector::default());
    let spec = grouping.policy.as_mut().unwrap().capacity.as_mut().unwrap();
    spec.group_by = Some("shard".into());
    observer.observe(Observation::Policy(Change::Is(policy_id("app", "all"), grouping)));
    for name in ["a", "b"] {
        observer.observe(Observation::Claim(Change::Is(claim_id(name), labelled(name, 11, 1))));
    }
    observer.take_dirty(usize::MAX);
    let largest = |observer: &Observer| observer.view.leader(&claim_id("b"), Bytes(0)).map(|(_, size)| size.0 >> 30);
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), labelled("a", 12, 2))));
    assert_eq!((observer.dirty_claims(), largest(&observer)), (vec!["a".to_owned(), "b".to_owned()], Some(2)));
    observer.measure(sampled("node-1", "pv-a", usage(Source::Agent, 1, 5)));
    assert_eq!(observer.dirty_claims(), ["a"], "how full it is concerns nobody else");
    observer.observe(Observation::Volume(Change::Gone("pv-a".into())));
    assert_eq!((observer.dirty_claims(), largest(&observer)), (vec!["a".to_owned(), "b".to_owned()], Some(1)));
    observer.observe(Observation::Policy(Change::Is(policy_id("app", "all"), policy(Selector::default()))));
    assert_eq!(largest(&observer), None);
}
