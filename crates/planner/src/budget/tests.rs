use std::fmt::Write as _;

use jiff::Timestamp;
use orlop_api::{
    BudgetLimits, Bytes, Count, DriverProfileSpec, Mode, Price, StorageBudgetStatus, Threshold,
    names::{LOCAL_DRIVER, Reason},
};
use proptest::prelude::*;

use super::*;
use crate::{
    Action, Capacity, Labels, Ledger, NamespaceName, Outcome, Requirement, Selector, Uid, View,
    fixture::{at, claim, id, led, mib, the_policy, view, with_slots},
    plan, plan_claims,
};

fn shop() -> BudgetName {
    BudgetName("shop".into())
}

/// A budget for all claims.
fn budget(limits: BudgetLimits) -> Budget {
    Budget { namespaces: Selector::default(), claims: Selector::default(), limits, reserve: None }
}

fn of_bytes(limit: Bytes) -> Budget {
    budget(BudgetLimits { bytes: Some(limit), iops: None, monthly_cost: None })
}

fn of_cost(limit: &str) -> Budget {
    budget(BudgetLimits { bytes: None, iops: None, monthly_cost: Some(limit.parse().unwrap()) })
}

/// Claims of 512Mi, each with so many MiB free and filling at so many a second. With less than 96 MiB free one wants 640Mi,
/// and with 80 it needs 534Mi at least.
fn world<const N: usize>(claims: [(&str, u64, u64); N], budget: Budget) -> View {
    let mut view = view();
    view.claims = crate::Claims::default();
    for (name, free_mib, rate_mib) in claims {
        let mut claim = claim();
        claim.uid = Uid(name.into());
        claim.labels = Labels::from([("app", name)]);
        let usage = claim.usage.as_mut().unwrap();
        usage.available = mib(free_mib);
        usage.fill_bytes_per_second = mib(rate_mib).0;
        view.claims.insert(id(name), claim);
    }
    view.set_budget(&shop(), Some(budget));
    view
}

/// A price for the volumes of every claim here, in dollars for each GiB.
fn with_price(mut view: View, per_gib_month: &str, currency: &str) -> View {
    let price = Price {
        currency: currency.to_owned(),
        per_gib_month: per_gib_month.parse().unwrap(),
        per_iops_month: None,
        per_mibps_month: None,
        source: "a list".to_owned(),
        as_of: "2026-01-31".to_owned(),
    };
    let profile = DriverProfileSpec { size_increment: Bytes::MIB, price: Some(price), ..DriverProfileSpec::default() };
    view.drivers.insert(LOCAL_DRIVER.to_owned(), profile);
    view.charge_all();
    view
}

/// What is decided: the size to grow to, or none for a claim that waits for its budget.
fn decided(view: &View) -> Vec<(String, Option<Bytes>)> {
    let (plan, report) = plan(view, at(1));
    let grows = |id: &ClaimId| plan.actions.iter().find(|action| action.claim() == id).and_then(Action::requests);
    report
        .decisions
        .iter()
        .map(|(id, decision)| {
            let to = grows(id);
            assert!(to.is_some() || decision.reason == Reason::OverBudget, "{id}: {}", decision.message);
            (id.name.to_string(), to)
        })
        .collect()
}

fn message(view: &View, name: &str) -> String {
    plan(view, at(1)).1.decisions[&id(name)].message.clone()
}

fn to(name: &str, size: Option<u64>) -> (String, Option<Bytes>) {
    (name.to_owned(), size.map(mib))
}

const LOW: (&str, u64, u64) = ("a", 80, 0);

#[test]
fn a_growth_within_its_budget_is_as_without_one() {
    assert_eq!(decided(&world([LOW], of_bytes(mib(640)))), [to("a", Some(640))]);
    let elsewhere = Budget { claims: Selector(vec![Requirement::Exists("other".to_owned())]), ..of_bytes(mib(1)) };
    assert_eq!(decided(&world([LOW], elsewhere)), [to("a", Some(640))], "one that does not cover it is none of its");
}

#[test]
fn a_growth_that_does_not_fit_is_as_large_as_fits_if_that_is_what_it_needs() {
    let view = world([LOW], of_bytes(mib(600)));
    assert_eq!(decided(&view), [to("a", Some(600))]);
    assert!(message(&view, "a").ends_with("grow from 512Mi to 600Mi, as far as StorageBudget shop allows"));
    assert_eq!(decided(&world([LOW], of_bytes(mib(534)))), [to("a", Some(534))]);
    let view = world([LOW], of_bytes(mib(533)));
    assert_eq!(decided(&view), [to("a", None)]);
    assert_eq!(
        message(&view, "a"),
        "the volume needs more room than 512Mi, and StorageBudget shop has 21.0 MiB left of 533Mi: raise its limits.bytes, \
         or delete data"
    );
}

