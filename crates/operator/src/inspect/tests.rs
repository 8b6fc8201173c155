use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, Count, names::Reason};
use orlop_planner::{Capacity, ClaimId, Class, Labels, NamespaceName, PodId, Source, Uid, Usage};
use serde_json::json;

use super::*;
use crate::{
    Core, Measurement, Moment,
    observe::{Change, ClaimFacts, Observation, PodFacts, VolumeFacts, fixture::claim_facts},
};

const MIB: u64 = 1 << 20;

fn id(namespace: &str, name: &str) -> ClaimId {
    ClaimId { namespace: NamespaceName(namespace.into()), name: name.into() }
}

/// What the tests know of a claim: how much of its 1000 MiB is free, where that is measured, and how fast it fills.
struct Volume {
    id: ClaimId,
    free_mib: Option<u64>,
    rate: u64,
}

fn volume(namespace: &str, name: &str, free_mib: Option<u64>, rate: u64) -> Volume {
    Volume { id: id(namespace, name), free_mib, rate }
}

/// A cluster, and the time as it passes in it.
struct World {
    core: Core,
    now: Moment,
}

impl World {
    fn policy(name: &str, cluster: bool, mode: &str) -> Observation {
        let spec = json!({ "mode": mode, "selector": {}, "capacity": { "maximum": "10Gi" } });
        if cluster {
            let object = json!({
                "apiVersion": "orlop.dev/v1alpha1", "kind": "ClusterStoragePolicy",
                "metadata": { "name": name, "uid": name }, "spec": spec,
            });
            let policy: orlop_api::ClusterStoragePolicy = serde_json::from_value(object).unwrap();
            let policy_id = crate::objects::cluster_policy_id(&policy.metadata);
            return Observation::ClusterPolicy(Change::Is(policy_id, crate::objects::cluster_policy(Ok(policy))));
        }
        let object = json!({
            "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
            "metadata": { "name": name, "namespace": "shop", "uid": name }, "spec": spec,
        });
        let policy: orlop_api::StoragePolicy = serde_json::from_value(object).unwrap();
        Observation::Policy(Change::Is(crate::objects::policy_id(&policy.metadata), crate::objects::policy(Ok(policy))))
    }

    /// A cluster of these volumes, each used by a pod, in which the policies have been decided by.
    fn new(volumes: &[Volume], policies: &[Observation]) -> Self {
        let time = Timestamp::from_second(1_000_000).unwrap();
        let mut world = Self { core: Core::default(), now: Moment { time, instant: Instant::now() } };
        macro_rules! list {
            ($($kind:ident: $objects:expr),* $(,)?) => {$(
                world.core.observe(Observation::$kind(Change::ListBegins));
                for observation in $objects {
                    world.core.observe(observation);
                }
                world.core.observe(Observation::$kind(Change::ListComplete));
            )*};
        }
        let class = Class {
            provisioner: "ebs.csi.aws.com".into(),
            expandable: true,
            parameters: BTreeMap::from([("type".to_owned(), "gp3".to_owned())]),
        };
        let of_kind = |cluster: bool| {
            policies.iter().filter(move |it| matches!(it, Observation::ClusterPolicy(_)) == cluster).cloned()
        };
        list! {
            Class: [Observation::Class(Change::Is("fast".to_owned(), class))],
            Claim: volumes.iter().map(Volume::claim),
            Volume: volumes.iter().map(Volume::volume),
            Pod: volumes.iter().map(Volume::pod),
            Node: [Observation::Node(Change::Is("n".to_owned(), ()))],
            Namespace: ["shop", "dev"].map(|name| {
                Observation::Namespace(Change::Is(NamespaceName(name.into()), Labels::default()))
            }),
            AttributesClass: [],
            Policy: of_kind(false),
            ClusterPolicy: of_kind(true),
            Budget: [],
            Driver: [],
            Set: [],
            Stored: [],
            OwnerKind: [],
        }
        for volume in volumes {
            if let Some(measurement) = volume.measured(time) {
                world.core.measure(measurement, world.now);
            }
        }
        world.pass(0);
        world
    }

