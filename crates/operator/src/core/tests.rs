use jiff::SignedDuration;
use orlop_api::Bytes;
use orlop_planner::{NamespaceName, Source, Usage};

use super::*;
use crate::observe::{Change, PolicyFacts, VolumeFacts, fixture::claim_facts};

pub(super) fn id() -> ClaimId {
    ClaimId { namespace: NamespaceName("app".into()), name: "data".into() }
}

fn policy() -> (orlop_planner::PolicyId, PolicyFacts) {
    let object = serde_json::json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
        "metadata": { "name": "all", "namespace": "app", "uid": "p" },
        "spec": { "mode": "Auto", "selector": {}, "capacity": { "maximum": "10Gi" } },
    });
    let policy: orlop_api::StoragePolicy = serde_json::from_value(object).unwrap();
    (crate::objects::policy_id(&policy.metadata), crate::objects::policy(Ok(policy)))
}

/// An operator that knows of a claim, which a policy governs, and of its volume.
pub(super) fn core() -> Core {
    core_with(&Metrics::default())
}

fn core_with(metrics: &Metrics) -> Core {
    let mut core = Core::new(metrics.clone());
    let policy = policy();
    let claim = claim_facts();
    let volume = VolumeFacts { capacity: Bytes::GIB, driver: None, handle: None, claim: Some((id(), Uid("u".into()))) };
    let class = orlop_planner::Class { provisioner: "d".into(), expandable: true, parameters: BTreeMap::new() };
    macro_rules! list {
        ($kind:ident $(, $key:expr => $facts:expr)?) => {
            core.observe(Observation::$kind(Change::ListBegins));
            $(core.observe(Observation::$kind(Change::Is($key, $facts)));)?
            core.observe(Observation::$kind(Change::ListComplete));
        };
    }
    list!(Claim, id() => claim);
    list!(Volume, "pv".into() => volume);
    list!(Pod);
    list!(Namespace);
    list!(Node, "n".to_owned() => ());
    list!(Class, "fast".to_owned() => class);
    list!(AttributesClass);
    list!(Policy, policy.0 => policy.1);
    list!(ClusterPolicy);
    list!(Budget);
    list!(Driver);
    list!(OwnerProfile);
    list!(OwnerKind);
    list!(Set);
    list!(Stored);
    core
}

fn usage(at: Timestamp) -> Usage {
    Usage {
        at,
        source: Source::Agent,
        total: Bytes::GIB,
        available: Bytes(900 << 20),
        inodes: None,
        fill_bytes_per_second: 0,
        crossed: None,
    }
}

#[test]
fn a_decision_is_made_anew_when_its_measurement_is_stale_and_not_while_it_is_confirmed() {
    let (origin, start) = (Instant::now(), Timestamp::from_second(1_000_000).unwrap());
    let moment = |second: u64| Moment {
        time: start + SignedDuration::from_secs(i64::try_from(second).unwrap()),
        instant: origin + Duration::from_secs(second),
    };
    let mut core = core();
    let usage = usage(start);
    core.measure(Measurement::Sampled { node: "n".into(), volume: "pv".into(), usage }, moment(0));
    core.turn(true, moment(0));
    assert_eq!(core.turn(true, moment(1)).decided, [id()]);
    for second in (10..100).step_by(10) {
        let at = moment(second).time;
        core.measure(Measurement::Confirmed { node: "n".into(), at }, moment(second));
        core.turn(true, moment(second));
        assert!(core.turn(true, moment(second + 1)).decided.is_empty(), "after {second} s");
    }
    core.turn(true, moment(125));
    assert_eq!(core.turn(true, moment(126)).decided, [id()], "nobody has confirmed it for half a minute");
}

#[test]
fn a_claim_has_metrics_for_as_long_as_it_is_there_and_governed() {
    let gone = [Observation::Claim(Change::Gone(id())), Observation::Policy(Change::Gone(policy().0))];
    for gone in gone {
        let metrics = Metrics::new(10);
        let tells = |what: &str| metrics.encode().contains(&format!(r#"persistentvolumeclaim="data"}}{what}"#));
        let mut core = core_with(&metrics);
        let now = Moment::now();
        let measured = |available| {
            let usage = Usage { available: Bytes(available), ..usage(now.time) };
            Measurement::Sampled { node: "n".into(), volume: "pv".into(), usage }
        };
        core.measure(measured(900 << 20), now);
        let decide = |core: &mut Core| {
            core.turn(true, now);
            let later = Duration::from_secs(1);
            let time = now.time + SignedDuration::try_from(later).unwrap();
            core.turn(true, Moment { time, instant: now.instant + later });
        };
        decide(&mut core);
        assert!(tells(&format!(" {}", 900 << 20)));
        core.measure(measured(800 << 20), now);
        assert!(tells(&format!(" {}", 800 << 20)), "also where it leads to no decision");
        core.observe(gone);
        decide(&mut core);
        assert!(!tells(""));
    }
}

#[test]
fn a_claim_with_enough_room_is_decided_about_when_a_measurement_says_otherwise_and_not_each_time_it_is_measured() {
    let (origin, start) = (Instant::now(), Timestamp::from_second(1_000_000).unwrap());
    let moment = |second: u64| Moment {
        time: start + SignedDuration::from_secs(i64::try_from(second).unwrap()),
        instant: origin + Duration::from_secs(second),
    };
    let mut core = core();
    let mut decided_after = |second: u64, ahead: i64, available_mib: u64| {
        let at = moment(second).time;
        core.measure(Measurement::Confirmed { node: "n".into(), at }, moment(second));
        let usage = Usage { available: Bytes(available_mib << 20), ..usage(at + SignedDuration::from_secs(ahead)) };
        core.measure(Measurement::Sampled { node: "n".into(), volume: "pv".into(), usage }, moment(second));
        core.turn(true, moment(second));
        let decided = core.turn(true, moment(second + 1)).decided;
        (decided.len(), core.ledger().decision(&id()).unwrap().reason)
    };
    assert_eq!(decided_after(0, 0, 900), (1, Reason::EnoughRoom));
    for second in (10..200).step_by(10) {
        assert_eq!(decided_after(second, 0, 900 - second), (0, Reason::EnoughRoom), "after {second} s");
    }
    assert_eq!(decided_after(200, 3_600, 700), (1, Reason::StaleMeasurement), "a clock is wrong");
    assert_eq!(decided_after(210, 0, 700), (1, Reason::EnoughRoom), "and right again");
    assert_eq!(decided_after(220, 0, 100), (1, Reason::BelowMinFree));
}

#[test]
fn who_may_not_act_has_nothing_to_do_however_much_is_due() {
    let mut core = core();
    let now = Moment::now();
    core.turn(true, now);
    assert!(core.turn_at(true, now).is_some());
    assert_eq!(core.turn_at(false, now), None);
}
