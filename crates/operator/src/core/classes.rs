//! Claims that are to have another class: asked for as soon as their volume has been saturated for long enough.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, StoragePolicy, names::LOCAL_DRIVER};
use orlop_planner::{AttributesClass, ClassUse, PodId, Rates, Uid};
use serde_json::json;

use super::{
    COALESCE, Core,
    tests::{claim_facts, core, id},
};
use crate::{
    measure::Measurement,
    moment::Moment,
    objects,
    observe::{Change, ClaimFacts, Observation, PodFacts, VolumeFacts},
};

#[test]
fn a_saturated_volume_is_decided_about_when_it_has_been_so_for_long_enough_though_nothing_else_is_observed() {
    let (origin, start) = (Instant::now(), Timestamp::from_second(1_000_000).unwrap());
    let moment = |second: u64| Moment {
        time: start + SignedDuration::from_secs(i64::try_from(second).unwrap()),
        instant: origin + Duration::from_secs(second),
    };
    let mut core = core();
    let policy: StoragePolicy = serde_json::from_value(json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
        "metadata": { "name": "all", "namespace": "app", "uid": "p" },
        "spec": { "mode": "Auto", "selector": {}, "performance": { "attributesClasses": ["slow", "fast"] } },
    }))
    .unwrap();
    let driver = LOCAL_DRIVER;
    for (name, writes) in [("slow", "100"), ("fast", "1000")] {
        let parameters = BTreeMap::from([("writeIOPS".to_owned(), writes.to_owned())]);
        let class = AttributesClass { driver: driver.into(), parameters };
        core.observe(Observation::AttributesClass(Change::Is(name.to_owned(), class)));
    }
    let (id, slow) = (id(), Some("slow".to_owned()));
    let uses = ClassUse { requested: slow.clone(), current: slow, ..Default::default() };
    let claim = ClaimFacts { version: Some(2), attributes: Some(Box::new(uses)), ..claim_facts() };
    let volume =
        VolumeFacts { capacity: Bytes::GIB, driver: Some(driver.into()), claim: Some((id.clone(), Uid("u".into()))) };
    let pod = PodFacts {
        since: Some(start),
        claims: vec!["data".into()],
        uid: Uid("pod".into()),
        version: None,
        synced: None,
        controller: None,
    };
    core.observe(Observation::Volume(Change::Is("pv".into(), volume)));
    core.observe(Observation::Claim(Change::Is(id.clone(), claim)));
    let pod_id = PodId { namespace: id.namespace.clone(), name: "user".into() };
    core.observe(Observation::Pod(Change::Is(pod_id, pod)));
    core.observe(Observation::Policy(Change::Is(objects::policy_id(&policy.metadata), objects::policy(Ok(policy)))));
    let pass = |core: &mut Core, second: u64| {
        core.turn(true, moment(second));
        core.turn(true, Moment { instant: moment(second).instant + COALESCE, ..moment(second) })
    };
    let watches = pass(&mut core, 0).watches;
    assert!(watches.iter().any(|(_, watch)| watch.as_ref().is_some_and(|watch| watch.load.is_some())));
    let rates = Rates::new(0, 95, 0, 0);
    let load = Measurement::Load { node: "n".into(), volume: "pv".into(), at: moment(10).time, rates, peak: rates };
    core.measure(load, moment(10));
    assert!(pass(&mut core, 10).errands.is_empty());
    core.measure(Measurement::Confirmed { node: "n".into(), at: moment(40).time }, moment(40));
    let errands = pass(&mut core, 40).errands;
    assert_eq!(errands.len(), 1, "{:?}", core.ledger().performance(&id));
    assert!(errands[0].action().sets_class().is_some_and(|change| change.to.as_deref() == Some("fast")));
}
