use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_api::{Bytes, CapacitySpec, Count, Days, Mode, Period, Threshold, names::Reason};
use orlop_planner::{Capacity, ClaimId, Class, Policy, PolicyId, PolicyKind, Selector, View};
use proptest::prelude::*;

use crate::{
    Amount, Rejected, Replay, Report, Sample, Terms, World,
    generate::{Recipe, history},
    money::MONTH_MS,
    namespace,
};

const GIB: u64 = 1 << 30;
const HOUR_MS: i64 = 3_600_000;

fn spec() -> CapacitySpec {
    CapacitySpec::up_to(Bytes(1000 * GIB))
}

fn view(driver: &str, spec: CapacitySpec) -> View {
    let everything = Selector::default();
    let policy = Policy {
        mode: Mode::Recommend,
        namespaces: everything.clone(),
        claims: everything,
        capacity: Some(spec),
        performance: None,
        maintenance: None,
    };
    let class = Class { provisioner: driver.to_owned(), expandable: true, parameters: BTreeMap::new() };
    View {
        policies: BTreeMap::from([(PolicyId { kind: PolicyKind::Cluster, name: "all".into() }, policy)]),
        classes: BTreeMap::from([("standard".to_owned(), class)]),
        ..View::default()
    }
}

fn id(name: &str) -> ClaimId {
    ClaimId { namespace: namespace("shop"), name: name.into() }
}

/// A sample of a filesystem of 100 GiB, or so many.
fn of(at_ms: i64, capacity_gib: u64, used_gib: u64) -> Sample {
    let available = Bytes((capacity_gib - used_gib) * GIB);
    Sample { at_ms, capacity: Bytes(capacity_gib * GIB), used: Bytes(used_gib * GIB), available, inodes: None }
}

/// The report of one claim, whose samples are an hour apart.
fn replayed(view: View, terms: Terms, samples: &[Sample]) -> Report {
    let mut replay = Replay::new(World::new(view, BTreeMap::new(), "standard"), terms);
    let claim = replay.claim(&id("data"));
    for sample in samples {
        assert_eq!(replay.feed(claim, sample), Ok(()));
    }
    replay.conclude()
}

fn hourly(used_gib: &[u64]) -> Vec<Sample> {
    (0..).zip(used_gib).map(|(hour, used)| of(hour * HOUR_MS, 100, *used)).collect()
}

#[test]
fn a_claim_grows_at_the_moment_between_two_samples_at_which_the_limit_is_crossed() {
    let report = replayed(view("disk.example.com", spec()), Terms::default(), &hourly(&[60, 70, 90, 90]));
    let claim = &report.claims[0];
    let [growth] = &claim.growths[..] else { panic!("{:?}", claim.growths) };
    assert_eq!((growth.from, growth.to, growth.reason), (Bytes(100 * GIB), Bytes(125 * GIB), Reason::BelowMinFree));
    let crossed = Timestamp::from_second(3600 + 1800).unwrap();
    assert_eq!(growth.at.as_second(), crossed.as_second(), "80 GiB are used half way from 70 to 90");
    assert_eq!((claim.policy_full.times, claim.last_size), (0, Bytes(125 * GIB)));
}

#[test]
fn a_fill_that_growth_prevents_is_averted_and_its_history_is_known_to_be_cut() {
    let samples = hourly(&[70, 85, 100, 100, 100, 50]);
    let report = replayed(view("disk.example.com", spec()), Terms::default(), &samples);
    let claim = &report.claims[0];
    assert_eq!((claim.recorded_full.times, claim.policy_full.times, claim.averted), (1, 0, 1));
    let three_hours = 2 * 3600;
    assert!((three_hours..three_hours + 100).contains(&claim.recorded_full.seconds), "{:?}", claim.recorded_full);
    assert!(report.notes[0].contains("were full in the record"), "{:?}", report.notes);
}

/// A volume that is written to by day, two GiB more each day, and emptied by ten GiB each night.
fn rising() -> Vec<Sample> {
    (0..40 * 24)
        .map(|hour: u64| of(hour.cast_signed() * HOUR_MS, 200, 20 + 2 * (hour / 24) + 10 * u64::from(hour % 24 > 8)))
        .collect()
}

