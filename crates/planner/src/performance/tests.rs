use std::fmt::Write as _;

use proptest::prelude::*;

use orlop_api::{
    AttributeParameter, Bytes, DriverProfileSpec, Mode, PerformanceSpec, names::LOCAL_DRIVER,
    names::PerformanceReason as Reason, names::Reason as Of,
};

use super::*;
use crate::{
    budget::{Budget, BudgetName},
    fixture::{at, grown_at, id, mib, override_driver, record, the_claim, the_policy, view, with_slots},
    invariants::retain_sound,
    plan_claims,
    view::Selector,
};

/// Three classes of the local driver: 100, 200 and 1000 writes a second.
const CLASSES: [(&str, &str); 3] = [("slow", "100"), ("medium", "200"), ("fast", "1000")];

fn writes(number: u64) -> Rates {
    Rates::new(0, number, 0, number * 4096)
}

/// The world with a claim of this class, under a policy that has nothing but the three classes.
fn world(class: Option<&str>) -> View {
    let mut view = view();
    for (name, limit) in CLASSES {
        let parameters = [("writeIOPS".to_owned(), limit.to_owned())].into();
        let class = AttributesClass { driver: LOCAL_DRIVER.to_owned(), parameters };
        view.attributes_classes.insert(name.to_owned(), class);
    }
    let names = CLASSES.map(|(name, _)| name.to_owned()).to_vec();
    the_policy(&mut view).performance = Some(PerformanceSpec::among(names));
    the_policy(&mut view).capacity = None;
    let class = class.map(str::to_owned);
    let uses = ClassUse { requested: class.clone(), current: class, ..ClassUse::default() };
    the_claim(&mut view).attributes = Some(Box::new(uses));
    view
}

fn load(rates: Rates, busy: Option<i64>, quiet: Option<i64>, now: i64) -> Box<Load> {
    let quiet = quiet.map(|since| Quiet { since: at(since), peak: rates });
    let sample = LoadSample { at: at(now), rates, pressure: None, busy: busy.map(at), strained: None, quiet };
    Box::new(Load { asked: at(0), sample: Some(sample), excess: None })
}

/// The world at second 1000 with a claim of this class that has done so many writes since second 900, which is nearly all
/// that it may.
fn busy(class: &str, rate: u64) -> View {
    let mut view = world(Some(class));
    the_claim(&mut view).load = Some(load(writes(rate), Some(900), None, 1_000));
    view
}

/// The same of one that has done so few since second 900 of a world of six hours.
fn quiet(class: &str, rate: u64) -> View {
    let mut view = world(Some(class));
    the_claim(&mut view).load = Some(load(writes(rate), None, Some(900), 900 + 6 * 3_600));
    view
}

fn decide_at(view: &View, second: i64) -> (Vec<Action>, PerformanceDecision) {
    let (plan, mut report) = plan_claims(view, [&id("data-0")], at(second));
    let (sound, violations) = retain_sound(view, plan.clone());
    assert_eq!((&sound, violations), (&plan, Vec::new()), "no decision breaks an invariant");
    (plan.actions, report.performance.remove(&id("data-0")).unwrap())
}

fn reason_at(view: &View, second: i64) -> Reason {
    decide_at(view, second).1.reason
}

fn set(view: &mut View, change: impl FnOnce(&mut ClassUse)) {
    change(the_claim(view).attributes.as_mut().unwrap());
}

fn change(from: &str, to: &str, second: i64) -> ClassChange {
    ClassChange {
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
        decided: at(second),
        reason: Reason::Saturated,
        earlier: Vec::new(),
        refused: Vec::new(),
    }
}

const SIX_HOURS: i64 = 6 * 3_600;

