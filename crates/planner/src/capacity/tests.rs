use std::fmt::Write as _;

use orlop_api::{
    Bytes, Count, DriverProfileSpec, Expansion, Mode, ParameterMatch, Period, Price, Threshold, VolumeType,
    names::Reason,
};

use crate::{
    Action, Capacity, Outcome, Outgrown, Resize, Selector, Source, View, Watch,
    fixture::{
        at, claim, cluster, decide_at, growing, grown, grown_at, id, led, mib, namespaced, override_driver, pod,
        policy, record, reduced, the_claim, the_policy, the_spec, the_usage, view, with_slots,
    },
};

fn with(change: impl FnOnce(&mut View)) -> View {
    let mut view = view();
    change(&mut view);
    view
}

fn low() -> View {
    with(|view| the_usage(view).available = mib(80))
}

/// A world, what it is called, and the second at which it is decided about.
type Situation = (&'static str, View, i64);

/// Every decision that there is, in the order in which the questions are asked.
fn situations() -> Vec<Situation> {
    [of_set_up_and_growth(), of_refusal(), of_measurement(), of_size(), of_pause_and_group(), of_driver()].concat()
}

fn of_set_up_and_growth() -> Vec<Situation> {
    vec![
        ("no policy", with(|view| view.policies.clear()), 5),
        ("two policies", with(|view| drop(view.policies.insert(namespaced("also"), policy()))), 5),
        ("mode Off", with(|view| the_policy(view).mode = Mode::Off), 5),
        ("no capacity section", with(|view| the_policy(view).capacity = None), 5),
        ("not bound", with(|view| the_claim(view).bound = false), 5),
        ("raw block", with(|view| the_claim(view).raw_block = true), 5),
        ("growing, the controller's turn", growing(), 5),
        ("growing, the kubelet's turn", growing_with(|view| the_claim(view).volume_capacity = mib(640)), 5),
        (
            "growing, used by no pod",
            growing_with(|view| {
                the_claim(view).volume_capacity = mib(640);
                the_claim(view).pods.clear();
            }),
            700,
        ),
        ("growing by somebody else's request", growing_with(|view| the_claim(view).growth = None), 5000),
        (
            "growing by somebody else's request, further than by ours",
            growing_with(|view| the_claim(view).requested = mib(700)),
            5000,
        ),
        ("overdue at the controller", growing(), 600),
        ("overdue at the kubelet", growing_with(|view| the_claim(view).volume_capacity = mib(640)), 600),
        ("grown, not yet measured", grown(), 5),
        ("grown, never measured", grown(), 600),
        (
            "grown, never measured, used by no pod",
            {
                let mut view = grown();
                the_claim(&mut view).pods.clear();
                view
            },
            600,
        ),
        (
            "grown and measured",
            {
                let mut view = grown();
                the_usage(&mut view).total = mib(600);
                the_usage(&mut view).at = at(4);
                view
            },
            5,
        ),
        ("no class", with(|view| the_claim(view).class = None), 5),
        ("missing class", with(|view| view.classes.clear()), 5),
        (
            "class without expansion",
            with(|view| view.classes.values_mut().for_each(|class| class.expandable = false)),
            5,
        ),
        (
            "driver without expansion",
            with(|view| {
                override_driver(view, DriverProfileSpec { expansion: Expansion::None, ..DriverProfileSpec::default() });
            }),
            5,
        ),
    ]
}

fn growing_with(change: impl FnOnce(&mut View)) -> View {
    let mut view = growing();
    change(&mut view);
    view
}

fn of_refusal() -> Vec<Situation> {
    let refused = |view: &mut View| the_claim(view).resize = Resize::Infeasible("pool is full".to_owned());
    vec![
        ("refused by the driver", growing_with(refused), 5),
        (
            "refused by the driver, mode Recommend",
            growing_with(|view| {
                refused(view);
                the_policy(view).mode = Mode::Recommend;
            }),
            5,
        ),
        (
            "refused by the driver, paused",
            growing_with(|view| {
                refused(view);
                the_claim(view).paused = Some("true".into());
            }),
            5,
        ),
        (
            "refused by the driver, asked for by somebody else",
            growing_with(|view| {
                refused(view);
                the_claim(view).growth = None;
            }),
            5,
        ),
        (
            "refused by the driver's node plugin",
            growing_with(|view| {
                the_claim(view).volume_capacity = mib(640);
                the_claim(view).resize = Resize::NodeInfeasible("no tool to grow it".to_owned());
            }),
            5,
        ),
        ("a smaller growth in place of one that was refused", reduced(&[640], 576), 5),
        (
            "refused by the driver so often that nothing smaller is asked for",
            {
                let mut view = reduced(&[640, 576, 544, 528], 520);
                refused(&mut view);
                view
            },
            5,
        ),
    ]
}

fn low_with(change: impl FnOnce(&mut View)) -> View {
    let mut view = low();
    change(&mut view);
    view
}

fn of_measurement() -> Vec<Situation> {
    vec![
        ("never measured", with(|view| the_claim(view).usage = None), 5),
        (
            "never measured, used by no pod",
            with(|view| {
                the_claim(view).usage = None;
                the_claim(view).pods.clear();
            }),
            5,
        ),
        (
            "never measured, used by a new pod",
            with(|view| {
                the_claim(view).usage = None;
                the_claim(view).pods[0].since = Some(at(0));
            }),
            179,
        ),
        (
            "not measured since it is used by a new pod",
            with(|view| {
                the_usage(view).at = at(-50);
                the_claim(view).pods[0].since = Some(at(0));
            }),
            5,
        ),
        (
            "never measured, used by a pod that is ending",
            with(|view| {
                the_claim(view).usage = None;
                the_claim(view).pods[0].since = None;
            }),
            5,
        ),
        ("measured by the agent too long ago", low(), 30),
        (
            "measured too long ago, though since its pod is there",
            with(|view| the_claim(view).pods[0].since = Some(at(0))),
            31,
        ),
        ("measured by the kubelet too long ago", low_with(|view| the_usage(view).source = Source::Kubelet), 180),
        (
            "measured too long ago, as Prometheus has read it",
            low_with(|view| the_usage(view).source = Source::Prometheus),
            180,
        ),
        ("measured too long ago, used by no pod", low_with(|view| the_claim(view).pods.clear()), 30),
        ("measured in the future", low(), -61),
        ("empty filesystem", low_with(|view| the_usage(view).total = Bytes(0)), 5),
        ("more free than there is", low_with(|view| the_usage(view).available = mib(481)), 5),
        (
            "more inodes free than there are",
            low_with(|view| the_usage(view).inodes = Some(Capacity { total: Count(10), free: Count(11) })),
            5,
        ),
        ("a shared filesystem", low_with(|view| the_usage(view).total = mib(564)), 5),
    ]
}

fn of_size() -> Vec<Situation> {
    let offline = DriverProfileSpec { expansion: Expansion::Offline, ..DriverProfileSpec::default() };
    vec![
        ("enough room", view(), 5),
        ("below minFree", low(), 5),
        (
            "below minFreeInodes",
            with(|view| the_usage(view).inodes = Some(Capacity { total: Count(10_000), free: Count(120) })),
            5,
        ),
        (
            "below minFree, with a target utilization",
            low_with(|view| the_spec(view).target_utilization = Some("60%".parse().unwrap())),
            5,
        ),
        ("fills too soon", with(|view| the_usage(view).fill_bytes_per_second = 10 << 20), 5),
        ("below minFree, mode Recommend", low_with(|view| the_policy(view).mode = Mode::Recommend), 5),
        ("at the maximum", low_with(|view| the_spec(view).maximum = mib(512)), 5),
        (
            "at the maximum, for the driver's increment",
            low_with(|view| {
                the_spec(view).maximum = mib(900);
                override_driver(view, DriverProfileSpec::default());
            }),
            5,
        ),
        (
            "at the driver's maximum",
            low_with(|view| {
                let maximum_size = Some(mib(512));
                override_driver(view, DriverProfileSpec { maximum_size, ..DriverProfileSpec::default() });
            }),
            5,
        ),
        (
            "used, and the driver expands offline",
            {
                let mut view = low();
                override_driver(&mut view, offline.clone());
                view
            },
            5,
        ),
        (
            "no longer used, and the driver expands offline",
            {
                let mut view = low();
                override_driver(&mut view, offline);
                the_claim(&mut view).pods.clear();
                view
            },
            5,
        ),
    ]
}

fn of_pause_and_group() -> Vec<Situation> {
    vec![
        (
            "paused, growing, the kubelet's turn",
            growing_with(|view| {
                the_claim(view).volume_capacity = mib(640);
                the_claim(view).paused = Some("true".into());
            }),
            5,
        ),
        ("paused, enough room", with(|view| the_claim(view).paused = Some("true".into())), 5),
        ("paused for a reason, below minFree", low_with(|view| the_claim(view).paused = Some("a restore".into())), 5),
        (
            "paused, mode Recommend, below minFree",
            low_with(|view| {
                the_claim(view).paused = Some("".into());
                the_policy(view).mode = Mode::Recommend;
            }),
            5,
        ),
        (
            "paused, at the maximum",
            low_with(|view| {
                the_claim(view).paused = Some("true".into());
                the_spec(view).maximum = mib(512);
            }),
            5,
        ),
        ("another claim of its group is larger", led(700, |_| ()), 5),
        ("another claim of its group is beyond its maximum", led(9000, |_| ()), 5),
    ]
}

/// Low, with this driver, after growths that were decided at these seconds.
fn low_after(profile: DriverProfileSpec, seconds: &[i64]) -> View {
    low_with(|view| {
        the_claim(view).growth = Some(grown_at(seconds));
        override_driver(view, profile);
    })
}

fn of_driver() -> Vec<Situation> {
    let local = DriverProfileSpec { size_increment: Bytes::MIB, ..DriverProfileSpec::default() };
    let minimum = |size| DriverProfileSpec { minimum_size: Some(size), ..local.clone() };
    let mut cooling = with_slots(4);
    cooling.modifications.as_mut().unwrap().cooldown = Some(Period::from_secs(600));
    let filling = |mut view: View| {
        the_usage(&mut view).fill_bytes_per_second = 1 << 19;
        view
    };
    vec![
        ("smaller than the driver's minimum", low_with(|view| override_driver(view, minimum(mib(2048)))), 5),
        ("the driver's minimum is above the maximum", low_with(|view| override_driver(view, minimum(mib(8192)))), 5),
        (
            "a class asks for a kind of volume that cannot be expanded",
            low_with(|view| {
                override_driver(view, with_kind(VolumeType { expansion: Some(Expansion::None), ..kind() }));
                ask_for_kind(view);
            }),
            5,
        ),
        (
            "a class asks for a kind of volume with a smaller maximum",
            low_with(|view| {
                override_driver(view, with_kind(VolumeType { maximum_size: Some(mib(600)), ..kind() }));
                ask_for_kind(view);
            }),
            5,
        ),
        (
            "mode Recommend, and the price is known",
            low_with(|view| {
                the_policy(view).mode = Mode::Recommend;
                let price = Price {
                    currency: "USD".to_owned(),
                    per_gib_month: "0.08".parse().unwrap(),
                    per_iops_month: None,
                    per_mibps_month: None,
                    source: "a list".to_owned(),
                    as_of: "2026-01-31".to_owned(),
                };
                override_driver(view, DriverProfileSpec { price: Some(price), ..DriverProfileSpec::default() });
            }),
            5,
        ),
        ("two modification slots are free", filling(low_after(with_slots(4), &[-3000, -2000])), 5),
        ("the last modification slot is free", filling(low_after(with_slots(3), &[-3000, -2000])), 5),
        ("the last slot is free, and little is being written", low_after(with_slots(3), &[-3000, -2000]), 5),
        ("no modification slot is free", low_after(with_slots(2), &[-3000, -2000]), 5),
        ("no slot is free, and one will be before the measurement is too old", low_after(with_slots(1), &[-3590]), 5),
        ("the cooldown after a modification", low_after(cooling, &[-300]), 5),
        (
            "overdue at the controller, which may be completing the modification before",
            {
                let mut view = growing();
                the_claim(&mut view).growth.as_mut().unwrap().earlier = vec![at(-60)];
                override_driver(&mut view, with_slots(4));
                view
            },
            600,
        ),
    ]
}

fn kind() -> VolumeType {
    let (name, values) = ("size".to_owned(), vec!["small".to_owned()]);
    VolumeType {
        name: "small".to_owned(),
        parameters: vec![ParameterMatch { name, aliases: Vec::new(), values, default: false }],
        expansion: None,
        size_increment: None,
        minimum_size: None,
        maximum_size: None,
        modifications: None,
        iops: None,
        throughput: None,
        price: None,
        source: None,
        as_of: None,
    }
}

fn with_kind(kind: VolumeType) -> DriverProfileSpec {
    let increment = Bytes::MIB;
    DriverProfileSpec { size_increment: increment, volume_types: vec![kind], ..DriverProfileSpec::default() }
}

fn ask_for_kind(view: &mut View) {
    let class = view.classes.get_mut("orlop-local").unwrap();
    class.parameters = [("size".to_owned(), "small".to_owned())].into();
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Grow(to) => format!("Grow to {to}"),
        Outcome::Recommend(to) => format!("Recommend {to}"),
        Outcome::Growing(to) => format!("Growing to {to}"),
        Outcome::Keep | Outcome::Wait => format!("{outcome:?}"),
    }
}

