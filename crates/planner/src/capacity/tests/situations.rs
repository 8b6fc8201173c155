//! One world for each decision that there is, in the order in which the questions are asked.

use orlop_api::{Bytes, Count, DriverProfileSpec, Expansion, Mode, Period, Price, VolumeType};

use super::{growing_with, low, low_after, low_with, with};
use crate::{
    Capacity, Resize, Source, View,
    fixture::{
        ask_for_small, at, growing, grown, led, mib, namespaced, override_driver, policy, reduced, small, the_claim,
        the_policy, the_spec, the_usage, view, with_slots,
    },
};

/// A world, what it is called, and the second at which it is decided about.
pub(super) type Situation = (&'static str, View, i64);

/// Every decision that there is, in the order in which the questions are asked.
pub(super) fn situations() -> Vec<Situation> {
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
                override_driver(view, with_kind(VolumeType { expansion: Some(Expansion::None), ..small() }));
                ask_for_small(view);
            }),
            5,
        ),
        (
            "a class asks for a kind of volume with a smaller maximum",
            low_with(|view| {
                override_driver(view, with_kind(VolumeType { maximum_size: Some(mib(600)), ..small() }));
                ask_for_small(view);
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

fn with_kind(kind: VolumeType) -> DriverProfileSpec {
    let increment = Bytes::MIB;
    DriverProfileSpec { size_increment: increment, volume_types: vec![kind], ..DriverProfileSpec::default() }
}