    /// Lets so many seconds pass, and has decided what is to be decided.
    fn pass(&mut self, seconds: u64) {
        let pause = Duration::from_secs(seconds);
        for pause in [pause, Duration::from_millis(20)] {
            self.now.instant += pause;
            self.now.time += SignedDuration::try_from(pause).unwrap();
            drop(self.core.turn(true, self.now));
        }
    }

    fn account(&self, name: &str) -> ClaimAccount {
        claim(&self.core, &id("shop", name), self.now).unwrap()
    }

    fn survey(&self, query: SurveyQuery, claims_a_step: usize) -> Fleet {
        let mut survey = Survey::new(query);
        let mut steps = 0;
        while !survey.step(&self.core, claims_a_step, self.now.time) {
            steps += 1;
            assert!(steps < 100, "it ends");
        }
        survey.finish(&self.core)
    }
}

impl Volume {
    fn uid(&self) -> Uid {
        Uid(format!("uid-{}", self.id).into())
    }

    fn claim(&self) -> Observation {
        let facts = ClaimFacts { uid: self.uid(), volume: Some(format!("pv-{}", self.id).into()), ..claim_facts() };
        Observation::Claim(Change::Is(self.id.clone(), facts))
    }

    fn volume(&self) -> Observation {
        let driver = Some("ebs.csi.aws.com".into());
        let facts =
            VolumeFacts { capacity: Bytes::GIB, driver, handle: None, claim: Some((self.id.clone(), self.uid())) };
        Observation::Volume(Change::Is(format!("pv-{}", self.id).into(), facts))
    }

    fn pod(&self) -> Observation {
        let name = format!("pod-{}", self.id.name);
        let facts = PodFacts {
            uid: Uid(name.clone().into()),
            version: Some(1),
            since: Some(Timestamp::from_second(1).unwrap()),
            synced: None,
            controller: None,
            claims: vec![self.id.name.clone()],
        };
        Observation::Pod(Change::Is(PodId { namespace: self.id.namespace.clone(), name: name.into() }, facts))
    }

    fn measured(&self, at: Timestamp) -> Option<Measurement> {
        let usage = Usage {
            at,
            source: Source::Agent,
            total: Bytes(1000 * MIB),
            available: Bytes(self.free_mib? * MIB),
            inodes: Some(Capacity { total: Count(1000), free: Count(900) }),
            fill_bytes_per_second: self.rate,
            crossed: None,
        };
        Some(Measurement::Sampled { node: "n".into(), volume: format!("pv-{}", self.id), usage })
    }
}

#[test]
fn an_account_has_the_decision_with_every_number_that_led_to_it() {
    let policies = [World::policy("keep", false, "Auto"), World::policy("all", true, "Auto")];
    let world = World::new(&[volume("shop", "data", Some(300), MIB)], &policies);
    let account = world.account("data");
    assert_eq!((account.decision.act, account.decision.reason), (Act::Keep, Reason::EnoughRoom));
    assert!(account.decision.since.is_some() && account.decision.next_look.is_some());
    let usage = account.usage.unwrap();
    assert_eq!(
        (usage.available, usage.seconds_to_full, usage.node.as_deref()),
        (Bytes(300 * MIB), Some(300), Some("n"))
    );
    let thresholds = account.thresholds.unwrap();
    assert_eq!((thresholds.available_below, thresholds.free_inodes_below), (Bytes(200 * MIB), Count(50)));
    assert_eq!(account.governed.policy.as_deref(), Some("StoragePolicy shop/keep"));
    assert_eq!(account.governed.others, ["ClusterStoragePolicy all"]);
    let driver = account.driver.unwrap();
    assert_eq!((driver.profile, driver.volume_type.as_deref()), (ProfileOrigin::BuiltIn, Some("gp3")));
    assert!(driver.monthly.unwrap().ends_with("USD"));
    let slots = account.modifications.unwrap();
    assert_eq!((slots.count, slots.taken.len(), slots.next), (4, 0, None));
    assert_eq!(account.pods, ["pod-data"]);
    assert_eq!(
        account.turning_points,
        [
            "fewer than 200 MiB are free (minFree 20%): after 100 MiB more are written, at the present rate in 1m40s",
            "fewer than 50 inodes are free (minFreeInodes 5%): after 850 more files",
            "it fills by more than 5.00 MiB/s, and would be full within timeToFull 1m",
        ]
    );
}