#[test]
fn every_decision_says_why() {
    let mut text = String::new();
    for (name, view, seconds) in situations() {
        let (actions, decision) = decide_at(&view, seconds);
        let again = decision
            .again_at
            .map_or(String::new(), |again| format!(", again at {}s", again.duration_since(at(0)).as_secs()));
        let problem = if decision.is_problem() { " (problem)" } else { "" };
        writeln!(text, "{name}\n  {}, {}{problem}{again}", outcome(decision.outcome), decision.reason).unwrap();
        writeln!(text, "  {}", decision.message).unwrap();
        for action in actions {
            let name = match action {
                Action::Grow { .. } => "Grow",
                Action::TakeBack { .. } => "TakeBack",
                Action::RecordUsable { .. } => "RecordUsable",
                Action::SyncPod { .. } => "SyncPod",
                Action::ScaleToZero { .. } => "stop",
                Action::ScaleBack { .. } => "start",
            };
            writeln!(text, "  -> {name}").unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_growth_is_recorded_with_what_was_observed() {
    let mut view = low();
    the_usage(&mut view).crossed = Some(at(-1));
    let (actions, decision) = decide_at(&view, 5);
    let expected = crate::GrowthRecord { crossed: at(-1), decided: at(5), ..record() };
    assert_eq!(actions, [Action::Grow { claim: id("data-0"), uid: claim().uid, previous: None, record: expected }]);
    assert_eq!(decision.outcome, Outcome::Grow(mib(640)));
}

#[test]
fn a_step_is_as_large_as_minfree_asks_and_in_the_drivers_increments() {
    // 480 MiB with nothing free: 96 MiB are 20%, and with the 20% of what is added 120 MiB, 128 MiB of the claim.
    let size_with = |change: fn(&mut View)| {
        let mut view = with(|view| the_usage(view).available = Bytes(0));
        change(&mut view);
        decide_at(&view, 5).1.target()
    };
    assert_eq!(size_with(|view| the_spec(view).increase = Threshold::Percent(1)), Some(mib(640)));
    assert_eq!(size_with(|view| the_spec(view).increase = Threshold::Absolute(mib(200))), Some(mib(712)));
    assert_eq!(size_with(|view| override_driver(view, DriverProfileSpec::default())), Some(mib(1024)));
    assert_eq!(size_with(|view| the_spec(view).maximum = mib(600)), Some(mib(600)), "as far as the maximum");
}

#[test]
fn a_growth_leaves_no_more_used_than_the_target_utilization() {
    // 400 MiB of 480 are used. To be 60%, they must be of 666.7 MiB: 186.7 MiB more of the filesystem, 200 MiB of the claim.
    let size_at = |target: &str, available| {
        let mut view = with(|view| the_usage(view).available = available);
        the_spec(&mut view).target_utilization = Some(target.parse().unwrap());
        decide_at(&view, 5).1.target()
    };
    assert_eq!(size_at("60%", mib(80)), Some(mib(512 + 200)));
    assert_eq!(size_at("79%", mib(80)), Some(mib(640)), "the larger of it and increase");
    assert_eq!(size_at("60%", mib(240)), None, "it calls for no growth by itself");
    assert_eq!(size_at("1%", mib(80)), Some(mib(4096)), "as far as the maximum");
}

#[test]
fn a_fast_writer_gets_the_bytes_that_it_fills_within_time_to_full() {
    let view = with(|view| the_usage(view).fill_bytes_per_second = 32 << 20);
    // 32 MiB/s for 60 s are 1920 MiB, of which 240 MiB are free: 1680 MiB of the filesystem, 1792 MiB of the claim.
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(512 + 1792)));
}

#[test]
fn numbers_beyond_measure_end_at_the_maximum() {
    let view = with(|view| {
        *the_spec(view) = orlop_api::CapacitySpec {
            min_free: Threshold::Absolute(Bytes(u64::MAX)),
            min_free_inodes: Threshold::Absolute(Count(u64::MAX)),
            increase: Threshold::Absolute(Bytes(u64::MAX)),
            time_to_full: orlop_api::Period::from_secs(u64::MAX),
            ..orlop_api::CapacitySpec::up_to(Bytes(u64::MAX >> 1))
        };
        let claim = the_claim(view);
        (claim.requested, claim.capacity) = (Bytes(1 << 62), Bytes(1 << 62));
        let usage = the_usage(view);
        (usage.total, usage.available) = (Bytes(1), Bytes(0));
        usage.inodes = Some(Capacity { total: Count(1), free: Count(0) });
        usage.fill_bytes_per_second = u64::MAX;
        override_driver(view, DriverProfileSpec::default());
    });
    assert_eq!(decide_at(&view, 5).1.target(), Some(Bytes((1 << 63) - (1 << 30))));
}

#[test]
fn a_growth_is_recorded_with_the_slots_that_are_taken_still() {
    let earlier = |profile: DriverProfileSpec, seconds: &[i64]| {
        let (actions, _) = decide_at(&low_after(profile, seconds), 5);
        let [Action::Grow { record, .. }] = &actions[..] else { panic!("it grows") };
        record.earlier.clone()
    };
    assert_eq!(earlier(with_slots(4), &[-9000, -3000, -2000]), [at(-3000), at(-2000)]);
    assert_eq!(earlier(with_slots(4), &[-9000]), []);
    assert_eq!(earlier(DriverProfileSpec::default(), &[-3000]), [], "nothing is kept that limits nothing");
    assert_eq!(earlier(with_slots(4), &[9000]), [], "no clock is wrong by hours");
}

#[test]
fn a_slot_is_free_again_a_window_after_it_was_taken_and_not_before() {
    let view = low_after(with_slots(2), &[-3597, -2000]);
    let (actions, decision) = decide_at(&view, 2);
    assert_eq!((actions, decision.reason, decision.again_at), (vec![], Reason::NoModificationSlot, Some(at(3))));
    assert!(matches!(decide_at(&view, 3).1.outcome, Outcome::Grow(_)));
}

#[test]
fn the_last_slot_is_taken_by_a_step_that_lasts_until_the_next_one_is_free() {
    // 512 KiB/s until the oldest slot is free again in 595 s, and for timeToFull after that: 327.5 MiB are filled, of which
    // 80 MiB are free: 247.5 MiB of the filesystem, 264 MiB of the claim.
    let mut view = low_after(with_slots(3), &[-3000, -2000]);
    the_usage(&mut view).fill_bytes_per_second = 1 << 19;
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(512 + 264)));
    the_spec(&mut view).maximum = mib(700);
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(700)), "as far as the maximum");
    let mut view = low_after(with_slots(4), &[-3000, -2000]);
    the_usage(&mut view).fill_bytes_per_second = 1 << 19;
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(640)), "one of two is a step as any other");
}

