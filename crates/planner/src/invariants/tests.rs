use jiff::SignedDuration;
use orlop_api::{BudgetLimits, DriverProfileSpec, Expansion, Price, Threshold, names::LOCAL_DRIVER};

use super::*;
use crate::{
    Budget,
    fixture::{
        at, claim, growing, grown, grown_at, id, mib, namespaced, pod, policy, record, the_claim, the_policy, the_spec,
        view, with_slots,
    },
};

/// What makes a world one in which its claim must not grow.
type Change = fn(&mut View);

fn grow() -> Action {
    Action::Grow { claim: id("data-0"), uid: claim().uid, previous: None, record: record() }
}

fn broken(view: &View, action: Action) -> Option<Rule> {
    let (sound, mut violations) = retain_sound(view, Plan { actions: vec![action] });
    assert_eq!(sound.actions.len() + violations.len(), 1);
    violations.pop().map(|violation| violation.rule)
}

#[test]
fn a_sound_growth_passes_and_a_second_of_the_same_claim_does_not() {
    let (sound, violations) = retain_sound(&view(), Plan { actions: vec![grow(), grow()] });
    assert_eq!(sound.actions, [grow()]);
    assert_eq!(violations, [Violation { claim: id("data-0"), rule: Rule::AskedTwice }]);
    assert_eq!(
        violations[0].to_string(),
        "refused an action for the claim shop/data-0, which is a bug in the planner: the plan asks for more than one \
         change of it"
    );
}

#[test]
fn a_growth_is_refused_when_the_action_is_wrong() {
    let with = |change: fn(&mut GrowthRecord)| {
        let mut record = record();
        change(&mut record);
        Action::Grow { claim: id("data-0"), uid: claim().uid, previous: None, record }
    };
    for (action, rule) in [
        (with(|record| record.to = mib(512)), Rule::NotLarger { present: mib(512), to: mib(512) }),
        (with(|record| record.to = mib(100)), Rule::NotLarger { present: mib(512), to: mib(100) }),
        (with(|record| record.to = mib(4097)), Rule::AboveMaximum { to: mib(4097), maximum: mib(4096) }),
        (
            with(|record| record.to = Bytes(mib(4095).0 + 1)),
            Rule::AboveMaximum { to: mib(4096), maximum: Bytes(mib(4096).0 - 1) },
        ),
        (with(|record| record.from = mib(500)), Rule::Precondition),
        (with(|record| record.filesystem = mib(1)), Rule::Precondition),
        (with(|record| record.usable = Some(at(1))), Rule::Precondition),
        (with(|record| record.reason = Reason::EnoughRoom), Rule::Precondition),
        (
            Action::Grow { claim: id("data-0"), uid: claim().uid, previous: Some(record()), record: record() },
            Rule::Precondition,
        ),
        (
            Action::Grow { claim: id("data-0"), uid: Uid("another".into()), previous: None, record: record() },
            Rule::Uid(Uid("another".into())),
        ),
        (
            Action::Grow { claim: id("data-9"), uid: claim().uid, previous: None, record: record() },
            Rule::Uid(claim().uid),
        ),
    ] {
        let mut view = view();
        if let Rule::AboveMaximum { maximum, .. } = rule {
            the_spec(&mut view).maximum = maximum;
        }
        assert_eq!(broken(&view, action), Some(rule));
    }
}

#[test]
fn a_growth_is_refused_when_the_claim_must_not_grow() {
    let driver = |view: &mut View, expansion| {
        let profile = DriverProfileSpec { expansion, size_increment: Bytes::MIB, ..DriverProfileSpec::default() };
        view.drivers.insert(LOCAL_DRIVER.to_owned(), profile);
    };
    let cases: [(Change, Rule); 10] = [
        (|view| the_policy(view).mode = Mode::Recommend, Rule::NotGoverned),
        (|view| the_policy(view).capacity = None, Rule::NotGoverned),
        (|view| drop(view.policies.insert(namespaced("also"), policy())), Rule::NotGoverned),
        (|view| view.policies.clear(), Rule::NotGoverned),
        (|view| the_claim(view).bound = false, Rule::NotMeasurable),
        (|view| the_claim(view).raw_block = true, Rule::NotMeasurable),
        (|view| the_claim(view).paused = Some("true".into()), Rule::Paused),
        (|view| the_claim(view).usage = None, Rule::NotMeasurable),
        (|view| view.classes.clear(), Rule::NotExpandable),
        (|view| view.classes.values_mut().for_each(|class| class.expandable = false), Rule::NotExpandable),
    ];
    for (change, rule) in cases {
        let mut view = view();
        change(&mut view);
        assert_eq!(broken(&view, grow()), Some(rule));
    }
    let mut view = view();
    driver(&mut view, Expansion::None);
    assert_eq!(broken(&view, grow()), Some(Rule::NotExpandable));
    driver(&mut view, Expansion::Offline);
    assert_eq!(broken(&view, grow()), Some(Rule::NotExpandable));
    the_claim(&mut view).pods.clear();
    assert_eq!(broken(&view, grow()), None);
    view.drivers.insert(
        LOCAL_DRIVER.to_owned(),
        DriverProfileSpec { maximum_size: Some(mib(600)), size_increment: Bytes::MIB, ..DriverProfileSpec::default() },
    );
    assert_eq!(broken(&view, grow()), Some(Rule::AboveMaximum { to: mib(640), maximum: mib(600) }));
}

