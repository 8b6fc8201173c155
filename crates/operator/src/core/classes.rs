//! Claims that are to have another class: asked for as soon as their volume has been saturated for long enough.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, Dimension, DriverProfileSpec, StoragePolicy, driver::built_in, names::LOCAL_DRIVER};
use orlop_planner::{AttributesClass, ClassUse, Exceeded, LoadReading, PodId, Rates, Uid};
use serde_json::json;

use super::{
    COALESCE, Core, Effects,
    tests::{core, id},
};
use crate::{
    measure::Measurement,
    moment::Moment,
    objects,
    observe::{Change, ClaimFacts, Observation, PodFacts, VolumeFacts, fixture::claim_facts},
};

/// A time so many seconds after the start.
struct Clock(Instant, Timestamp);

impl Clock {
    fn moment(&self, second: u64) -> Moment {
        Moment {
            time: self.1 + SignedDuration::from_secs(i64::try_from(second).unwrap()),
            instant: self.0 + Duration::from_secs(second),
        }
    }

    fn pass(&self, core: &mut Core, second: u64) -> Effects {
        let moment = self.moment(second);
        core.turn(true, moment);
        core.turn(true, Moment { instant: moment.instant + COALESCE, ..moment })
    }
}

/// An operator that knows of a claim of the class `slow`, with 100 writes a second, which may have `fast` with 1000.
fn world() -> (Core, Clock) {
    let clock = Clock(Instant::now(), Timestamp::from_second(1_000_000).unwrap());
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
    let volume = VolumeFacts {
        capacity: Bytes::GIB,
        driver: Some(driver.into()),
        handle: Some("vol-1".into()),
        claim: Some((id.clone(), Uid("u".into()))),
    };
    let pod = PodFacts {
        since: Some(clock.1),
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
    (core, clock)
}

fn is_raised(core: &Core, effects: &Effects) {
    let errands = &effects.errands;
    assert_eq!(errands.len(), 1, "{:?}", core.ledger().performance(&id()));
    assert!(errands[0].action().sets_class().is_some_and(|change| change.to.as_deref() == Some("fast")));
}

#[test]
fn a_saturated_volume_is_decided_about_when_it_has_been_so_for_long_enough_though_nothing_else_is_observed() {
    let (mut core, clock) = world();
    let effects = clock.pass(&mut core, 0);
    assert!(effects.watches.iter().any(|(_, watch)| watch.as_ref().is_some_and(|watch| watch.load.is_some())));
    assert!(effects.counted.is_empty(), "the driver counts nothing");
    let rates = Rates::new(0, 95, 0, 0);
    let at = clock.moment(10).time;
    let reading = LoadReading { at, rates, peak: rates, pressure: None, peak_pressure: None, quiet: None, watch: None };
    let load = Measurement::Load { node: "n".into(), volume: "pv".into(), reading: Box::new(reading) };
    core.measure(load, clock.moment(10));
    assert!(clock.pass(&mut core, 10).errands.is_empty());
    core.measure(Measurement::Confirmed { node: "n".into(), at: clock.moment(40).time }, clock.moment(40));
    let effects = clock.pass(&mut core, 40);
    is_raised(&core, &effects);
}

#[test]
fn a_volume_that_only_its_driver_tells_of_is_asked_for_by_its_handle_and_raised_by_what_is_read() {
    let (mut core, clock) = world();
    let profile = |counts: bool| DriverProfileSpec {
        saturation: built_in::of("ebs.csi.aws.com").saturation.clone().filter(|_| counts),
        ..built_in::of(LOCAL_DRIVER).clone()
    };
    let say = |core: &mut Core, counts| {
        core.observe(Observation::Driver(Change::Is(LOCAL_DRIVER.to_owned(), profile(counts))));
    };
    say(&mut core, true);
    let counted = clock.pass(&mut core, 0).counted;
    assert!(matches!(&counted[..], [(volume, Some(counted))] if &**volume == "pv" && &*counted.handle == "vol-1"));
    say(&mut core, false);
    assert_eq!(clock.pass(&mut core, 1).counted, [("pv".into(), None)]);
    say(&mut core, true);
    assert_eq!(clock.pass(&mut core, 2).counted.len(), 1);
    let read = |core: &mut Core, second| {
        let mut shares = Exceeded::default();
        shares.set(Dimension::WriteIops, 40);
        let at = clock.moment(second).time;
        core.measure(Measurement::Exceeded { volume: "pv".into(), at, shares }, clock.moment(second));
        clock.pass(core, second)
    };
    assert!(read(&mut core, 60).errands.is_empty(), "one reading may have a burst in it");
    let effects = read(&mut core, 120);
    is_raised(&core, &effects);
}