#[test]
fn slots_are_taken_also_by_a_growth_of_which_a_user_has_made_less() {
    let mut view = low_after(with_slots(1), &[-10]);
    assert_eq!(decide_at(&view, 5).1.reason, Reason::NoModificationSlot);
    let growth = the_claim(&mut view).growth.as_mut().unwrap();
    (growth.to, growth.usable) = (mib(9000), None);
    assert_eq!(decide_at(&view, 5).1.reason, Reason::NoModificationSlot);
    the_claim(&mut view).growth.as_mut().unwrap().to = mib(1);
    assert!(matches!(decide_at(&view, 5).1.outcome, Outcome::Grow(_)), "what made nothing larger was no growth");
}

/// Two growths have taken slots, and then the request was lowered to less than the driver had made of it already.
#[test]
fn slots_are_taken_also_where_the_request_was_lowered_after_the_driver_had_begun() {
    let mut view = low_after(with_slots(4), &[-3000, -2000]);
    let claim = the_claim(&mut view);
    claim.requested = mib(500);
    let (plan, _) = crate::plan(&view, at(5));
    let (sound, violations) = crate::invariants::retain_sound(&view, plan);
    assert_eq!(violations, []);
    let [Action::Grow { record, .. }] = &sound.actions[..] else { panic!("it grows: {sound:?}") };
    assert_eq!(record.earlier, [at(-3000), at(-2000)]);
}