#[test]
fn a_growth_is_refused_below_the_drivers_minimum_and_above_the_maximum_of_its_kind() {
    let mut view = view();
    let profile = DriverProfileSpec { minimum_size: Some(mib(1000)), ..DriverProfileSpec::default() };
    view.drivers.insert(LOCAL_DRIVER.to_owned(), profile);
    assert_eq!(broken(&view, grow()), Some(Rule::BelowMinimum { to: mib(640), minimum: mib(1000) }));
    view.drivers.clear();
    let class = view.classes.values_mut().next().unwrap();
    class.provisioner = "ebs.csi.aws.com".to_owned();
    class.parameters = [("type".to_owned(), "st1".to_owned())].into();
    the_claim(&mut view).driver = None;
    assert_eq!(broken(&view, grow()), Some(Rule::BelowMinimum { to: mib(640), minimum: Bytes(125 << 30) }));
}

#[test]
fn a_growth_is_refused_when_no_slot_is_free_or_the_record_forgets_one() {
    let grow_after = |previous: GrowthRecord, earlier: &[i64]| Action::Grow {
        claim: id("data-0"),
        uid: claim().uid,
        previous: Some(previous),
        record: GrowthRecord { earlier: earlier.iter().copied().map(at).collect(), ..record() },
    };
    let rule = |count: u32, seconds: &[i64], earlier: &[i64]| {
        let mut view = view();
        view.drivers.insert(LOCAL_DRIVER.to_owned(), with_slots(count));
        the_claim(&mut view).growth = Some(grown_at(seconds).into());
        broken(&view, grow_after(grown_at(seconds), earlier))
    };
    assert_eq!(rule(3, &[-3000, -2000], &[-3000, -2000]), None);
    assert_eq!(rule(2, &[-3000, -2000], &[-3000, -2000]), Some(Rule::NoSlot));
    assert_eq!(rule(2, &[-3600, -2000], &[-2000]), None, "that of an hour ago is free again");
    for forgetful in [&[][..], &[-2000], &[-3000], &[-2000, -3000]] {
        assert_eq!(rule(3, &[-3000, -2000], forgetful), Some(Rule::Slots), "{forgetful:?}");
    }
    let mut view = view();
    the_claim(&mut view).growth = Some(grown_at(&[-2000]).into());
    assert_eq!(broken(&view, grow_after(grown_at(&[-2000]), &[-2000])), Some(Rule::Slots), "it has no slots");
    let mut cooling = with_slots(9);
    cooling.modifications.as_mut().unwrap().cooldown = Some(orlop_api::Period::from_secs(2001));
    view.drivers.insert(LOCAL_DRIVER.to_owned(), cooling);
    assert_eq!(broken(&view, grow_after(grown_at(&[-2000]), &[-2000])), Some(Rule::NoSlot));
}

#[test]
fn a_growth_for_the_groups_sake_is_refused_beyond_the_claim_that_it_follows() {
    let for_group = GrowthRecord { reason: Reason::GroupGrowth, ..record() };
    let grow = Action::Grow { claim: id("data-0"), uid: claim().uid, previous: None, record: for_group };
    let with_leader = |size: u64, app: &str| {
        let mut view = view();
        the_spec(&mut view).group_by = Some("app".to_owned());
        let labels = crate::Labels::from([("app", app)]);
        view.claims.insert(id("data-1"), Claim { requested: mib(size), labels, ..claim() });
        view.regroup(&[id("data-0"), id("data-1")]);
        view
    };
    assert_eq!(broken(&with_leader(640, "db"), grow.clone()), None);
    assert_eq!(broken(&with_leader(639, "db"), grow.clone()), Some(Rule::NoLeader));
    assert_eq!(broken(&with_leader(640, "web"), grow.clone()), Some(Rule::NoLeader));
    let mut left_behind = with_leader(640, "db");
    left_behind.claims.get_mut(&id("data-1")).unwrap().labels = crate::Labels::default();
    assert_eq!(broken(&left_behind, grow), Some(Rule::NoLeader), "whatever the index says");
}