#[test]
fn what_fits_is_in_the_drivers_increments() {
    let mut view = world([LOW], of_bytes(Bytes(mib(600).0 + 4096)));
    assert_eq!(decided(&view), [to("a", Some(600))]);
    view.drivers.insert(
        LOCAL_DRIVER.to_owned(),
        DriverProfileSpec { size_increment: mib(100), ..DriverProfileSpec::default() },
    );
    assert_eq!(decided(&view), [to("a", Some(600))]);
    view.set_budget(&shop(), Some(of_bytes(mib(599))));
    assert_eq!(decided(&view), [to("a", None)]);
}

#[test]
fn the_most_urgent_gets_what_is_left() {
    let both = of_bytes(mib(2 * 512 + 150));
    let grows = Some(640);
    for (claims, expected) in [
        ([("a", 80, 0), ("b", 80, 1)], [to("a", Some(534)), to("b", grows)]),
        ([("a", 80, 1), ("b", 80, 0)], [to("a", grows), to("b", Some(534))]),
        ([("a", 80, 1), ("b", 80, 2)], [to("a", Some(534)), to("b", grows)]),
        ([("a", 80, 0), ("b", 70, 0)], [to("a", Some(534)), to("b", grows)]),
        ([("a", 80, 0), ("b", 80, 0)], [to("a", grows), to("b", Some(534))]),
    ] {
        let decided = decided(&world(claims, both.clone()));
        let sizes: u64 = decided.iter().map(|(_, size)| size.map_or(512 << 20, |size| size.0)).sum();
        assert!(sizes <= mib(2 * 512 + 150).0, "{decided:?}");
        assert_eq!(decided, expected, "{claims:?}");
    }
}

#[test]
fn what_is_no_use_to_the_most_urgent_keeps_nobody_else_from_growing() {
    let claims = [("a", 80, 0), ("b", 60, 0)];
    assert_eq!(decided(&world(claims, of_bytes(mib(2 * 512 + 30)))), [to("a", Some(542)), to("b", None)]);
}

#[test]
fn a_claim_that_is_about_to_be_full_takes_what_is_left_however_little() {
    let claims = [("a", 80, 0), ("b", 80, 5)];
    assert_eq!(decided(&world(claims, of_bytes(mib(2 * 512 + 30)))), [to("a", None), to("b", Some(542))]);
    assert_eq!(decided(&world(claims, of_bytes(mib(2 * 512 + 1)))), [to("a", None), to("b", Some(513))]);
    assert_eq!(decided(&world(claims, of_bytes(mib(2 * 512)))), [to("a", None), to("b", None)]);
}

#[test]
fn the_reserve_is_for_claims_that_are_about_to_be_full() {
    let reserved = |claim, reserve| {
        let budget = Budget { reserve: Some(reserve), ..of_bytes(mib(1000)) };
        decided(&world([claim], budget)).remove(0)
    };
    let (half, size) = (Threshold::Percent(50), Threshold::Absolute(mib(460)));
    assert_eq!(reserved(("a", 80, 0), half), to("a", None));
    assert_eq!(reserved(("a", 80, 0), size), to("a", Some(540)));
    assert_eq!(reserved(("a", 24, 0), half), to("a", None), "exactly 5 % are free");
    assert_eq!(reserved(("a", 23, 0), half), to("a", Some(640)));
    let mut view = world([("a", 80, 0)], Budget { reserve: Some(half), ..of_bytes(mib(1000)) });
    let usage = view.claims.get_mut(&id("a")).unwrap().usage.as_mut().unwrap();
    usage.fill_bytes_per_second = mib(80).0 / 600;
    assert_eq!(decided(&view), [to("a", None)], "full in ten minutes");
    let usage = view.claims.get_mut(&id("a")).unwrap().usage.as_mut().unwrap();
    usage.fill_bytes_per_second += 1;
    assert_eq!(decided(&view), [to("a", Some(640))], "full sooner");
    let usage = view.claims.get_mut(&id("a")).unwrap().usage.as_mut().unwrap();
    usage.fill_bytes_per_second = 0;
    usage.inodes = Some(Capacity { total: Count(1000), free: Count(49) });
    assert_eq!(decided(&view), [to("a", Some(640))], "few inodes are no better");
}