#[test]
fn with_a_horizon_a_claim_grows_days_before_it_is_scarce_and_without_it_when_it_is() {
    let first = |horizon: Option<Days>| {
        let start = Terms { start_size: Some(Bytes(60 * GIB)), ..Terms::default() };
        let scarce = CapacitySpec { min_free: Threshold::Percent(5), horizon, ..spec() };
        let report = replayed(view("disk.example.com", scarce), start, &rising());
        let growth = &report.claims[0].growths[0];
        (growth.reason, growth.at.as_second() / 86_400)
    };
    // With 57 GiB used less than minFree is free. At the peak of the days from the first 30 + 2 × day are used.
    assert_eq!(first(None), (Reason::BelowMinFree, 14));
    // Sixteen GiB rise in eight days, and fourteen are left.
    assert_eq!(first(Some(Days::new(8))), (Reason::FullWithinHorizon, 8));
    // A forecast needs three days.
    assert_eq!(first(Some(Days::new(30))), (Reason::FullWithinHorizon, 3));
}

#[test]
fn a_claim_at_its_maximum_waits_and_is_as_full_as_it_was() {
    let capped = CapacitySpec { maximum: Bytes(100 * GIB), ..spec() };
    let report = replayed(view("disk.example.com", capped), Terms::default(), &hourly(&[70, 90, 100, 100, 60]));
    let claim = &report.claims[0];
    assert_eq!((claim.growths.len(), claim.averted), (0, 0));
    assert_eq!(claim.policy_full, claim.recorded_full, "it has the same size, and so is full at the same times");
    let [wait] = &claim.waits[..] else { panic!("{:?}", claim.waits) };
    assert_eq!((wait.reason, wait.times), (Reason::AtMaximum, 1));
    // From 80 GiB, half way through the first hour, to 80 GiB, half way through the last.
    assert!((10_799..=1800 + 2 * 3600 + 1800).contains(&wait.seconds), "{wait:?}");
}

#[test]
fn more_than_the_driver_allows_in_its_window_is_never_asked_for() {
    // Twenty GiB an hour, over two days, and EBS allows four modifications in 24 hours.
    let samples: Vec<_> = (0_i64..49).map(|hour| of(hour * HOUR_MS, 1000, 20 * hour.unsigned_abs())).collect();
    let start = Terms { start_size: Some(Bytes(20 * GIB)), ..Terms::default() };
    let small = CapacitySpec { increase: Threshold::Absolute(Bytes(5 * GIB)), ..spec() };
    let report = replayed(view("ebs.csi.aws.com", small), start, &samples);
    let claim = &report.claims[0];
    assert_eq!(claim.first_size, Bytes(20 * GIB));
    let slots = claim.slots.unwrap();
    assert_eq!((slots.count, slots.most_in_window), (4, 4), "{:?}", claim.growths);
    assert!(slots.used > 4, "{slots:?}");
    let times: Vec<_> = claim.growths.iter().map(|growth| growth.at.as_second()).collect();
    assert!(times.windows(5).all(|five| five[4] - five[0] >= 86_400), "{times:?}");
}

#[test]
fn a_wait_for_a_slot_ends_at_the_moment_at_which_one_is_free() {
    // Bursts that each need a growth: the last slot's growth is made to last, so the fifth burst is the larger one.
    let mut used = vec![10];
    for burst in [9, 12, 16, 21, 600] {
        used.extend([used[used.len() - 1].max(burst), burst + 4]);
    }
    used.extend([620; 30]);
    let samples: Vec<_> = (0..).zip(&used).map(|(hour, used)| of(hour * HOUR_MS, 1000, *used)).collect();
    let start = Terms { start_size: Some(Bytes(12 * GIB)), ..Terms::default() };
    let report = replayed(view("ebs.csi.aws.com", spec()), start, &samples);
    let claim = &report.claims[0];
    let [wait] = &claim.waits[..] else { panic!("{:?}", claim.waits) };
    assert_eq!(wait.reason, Reason::NoModificationSlot);
    let times: Vec<_> = claim.growths.iter().map(|growth| growth.at.as_second()).collect();
    assert_eq!(times[4] - times[0], 86_400, "{times:?}");
    assert!(claim.policy_full.times == 1 && claim.recorded_full.times == 0, "meanwhile it was full");
}