#[test]
fn no_growth_while_one_is_under_way() {
    let next = |previous: Option<GrowthRecord>| Action::Grow {
        claim: id("data-0"),
        uid: claim().uid,
        previous,
        record: GrowthRecord { from: mib(640), to: mib(800), ..record() },
    };
    assert_eq!(broken(&growing(), next(Some(record()))), Some(Rule::InFlight));
    assert_eq!(broken(&grown(), next(Some(record()))), Some(Rule::InFlight));
    let mut of_somebody_else = growing();
    the_claim(&mut of_somebody_else).growth = None;
    assert_eq!(broken(&of_somebody_else, next(None)), Some(Rule::InFlight));
    let mut view = grown();
    let usable = GrowthRecord { usable: Some(at(1)), ..record() };
    the_claim(&mut view).growth = Some(usable.clone().into());
    assert_eq!(broken(&view, next(Some(usable))), None);
}

#[test]
fn a_growth_is_taken_back_only_where_it_was_refused_and_to_more_than_there_is() {
    let smaller = || GrowthRecord { to: mib(576), refused: vec![mib(640)], ..record() };
    let take_back = |record: GrowthRecord| Action::TakeBack {
        claim: id("data-0"),
        uid: claim().uid,
        previous: self::record(),
        record,
    };
    let refused = |change: fn(&mut View), record: GrowthRecord| {
        let mut view = growing();
        the_claim(&mut view).resize = Resize::Infeasible("pool is full".to_owned());
        change(&mut view);
        broken(&view, take_back(record))
    };
    let as_is: Change = |_| ();
    assert_eq!(refused(as_is, smaller()), None);
    let less = |to, present| Some(Rule::NotLarger { present: mib(present), to: mib(to) });
    assert_eq!(refused(as_is, GrowthRecord { to: mib(512), ..smaller() }), less(512, 512));
    assert_eq!(refused(as_is, GrowthRecord { to: mib(100), ..smaller() }), less(100, 512));
    assert_eq!(refused(|view| the_claim(view).volume_capacity = mib(600), smaller()), less(576, 600));
    assert_eq!(refused(as_is, GrowthRecord { to: mib(640), ..smaller() }), Some(Rule::NotRefused));
    assert_eq!(refused(as_is, GrowthRecord { to: Bytes(mib(640).0 - 1), ..smaller() }), Some(Rule::NotRefused));
    assert_eq!(refused(as_is, GrowthRecord { refused: vec![], ..smaller() }), Some(Rule::Record));
    assert_eq!(refused(as_is, GrowthRecord { crossed: at(9), ..smaller() }), Some(Rule::Record));
    let changes: [(Change, Rule); 9] = [
        (|view| the_claim(view).resize = Resize::Idle, Rule::NotRefused),
        (|view| the_claim(view).resize = Resize::NodeInfeasible(String::new()), Rule::NotRefused),
        (|view| the_claim(view).volume_capacity = mib(640), Rule::NotRefused),
        (|view| the_claim(view).requested = mib(700), Rule::Precondition),
        (|view| the_claim(view).growth = None, Rule::Precondition),
        (|view| the_claim(view).paused = Some("true".into()), Rule::Paused),
        (|view| the_claim(view).bound = false, Rule::NotGoverned),
        (|view| the_policy(view).mode = Mode::Recommend, Rule::NotGoverned),
        (|view| view.classes.clear(), Rule::NotExpandable),
    ];
    for (change, rule) in changes {
        assert_eq!(refused(change, smaller()), Some(rule));
    }
}

#[test]
fn a_record_may_only_be_completed() {
    let with = |change: fn(&mut GrowthRecord)| {
        let mut record = GrowthRecord { usable: Some(at(1)), ..record() };
        change(&mut record);
        Action::RecordUsable { claim: id("data-0"), uid: claim().uid, previous: self::record(), record }
    };
    assert_eq!(broken(&grown(), with(|_| ())), None);
    assert_eq!(broken(&growing(), with(|_| ())), Some(Rule::InFlight));
    assert_eq!(broken(&view(), with(|_| ())), Some(Rule::Precondition));
    assert_eq!(broken(&grown(), with(|record| record.to = mib(800))), Some(Rule::Record));
    assert_eq!(broken(&grown(), with(|record| record.usable = None)), Some(Rule::Record));
    let usable = GrowthRecord { usable: Some(at(1)), ..record() };
    let mut completed = grown();
    the_claim(&mut completed).growth = Some(usable.clone().into());
    let later = GrowthRecord { usable: Some(at(2)), ..record() };
    let again = Action::RecordUsable { claim: id("data-0"), uid: claim().uid, previous: usable, record: later };
    assert_eq!(broken(&completed, again), Some(Rule::Record));
    let before = at(0) - SignedDuration::from_secs(1);
    let early = Action::RecordUsable {
        claim: id("data-0"),
        uid: claim().uid,
        previous: record(),
        record: GrowthRecord { usable: Some(before), ..record() },
    };
    assert_eq!(broken(&grown(), early), Some(Rule::Record));
}