#[test]
fn a_claim_that_may_not_use_the_reserve_is_told_of_it() {
    let view = world([LOW], Budget { reserve: Some(Threshold::Percent(50)), ..of_bytes(mib(1040)) });
    assert_eq!(
        message(&view, "a"),
        "the volume needs more room than 512Mi, and StorageBudget shop has 8.00 MiB left of 1040Mi beside its emergency \
         reserve: raise its limits.bytes, or delete data"
    );
}

#[test]
fn all_budgets_of_a_claim_must_allow_it() {
    let mut view = world([LOW], of_bytes(mib(4000)));
    view.set_budget(&BudgetName("all".into()), Some(of_bytes(mib(600))));
    assert_eq!(decided(&view), [to("a", Some(600))]);
    view.set_budget(&BudgetName("all".into()), Some(of_bytes(mib(400))));
    view.set_budget(&shop(), Some(of_bytes(mib(512))));
    let decision = &plan(&view, at(1)).1.decisions[&id("a")];
    assert_eq!(
        decision.message,
        "the volume needs more room than 512Mi, and StorageBudget all has 0 B left of 400Mi and StorageBudget shop has 0 B \
         left of 512Mi: raise these limits, or delete data"
    );
    assert_eq!(decision.over_budget.as_ref().unwrap().budgets, [BudgetName("all".into()), shop()]);
}

#[test]
fn a_limit_of_money_goes_by_what_the_driver_costs() {
    // 512Mi for a dollar.
    let with = |limit: &str| with_price(world([LOW], of_cost(limit)), "2", "USD");
    assert_eq!(decided(&with("1.25")), [to("a", Some(640))]);
    assert_eq!(decided(&with("1.2")), [to("a", Some(614))]);
    let view = with("1.03");
    assert_eq!(decided(&view), [to("a", None)]);
    assert_eq!(
        message(&view, "a"),
        "the volume needs more room than 512Mi, and StorageBudget shop has 0.03 left of 1.03 USD a month: raise its \
         limits.monthlyCost, or delete data"
    );
}

#[test]
fn a_price_that_is_not_known_holds_nothing_up_and_is_counted() {
    for view in [world([LOW], of_cost("0.01")), with_price(world([LOW], of_cost("0.01")), "2", "EUR")] {
        assert_eq!(decided(&view), [to("a", Some(640))]);
        let (_, account) = view.budgets.get(&shop()).unwrap();
        assert_eq!((account.used.cost, account.unpriced), (0, 1));
    }
}

#[test]
fn a_claim_counts_with_the_largest_of_its_sizes_whether_it_is_bound_or_governed_or_not() {
    fn the(view: &mut View) -> &mut Claim {
        view.claims.get_mut(&id("a")).unwrap()
    }
    let used = |change: fn(&mut View)| {
        let mut view = world([LOW], of_bytes(mib(4000)));
        change(&mut view);
        view.charge_all();
        view.budgets.get(&shop()).unwrap().1.used.bytes
    };
    assert_eq!(used(|_| {}), mib(512).0.into());
    assert_eq!(used(|view| the(view).requested = mib(700)), mib(700).0.into());
    assert_eq!(used(|view| the(view).capacity = mib(701)), mib(701).0.into());
    assert_eq!(used(|view| the(view).volume_capacity = mib(702)), mib(702).0.into());
    assert_eq!(used(|view| the(view).bound = false), mib(512).0.into());
    assert_eq!(used(|view| view.policies.clear()), mib(512).0.into());
    assert_eq!(used(|view| view.claims = crate::Claims::default()), 0);
}

#[test]
fn a_size_that_was_asked_for_counts_until_it_is_known_what_came_of_it() {
    let mut view = world([("a", 80, 1), ("b", 80, 0)], of_bytes(mib(2 * 512 + 130)));
    view.ask(&id("a"), Some(mib(640)));
    let alone = |view: &View, name: &str| plan_claims(view, [&id(name)], at(1)).1.decisions[&id(name)].clone();
    assert_eq!(alone(&view, "b").reason, Reason::OverBudget);
    assert_eq!(alone(&view, "a").outcome, Outcome::Grow(mib(640)), "it does not stand in its own way");
    view.ask(&id("a"), None);
    assert_eq!(alone(&view, "b").outcome, Outcome::Grow(mib(640)));
}