#[test]
fn an_annotation_of_before_there_were_slots_is_a_growth_that_took_one() {
    let text = r#"{"from":"400Mi","to":"512Mi","filesystem":"380Mi","crossed":"2025-12-31T23:59:00Z",
        "decided":"2025-12-31T23:59:01Z","reason":"BelowMinFree","usable":"2025-12-31T23:59:03Z"}"#;
    let mut view = low_after(with_slots(1), &[0]);
    the_claim(&mut view).growth = Some(serde_json::from_str(text).unwrap());
    assert_eq!(decide_at(&view, 5).1.reason, Reason::NoModificationSlot);
    let without_slots = serde_json::to_string(&record()).unwrap();
    assert!(!without_slots.contains("earlier"), "nor is one written that an earlier operator could not read");
}

#[test]
fn a_volume_larger_than_its_request_grows_from_what_it_has() {
    let mut view = low();
    the_claim(&mut view).requested = mib(100);
    let (actions, decision) = decide_at(&view, 5);
    assert_eq!(decision.outcome, Outcome::Grow(mib(640)));
    assert!(matches!(&actions[..], [Action::Grow { record, .. }] if record.from == mib(100)));
}

#[test]
fn a_growth_that_a_measurement_shows_is_recorded_before_another_is_decided() {
    let mut view = grown();
    *the_usage(&mut view) =
        crate::Usage { total: mib(600), available: mib(1), at: at(4), ..the_usage(&mut view).clone() };
    let (actions, _) = decide_at(&view, 5);
    let recorded = crate::GrowthRecord { usable: Some(at(4)), ..record() };
    let expected =
        Action::RecordUsable { claim: id("data-0"), uid: claim().uid, previous: record(), record: recorded.clone() };
    assert_eq!(actions, [expected]);
    the_claim(&mut view).growth = Some(recorded);
    assert!(matches!(decide_at(&view, 5).1.outcome, Outcome::Grow(_)), "and then the next");
}

