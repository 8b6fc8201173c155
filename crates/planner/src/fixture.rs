//! A small world for tests: one claim of 512Mi with half of its filesystem free, a pod that uses it, an expandable
//! class of the local driver, and an Auto policy. A test changes the one thing that it is about.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{
    Bytes, CapacitySpec, Count, DriverProfileSpec, Mode, Modifications, ParameterMatch, Period, VolumeType,
    names::LOCAL_DRIVER,
};

use crate::{
    Action, Allowed, Budgets, Capacity, Claim, ClaimId, Claims, Class, Decision, Groups, GrowthRecord, Labels,
    NamespaceName, PodId, PodUse, Policy, PolicyId, PolicyKind, Resize, Selector, Source, Uid, Usage, View,
    plan_claims,
};

pub const MIB: u64 = 1 << 20;

pub fn mib(number: u64) -> Bytes {
    Bytes(number * MIB)
}

/// `seconds` after the beginning of the world.
pub fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

pub fn id(name: &str) -> ClaimId {
    ClaimId { namespace: NamespaceName("shop".into()), name: name.into() }
}

pub fn namespaced(name: &str) -> PolicyId {
    PolicyId { kind: PolicyKind::Namespaced(NamespaceName("shop".into())), name: name.into() }
}

pub fn cluster(name: &str) -> PolicyId {
    PolicyId { kind: PolicyKind::Cluster, name: name.into() }
}

pub fn spec() -> CapacitySpec {
    CapacitySpec::up_to(mib(4096))
}

pub fn policy() -> Policy {
    Policy {
        mode: Mode::Auto,
        namespaces: Selector::default(),
        claims: Selector::default(),
        capacity: Some(spec()),
        performance: None,
        maintenance: None,
    }
}

/// The measurement at second 0.
pub fn usage() -> Usage {
    Usage {
        at: at(0),
        source: Source::Agent,
        total: mib(480),
        available: mib(240),
        inodes: Some(Capacity { total: Count(10_000), free: Count(9_000) }),
        fill_bytes_per_second: 0,
        crossed: None,
    }
}

pub fn pod(name: &str) -> PodUse {
    let id = PodId { namespace: NamespaceName("shop".into()), name: name.into() };
    PodUse { id, uid: Uid(format!("pod-{name}").into()), since: Some(at(-3600)), synced: None, controller: None }
}

pub fn claim() -> Claim {
    Claim {
        uid: Uid("claim-data-0".into()),
        labels: Labels::from([("app", "db")]),
        belonging: None,
        class: Some("orlop-local".into()),
        driver: Some(LOCAL_DRIVER.into()),
        bound: true,
        raw_block: false,
        requested: mib(512),
        capacity: mib(512),
        volume_capacity: mib(512),
        resize: Resize::Idle,
        paused: None,
        growth: None,
        pods: vec![pod("data-0")],
        usage: Some(usage()),
        outgrown: None,
        attributes: None,
        load: None,
        outlook: None,
    }
}

/// A growth from 512Mi to 640Mi, asked for at second 0.
pub fn record() -> GrowthRecord {
    GrowthRecord {
        from: mib(512),
        to: mib(640),
        filesystem: mib(480),
        crossed: at(0),
        decided: at(0),
        reason: orlop_api::names::Reason::BelowMinFree,
        earlier: Vec::new(),
        refused: Vec::new(),
        usable: None,
        owner: None,
    }
}

/// A kind of volume for classes that ask for it by a parameter.
pub fn small() -> VolumeType {
    let (name, values) = ("size".to_owned(), vec!["small".to_owned()]);
    VolumeType {
        name: "small".to_owned(),
        parameters: vec![ParameterMatch { name, aliases: Vec::new(), values, default: false }],
        expansion: None,
        size_increment: None,
        minimum_size: None,
        maximum_size: None,
        modifications: None,
        iops: None,
        throughput: None,
        price: None,
        source: None,
        as_of: None,
    }
}

/// Has the classes ask for such volumes.
pub fn ask_for_small(view: &mut View) {
    view.classes.values_mut().for_each(|class| class.parameters = [("size".to_owned(), "small".to_owned())].into());
}

pub fn view() -> View {
    let class = Class { provisioner: LOCAL_DRIVER.to_owned(), expandable: true, parameters: BTreeMap::new() };
    View {
        claims: Claims::from([(id("data-0"), claim())]),
        policies: BTreeMap::from([(namespaced("keep"), policy())]),
        namespaces: BTreeMap::from([(NamespaceName("shop".into()), Labels::default())]),
        classes: BTreeMap::from([("orlop-local".to_owned(), class)]),
        attributes_classes: BTreeMap::new(),
        drivers: BTreeMap::new(),
        groups: Groups::default(),
        budgets: Budgets::default(),
        resources: crate::Resources::default(),
        sets: BTreeMap::new(),
        deployments: BTreeMap::new(),
        scaled: BTreeMap::new(),
        autoscalers: BTreeMap::new(),
        stored: BTreeMap::new(),
        allowed: Allowed::default(),
    }
}