#[test]
fn what_is_used_beyond_a_budget_is_kept_and_does_not_grow() {
    assert_eq!(decided(&world([LOW], of_bytes(mib(100)))), [to("a", None)]);
    assert_eq!(
        plan(&world([("a", 200, 0)], of_bytes(mib(100))), at(1)).1.decisions[&id("a")].reason,
        Reason::EnoughRoom
    );
}

#[test]
fn a_size_counts_as_the_driver_makes_it() {
    let mut view = world([LOW], of_bytes(mib(2000)));
    let profile = DriverProfileSpec { size_increment: mib(100), ..DriverProfileSpec::default() };
    view.drivers.insert(LOCAL_DRIVER.to_owned(), profile);
    let used = |view: &View| view.budgets.get(&shop()).unwrap().1.used.bytes >> 20;
    view.ask(&id("a"), Some(mib(620)));
    assert_eq!(used(&view), 700, "what was asked for");
    view.ask(&id("a"), None);
    view.claims.get_mut(&id("a")).unwrap().requested = mib(620);
    view.charge(&id("a"));
    assert_eq!(used(&view), 700, "what is being made");
    view.claims.get_mut(&id("a")).unwrap().bound = false;
    view.charge(&id("a"));
    assert_eq!(used(&view), 620, "of what has no volume yet that is not known");
}

#[test]
fn a_claim_that_follows_another_does_so_wholly_or_waits_and_counts_with_what_its_driver_rounds_up() {
    let coarse = |view: &mut View| {
        let profile = DriverProfileSpec { size_increment: mib(100), ..DriverProfileSpec::default() };
        view.drivers.insert(LOCAL_DRIVER.to_owned(), profile);
    };
    let follower = |limit: u64, change: &dyn Fn(&mut View)| {
        let mut view = led(620, |_| ());
        change(&mut view);
        view.set_budget(&shop(), Some(of_bytes(mib(limit))));
        let (plan, report) = plan(&view, at(5));
        assert_eq!(crate::invariants::retain_sound(&view, plan).1, []);
        let decision = &report.decisions[&id("data-0")];
        (decision.reason, decision.target())
    };
    assert_eq!(follower(2 * 620, &|_| ()), (Reason::GroupGrowth, Some(mib(620))));
    assert_eq!(follower(2 * 620 - 1, &|_| ()), (Reason::OverBudget, None));
    assert_eq!(follower(700 + 700, &coarse), (Reason::GroupGrowth, Some(mib(620))));
    assert_eq!(follower(700 + 699, &coarse), (Reason::OverBudget, None));
}

#[test]
fn how_much_is_to_be_used_is_a_wish_and_no_need() {
    let with = |limit: u64| {
        let mut view = world([LOW], of_bytes(mib(limit)));
        the_policy(&mut view).capacity.as_mut().unwrap().target_utilization = Some("50%".parse().unwrap());
        decided(&view)
    };
    assert_eq!(with(4000), [to("a", Some(854))]);
    assert_eq!(with(600), [to("a", Some(600))]);
}

#[test]
fn a_recommendation_is_within_the_budget_and_takes_nothing_of_it() {
    let mut view = world([("a", 80, 1), ("b", 80, 0)], of_bytes(mib(2 * 512 + 100)));
    the_policy(&mut view).mode = Mode::Recommend;
    let report = plan(&view, at(1)).1;
    let outcomes: Vec<_> = report.decisions.values().map(|decision| decision.outcome).collect();
    assert_eq!(outcomes, [Outcome::Recommend(mib(612)), Outcome::Recommend(mib(612))]);
    view.set_budget(&shop(), Some(of_bytes(mib(1024))));
    let report = plan(&view, at(1)).1;
    assert!(report.decisions.values().all(|decision| decision.reason == Reason::OverBudget));
}

#[test]
fn the_last_slot_may_be_spent_on_what_fits() {
    let mut view = world([("a", 80, 1)], of_bytes(mib(700)));
    view.drivers.insert(LOCAL_DRIVER.to_owned(), with_slots(1));
    assert_eq!(decided(&view), [to("a", Some(700))]);
}

#[test]
fn a_message_about_waiting_has_no_number_that_changes_with_each_measurement() {
    let mut view = world([LOW], of_bytes(mib(520)));
    let before = message(&view, "a");
    view.claims.get_mut(&id("a")).unwrap().usage.as_mut().unwrap().available = mib(60);
    assert_eq!(message(&view, "a"), before);
}