#[test]
fn no_measurement_from_before_a_growth_leads_to_another() {
    let mut view = grown();
    *the_usage(&mut view) = crate::Usage { available: mib(1), at: at(4), ..the_usage(&mut view).clone() };
    let (actions, decision) = decide_at(&view, 5);
    assert_eq!((actions, decision.reason), (vec![], Reason::AwaitingMeasurement));
    assert_eq!(decide_at(&view, 6000).1.reason, Reason::GrowthOverdue);
    the_usage(&mut view).total = mib(6000);
    assert_eq!(decide_at(&view, 5).0, [], "nor does one that is not of this volume end the waiting");
}

#[test]
fn a_measurement_is_overdue_when_the_claim_has_long_grown_and_not_when_it_was_long_asked_for() {
    let mut view = grown();
    the_claim(&mut view).outgrown = Some(Outgrown { total: mib(480), until: at(5000) });
    assert_eq!(decide_at(&view, 5599).1.reason, Reason::AwaitingMeasurement);
    assert_eq!(decide_at(&view, 5600).1.reason, Reason::GrowthOverdue);
}

/// Whoever asked for it.
#[test]
fn what_was_measured_before_a_growth_is_no_reason_for_another() {
    let since_growth = |source: Source, total: u64, measured: i64| {
        let view = low_with(|view| {
            let (total_before, until) = (the_usage(view).total, at(10));
            the_claim(view).outgrown = Some(Outgrown { total: total_before, until });
            let usage = the_usage(view);
            usage.total = Bytes(total_before.0 + total);
            (usage.source, usage.at) = (source, at(measured));
        });
        decide_at(&view, measured + 2).1.reason
    };
    assert_eq!(since_growth(Source::Agent, 0, 9), Reason::AwaitingMeasurement);
    assert_eq!(since_growth(Source::Agent, 1, 9), Reason::BelowMinFree, "it has been measured since");
    assert_eq!(since_growth(Source::Agent, 0, 10), Reason::BelowMinFree, "it has not become larger");
    assert_eq!(since_growth(Source::Prometheus, 0, 69), Reason::AwaitingMeasurement, "it was measured a minute before");
    assert_eq!(since_growth(Source::Prometheus, 0, 70), Reason::BelowMinFree);
}

