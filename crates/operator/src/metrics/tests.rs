use std::collections::{BTreeMap, BTreeSet};

use orlop_api::{BudgetLimits, Bytes, Count, Dimension, Mode, driver::built_in, names::PerformanceReason};
use orlop_planner::{
    AttributesClass, Capacity, Claim, Class, ClassMove, ClassUse, Decision, Exceeded, Excess, Governance, Labels, Load,
    LoadSample, NamespaceName, Outcome, PerformanceDecision, Pressure, Rates, Resize, Selector, Uid, Usage, View,
    forecast::{Forecast, Outlook, PerDay},
};

use super::*;

const MIB: u64 = 1 << 20;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn id(number: usize) -> ClaimId {
    ClaimId { namespace: NamespaceName("shop".into()), name: format!("data-{number}").into() }
}

fn policy() -> PolicyId {
    PolicyId { kind: PolicyKind::Namespaced(NamespaceName("shop".into())), name: "grow".into() }
}

/// A gp3 volume of EBS, which has a price.
fn view() -> View {
    let parameters = BTreeMap::from([("type".to_owned(), "gp3".to_owned())]);
    let class = Class { provisioner: "ebs.csi.aws.com".into(), expandable: true, parameters };
    let parameters = BTreeMap::from([("iops".to_owned(), "6000".to_owned())]);
    let attributes = AttributesClass { driver: "ebs.csi.aws.com".to_owned(), parameters };
    View {
        classes: BTreeMap::from([("fast".to_owned(), class)]),
        attributes_classes: BTreeMap::from([("gp3-fast".to_owned(), attributes)]),
        ..View::default()
    }
}

fn claim() -> Claim {
    let usage = Usage {
        at: at(0),
        source: Source::Agent,
        total: Bytes(1000 * MIB),
        available: Bytes(100 * MIB),
        inodes: Some(Capacity { total: Count(1000), free: Count(900) }),
        fill_bytes_per_second: MIB,
        crossed: None,
    };
    Claim {
        uid: Uid("u".into()),
        labels: Labels::default(),
        belonging: None,
        class: Some("fast".into()),
        driver: Some("ebs.csi.aws.com".into()),
        bound: true,
        raw_block: false,
        requested: Bytes::GIB,
        capacity: Bytes::GIB,
        volume_capacity: Bytes::GIB,
        resize: Resize::Idle,
        paused: None,
        growth: None,
        pods: Vec::new(),
        usage: Some(usage),
        outgrown: None,
        attributes: None,
        load: None,
        outlook: None,
    }
}

fn decision(outcome: Outcome, reason: Reason) -> Decision {
    Decision {
        uid: Uid("u".into()),
        governance: Governance::By(policy()),
        mode: Mode::Auto,
        size: Bytes::GIB,
        outcome,
        reason,
        message: String::new(),
        again_at: None,
        over_budget: None,
        by_owner: None,
    }
}

fn row(claim: &Claim, outcome: Outcome, reason: Reason, second: i64) -> ClaimRow {
    ClaimRow::new(&view(), claim, (&decision(outcome, reason), None), at(second))
}

/// A claim of which all is known that there is to know.
fn known() -> Claim {
    let sample = LoadSample {
        at: at(0),
        rates: Rates::new(1000, 2000, 4 * MIB, 8 * MIB),
        pressure: Some(Pressure { some: 50, full: 25 }),
        busy: None,
        strained: None,
        quiet: None,
    };
    let mut shares = Exceeded::default();
    shares.set(Dimension::Iops, 40);
    let excess = Excess { at: at(0), shares, since: None, last: None };
    let forecast =
        Forecast { per_day: PerDay { low: 1 << 20, median: 2 << 20, high: 4 << 20 }, peak: Bytes(900 * MIB) };
    let attributes = ClassUse { requested: Some("gp3-fast".to_owned()), ..ClassUse::default() };
    Claim {
        attributes: Some(Box::new(attributes)),
        load: Some(Box::new(Load { asked: at(0), sample: Some(sample), excess: Some(excess) })),
        outlook: Some(Box::new(Outlook::Known(forecast))),
        ..claim()
    }
}

/// The claim's class is the fastest there is, and not fast enough.
fn too_slow() -> PerformanceDecision {
    PerformanceDecision {
        uid: Uid("u".into()),
        mode: Mode::Auto,
        class: Some("gp3-fast".to_owned()),
        outcome: ClassMove::Wait,
        reason: PerformanceReason::FastestClass,
        message: String::new(),
        again_at: None,
        over_budget: None,
    }
}

/// What is told of single claims.
fn of_claims(metrics: &Metrics) -> Vec<String> {
    metrics.encode().lines().filter(|line| line.starts_with("orlop_claim_")).map(str::to_owned).collect()
}