#[test]
fn a_pod_is_touched_only_for_a_volume_that_has_grown() {
    let touch = |uid: &str| Action::SyncPod {
        claim: id("data-0"),
        pod: pod("data-0").id,
        uid: Uid(uid.into()),
        value: "data-0=640Mi@2026-01-01T00:00:00Z".to_owned(),
    };
    let mut view = growing();
    assert_eq!(broken(&view, touch("pod-data-0")), Some(Rule::NothingToNotice));
    the_claim(&mut view).volume_capacity = mib(640);
    assert_eq!(broken(&view, touch("pod-data-0")), None);
    assert_eq!(broken(&view, touch("another")), Some(Rule::Uid(Uid("another".into()))));
    the_policy(&mut view).mode = Mode::Recommend;
    assert_eq!(broken(&view, touch("pod-data-0")), Some(Rule::NotGoverned));
    the_claim(&mut view).capacity = mib(640);
    the_policy(&mut view).mode = Mode::Auto;
    assert_eq!(broken(&view, touch("pod-data-0")), Some(Rule::NothingToNotice));
}

#[test]
fn growths_that_break_a_budget_together_are_refused_in_whichever_order() {
    let name = crate::BudgetName("team".into());
    let two = |limit_mib: u64, reserve: Option<Threshold<Bytes>>, free_mib: u64| {
        let mut view = view();
        view.claims.insert(id("data-1"), Claim { uid: Uid("claim-data-1".into()), ..claim() });
        view.claims.get_mut(&id("data-1")).unwrap().usage.as_mut().unwrap().available = mib(free_mib);
        let limits = BudgetLimits { bytes: Some(mib(limit_mib)), iops: None, monthly_cost: None };
        let all = crate::Selector::default;
        view.set_budget(&name, Some(Budget { namespaces: all(), claims: all(), limits, reserve }));
        view
    };
    let other = Action::Grow { claim: id("data-1"), uid: Uid("claim-data-1".into()), previous: None, record: record() };
    let refused = |view: &View, actions: [&Action; 2]| -> Vec<_> {
        let plan = Plan { actions: actions.into_iter().cloned().collect() };
        retain_sound(view, plan).1.into_iter().map(|it| (it.claim, it.rule)).collect()
    };
    let is_over = |name_of_claim: &str| (id(name_of_claim), Rule::OverBudget(name.clone()));
    for (actions, last) in [([&grow(), &other], "data-1"), ([&other, &grow()], "data-0")] {
        assert_eq!(refused(&two(1280, None, 240), actions), []);
        assert_eq!(refused(&two(1279, None, 240), actions), [is_over(last)]);
        // The other is about to be full, and may use the reserve; the first may not, with or without it.
        let reserve = Some(Threshold::Absolute(mib(100)));
        assert_eq!(refused(&two(1280, reserve, 5), actions), []);
        assert_eq!(refused(&two(1251, reserve, 5), actions), [is_over("data-0")]);
        let mut asked = two(1279, None, 240);
        asked.ask(&id("data-1"), Some(mib(640)));
        assert_eq!(refused(&asked, actions), [is_over("data-0")], "what was asked for counts already");
    }
}

#[test]
fn a_growth_that_costs_too_much_is_refused() {
    let with_limit = |limit: &str, currency: &str| {
        let mut view = view();
        let price = Price {
            currency: currency.to_owned(),
            per_gib_month: "2".parse().unwrap(),
            per_iops_month: None,
            per_mibps_month: None,
            source: "a list".to_owned(),
            as_of: "2026-01-31".to_owned(),
        };
        let profile =
            DriverProfileSpec { size_increment: Bytes::MIB, price: Some(price), ..DriverProfileSpec::default() };
        view.drivers.insert(LOCAL_DRIVER.to_owned(), profile);
        let limits = BudgetLimits { bytes: None, iops: None, monthly_cost: Some(limit.parse().unwrap()) };
        let all = crate::Selector::default;
        let budget = Budget { namespaces: all(), claims: all(), limits, reserve: None };
        view.set_budget(&crate::BudgetName("team".into()), Some(budget));
        broken(&view, grow())
    };
    assert_eq!(with_limit("1.25", "USD"), None);
    assert_eq!(with_limit("1.249999", "USD"), Some(Rule::OverBudget(crate::BudgetName("team".into()))));
    assert_eq!(with_limit("1.249999", "EUR"), None, "a price that is not converted is not known");
}