/// An agent has shown it, and is gone; Prometheus has read what a kubelet measured up to a minute before.
#[test]
fn what_was_measured_before_a_growth_was_shown_does_not_lead_to_it_again() {
    let since_shown = |source: Source, total: u64, measured: i64| {
        let mut view = grown();
        the_claim(&mut view).growth.as_mut().unwrap().usable = Some(at(4));
        let usage = the_usage(&mut view);
        (usage.source, usage.at, usage.available) = (source, at(measured), mib(1));
        usage.total = Bytes(record().filesystem.0 + total);
        decide_at(&view, measured + 2).1.reason
    };
    assert_eq!(since_shown(Source::Prometheus, 0, 63), Reason::AwaitingMeasurement);
    assert_eq!(since_shown(Source::Prometheus, 1, 63), Reason::BelowMinFree, "it shows the growth");
    assert_eq!(since_shown(Source::Prometheus, 0, 64), Reason::BelowMinFree, "the record is another's");
    assert_eq!(since_shown(Source::Kubelet, 0, 3), Reason::AwaitingMeasurement);
    assert_eq!(since_shown(Source::Kubelet, 0, 4), Reason::BelowMinFree);
}

/// A small filesystem that takes much for itself can be no larger, grown, than the claim was before.
#[test]
fn a_growth_of_ours_that_was_measured_before_the_claim_said_so_holds_up_nothing() {
    let mut view = grown();
    let shown = mib(600);
    the_usage(&mut view).total = shown;
    the_usage(&mut view).available = mib(1);
    let usable = the_usage(&mut view).at;
    let claim = the_claim(&mut view);
    claim.growth.as_mut().unwrap().usable = Some(usable);
    claim.outgrown = Some(Outgrown { total: shown, until: at(100) });
    assert_eq!(decide_at(&view, 8).1.reason, Reason::BelowMinFree);
    the_claim(&mut view).growth = None;
    let (_, decision) = decide_at(&view, 8);
    assert_eq!((decision.reason, decision.again_at), (Reason::AwaitingMeasurement, Some(at(100))));
}