#[test]
fn an_account_says_of_a_growth_that_it_is_called_for_and_a_request_is_under_way() {
    let world = World::new(&[volume("shop", "data", Some(100), 0)], &[World::policy("keep", false, "Auto")]);
    let decision = world.account("data").decision;
    assert_eq!((decision.act, decision.reason, decision.acting), (Act::Grow, Reason::BelowMinFree, true));
    assert_eq!(decision.target, Some(Bytes(2 << 30)));
}

#[test]
fn a_claim_that_no_policy_governs_is_accounted_for_too() {
    let world = World::new(&[volume("shop", "data", Some(100), 0)], &[]);
    let account = world.account("data");
    assert_eq!((account.decision.reason, account.decision.since), (Reason::Off, None));
    assert_eq!(account.governed.policy, None);
    assert_eq!(account.turning_points, ["a policy selects the claim"]);
    assert_eq!(claim(&world.core, &id("shop", "other"), world.now), None);
}

#[test]
fn an_account_and_a_fleet_read_back_as_they_were_written() {
    let world = World::new(&[volume("shop", "data", Some(100), 7)], &[World::policy("keep", false, "Recommend")]);
    let account = Document::new(world.account("data"), world.now.time);
    assert_eq!(serde_json::from_str::<Document<ClaimAccount>>(&json!(account).to_string()).unwrap(), account);
    let fleet = world.survey(SurveyQuery { limit: 5, ..SurveyQuery::default() }, 10);
    let fleet = Document::new(fleet, world.now.time);
    let text = json!(fleet).to_string();
    assert_eq!(serde_json::from_str::<Document<Fleet>>(&text).unwrap(), fleet);
    let refused = serde_json::from_str::<Document<Fleet>>(&text.replace("/v1\"", "/v2\"")).unwrap().open().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the operator answers with a Fleet of inspect.orlop.dev/v2, and this orlop reads a Fleet of inspect.orlop.dev/v1"
    );
}

/// Four claims of two namespaces: full, filling, idle, and not measured.
fn four() -> World {
    let volumes = [
        volume("shop", "full", Some(50), 0),
        volume("shop", "idle", Some(900), 0),
        volume("shop", "unmeasured", None, 0),
        volume("dev", "filling", Some(800), MIB),
    ];
    let mut world = World::new(&volumes, &[World::policy("try", false, "Recommend")]);
    // A missing measurement is reported when the agents have had time to connect.
    world.pass(31);
    for volume in &volumes {
        if let Some(measurement) = volume.measured(world.now.time) {
            world.core.measure(measurement, world.now);
        }
    }
    world.pass(1);
    world
}

#[test]
fn a_survey_counts_the_same_in_steps_of_any_size() {
    let world = four();
    let query = SurveyQuery { limit: 2, ..SurveyQuery::default() };
    let fleet = world.survey(query.clone(), 1000);
    for claims_a_step in 1..6 {
        assert_eq!(world.survey(query.clone(), claims_a_step), fleet, "{claims_a_step}");
    }
    let totals = &fleet.totals;
    assert_eq!((totals.claims, totals.ungoverned, totals.problems), (4, 1, 2));
    assert_eq!(totals.requested, Bytes(4 << 30));
    assert_eq!(totals.used, Bytes((950 + 100 + 200) * MIB));
    let reasons = [(Reason::BelowMinFree, 1), (Reason::EnoughRoom, 1), (Reason::NoMeasurement, 1)];
    assert_eq!(fleet.reasons, reasons.into());
    assert_eq!((fleet.measured.sources["agent"].fresh, fleet.measured.unmeasured), (3, 1));
    assert_eq!((fleet.policies.len(), fleet.policies[0].claims, fleet.policies[0].problems), (1, 3, 2));
    assert_eq!((fleet.drivers.len(), fleet.drivers[0].claims, fleet.drivers[0].monthly[0].claims), (1, 4, 4));
    assert_eq!(fleet.needs_a_hand(), 2);
}

