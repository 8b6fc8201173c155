use super::*;

#[test]
fn a_measurement_is_kept_for_a_claim_that_is_seen_later() {
    let mut observer = Observer::default();
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 1, 500)));
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), claim("a", 1))));
    observer.observe(Observation::Volume(Change::Is("pv-a".into(), volume("a"))));
    assert_eq!(observer.seen("a").usage.as_ref().unwrap().available, Bytes(500));
}

#[test]
fn an_agent_is_believed_before_a_kubelet_until_it_falls_silent() {
    let mut observer = observer();
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 100, 500)));
    observer.measure(sampled("n1", "pv-a", usage(Source::Kubelet, 130, 900)));
    assert_eq!(observer.seen("a").usage.as_ref().unwrap().source, Source::Agent);
    observer.measure(sampled("n1", "pv-a", usage(Source::Kubelet, 131, 901)));
    assert_eq!(observer.seen("a").usage.as_ref().unwrap().source, Source::Kubelet);
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 132, 400)));
    assert_eq!(observer.seen("a").usage.as_ref().unwrap().source, Source::Agent);
}

#[test]
fn prometheus_is_believed_when_agents_and_kubelets_have_fallen_silent() {
    let mut observer = observer();
    let source = |observer: &Observer| observer.seen("a").usage.as_ref().unwrap().source;
    observer.measure(sampled("", "pv-a", usage(Source::Prometheus, 100, 900)));
    assert_eq!(source(&observer), Source::Prometheus, "there is nothing better");
    observer.measure(sampled("n1", "pv-a", usage(Source::Kubelet, 90, 500)));
    assert_eq!(source(&observer), Source::Kubelet);
    observer.measure(sampled("", "pv-a", usage(Source::Prometheus, 210, 900)));
    assert_eq!(source(&observer), Source::Kubelet, "it is asked every minute or so");
    observer.measure(sampled("", "pv-a", usage(Source::Prometheus, 211, 900)));
    assert_eq!(source(&observer), Source::Prometheus);
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 181, 500)));
    assert_eq!(source(&observer), Source::Agent, "it is back, and knows better");
    observer.measure(sampled("", "pv-a", usage(Source::Prometheus, 211, 900)));
    assert_eq!(source(&observer), Source::Agent);
    observer.measure(Measurement::Gone { node: "n1".into(), volume: "pv-a".into() });
    assert_eq!(source(&observer), Source::Prometheus, "which the agent takes nothing of with it");
}

#[test]
fn of_several_nodes_that_mount_a_volume_the_latest_measurement_counts() {
    let mut observer = observer();
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 100, 500)));
    observer.measure(sampled("n2", "pv-a", usage(Source::Agent, 101, 400)));
    assert_eq!(observer.seen("a").usage.as_ref().unwrap().available, Bytes(400));
    observer.measure(Measurement::Gone { node: "n2".into(), volume: "pv-a".into() });
    assert_eq!(observer.seen("a").usage.as_ref().unwrap().available, Bytes(500));
    observer.take_dirty(usize::MAX);
    observer.measure(Measurement::Gone { node: "n1".into(), volume: "pv-a".into() });
    assert_eq!(observer.seen("a").usage, None);
    assert_eq!(observer.dirty_claims(), ["a"]);
}

#[test]
fn a_confirmation_renews_what_its_own_agent_measured_and_decides_nothing() {
    let mut observer = observer();
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 100, 500)));
    observer.measure(sampled("n1", "pv-b", usage(Source::Kubelet, 100, 500)));
    observer.measure(sampled("n2", "pv-b", usage(Source::Agent, 100, 500)));
    observer.take_dirty(usize::MAX);
    let at = |second| Timestamp::from_second(second).unwrap();
    for second in [105, 104] {
        observer.measure(Measurement::Confirmed { node: "n1".into(), at: at(second) });
        assert!(!observer.is_dirty());
    }
    observer.mark_all();
    observer.take_dirty(usize::MAX);
    assert_eq!(observer.seen("a").usage.as_ref().unwrap().at, at(105), "one that comes late makes nothing older");
    assert_eq!(observer.seen("b").usage.as_ref().unwrap().at, at(100));
}

#[test]
fn no_confirmation_renews_what_was_measured_before_a_claim_has_grown() {
    let mut observer = observer();
    let confirmed = |second| Measurement::Confirmed { node: "n1".into(), at: Timestamp::from_second(second).unwrap() };
    let seen_at = |observer: &mut Observer, second| {
        observer.measure(confirmed(second));
        observer.mark_all();
        observer.take_dirty(usize::MAX);
        observer.seen("a").usage.as_ref().unwrap().at.as_second()
    };
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 1_000, 5)));
    assert_eq!(seen_at(&mut observer, 1_005), 1_005);
    let grown = ClaimFacts { capacity: Some(Bytes(2 << 30)), ..claim("a", 50) };
    observer.observe(Observation::Claim(Change::Is(claim_id("a"), grown)));
    assert_eq!(seen_at(&mut observer, 1_010), 1_005);
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 1_000, 5)));
    assert_eq!(seen_at(&mut observer, 1_015), 1_005, "it has come twice");
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 1_012, 5)));
    assert_eq!(seen_at(&mut observer, 1_020), 1_020, "it was measured anew");
}

#[test]
fn what_was_measured_when_a_claim_is_seen_to_have_grown_is_remembered_until_it_grows_again() {
    let mut observer = observer();
    let grown = |version, gib: u64| {
        let size = Bytes(gib << 30);
        Observation::Claim(Change::Is(claim_id("a"), ClaimFacts { capacity: Some(size), ..claim("a", version) }))
    };
    let outgrown = |observer: &Observer| observer.view().claims[&claim_id("a")].outgrown.clone();
    observer.measure(sampled("n1", "pv-a", usage(Source::Agent, 1_000, 5)));
    assert_eq!(outgrown(&observer), None);
    observer.observe(grown(50, 2));
    let first = outgrown(&observer).unwrap();
    assert_eq!((first.total, first.until), (usage(Source::Agent, 0, 0).total, Timestamp::from_second(1_010).unwrap()));
    observer.observe(grown(51, 2));
    assert_eq!(outgrown(&observer), Some(first));
    observer.date_growths(Timestamp::from_second(1_005).unwrap());
    observer.date_growths(Timestamp::from_second(2_000).unwrap());
    assert_eq!(outgrown(&observer).unwrap().until, Timestamp::from_second(1_015).unwrap(), "it is dated once");
    observer.date_anew(SignedDuration::from_secs(-25));
    assert_eq!(outgrown(&observer).unwrap().until, Timestamp::from_second(990).unwrap(), "the clock was set back");
    let larger = Usage { total: Bytes(3 << 30), ..usage(Source::Agent, 2_000, 5) };
    observer.measure(sampled("n1", "pv-a", larger));
    observer.observe(grown(52, 3));
    assert_eq!(outgrown(&observer), None, "it has been measured since");
}