/// A kubelet, asked by an operator that has just been started, has measured last before the growth.
#[test]
fn no_measurement_from_before_a_growth_that_was_seen_leads_to_another() {
    let mut view = grown();
    the_claim(&mut view).growth.as_mut().unwrap().usable = Some(at(4));
    *the_usage(&mut view) = crate::Usage { available: mib(1), at: at(3), ..the_usage(&mut view).clone() };
    let (actions, decision) = decide_at(&view, 5);
    assert_eq!((actions, decision.reason), (vec![], Reason::AwaitingMeasurement));
    the_usage(&mut view).at = at(4);
    assert_eq!(decide_at(&view, 5).1.reason, Reason::BelowMinFree, "it was measured since");
}

#[test]
fn a_record_that_the_claim_contradicts_holds_up_nothing() {
    for (from, to) in [(512, 512), (640, 512), (512, 9000)] {
        let mut view = low();
        the_claim(&mut view).growth = Some(crate::GrowthRecord { from: mib(from), to: mib(to), ..record() });
        assert!(matches!(decide_at(&view, 5).1.outcome, Outcome::Grow(_)), "{from} to {to}");
    }
}

#[test]
fn a_paused_claim_is_told_what_would_be_done_and_nothing_is() {
    let mut view = low();
    the_claim(&mut view).paused = Some(("x".repeat(200) + "\nsecond line").into());
    let (actions, decision) = decide_at(&view, 5);
    assert_eq!((actions, decision.reason, decision.outcome), (vec![], Reason::Paused, Outcome::Recommend(mib(640))));
    assert!(!decision.is_problem(), "it is what somebody wants");
    assert!(decision.message.contains(&format!("({})", "x".repeat(100))), "{}", decision.message);
    assert!(decision.message.ends_with("below minFree 20%; grow from 512Mi to 640Mi"), "{}", decision.message);
    assert_eq!(decision.again_at, Some(at(30)), "it is looked at again as any other");
}

/// The value that the one pod is given at second `seconds`, if it is.
fn touched(view: &View, seconds: i64) -> Option<String> {
    decide_at(view, seconds).0.into_iter().find_map(|action| match action {
        Action::SyncPod { value, .. } => Some(value),
        _ => None,
    })
}