#[test]
fn inodes_that_run_out_make_a_claim_grow() {
    let with_inodes = |hour: i64, free: u64| Sample {
        inodes: Some(Capacity { total: Count(1000), free: Count(free) }),
        ..of(hour * HOUR_MS, 100, 10)
    };
    let samples = [with_inodes(0, 500), with_inodes(1, 100), with_inodes(2, 20), with_inodes(3, 20)];
    let report = replayed(view("disk.example.com", spec()), Terms::default(), &samples);
    let [growth] = &report.claims[0].growths[..] else { panic!("{:?}", report.claims[0].growths) };
    assert_eq!(growth.reason, Reason::BelowMinFreeInodes);
    let without = Terms { growth_takes: Period::from_secs(86_400), ..Terms::default() };
    let late = [with_inodes(0, 500), with_inodes(1, 0), with_inodes(2, 0)];
    let report = replayed(view("disk.example.com", spec()), without, &late);
    let claim = &report.claims[0];
    assert_eq!(claim.recorded_full, claim.policy_full, "a volume without inodes is full");
    assert!((3600..3700).contains(&claim.policy_full.seconds), "{:?}", claim.policy_full);
}

#[test]
fn of_a_gap_nothing_is_said_but_what_was_held() {
    let samples = [of(0, 100, 70), of(HOUR_MS, 100, 75), of(50 * HOUR_MS, 100, 100), of(51 * HOUR_MS, 100, 100)];
    let report = replayed(view("disk.example.com", spec()), Terms::default(), &samples);
    let claim = &report.claims[0];
    assert_eq!((claim.gaps, claim.watched_seconds), (1, 2 * 3600));
    assert_eq!(claim.growths[0].at.as_second(), 50 * 3600, "it is seen to be full after the gap");
    assert_eq!(claim.recorded_full.seconds, 3600);
    let hours = 51 * 3_600_000;
    assert_eq!(claim.gib_months.recorded.0, 100 * 1000 * hours / MONTH_MS);
}

#[test]
fn what_it_costs_is_the_price_times_the_size_times_the_time() {
    // Ten days at 100Gi, then full of 90 GiB: 125Gi for twenty days.
    let used = [vec![50; 240], vec![90; 481]].concat();
    let terms = Terms { growth_takes: Period::from_secs(1), ..Terms::default() };
    let report = replayed(view("ebs.csi.aws.com", spec()), terms, &hourly(&used));
    let cost = report.claims[0].cost.as_ref().unwrap();
    assert_eq!(cost.currency, "USD");
    assert_eq!(cost.amount.recorded.to_string(), "8.00", "100 GiB for 30 days at 0.08 USD");
    // The peak is 90 GiB, and of 91 GiB one in a thousand must be free.
    assert_eq!(cost.amount.peak.to_string(), "7.28");
    let grown_ms = report.claims[0].growths[0].at.as_millisecond() + 1000;
    let end_ms = 720 * HOUR_MS;
    let held = |size_gib: u64, lasts_ms: i64| u128::from(size_gib * GIB) * u128::from(lasts_ms.unsigned_abs());
    let byte_ms = held(100, grown_ms) + held(125, end_ms - grown_ms);
    assert_eq!(cost.amount.policy, Amount(byte_ms * 80_000 / (u128::from(GIB) * MONTH_MS)));
    assert_eq!(report.totals.costs["USD"], cost.amount);
}

#[test]
fn a_claim_without_a_price_is_named_and_not_counted_as_free() {
    let report = replayed(view("disk.example.com", spec()), Terms::default(), &hourly(&[50, 50]));
    assert_eq!(report.claims[0].cost, None);
    assert_eq!((report.totals.unpriced.as_slice(), report.totals.costs.len()), (&["shop/data".to_owned()][..], 0));
}

#[test]
fn a_driver_that_cannot_expand_is_said_even_where_nothing_was_called_for() {
    let report = replayed(view("efs.csi.aws.com", spec()), Terms::default(), &hourly(&[50, 50]));
    assert_eq!(report.claims[0].closing.as_ref().unwrap().reason, Reason::DriverCannotExpand);
}

