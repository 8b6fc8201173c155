use super::*;

pub(super) fn set(uid: &str, version: u64, template: &str, size: Bytes) -> StatefulSet {
    let template = ClaimTemplate { name: template.into(), size: Some(size), class: None };
    let (belonging, templates) = (Belonging::default(), Box::new([template]));
    StatefulSet {
        uid: Uid(uid.into()),
        belonging,
        replicas: 1,
        scaled: None,
        in_vain: None,
        templates,
        settled: true,
        deleting: false,
        keeps_claims: KeepsClaims::default(),
        version: Some(version),
    }
}

#[test]
fn a_statefulset_concerns_the_claims_that_its_templates_name_before_and_after() {
    let mut observer = observer();
    for name in ["data-db-0", "logs-db-0", "data-web-0"] {
        observer.observe(Observation::Claim(Change::Is(claim_id(name), claim(name, 1))));
    }
    observer.dirty_claims();
    let id = SetId { namespace: NamespaceName("app".into()), name: "db".into() };
    let mut after = |change| {
        observer.observe(Observation::Set(change));
        observer.dirty_claims()
    };
    let none = Vec::<String>::new();
    assert_eq!(after(Change::Is(id.clone(), set("s", 5, "data", Bytes::GIB))), ["data-db-0"]);
    assert_eq!(after(Change::Is(id.clone(), set("s", 6, "data", Bytes::GIB))), none, "only its status has changed");
    assert_eq!(after(Change::Is(id.clone(), set("s", 7, "logs", Bytes::GIB))), ["data-db-0", "logs-db-0"]);
    assert_eq!(after(Change::Is(id.clone(), set("s", 6, "data", Bytes::GIB))), none, "an older state comes late");
    assert_eq!(after(Change::Is(id.clone(), set("t", 3, "data", Bytes::GIB))), ["data-db-0", "logs-db-0"]);
    assert_eq!(after(Change::Gone(id)), ["data-db-0"]);
}

#[test]
fn what_a_volume_does_is_news_when_it_begins_or_ends_to_be_much_or_little_and_not_each_time() {
    let bounds = |writes| {
        let mut bounds = orlop_api::Limits::default();
        bounds.set(orlop_api::Dimension::WriteIops, writes);
        bounds
    };
    let watch = Arc::new(LoadWatch { busy: bounds(90), quiet: Some(bounds(20)), gives: bounds(100) });
    let load = |node: &str, second: i64, writes: u64| Measurement::Load {
        node: node.into(),
        volume: "pv-a".into(),
        reading: Box::new(LoadReading {
            at: Timestamp::from_second(second).unwrap(),
            rates: Rates::new(0, writes, 0, 0),
            peak: Rates::new(0, writes, 0, 0),
            pressure: None,
            peak_pressure: None,
            quiet: None,
            watch: None,
        }),
    };
    let mut observer = observer();
    observer.measure(load("node-1", 10, 95));
    assert!(observer.dirty_claims().is_empty(), "nobody has asked for it");
    observer.note_load_watch(&claim_id("a"), Some(&watch), Timestamp::UNIX_EPOCH);
    observer.measure(load("node-1", 20, 95));
    assert_eq!(observer.dirty_claims(), ["a"]);
    observer.measure(load("node-1", 30, 97));
    assert!(observer.dirty_claims().is_empty(), "it still is much");
    observer.measure(load("node-1", 40, 5));
    assert_eq!(observer.dirty_claims(), ["a"]);
    observer.note_load_watch(&claim_id("a"), Some(&watch), Timestamp::UNIX_EPOCH);
    assert!(observer.seen("a").load.as_ref().unwrap().sample.is_some(), "the question is the same");

    let at = |second| Timestamp::from_second(second).unwrap();
    observer.measure(Measurement::Confirmed { node: "node-1".into(), at: at(50) });
    assert_eq!(observer.load_of(&claim_id("a")).unwrap().at, at(50));
    observer.measure(Measurement::Gone { node: "node-1".into(), volume: "pv-a".into() });
    observer.measure(Measurement::Confirmed { node: "node-1".into(), at: at(60) });
    assert_eq!(observer.load_of(&claim_id("a")).unwrap().at, at(40), "its agent no longer measures it");

    let other = Arc::new(LoadWatch { busy: bounds(900), quiet: None, gives: bounds(1000) });
    observer.note_load_watch(&claim_id("a"), Some(&other), Timestamp::UNIX_EPOCH);
    assert_eq!(observer.load_of(&claim_id("a")), None, "it was no answer to this");
}