#[test]
fn a_claim_is_told_of_with_its_numbers() {
    let metrics = Metrics::new(10);
    metrics.claim_is(&id(7), row(&claim(), Outcome::Wait, Reason::AtMaximum, 5));
    let labels = r#"namespace="shop",persistentvolumeclaim="data-7""#;
    let price = built_in::of("ebs.csi.aws.com").abilities(&view().classes["fast"].parameters).price.unwrap().clone();
    let cost: f64 = price.per_gib_month.to_string().parse().unwrap();
    let expected = BTreeSet::from([
        format!("orlop_claim_requested_bytes{{{labels}}} {}", 1 << 30),
        format!("orlop_claim_capacity_bytes{{{labels}}} {}", 1 << 30),
        format!("orlop_claim_filesystem_size_bytes{{{labels}}} {}", 1000 * MIB),
        format!("orlop_claim_available_bytes{{{labels}}} {}", 100 * MIB),
        format!("orlop_claim_inodes{{{labels}}} 1000"),
        format!("orlop_claim_inodes_free{{{labels}}} 900"),
        format!("orlop_claim_fill_bytes_per_second{{{labels}}} {MIB}"),
        format!("orlop_claim_time_to_full_seconds{{{labels}}} 100"),
        format!(r#"orlop_claim_monthly_cost{{{labels},currency="USD"}} {cost:?}"#),
        format!(r#"orlop_claim_problem{{{labels},reason="AtMaximum"}} 1"#),
    ]);
    assert_eq!(of_claims(&metrics).into_iter().collect::<BTreeSet<_>>(), expected);

    metrics.claim_is(&id(7), row(&claim(), Outcome::Grow(Bytes(2 << 30)), Reason::BelowMinFree, 6));
    let told = of_claims(&metrics);
    assert!(told.contains(&format!("orlop_claim_target_bytes{{{labels}}} {}", 2_u64 << 30)), "{told:#?}");
    assert!(!told.iter().any(|line| line.starts_with("orlop_claim_problem")), "it is none any more");
}

#[test]
fn what_is_not_known_is_not_told() {
    let told = |claim: &Claim, reason, second| {
        let metrics = Metrics::new(10);
        metrics.claim_is(&id(1), row(claim, Outcome::Wait, reason, second));
        of_claims(&metrics).into_iter().filter(|line| line.contains("available") || line.contains("inodes")).count()
    };
    let unmeasured = Claim { usage: None, ..claim() };
    assert_eq!(told(&claim(), Reason::EnoughRoom, 0), 3);
    assert_eq!(told(&unmeasured, Reason::NoMeasurement, 0), 0);
    assert_eq!(told(&claim(), Reason::NotInUse, 30), 0, "it is stale");
    assert_eq!(told(&claim(), Reason::ContradictoryMeasurement, 0), 0);

    let metrics = Metrics::new(10);
    let mut at_rest = claim();
    at_rest.usage.as_mut().unwrap().fill_bytes_per_second = 0;
    metrics.claim_is(&id(1), row(&at_rest, Outcome::Keep, Reason::EnoughRoom, 0));
    assert!(!of_claims(&metrics).iter().any(|line| line.contains("time_to_full")), "it never is");
}

#[test]
fn how_much_a_volume_does_of_what_its_class_gives_is_told_where_that_is_known() {
    let told = |view: &View, claim: &Claim| {
        let metrics = Metrics::new(10);
        let decision = decision(Outcome::Keep, Reason::EnoughRoom);
        metrics.claim_is(&id(7), ClaimRow::new(view, claim, (&decision, Some(&too_slow())), at(5)));
        let line = of_claims(&metrics).into_iter().find(|line| line.starts_with("orlop_claim_io_utilization"))?;
        line.split(' ').next_back().map(str::to_owned)
    };
    assert_eq!(told(&view(), &known()).as_deref(), Some("0.5"), "3000 of 6000 operations");
    assert_eq!(told(&View { attributes_classes: BTreeMap::new(), ..view() }, &known()), None);
    assert_eq!(told(&view(), &Claim { attributes: None, ..known() }), None);
}

#[test]
fn when_a_claim_is_full_by_its_forecast_is_told_with_how_sure_that_is() {
    let told = |low: i64, median: i64, high: i64| {
        let metrics = Metrics::new(10);
        let per_day = PerDay { low, median, high };
        let forecast = Forecast { per_day, peak: Bytes(900 * MIB) };
        let foreseen = Claim { outlook: Some(Box::new(Outlook::Known(forecast))), ..claim() };
        metrics.claim_is(&id(7), row(&foreseen, Outcome::Keep, Reason::EnoughRoom, 0));
        let told = of_claims(&metrics).into_iter();
        let forecasts = told.filter_map(|line| Some(line.strip_prefix("orlop_claim_forecast_full")?.to_owned()));
        forecasts
            .map(|line| line.replace(r#"{namespace="shop",persistentvolumeclaim="data-7"}"#, ""))
            .collect::<Vec<_>>()
    };
    let mib = i64::try_from(MIB).unwrap();
    let days = |days: u64| days * 86_400;
    assert_eq!(
        told(5 * mib, 10 * mib, 20 * mib),
        [
            format!("_earliest_seconds {}", days(5)),
            format!("_seconds {}", days(10)),
            format!("_latest_seconds {}", days(20)),
        ]
    );
    assert_eq!(told(-mib, 0, 20 * mib), [format!("_earliest_seconds {}", days(5))], "mostly it never is");
}

#[test]
fn a_thousand_claims_that_come_and_go_leave_nothing_behind() {
    let metrics = Metrics::new(10_000);
    let come = |number: usize| {
        metrics.claim_moved(None, Some(Reason::AtMaximum));
        metrics.claim_is(&id(number), row(&claim(), Outcome::Wait, Reason::AtMaximum, 0));
    };
    let go = |number: usize| {
        metrics.claim_moved(Some(Reason::AtMaximum), None);
        metrics.claim_gone(&id(number));
    };
    come(0);
    metrics.growth_requested(&policy());
    metrics.policy_gone(&policy());
    let before = metrics.encode();
    for number in 1..=1000 {
        come(number);
        let policy = PolicyId { name: format!("policy-{number}").into(), ..policy() };
        metrics.growth_requested(&policy);
        metrics.policy_gone(&policy);
    }
    assert_eq!(of_claims(&metrics).len(), 1001 * 10);
    (1..=1000).for_each(go);
    assert_eq!(metrics.encode(), before);
}

#[test]
fn of_more_claims_than_there_may_be_the_first_are_told_of_and_the_others_counted() {
    let metrics = Metrics::new(2);
    let untold = |metrics: &Metrics| {
        let text = metrics.encode();
        let line = text.lines().find(|line| line.starts_with("orlop_claims_untold")).map(str::to_owned);
        line.map(|line| line.split(' ').next_back().unwrap().to_owned())
    };
    let decide = |number: usize, before| {
        metrics.claim_moved(before, Some(Reason::EnoughRoom));
        metrics.claim_is(&id(number), row(&claim(), Outcome::Keep, Reason::EnoughRoom, 0));
    };
    for number in 1..=3 {
        decide(number, None);
    }
    assert_eq!(untold(&metrics).as_deref(), Some("1"));
    assert!(!metrics.encode().contains("data-3"));
    metrics.claim_moved(Some(Reason::EnoughRoom), None);
    metrics.claim_gone(&id(1));
    decide(3, Some(Reason::EnoughRoom));
    assert_eq!(untold(&metrics).as_deref(), Some("0"));
    assert!(metrics.encode().contains("data-3"));

    let none = Metrics::new(0);
    none.claim_moved(None, Some(Reason::EnoughRoom));
    none.claim_is(&id(1), row(&claim(), Outcome::Keep, Reason::EnoughRoom, 0));
    assert_eq!((of_claims(&none), untold(&none)), (Vec::new(), None));
}

/// Alerts, dashboards and people go by it: the documentation, the rules and the dashboard are checked against this file.
#[test]
fn what_is_told_is_told_by_these_names() {
    let metrics = Metrics::new(10);
    metrics.leads(true);
    metrics.claim_moved(None, Some(Reason::AtMaximum));
    let of_class = too_slow();
    let decision = decision(Outcome::Grow(Bytes(2 << 30)), Reason::AtMaximum);
    metrics.claim_is(&id(7), ClaimRow::new(&view(), &known(), (&decision, Some(&of_class)), at(5)));
    metrics.planned(1, Duration::from_millis(1));
    metrics.workloads_stopped(1);
    metrics.growth_requested(&policy());
    metrics.action_failed("refused");
    metrics.watch_failed("PersistentVolumeClaim");
    metrics.object_unreadable("StoragePolicy");
    metrics.sampled(Source::Agent, at(0));
    metrics.requested(&http::Method::PATCH, Some(http::StatusCode::OK));
    metrics.prometheus_asked("http://prometheus", "complete");
    let mut account = Account { claims: 3, unpriced: 1, ..Account::default() };
    (account.used.bytes, account.used.iops, account.used.cost) = (1 << 30, 9000, 12_500_000);
    let limits =
        BudgetLimits { bytes: Some(Bytes(2 << 30)), iops: Some(8000), monthly_cost: Some("10".parse().unwrap()) };
    let budget = Budget { namespaces: Selector::default(), claims: Selector::default(), limits, reserve: None };
    metrics.budget(&BudgetName("team".into()), &budget, &account, 2);
    insta::assert_snapshot!(metrics.encode());
}

/// What is written while somebody reads neither waits for the reader nor reaches the same text.
#[test]
fn a_claim_that_goes_while_it_is_read_is_in_the_whole_of_that_text_and_in_none_after() {
    struct Reader<'a>(String, &'a Metrics);
    impl fmt::Write for Reader<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.push_str(text);
            if text == "data-0" {
                self.1.claim_gone(&id(0));
            }
            Ok(())
        }
    }
    let metrics = Metrics::new(10);
    metrics.claim_is(&id(0), row(&claim(), Outcome::Keep, Reason::EnoughRoom, 0));
    let mut reader = Reader(String::new(), &metrics);
    metrics.encode_into(&mut reader).unwrap();
    assert_eq!(reader.0.matches("data-0").count(), 9, "{}", reader.0);
    assert_eq!(of_claims(&metrics), [""; 0]);
}