/// A driver of which so many modifications in an hour can be asked.
pub fn with_slots(count: u32) -> DriverProfileSpec {
    let modifications = Modifications {
        count,
        window: Period::from_secs(3600),
        next_when_completed: true,
        cooldown: None,
        source: None,
        as_of: None,
    };
    DriverProfileSpec { size_increment: Bytes::MIB, modifications: Some(modifications), ..DriverProfileSpec::default() }
}

/// The record of a growth to the present size that was decided at the last of these seconds, after others at the seconds
/// before, and has long been usable.
pub fn grown_at(seconds: &[i64]) -> GrowthRecord {
    let (last, earlier) = seconds.split_last().unwrap();
    GrowthRecord {
        from: mib(400),
        to: mib(512),
        decided: at(*last),
        crossed: at(*last),
        earlier: earlier.iter().copied().map(at).collect(),
        usable: Some(at(*last)),
        ..record()
    }
}

/// The one claim of the world.
pub fn the_claim(view: &mut View) -> &mut Claim {
    view.claims.get_mut(&id("data-0")).unwrap()
}

/// The capacity section of the one policy of the world.
pub fn the_spec(view: &mut View) -> &mut CapacitySpec {
    the_policy(view).capacity.as_mut().unwrap()
}

pub fn the_policy(view: &mut View) -> &mut Policy {
    view.policies.get_mut(&namespaced("keep")).unwrap()
}

pub fn the_usage(view: &mut View) -> &mut Usage {
    the_claim(view).usage.as_mut().unwrap()
}

/// What is decided about the one claim at second `seconds`.
pub fn decide_at(view: &View, seconds: i64) -> (Vec<Action>, Decision) {
    let (plan, report) = plan_claims(view, [&id("data-0")], at(seconds));
    (plan.actions, report.decisions[&id("data-0")].clone())
}

/// The world with the claim asking for 640Mi and having 512Mi.
pub fn growing() -> View {
    let mut view = view();
    let claim = the_claim(&mut view);
    claim.requested = mib(640);
    claim.growth = Some(record().into());
    view
}

/// The world after the claim has got the 640Mi that it asked for.
pub fn grown() -> View {
    let mut view = growing();
    let claim = the_claim(&mut view);
    claim.capacity = mib(640);
    claim.volume_capacity = mib(640);
    view
}

pub fn override_driver(view: &mut View, profile: DriverProfileSpec) {
    view.drivers.insert(LOCAL_DRIVER.to_owned(), profile);
}

/// The world with the claim asking for this size in place of those that its driver has refused.
pub fn reduced(refused: &[u64], to: u64) -> View {
    let mut view = growing();
    override_driver(&mut view, DriverProfileSpec { size_increment: Bytes::MIB, ..DriverProfileSpec::default() });
    let claim = the_claim(&mut view);
    claim.requested = mib(to);
    let refused = refused.iter().copied().map(mib).collect();
    claim.growth = Some(Box::new(GrowthRecord { to: mib(to), refused, ..record() }));
    view
}

/// The world with a second claim, which requests this much, and a policy that keeps the two equal.
pub fn led(size: u64, change: impl FnOnce(&mut View)) -> View {
    let mut view = view();
    the_spec(&mut view).group_by = Some("app".to_owned());
    let leader = Claim { requested: mib(size), ..claim() };
    view.claims.insert(id("data-1"), leader);
    change(&mut view);
    view.regroup(&[id("data-0"), id("data-1")]);
    view
}

/// The world in which the claim is one of CloudNativePG's Cluster `db`, which asks for 512Mi, and has too little room.
pub fn owned() -> View {
    let mut view = view();
    view.resources.can_be_asked = true;
    view.resources.kinds.insert(CLUSTERS.to_owned(), served(crate::Objects::Listed));
    view.resources.objects.insert(cluster_db(), asking_for("512Mi"));
    let claim = the_claim(&mut view);
    claim.labels = Labels::from([("app", "db"), ("cnpg.io/cluster", "db"), ("cnpg.io/pvcRole", "PG_DATA")]);
    the_usage(&mut view).available = mib(50);
    view
}

/// A kind that the cluster has.
pub fn served(objects: crate::Objects) -> crate::OwnerKind {
    crate::OwnerKind::Served { version: "v1".into(), objects }
}

/// A kind that may not be read, since the beginning of the test.
pub fn unreadable() -> crate::OwnerKind {
    served(crate::Objects::Unknown(crate::Unknown { why: "it may not be read".to_owned(), since: at(0) }))
}

pub const CLUSTERS: &str = "clusters.postgresql.cnpg.io";

pub fn cluster_db() -> crate::ResourceId {
    crate::ResourceId { definition: CLUSTERS.into(), namespace: NamespaceName("shop".into()), name: "db".into() }
}

/// The Cluster with this size.
pub fn asking_for(size: &str) -> crate::Resource {
    let fields = serde_json::json!({ "spec": { "storage": { "size": size } } });
    crate::Resource { uid: Uid("cluster".into()), belonging: crate::Belonging::default(), fields }
}

pub fn the_cluster(view: &mut View) -> &mut crate::Resource {
    view.resources.objects.get_mut(&cluster_db()).unwrap()
}