/// What the status of the budget says of a world, at second 1.
fn status(view: &View) -> StorageBudgetStatus {
    let mut ledger = Ledger::default();
    let _ = ledger.record(plan(view, at(1)).1, at(1));
    ledger.budget_status(&shop(), view.budgets.get(&shop()).unwrap(), Some(3), None, at(1))
}

#[test]
fn a_status_says_what_is_used_and_who_waits() {
    let mut two_of_three = world([("a", 80, 0), ("b", 80, 1), ("c", 300, 0)], of_bytes(mib(1500)));
    two_of_three.set_budget(
        &shop(),
        Some(Budget {
            limits: BudgetLimits { monthly_cost: Some("9".parse().unwrap()), ..of_bytes(mib(1500)).limits },
            ..of_bytes(mib(1500))
        }),
    );
    let worlds = [
        ("no claims", world([], of_bytes(mib(4096)))),
        ("room", world([("a", 200, 0)], of_bytes(mib(4096)))),
        ("nearly used up", world([("a", 200, 0)], of_bytes(mib(568)))),
        ("not yet", world([("a", 200, 0)], of_bytes(mib(569)))),
        (
            "nearly used up beside the reserve",
            world([("a", 200, 0)], Budget { reserve: Some(Threshold::Percent(40)), ..of_bytes(mib(900)) }),
        ),
        ("exceeded", world([("a", 200, 0)], of_bytes(mib(500)))),
        ("exhausted", world([LOW], of_bytes(mib(520)))),
        ("two wait, with a price", with_price(two_of_three, "2", "USD")),
        ("money", with_price(world([("a", 200, 0)], of_cost("1.5")), "2", "USD")),
        ("no price", world([("a", 200, 0)], of_cost("1.5"))),
    ];
    let mut text = String::new();
    for (name, view) in worlds {
        let status = status(&view);
        let _ = writeln!(text, "{name}: {} claims, {} unpriced", status.claim_count, status.unpriced_count);
        let _ = writeln!(
            text,
            "  used {} {:?} {:?}",
            status.used.bytes,
            status.used.monthly_cost.map(|it| it.to_string()),
            status.share
        );
        for condition in &status.conditions {
            let _ = writeln!(
                text,
                "  {}={} {}: {}",
                condition.type_, condition.status, condition.reason, condition.message
            );
        }
        for claim in &status.waiting {
            let _ =
                writeln!(text, "  {}/{} of {} waits since {}", claim.namespace, claim.name, claim.size, claim.since.0);
        }
        assert_eq!(status.waiting.len(), usize::try_from(status.waiting_count).unwrap());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_status_lists_the_most_urgent_and_counts_them_all() {
    let names: Vec<String> = (0..30).map(|number| format!("c{number:02}")).collect();
    let mut view = world([], of_bytes(mib(1)));
    for (index, name) in (0..).zip(&names) {
        let one = world([(name, 90 - index, 0)], of_bytes(mib(1)));
        view.claims.extend(one.claims);
    }
    view.charge_all();
    let status = status(&view);
    assert_eq!((status.waiting_count, status.waiting.len()), (30, 20));
    assert_eq!((&*status.waiting[0].name, &*status.waiting[19].name), ("c29", "c10"));
}

#[test]
fn a_claim_that_waits_no_longer_leaves_the_queue() {
    let mut view = world([LOW, ("b", 80, 0)], of_bytes(mib(1024)));
    let mut ledger = Ledger::default();
    let mut record = |view: &View, now: Timestamp| {
        let changes = ledger.record(plan(view, now).1, now);
        (ledger.waiting(&shop()).cloned().collect::<Vec<_>>(), changes.budgets.len())
    };
    assert_eq!(record(&view, at(1)), (vec![id("a"), id("b")], 1));
    assert_eq!(record(&view, at(1)), (vec![id("a"), id("b")], 0), "as before");
    view.claims.get_mut(&id("b")).unwrap().usage.as_mut().unwrap().available = mib(70);
    assert_eq!(record(&view, at(1)), (vec![id("b"), id("a")], 1), "it is more urgent now");
    view.set_budget(&shop(), Some(of_bytes(mib(1024 + 128))));
    assert_eq!(record(&view, at(1)), (vec![id("a")], 1));
    assert_eq!(ledger.remove(&id("a")).budgets, [shop()].into());
    assert_eq!(ledger.waiting(&shop()).len(), 0);
}

/// A change of a view as an observer makes it.
#[derive(Debug, Clone)]
enum Step {
    Claim(u8, Option<(u64, bool)>),
    Ask(u8, Option<u64>),
    Budget(u8, Option<(u64, bool, bool)>),
    Namespace(Option<bool>),
    Price(Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    let claim = 0_u8..4;
    prop_oneof![
        3 => (claim.clone(), prop::option::weighted(0.8, (1_u64..1000, any::<bool>()))).prop_map(|(name, claim)| Step::Claim(name, claim)),
        2 => (claim, prop::option::of(1_u64..2000)).prop_map(|(name, size)| Step::Ask(name, size)),
        2 => (0_u8..3, prop::option::weighted(0.8, (1_u64..4000, any::<bool>(), any::<bool>()))).prop_map(|(name, budget)| Step::Budget(name, budget)),
        1 => prop::option::of(any::<bool>()).prop_map(Step::Namespace),
        1 => prop::option::of(1_u64..5).prop_map(Step::Price),
    ]
}

/// Makes the change, and brings the accounts up to date as an observer does.
fn take(view: &mut View, step: &Step) {
    let gold = |is_gold: bool| Labels::from([("tier", if is_gold { "gold" } else { "tin" })]);
    let only_gold = |only: bool| {
        Selector(if only { vec![Requirement::In("tier".to_owned(), vec!["gold".to_owned()])] } else { Vec::new() })
    };
    match step {
        Step::Claim(name, claim) => {
            let id = id(&name.to_string());
            match *claim {
                Some((size, is_gold)) => {
                    let claim = Claim { requested: mib(size), labels: gold(is_gold), ..crate::fixture::claim() };
                    view.claims.insert(id.clone(), claim);
                }
                None => drop(view.claims.remove(&id)),
            }
            view.charge(&id);
        }
        Step::Ask(name, size) => drop(view.ask(&id(&name.to_string()), size.map(mib))),
        Step::Budget(name, budget) => {
            let budget = budget.map(|(limit, of_gold_claims, of_gold_namespaces)| Budget {
                namespaces: only_gold(of_gold_namespaces),
                claims: only_gold(of_gold_claims),
                ..of_bytes(mib(limit))
            });
            view.set_budget(&BudgetName(name.to_string().into()), budget);
        }
        Step::Namespace(is_gold) => {
            match is_gold {
                Some(is_gold) => view.namespaces.insert(NamespaceName("shop".into()), gold(*is_gold)),
                None => view.namespaces.remove(&NamespaceName("shop".into())),
            };
            view.charge_all();
        }
        Step::Price(price) => match price {
            Some(price) => *view = with_price(view.clone(), &price.to_string(), "USD"),
            None => {
                view.drivers.clear();
                view.charge_all();
            }
        },
    }
}

proptest! {
    #[test]
    fn an_account_that_is_kept_is_what_counting_anew_gives(steps in prop::collection::vec(step(), 1..40)) {
        let mut view = view();
        view.claims = crate::Claims::default();
        for step in &steps {
            take(&mut view, step);
            for (name, budget, account) in view.budgets.iter() {
                let covers = |(id, claim): &(&ClaimId, &Claim)| {
                    budget.claims.matches(&claim.labels) && view.picks(&budget.namespaces, &id.namespace)
                };
                let mut anew = Account::default();
                for (id, claim) in view.claims.iter().filter(covers) {
                    let size = claim.requested.max(mib(512)).max(view.budgets.asked(id).unwrap_or_default());
                    anew.claims += 1;
                    anew.unpriced += usize::from(view.price(claim).is_none());
                    anew.used += Amount::of(size, view.price(claim));
                }
                prop_assert_eq!(*account, anew, "{} after {:?}", name, step);
            }
        }
    }
}

#[test]
fn without_budgets_claims_are_decided_in_their_order() {
    let mut view = world([("a", 80, 0), ("b", 80, 9)], of_bytes(mib(4000)));
    let order = |view: &View| -> Vec<_> {
        in_order(view, view.claims.keys()).into_iter().map(|(id, _)| id.name.to_string()).collect()
    };
    assert_eq!(order(&view), ["b", "a"]);
    view.set_budget(&shop(), None);
    assert_eq!(order(&view), ["a", "b"]);
    assert!(view.budgets.is_empty());
    assert_eq!(view.charge(&id("a")), [].into());
}