#[test]
fn a_claim_that_no_policy_governs_is_only_counted() {
    let mut nothing = view("ebs.csi.aws.com", spec());
    nothing.policies.clear();
    let report = replayed(nothing, Terms::default(), &hourly(&[50, 100, 100]));
    let claim = &report.claims[0];
    assert_eq!((claim.policy.as_ref(), claim.growths.len(), claim.averted), (None, 0, 0));
    assert_eq!(claim.cost.as_ref().unwrap().amount.policy, claim.cost.as_ref().unwrap().amount.recorded);
}

#[test]
fn samples_out_of_order_are_refused_and_repeated_ones_passed_over() {
    let mut replay = Replay::new(World::new(view("a", spec()), BTreeMap::new(), "standard"), Terms::default());
    let claim = replay.claim(&id("data"));
    assert_eq!(replay.feed(claim, &of(1000, 100, 50)), Ok(()));
    assert_eq!(replay.feed(claim, &of(1000, 100, 50)), Ok(()));
    assert!(matches!(replay.feed(claim, &of(1000, 100, 51)), Err(Rejected::Twice { .. })));
    assert!(matches!(replay.feed(claim, &of(999, 100, 50)), Err(Rejected::OutOfOrder { .. })));
    let strange = Sample { available: Bytes(101 * GIB), ..of(2000, 100, 50) };
    assert!(matches!(replay.feed(claim, &strange), Err(Rejected::Contradiction(_))));
    assert_eq!(replay.conclude().samples, 1);
}

/// The report of a made-up fleet, with its claims one after the other or all mixed.
fn fleet(seed: u64, mixed: bool, driver: &str) -> Report {
    let recipe = Recipe { seed, from_s: 1_780_272_000, samples: 24 * 40, every_s: 3600 };
    let mut replay = Replay::new(World::new(view(driver, spec()), BTreeMap::new(), "standard"), Terms::default());
    let mut histories: Vec<_> = (0..12).map(|number| history(recipe, number)).collect();
    let claims: Vec<_> = histories.iter().map(|history| replay.claim(&id(&history.name))).collect();
    if mixed {
        for _ in 0..recipe.samples {
            for (claim, history) in claims.iter().zip(&mut histories) {
                assert_eq!(replay.feed(*claim, &history.next().unwrap()), Ok(()));
            }
        }
    } else {
        for (claim, history) in claims.iter().zip(histories) {
            for sample in history {
                assert_eq!(replay.feed(*claim, &sample), Ok(()));
            }
        }
    }
    replay.conclude()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_history_has_the_same_report_in_whatever_order_its_claims_come(seed in 0_u64..1000) {
        let report = |mixed| serde_json::to_string(&fleet(seed, mixed, "ebs.csi.aws.com")).unwrap();
        prop_assert_eq!(report(false), report(false));
        prop_assert_eq!(report(false), report(true));
    }

    #[test]
    fn what_is_true_of_every_report(seed in 0_u64..1000, has_slots in any::<bool>()) {
        let report = fleet(seed, false, if has_slots { "ebs.csi.aws.com" } else { "local.orlop.dev" });
        let mut total = Amount(0);
        for claim in &report.claims {
            let mut size = claim.first_size;
            for growth in &claim.growths {
                prop_assert_eq!(growth.from, size, "growths follow each other");
                prop_assert!(growth.to > growth.from && growth.to <= spec().maximum);
                size = growth.to;
            }
            prop_assert_eq!(claim.last_size, size);
            prop_assert!(claim.averted <= claim.recorded_full.times);
            prop_assert!(claim.policy_full.seconds <= claim.watched_seconds);
            prop_assert!(claim.gib_months.policy >= claim.gib_months.recorded || claim.recorded_full.times > 0);
            if let Some(slots) = claim.slots {
                prop_assert!(slots.most_in_window <= 4);
            }
            total = total + claim.cost.as_ref().map_or(Amount(0), |cost| cost.amount.policy);
        }
        prop_assert_eq!(report.totals.costs.get("USD").map_or(Amount(0), |cost| cost.policy), total);
        prop_assert!(report.notes.iter().all(|note| !note.contains("broke a rule")), "{:?}", report.notes);
    }
}