#[test]
fn a_survey_lists_what_was_asked_for_in_its_order() {
    let world = four();
    let listed = |query: SurveyQuery| -> Vec<String> {
        let fleet = world.survey(query, 2);
        fleet.claims.iter().map(|row| row.name.clone()).collect()
    };
    let by = |order, limit| SurveyQuery { order, limit, ..SurveyQuery::default() };
    assert_eq!(listed(by(Order::Urgency, 9)), ["full", "unmeasured", "idle", "filling"]);
    assert_eq!(listed(by(Order::Free, 2)), ["full", "filling"]);
    assert_eq!(listed(by(Order::Rate, 1)), ["filling"]);
    assert_eq!(listed(by(Order::TimeToFull, 1)), ["filling"]);
    assert_eq!(listed(by(Order::Name, 9)), ["filling", "full", "idle", "unmeasured"]);
    assert_eq!(listed(by(Order::Name, 0)), [""; 0]);
    let all = by(Order::Name, 9);
    assert_eq!(listed(SurveyQuery { problems: true, ..all.clone() }), ["full", "unmeasured"]);
    assert_eq!(listed(SurveyQuery { find: Some("belowMIN".into()), ..all.clone() }), ["full"]);
    assert_eq!(listed(SurveyQuery { find: Some("dev/f".into()), ..all.clone() }), ["filling"]);
    assert_eq!(listed(SurveyQuery { namespace: Some(NamespaceName("dev".into())), ..all }), ["filling"]);
    let fleet = world.survey(by(Order::Name, 1), 2);
    assert_eq!((fleet.claims.len(), fleet.matching), (1, 4));
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let world = four();
    let mut query = PageQuery { limit: 3, ..PageQuery::default() };
    let first = page(&world.core, &query);
    assert_eq!(first.next.as_deref(), Some("shop/idle"));
    query.after = Some(id("shop", "idle"));
    let second = page(&world.core, &query);
    let names: Vec<_> = first.claims.iter().chain(&second.claims).map(|row| &*row.name).collect();
    assert_eq!((names, second.next), (vec!["filling", "full", "idle", "unmeasured"], None));
    query.namespace = Some(NamespaceName("shop".into()));
    query.after = Some(id("dev", "filling"));
    assert_eq!(page(&world.core, &query).claims.len(), 3, "it begins with the namespace that was asked for");
    query.after = Some(id("shop", "gone"));
    assert_eq!(page(&world.core, &query).claims[0].name, "idle", "the claim that the last page ended with is deleted");
}

#[test]
fn a_growth_of_the_last_hour_is_counted_with_how_long_it_took() {
    let mut world = four();
    let full = volume("shop", "full", Some(500), 0);
    let Observation::Claim(Change::Is(claim_id, mut facts)) = full.claim() else { panic!("a claim") };
    let at = |seconds: i64| world.now.time - SignedDuration::from_secs(seconds);
    facts.version = Some(2);
    facts.growth = Some(Box::new(orlop_planner::GrowthRecord {
        from: Bytes(512 * MIB),
        to: Bytes::GIB,
        filesystem: Bytes(500 * MIB),
        crossed: at(600),
        decided: at(600),
        reason: Reason::BelowMinFree,
        earlier: Vec::new(),
        refused: Vec::new(),
        usable: Some(at(598)),
        owner: None,
    }));
    world.core.observe(Observation::Claim(Change::Is(claim_id, facts)));
    let growths = world.survey(SurveyQuery::default(), 10).growths;
    assert_eq!((growths.claims, growths.added, growths.slowest_ms), (1, Bytes(512 * MIB), Some(2000)));
    world.now.time += SignedDuration::from_hours(1);
    assert_eq!(world.survey(SurveyQuery::default(), 10).growths, Growths::default());
}