#[test]
fn a_pod_is_touched_when_the_volume_has_grown_and_again_only_after_a_while() {
    let mut view = growing();
    assert_eq!(touched(&view, 1), None, "the controller is still at it");
    the_claim(&mut view).volume_capacity = mib(640);
    let value = touched(&view, 2);
    assert_eq!(value.as_deref(), Some("data-0=640Mi@2026-01-01T00:00:02Z"));
    the_claim(&mut view).pods[0].synced = value;
    assert_eq!(touched(&view, 16), None);
    assert_eq!(decide_at(&view, 16).1.again_at, Some(at(17)));
    assert_eq!(touched(&view, 17).as_deref(), Some("data-0=640Mi@2026-01-01T00:00:17Z"));
    the_policy(&mut view).mode = Mode::Recommend;
    assert_eq!(touched(&view, 17), None, "only in mode Auto");
}

#[test]
fn claims_of_one_pod_that_grow_together_do_not_overwrite_each_other() {
    let mut view = growing();
    the_claim(&mut view).volume_capacity = mib(640);
    for (before, after) in [
        ("log-0=1Gi@2026-01-01T00:00:00Z", "log-0=1Gi,data-0=640Mi@2026-01-01T00:00:02Z"),
        ("data-0=512Mi,log-0=1Gi@2026-01-01T00:00:00Z", "log-0=1Gi,data-0=640Mi@2026-01-01T00:00:02Z"),
        ("log-0=1Gi@2025-01-01T00:00:00Z", "data-0=640Mi@2026-01-01T00:00:02Z"),
        ("data-0=640Mi@2027-01-01T00:00:00Z", "data-0=640Mi@2026-01-01T00:00:02Z"),
        ("data-0=640Mi", "data-0=640Mi@2026-01-01T00:00:02Z"),
        ("@,nonsense@2026-01-01T00:00:00Z", "data-0=640Mi@2026-01-01T00:00:02Z"),
    ] {
        the_claim(&mut view).pods = vec![crate::PodUse { synced: Some(before.to_owned()), ..pod("data-0") }];
        assert_eq!(touched(&view, 2).as_deref(), Some(after), "{before}");
    }
    let both = Some("log-0=1Gi,data-0=640Mi@2026-01-01T00:00:00Z".to_owned());
    the_claim(&mut view).pods[0].synced = both;
    assert_eq!(touched(&view, 2), None);
}

#[test]
fn a_message_about_waiting_has_no_number_that_changes_with_each_measurement() {
    for (name, mut view, seconds) in situations() {
        let (_, before) = decide_at(&view, seconds);
        if let Some(usage) = &mut the_claim(&mut view).usage {
            usage.available = Bytes(usage.available.0.saturating_sub(4096));
        }
        let (_, after) = decide_at(&view, seconds);
        if !matches!(before.outcome, Outcome::Grow(_) | Outcome::Recommend(_)) {
            assert_eq!(before, after, "{name}");
        }
    }
}

#[test]
fn a_filesystem_that_says_it_has_no_inodes_lacks_none() {
    let mut view = view();
    the_spec(&mut view).min_free_inodes = Threshold::Absolute(Count(1000));
    the_usage(&mut view).inodes = Some(Capacity { total: Count(0), free: Count(0) });
    assert_eq!(decide_at(&view, 5).1.reason, Reason::EnoughRoom);
}

#[test]
fn a_watch_is_what_the_policy_would_act_on() {
    let mut view = view();
    let watch = |view: &View| crate::watch(view, &id("data-0"), &view.claims[&id("data-0")]);
    let expected = Watch { available_below: mib(96), free_inodes_below: Count(500), seconds_to_full_below: 60 };
    assert_eq!(watch(&view), Some(expected));
    the_claim(&mut view).usage = None;
    let unmeasured = Watch { available_below: Bytes(mib(512).0.div_ceil(5)), free_inodes_below: Count(0), ..expected };
    assert_eq!(watch(&view), Some(unmeasured));
    the_policy(&mut view).mode = Mode::Off;
    assert_eq!(watch(&view), None);
    view.policies.clear();
    assert_eq!(watch(&view), None);
}

#[test]
fn a_cluster_policy_governs_where_no_namespaced_one_does() {
    let mut view = low();
    let mut smaller = policy();
    smaller.capacity.as_mut().unwrap().maximum = mib(600);
    view.policies.insert(cluster("all"), smaller);
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(640)));
    the_policy(&mut view).claims = Selector(vec![crate::Requirement::Exists("other".to_owned())]);
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(600)));
}