#[test]
fn a_saturated_volume_gets_the_slowest_class_that_has_room() {
    for (class, rate, to) in
        [("slow", 95, "medium"), ("slow", 190, "fast"), ("slow", 5_000, "fast"), ("medium", 195, "fast")]
    {
        let (actions, decision) = decide_at(&busy(class, rate), 1_000);
        assert_eq!(decision.outcome, ClassMove::Set(Some(to.to_owned())), "{class} with {rate}");
        let [Action::SetClass { record, .. }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((record.from.as_deref(), record.to.as_deref()), (Some(class), Some(to)));
    }
}

#[test]
fn a_volume_is_saturated_only_when_it_has_been_busy_for_long_enough() {
    let mut view = busy("slow", 95);
    assert_eq!(reason_at(&view, 930), Reason::Saturated);
    let (actions, decision) = decide_at(&view, 929);
    assert_eq!((actions.len(), decision.reason, decision.again_at), (0, Reason::Adequate, Some(at(930))));
    the_claim(&mut view).load = Some(load(writes(50), None, None, 1_000));
    assert_eq!(reason_at(&view, 1_000), Reason::Adequate);
}

/// The world at second 1000 with a claim whose pod has waited since second 900, for half of the time.
fn strained(class: &str, rate: u64) -> View {
    let mut view = world(Some(class));
    let mut load = load(writes(rate), None, None, 1_000);
    let sample = load.sample.as_mut().unwrap();
    (sample.strained, sample.pressure) = (Some(at(900)), Some(Pressure { some: 60, full: 50 }));
    the_claim(&mut view).load = Some(load);
    view
}

#[test]
fn a_volume_for_which_its_pod_waits_while_it_does_a_good_part_of_what_it_may_is_saturated() {
    let view = strained("slow", 75);
    let (_, decision) = decide_at(&view, 1_000);
    assert_eq!((decision.reason, decision.target()), (Reason::Saturated, Some("medium")));
    assert!(decision.message.contains("50%") && decision.message.contains("75 write IOPS of 100"), "{decision:?}");
    let before = decide_at(&view, 929).1;
    assert_eq!((before.reason, before.again_at), (Reason::Adequate, Some(at(930))));
    assert_eq!(reason_at(&strained("fast", 750), 1_000), Reason::FastestClass);
}

/// Makes the driver of the claim count; what it counted shows for second 940 and second 1000 that writes were asked for beyond
/// the limit for this share of the time.
fn exceeded(view: &mut View, percent: u8) {
    let parameters = orlop_api::driver::built_in::of(LOCAL_DRIVER).attribute_parameters.clone();
    let saturation = orlop_api::driver::built_in::of("ebs.csi.aws.com").saturation.clone();
    assert!(saturation.is_some());
    let profile = DriverProfileSpec { attribute_parameters: parameters, saturation, ..DriverProfileSpec::default() };
    override_driver(view, profile);
    let load = the_claim(view).load.get_or_insert_with(|| Box::new(Load::asked(at(0))));
    let mut shares = Exceeded::default();
    shares.set(orlop_api::Dimension::WriteIops, percent);
    for second in [940, 1_000] {
        load.exceeded(at(second), shares);
    }
}

#[test]
fn a_volume_whose_driver_counts_that_its_limits_are_exceeded_is_saturated_whatever_its_device_shows() {
    let mut idle = world(Some("slow"));
    the_claim(&mut idle).load = Some(load(writes(5), None, None, 1_000));
    let mut unmeasured = world(Some("slow"));
    let mut raw = world(Some("slow"));
    the_claim(&mut raw).raw_block = true;
    for view in [&mut idle, &mut unmeasured, &mut raw] {
        exceeded(view, 43);
        assert!(watch(view, &id("data-0"), &view.claims[&id("data-0")]).is_some());
        assert!(counted_by(view, &id("data-0"), &view.claims[&id("data-0")]).is_some());
        let (_, decision) = decide_at(view, 1_000);
        assert_eq!((decision.reason, decision.target()), (Reason::Saturated, Some("medium")));
        assert!(decision.message.contains("write IOPS for 43% of the time"), "{}", decision.message);
    }
    let mut both = busy("slow", 95);
    exceeded(&mut both, 43);
    let message = decide_at(&both, 1_000).1.message;
    assert!(message.contains("95 write IOPS of 100") && message.contains("43%"), "{message}");
    assert_eq!(reason_at(&unmeasured, 1_179), Reason::Saturated);
    assert_eq!(reason_at(&unmeasured, 1_180), Reason::NoLoad, "what is not known changes nothing");
}

#[test]
fn a_volume_of_which_only_its_driver_tells_gets_no_slower_class() {
    let mut view = world(Some("fast"));
    exceeded(&mut view, 0);
    let (actions, decision) = decide_at(&view, 1_000);
    assert_eq!((actions.len(), decision.reason), (0, Reason::Adequate));
    assert!(decision.message.ends_with("it gets no slower class"), "{}", decision.message);
    let mut plain = world(Some("fast"));
    the_claim(&mut plain).raw_block = true;
    assert_eq!(reason_at(&plain, 1_000), Reason::Unused);
    assert_eq!(watch(&plain, &id("data-0"), &plain.claims[&id("data-0")]), None);
}

#[test]
fn a_volume_whose_limits_were_exceeded_is_idle_only_from_then_on() {
    let mut view = quiet("fast", 30);
    exceeded(&mut view, 10);
    let before = decide_at(&view, 900 + SIX_HOURS).1;
    assert_eq!((before.reason, before.again_at), (Reason::Adequate, Some(at(1_000 + SIX_HOURS))));
    let sample = the_claim(&mut view).load.as_mut().unwrap().sample.as_mut().unwrap();
    sample.at = at(1_000 + SIX_HOURS);
    assert_eq!(reason_at(&view, 1_000 + SIX_HOURS), Reason::Idle);
}

#[test]
fn a_volume_that_does_little_goes_down_one_step_and_late() {
    let view = quiet("fast", 30);
    let (_, decision) = decide_at(&view, 900 + SIX_HOURS);
    assert_eq!((decision.reason, decision.target()), (Reason::Idle, Some("medium")));
    let before = decide_at(&view, 899 + SIX_HOURS).1;
    assert_eq!((before.reason, before.again_at), (Reason::Adequate, Some(at(900 + SIX_HOURS))));
    assert_eq!(reason_at(&quiet("slow", 0), 900 + SIX_HOURS), Reason::Adequate, "there is no slower class");
}

#[test]
fn what_is_watched_are_the_bounds_by_which_it_is_decided() {
    let view = world(Some("medium"));
    let LoadWatch { busy, quiet, gives } = watch(&view, &id("data-0"), &view.claims[&id("data-0")]).unwrap();
    assert_eq!(busy.to_string(), "180 write IOPS");
    assert_eq!(quiet.unwrap().to_string(), "40 write IOPS");
    assert_eq!(gives.to_string(), "200 write IOPS");
    let slowest = world(Some("slow"));
    assert_eq!(watch(&slowest, &id("data-0"), &slowest.claims[&id("data-0")]).unwrap().quiet, None);
}

#[test]
fn what_is_not_known_changes_nothing() {
    let mut view = busy("slow", 95);
    assert_eq!(reason_at(&view, 1_031), Reason::NoLoad, "nobody has confirmed it");
    the_claim(&mut view).load = None;
    assert_eq!(reason_at(&view, 1_000), Reason::AwaitingLoad, "it has not been asked for");
    the_claim(&mut view).load = Some(Box::new(Load::asked(at(1_000))));
    assert_eq!(reason_at(&view, 1_059), Reason::AwaitingLoad);
    assert_eq!(reason_at(&view, 1_060), Reason::NoLoad);
    the_claim(&mut view).pods.clear();
    assert_eq!(reason_at(&view, 1_060), Reason::Unused);

    let mut unknown = busy("slow", 95);
    unknown.attributes_classes.remove("fast");
    assert_eq!(reason_at(&unknown, 1_000), Reason::ClassUnknown);
    let mut foreign = busy("slow", 95);
    foreign.attributes_classes.get_mut("fast").unwrap().driver = "ebs.csi.aws.com".to_owned();
    assert_eq!(reason_at(&foreign, 1_000), Reason::ClassUnknown);
    assert_eq!(reason_at(&world(Some("other")), 1_000), Reason::ClassNotListed);
    assert_eq!(reason_at(&world(None), 1_000), Reason::ClassUnknown, "what the volume has is not known");
}

#[test]
fn a_claim_without_a_class_gets_one_where_it_is_known_what_its_volume_has() {
    let mut view = world(None);
    let parameter = |limits| AttributeParameter { parameter: "writeIOPS".to_owned(), limits, unit: None };
    let profile = DriverProfileSpec {
        iops: Some(serde_json::from_value(serde_json::json!({ "baseline": 150 })).unwrap()),
        attribute_parameters: vec![parameter(orlop_api::Dimension::Iops)],
        ..DriverProfileSpec::default()
    };
    override_driver(&mut view, profile);
    the_claim(&mut view).load = Some(load(writes(140), Some(900), None, 1_000));
    assert_eq!(decide_at(&view, 1_000).1.target(), Some("medium"));
}

#[test]
fn nothing_is_asked_for_while_something_is_under_way() {
    let mut view = busy("slow", 95);
    set(&mut view, |uses| {
        uses.requested = Some("medium".to_owned());
        uses.change = Some(change("slow", "medium", 1_000));
    });
    let (actions, decision) = decide_at(&view, 1_001);
    assert_eq!((actions.len(), decision.reason), (0, Reason::Modifying));
    assert_eq!(decision.again_at, Some(at(1_600)));
    assert_eq!(reason_at(&view, 1_600), Reason::ModificationOverdue);
    set(&mut view, |uses| {
        uses.current = Some("medium".to_owned());
        uses.modification = Modification::Pending(Some("quota".to_owned()));
    });
    assert_eq!(reason_at(&view, 1_001), Reason::Modifying);

    let mut growing = busy("slow", 95);
    the_claim(&mut growing).requested = mib(640);
    assert_eq!(reason_at(&growing, 1_000), Reason::AwaitingGrowth);
    let mut written = busy("slow", 95);
    the_policy(&mut written).capacity = view_spec();
    the_claim(&mut written).usage.as_mut().unwrap().available = mib(10);
    the_claim(&mut written).usage.as_mut().unwrap().at = at(1_000);
    let (actions, decision) = decide_at(&written, 1_000);
    assert_eq!(decision.reason, Reason::AwaitingGrowth);
    assert!(matches!(&actions[..], [Action::Grow { .. }]), "the growth goes first");
}

fn view_spec() -> Option<orlop_api::CapacitySpec> {
    Some(crate::fixture::spec())
}

#[test]
fn what_the_driver_refuses_is_taken_back_and_not_tried_again_for_a_day() {
    let mut view = busy("slow", 95);
    set(&mut view, |uses| {
        uses.requested = Some("medium".to_owned());
        uses.modification = Modification::Infeasible("no such speed".to_owned());
        uses.change = Some(change("slow", "medium", 990));
    });
    let (actions, decision) = decide_at(&view, 1_000);
    assert_eq!((decision.reason, decision.target()), (Reason::ClassTakenBack, Some("slow")));
    let [Action::SetClass { record, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(record.earlier, [at(990)], "the driver may have begun it");

    let mut back = busy("slow", 95);
    set(&mut back, |uses| uses.change = Some(record.clone()));
    assert_eq!(decide_at(&back, 1_000).1.target(), Some("fast"), "the refused one is passed over");
    set(&mut back, |uses| {
        let refused = &mut uses.change.as_mut().unwrap().refused;
        refused.push(RefusedClass { class: "fast".to_owned(), at: at(1_000) });
    });
    assert_eq!(reason_at(&back, 1_000), Reason::FastestClass);
    the_claim(&mut back).load = Some(load(writes(95), Some(900), None, 90_000));
    assert_eq!(decide_at(&back, 90_000).1.target(), Some("medium"));

    set(&mut view, |uses| uses.change = None);
    let (actions, decision) = decide_at(&view, 1_000);
    assert_eq!((actions.len(), decision.reason), (0, Reason::ClassRefused), "somebody else has asked for it");
}

#[test]
fn slots_are_shared_with_growth_and_the_last_is_kept_for_it() {
    let with = |count, growths: &[i64], grows: bool| {
        let mut view = busy("slow", 95);
        let parameters = orlop_api::driver::built_in::of(LOCAL_DRIVER).attribute_parameters.clone();
        override_driver(&mut view, DriverProfileSpec { attribute_parameters: parameters, ..with_slots(count) });
        the_claim(&mut view).growth = (!growths.is_empty()).then(|| grown_at(growths).into());
        the_policy(&mut view).capacity = view_spec().filter(|_| grows);
        view
    };
    assert_eq!(reason_at(&with(4, &[100, 200], true), 1_000), Reason::Saturated);
    let (_, waits) = decide_at(&with(4, &[100, 200, 300], true), 1_000);
    assert_eq!((waits.reason, waits.again_at), (Reason::NoSlotForClass, Some(at(3_700))));
    assert_eq!(
        reason_at(&with(4, &[100, 200, 300], false), 1_000),
        Reason::Saturated,
        "nothing is kept where nothing grows"
    );
    assert_eq!(reason_at(&with(4, &[100, 200, 300, 400], false), 1_000), Reason::NoSlotForClass);
    assert_eq!(reason_at(&with(1, &[], true), 1_000), Reason::NoSlotForClass, "the only one is kept for ever");

    let mut grows = with(2, &[], true);
    let mut changed = change("medium", "slow", 500);
    changed.earlier = vec![at(100)];
    set(&mut grows, |uses| uses.change = Some(changed));
    the_claim(&mut grows).usage.as_mut().unwrap().available = mib(10);
    the_claim(&mut grows).usage.as_mut().unwrap().at = at(1_000);
    let (_, report) = plan_claims(&grows, [&id("data-0")], at(1_000));
    let decision = &report.decisions[&id("data-0")];
    assert_eq!(decision.reason, orlop_api::names::Reason::NoModificationSlot, "changes of class count for growth, too");
}

#[test]
fn a_budget_of_operations_holds_a_faster_class_back_and_no_slower_one() {
    let with = |mut view: View, iops| {
        let limits = orlop_api::BudgetLimits { bytes: None, iops: Some(iops), monthly_cost: None };
        let budget = Budget { namespaces: Selector::default(), claims: Selector::default(), limits, reserve: None };
        view.set_budget(&BudgetName("team".into()), Some(budget));
        view
    };
    assert_eq!(reason_at(&with(busy("slow", 95), 200), 1_000), Reason::Saturated);
    let (_, waits) = decide_at(&with(busy("slow", 95), 199), 1_000);
    assert_eq!(waits.reason, Reason::OverIopsBudget);
    assert_eq!(waits.over_budget.unwrap().budgets, [BudgetName("team".into())]);
    assert_eq!(reason_at(&with(quiet("fast", 30), 10), 900 + SIX_HOURS), Reason::Idle);
}

#[test]
fn claims_that_are_raised_together_share_what_a_budget_has_left() {
    let mut view = busy("slow", 95);
    let other = view.claims[&id("data-0")].clone();
    view.claims.insert(id("data-1"), Claim { uid: Uid("claim-data-1".into()), ..other });
    let limits = orlop_api::BudgetLimits { bytes: None, iops: Some(300), monthly_cost: None };
    let budget = Budget { namespaces: Selector::default(), claims: Selector::default(), limits, reserve: None };
    view.set_budget(&BudgetName("team".into()), Some(budget));
    let (plan, report) = plan_claims(&view, view.claims.keys(), at(1_000));
    let reasons: Vec<_> = report.performance.values().map(|decision| decision.reason).collect();
    assert_eq!(reasons, [Reason::Saturated, Reason::OverIopsBudget]);
    let message = &report.performance[&id("data-1")].message;
    assert!(message.ends_with("raise limits.iops, or give other claims slower classes"), "{message}");
    assert_eq!(retain_sound(&view, plan).1, []);
}

#[test]
fn a_plan_that_takes_too_much_is_refused_whatever_led_to_it() {
    let view = busy("slow", 95);
    let (plan, _) = plan_claims(&view, [&id("data-0")], at(1_000));
    let [Action::SetClass { claim, uid, previous, record }] = &plan.actions[..] else { panic!("{plan:?}") };
    let refused = |change: &dyn Fn(&mut ClassChange), view: &View| {
        let mut record = record.clone();
        change(&mut record);
        let action = Action::SetClass { claim: claim.clone(), uid: uid.clone(), previous: previous.clone(), record };
        retain_sound(view, crate::Plan { actions: vec![action] }).1.len()
    };
    assert_eq!(refused(&|_| {}, &view), 0);
    assert_eq!(refused(&|record| record.to = Some("other".to_owned()), &view), 1, "the policy does not name it");
    assert_eq!(refused(&|record| record.to = None, &view), 1);
    assert_eq!(refused(&|record| record.from = Some("medium".to_owned()), &view), 1, "it has another");
    assert_eq!(refused(&|record| record.reason = Reason::Idle, &view), 1, "that is up");
    assert_eq!(refused(&|record| record.reason = Reason::ClassTakenBack, &view), 1, "nothing was refused");
    assert_eq!(refused(&|record| record.earlier = vec![at(1)], &view), 1, "the driver has no slots");
    let mut paused = view.clone();
    the_claim(&mut paused).paused = Some("".into());
    assert_eq!(refused(&|_| {}, &paused), 1);
    let mut recommends = view.clone();
    the_policy(&mut recommends).mode = Mode::Recommend;
    assert_eq!(refused(&|_| {}, &recommends), 1);
    let mut growing = view.clone();
    the_claim(&mut growing).requested = mib(640);
    the_claim(&mut growing).growth = Some(record_of_growth().into());
    assert_eq!(refused(&|_| {}, &growing), 1);
}

fn record_of_growth() -> crate::GrowthRecord {
    record()
}

#[test]
fn a_status_speaks_of_size_and_class_apart_and_a_problem_of_either_is_one_of_the_policy() {
    let healthy = |view: &View| {
        let mut ledger = crate::Ledger::default();
        let changes = ledger.record(crate::plan(view, at(1_000)).1, at(1_000));
        assert!(changes.classes.contains(&id("data-0")));
        let mut status = ledger.status(&crate::fixture::namespaced("keep"), Some(1), None, at(1_000));
        let condition = status.conditions.pop().unwrap();
        let claim = status.claims.pop().unwrap();
        (condition.status, condition.reason, claim.reason, claim.performance.unwrap().reason, status.problem_count)
    };
    let (slow, fast, fine) = (busy("slow", 95), busy("fast", 990), world(Some("other")));
    assert_eq!(healthy(&slow), ("True".into(), "Kept".into(), Of::Off, Reason::Saturated, 0));
    assert_eq!(healthy(&fast), ("False".into(), "FastestClass".into(), Of::Off, Reason::FastestClass, 1));
    assert_eq!(healthy(&fine), ("Unknown".into(), "ClassNotListed".into(), Of::Off, Reason::ClassNotListed, 0));
    let mut both = busy("fast", 990);
    the_policy(&mut both).capacity = Some(orlop_api::CapacitySpec { maximum: mib(512), ..crate::fixture::spec() });
    let usage = the_claim(&mut both).usage.as_mut().unwrap();
    (usage.at, usage.available) = (at(1_000), mib(10));
    assert_eq!(healthy(&both), ("False".into(), "AtMaximum".into(), Of::AtMaximum, Reason::FastestClass, 1));
}

#[test]
fn every_decision_says_why() {
    let mut text = String::new();
    let mut say = |view: &View, second: i64| {
        let decision = decide_at(view, second).1;
        writeln!(text, "{:?} ({})\n  {}", decision.outcome, decision.reason, decision.message).unwrap();
    };
    say(&busy("slow", 95), 1_000);
    say(&quiet("fast", 30), 900 + SIX_HOURS);
    say(&busy("slow", 95), 929);
    say(&busy("fast", 990), 1_000);
    say(&strained("slow", 75), 1_000);
    say(&strained("fast", 750), 1_000);
    let mut counted = world(Some("slow"));
    exceeded(&mut counted, 43);
    say(&counted, 1_000);
    let mut counted = world(Some("fast"));
    exceeded(&mut counted, 43);
    say(&counted, 1_000);
    the_claim(&mut counted).load = None;
    exceeded(&mut counted, 0);
    say(&counted, 1_000);
    say(&world(None), 1_000);
    let mut recommends = busy("slow", 95);
    the_policy(&mut recommends).mode = Mode::Recommend;
    let price = serde_json::from_value(serde_json::json!({
        "currency": "USD", "perGibMonth": "0.08", "perIopsMonth": "0.005", "source": "a list", "asOf": "2026-01-31",
    }));
    let parameters = orlop_api::driver::built_in::of(LOCAL_DRIVER).attribute_parameters.clone();
    let priced = DriverProfileSpec {
        attribute_parameters: parameters,
        size_increment: Bytes::MIB,
        price: Some(price.unwrap()),
        ..DriverProfileSpec::default()
    };
    override_driver(&mut recommends, priced);
    say(&recommends, 1_000);
    let mut paused = busy("slow", 95);
    the_claim(&mut paused).paused = Some("a test".into());
    say(&paused, 1_000);
    insta::assert_snapshot!(text);
}

/// What a volume does of what its users want, and the decisions about it for a day, a look every ten seconds. Returns the
/// class at the end, when it was last changed, and how often.
fn lived(classes: &[u64], mut demand: impl FnMut(i64) -> u64) -> (usize, i64, usize) {
    let name = |index: usize| format!("class-{index}");
    let mut view = world(Some("class-0"));
    view.attributes_classes.clear();
    for (index, limit) in classes.iter().enumerate() {
        let parameters = [("writeIOPS".to_owned(), limit.to_string())].into();
        let class = AttributesClass { driver: LOCAL_DRIVER.to_owned(), parameters };
        view.attributes_classes.insert(name(index), class);
    }
    the_policy(&mut view).performance = Some(PerformanceSpec::among((0..classes.len()).map(name).collect()));
    let (mut class, mut changed, mut changes, mut asked) = (0, 0, 0, None);
    for second in (0..86_400).step_by(10) {
        let wanted = watch(&view, &id("data-0"), &view.claims[&id("data-0")]).unwrap();
        if asked != Some(wanted) {
            the_claim(&mut view).load = Some(Box::new(Load::asked(at(second))));
            asked = Some(wanted);
        }
        let rates = writes(demand(second).min(classes[class]));
        let reading = LoadReading {
            at: at(second),
            rates,
            peak: rates,
            pressure: None,
            peak_pressure: None,
            quiet: None,
            watch: None,
        };
        the_claim(&mut view).load.as_mut().unwrap().sampled(&wanted, &reading);
        let (actions, _) = decide_at(&view, second);
        if let Some(record) = actions.iter().find_map(Action::sets_class).cloned() {
            class = record.to.as_ref().unwrap().trim_start_matches("class-").parse().unwrap();
            (changed, changes) = (second, changes + 1);
            let current = record.to.clone();
            set(&mut view, |uses| {
                (uses.requested, uses.current, uses.change) = (current.clone(), current, Some(record));
            });
        }
    }
    (class, changed, changes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn under_a_steady_load_a_claim_comes_to_rest_on_a_class_that_has_room_and_no_needless_one(
        steps in prop::collection::vec(110_u64..400, 1..6),
        demand in 1_u64..20_000,
    ) {
        let mut classes = vec![100];
        for percent in steps {
            classes.push(classes[classes.len() - 1] * percent / 100);
        }
        let (class, changed, changes) = lived(&classes, |_| demand);
        prop_assert!(changed < 600, "it has gone up at once, and never down: changed at {changed}");
        prop_assert!(changes <= classes.len());
        let has_room = |index: usize| demand < (classes[index] * 90).div_ceil(100);
        prop_assert!(has_room(class) || class == classes.len() - 1, "class {class} of {classes:?}");
        prop_assert!(class == 0 || !has_room(class - 1) , "class {class} of {classes:?} is not needed");
    }

    #[test]
    fn after_a_rush_hour_a_claim_goes_down_step_by_step_each_after_its_time(rush in 1_200_u64..10_000) {
        let (class, changed, changes) = lived(&[100, 400, 1_600], |second| if second < 3_600 { rush } else { 10 });
        prop_assert_eq!(class, 0);
        prop_assert!(changed >= 3_600 + 2 * SIX_HOURS);
        prop_assert!((3..=4).contains(&changes), "{} changes", changes);
    }
}
