//! The worlds: of every kind of claim, policy and profile, and what becomes of them when a plan is carried out.

use super::*;

pub(super) fn threshold<U: Copy + std::fmt::Debug>(
    absolute: impl Strategy<Value = U>,
) -> impl Strategy<Value = Threshold<U>> {
    prop_oneof![(1_u8..=99).prop_map(Threshold::Percent), absolute.prop_map(Threshold::Absolute)]
}

pub(super) fn bytes(bits: u32) -> impl Strategy<Value = Bytes> {
    // Evenly over the magnitudes, and not nearly always the largest.
    (0..=bits, any::<u64>()).prop_map(|(bits, value)| Bytes(value & ((1_u64 << bits) - 1)))
}

pub(super) fn spec(bits: u32) -> impl Strategy<Value = CapacitySpec> {
    let inodes = threshold(any::<u16>().prop_map(|count| Count(count.into())));
    let target = option::weighted(0.3, (1_u8..=99).prop_map(|percent| format!("{percent}%").parse().unwrap()));
    let horizon = option::weighted(0.3, (1_u8..=99).prop_map(Days::new));
    (threshold(bytes(bits)), inodes, (1_u64..100_000, horizon), threshold(bytes(bits)), target, bytes(bits)).prop_map(
        |(min_free, min_free_inodes, (time_to_full, horizon), increase, target_utilization, maximum)| CapacitySpec {
            min_free,
            min_free_inodes,
            time_to_full: Period::from_secs(time_to_full),
            horizon,
            increase,
            target_utilization,
            group_by: None,
            maintenance: None,
            template_sync: TemplateSync::Report,
            maximum,
        },
    )
}

pub(super) fn profile() -> impl Strategy<Value = DriverProfileSpec> {
    let expansion =
        prop_oneof![4 => Just(Expansion::Online), 1 => Just(Expansion::Offline), 1 => Just(Expansion::None)];
    let increment = prop_oneof![Just(0), Just(1), Just(4096), Just(1 << 20), Just(1 << 30), Just(3_000_000_007)];
    let sizes = || (option::weighted(0.2, bytes(40)), option::weighted(0.2, bytes(50)));
    let modifications = option::weighted(0.5, modifications());
    (expansion, increment, sizes(), modifications, option::weighted(0.3, sizes())).prop_map(
        |(expansion, increment, (minimum_size, maximum_size), modifications, kind)| DriverProfileSpec {
            expansion,
            size_increment: Bytes(increment),
            minimum_size,
            maximum_size,
            modifications,
            volume_types: kind
                .map(|(minimum_size, maximum_size)| VolumeType { minimum_size, maximum_size, ..small() })
                .into_iter()
                .collect(),
            ..DriverProfileSpec::default()
        },
    )
}

pub(super) fn modifications() -> impl Strategy<Value = Modifications> {
    let cooldown = option::weighted(0.3, 1_u64..5_000);
    (1_u32..5, 1_u64..100_000, any::<bool>(), cooldown).prop_map(|(count, window, next_when_completed, cooldown)| {
        Modifications {
            count,
            window: Period::from_secs(window),
            next_when_completed,
            // The schema's rules admit none that is longer than the window.
            cooldown: cooldown.map(|cooldown| Period::from_secs(cooldown.min(window))),
            source: None,
            as_of: None,
        }
    })
}

/// The world of the fixture, with a class that asks for a kind of volume.
pub(super) fn world() -> View {
    let mut view = view();
    ask_for_small(&mut view);
    view
}

pub(super) fn abilities(view: &View) -> Abilities<'_> {
    view.abilities(&claim()).unwrap()
}

/// Mostly such that a volume rises by some of its size.
pub(super) fn outlook() -> impl Strategy<Value = Outlook> {
    let rises = prop::array::uniform3(prop_oneof![0_i64..1 << 38, any::<i64>()]);
    let known = (rises, bytes(45)).prop_map(|(mut rises, peak)| {
        rises.sort_unstable();
        let [low, median, high] = rises;
        Outlook::Known(Forecast { per_day: PerDay { low, median, high }, peak })
    });
    prop_oneof![4 => known, 1 => Just(Outlook::From(at(100_000)))]
}

prop_compose! {
    /// A claim with a filesystem that is somewhat smaller than it, filled and filling in any way, and often much.
    pub(super) fn sensible_claim()(
        size in bytes(44).prop_map(|size| size.0 + (1 << 20)),
        overhead_percent in 0_u64..30,
        free_permille in prop_oneof![0_u64..=1000, 0_u64..=100],
        inodes in option::of((1_u64..1 << 30, 0_u64..=1000)),
        rate in bytes(32),
        crossed in option::of(-100_i64..0),
        outlook in option::weighted(0.5, outlook()),
    ) -> Claim {
        let total = size - size / 100 * overhead_percent;
        let usage = Usage {
            total: Bytes(total),
            available: Bytes(total / 1000 * free_permille),
            inodes: inodes.map(|(total, permille)| Capacity { total: Count(total), free: Count(total * permille / 1000) }),
            fill_bytes_per_second: rate.0,
            crossed: crossed.map(at),
            ..usage()
        };
        let size = Bytes(size);
        let outlook = outlook.map(Box::new);
        Claim { requested: size, capacity: size, volume_capacity: size, usage: Some(usage), outlook, ..claim() }
    }
}

prop_compose! {
    /// One such claim under an Auto policy that mostly leaves it some way to go, with a driver that expands online.
    pub(super) fn sensible()(
        claim in sensible_claim(),
        spec in spec(44),
        maximum_percent in prop_oneof![1 => 0_u64..=100, 9 => 100_u64..10_000],
        profile in profile(),
    ) -> View {
        let mut view = world();
        let maximum = Bytes(claim.requested.0 / 100 * maximum_percent);
        view.claims.insert(id("data-0"), claim);
        view.policies
            .insert(namespaced("keep"), Policy { capacity: Some(CapacitySpec { maximum, ..spec }), ..policy() });
        view.drivers.insert(LOCAL_DRIVER.to_owned(), DriverProfileSpec { expansion: Expansion::Online, ..profile });
        view
    }
}

prop_compose! {
    pub(super) fn wild_record()(
        from in bytes(45),
        to in bytes(45),
        filesystem in bytes(45),
        usable in option::of(-100_i64..100),
        decided in -200_000_i64..2_000,
        earlier in prop::collection::vec(-200_000_i64..200_000, 0..5),
    ) -> GrowthRecord {
        let earlier = earlier.into_iter().map(at).collect();
        GrowthRecord { from, to, filesystem, usable: usable.map(at), decided: at(decided), earlier, ..record() }
    }
}

prop_compose! {
    pub(super) fn wild_usage()(
        at_second in -200_i64..200,
        source in prop_oneof![Just(Source::Agent), Just(Source::Kubelet), Just(Source::Prometheus)],
        total in bytes(63),
        available in bytes(63),
        inodes in option::of((any::<u64>(), any::<u64>())),
        fill_bytes_per_second in any::<u64>(),
    ) -> Usage {
        let inodes = inodes.map(|(total, free)| Capacity { total: Count(total), free: Count(free) });
        Usage { at: at(at_second), source, total, available, inodes, fill_bytes_per_second, crossed: None }
    }
}

prop_compose! {
    pub(super) fn wild_claim()(
        sensible in sensible_claim(),
        sizes in option::of((bytes(63), bytes(63), bytes(63))),
        usage in option::weighted(0.5, option::of(wild_usage())),
        growth in option::weighted(0.3, wild_record()),
        bound in prop::bool::weighted(0.9),
        raw_block in prop::bool::weighted(0.1),
        class in prop_oneof![4 => Just(Some("orlop-local")), 1 => Just(Some("none")), 1 => Just(None)],
        infeasible in prop::bool::weighted(0.1),
        paused in prop::bool::weighted(0.1),
        pods in 0_usize..3,
    ) -> Claim {
        let (requested, capacity, volume_capacity) =
            sizes.unwrap_or((sensible.requested, sensible.capacity, sensible.volume_capacity));
        Claim {
            requested, capacity, volume_capacity, bound, raw_block,
            growth: growth.map(Box::new),
            paused: paused.then(|| "true".into()),
            usage: usage.unwrap_or(sensible.usage),
            outlook: sensible.outlook,
            class: class.map(Into::into),
            resize: if infeasible { Resize::Infeasible("no".to_owned()) } else { Resize::Idle },
            pods: ["a", "b"][..pods.min(2)].iter().map(|name| pod(name)).collect(),
            ..claim()
        }
    }
}

prop_compose! {
    pub(super) fn wild()(
        claims in prop::collection::vec(wild_claim(), 1..4),
        policies in prop::collection::vec((spec(63), prop::sample::select(vec![Mode::Auto, Mode::Auto, Mode::Recommend, Mode::Off])), 0..3),
        profile in option::of(profile()),
        expandable in prop::bool::weighted(0.9),
    ) -> View {
        let mut view = world();
        let names = ["data-0", "data-1", "data-2"];
        view.claims = names.into_iter().map(id).zip(claims).collect();
        let ids = [namespaced("keep"), cluster("all"), cluster("more")];
        view.policies = ids.into_iter()
            .zip(policies)
            .map(|(id, (spec, mode))| (id, Policy { mode, capacity: Some(spec), ..policy() }))
            .collect();
        view.drivers = profile.map(|profile| (LOCAL_DRIVER.to_owned(), profile)).into_iter().collect();
        view.classes.values_mut().for_each(|class| class.expandable = expandable);
        view
    }
}

prop_compose! {
    /// A wild world with up to three budgets, in which its claims have some way to go or none, and mostly a price.
    pub(super) fn budgeted()(
        mut view in wild(),
        price in option::weighted(0.7, 1_u64..10_000_000),
        budgets in prop::collection::vec(
            (option::of(0_u128..200), option::of(0_u128..200), option::weighted(0.5, threshold(bytes(50)))),
            0..4,
        ),
    ) -> View {
        let price = price.map(|per_gib| Price {
            currency: "USD".to_owned(), per_gib_month: Decimal::from_millionths(per_gib), per_iops_month: None,
            per_mibps_month: None, source: "a list".to_owned(), as_of: "2026-01-31".to_owned(),
        });
        view.drivers.entry(LOCAL_DRIVER.to_owned()).or_default().price = price;
        let all = Budget {
            namespaces: Selector::default(),
            claims: Selector::default(),
            limits: BudgetLimits { bytes: None, iops: None, monthly_cost: None },
            reserve: None,
        };
        let probe = BudgetName("probe".into());
        view.set_budget(&probe, Some(all.clone()));
        let Account { used, .. } = *view.budgets.get(&probe).unwrap().1;
        view.set_budget(&probe, None);
        // Some of what is used, or up to twice as much.
        let part = |whole: u128, percent: u128| u64::try_from(whole.saturating_mul(percent) / 100).unwrap_or(u64::MAX);
        for (number, (bytes, cost, reserve)) in budgets.into_iter().enumerate() {
            let limits = BudgetLimits {
                bytes: bytes.map(|percent| Bytes(part(used.bytes, percent))),
                iops: None,
                monthly_cost: cost.map(|percent| Decimal::from_millionths(part(used.cost, percent))),
            };
            view.set_budget(&BudgetName(number.to_string().into()), Some(Budget { limits, reserve, ..all.clone() }));
        }
        view
    }
}

/// What the API server has after the plan was applied.
pub(super) fn apply(view: &mut View, actions: &[Action]) {
    for action in actions {
        let claim = view.claims.get_mut(action.claim()).unwrap();
        match action {
            Action::Grow { record, .. } => {
                claim.requested = record.to;
                claim.growth = Some(record.clone().into());
            }
            Action::TakeBack { record, .. } => {
                claim.requested = record.to;
                claim.growth = Some(record.clone().into());
                claim.resize = Resize::Controller;
            }
            Action::RecordGrowth { record, .. } | Action::RecordUsable { record, .. } => {
                claim.growth = Some(record.clone().into());
            }
            Action::WriteOwner { .. } => unreachable!("no claim of these views has an owner"),
            Action::SetClass { record, .. } => {
                let uses = claim.attributes.get_or_insert_default();
                uses.requested.clone_from(&record.to);
                uses.change = Some(record.clone());
            }
            Action::ScaleToZero { .. } | Action::ScaleBack { .. } => {}
            Action::SyncPod { pod, value, .. } => {
                let used = claim.pods.iter_mut().find(|used| used.id == *pod).unwrap();
                used.synced = Some(value.clone());
            }
        }
    }
}

/// What driver and kubelet make of it: everything grows in proportion, and nothing is written meanwhile.
pub(super) fn carry_out(claim: &mut Claim, seconds: i64) {
    let (old, new) = (u128::from(claim.capacity.0), u128::from(claim.requested.0));
    let grown = |value: u64| u64::try_from(u128::from(value) * new / old).unwrap();
    claim.capacity = claim.requested;
    claim.volume_capacity = claim.requested;
    let usage = claim.usage.as_mut().unwrap();
    let added = grown(usage.total.0) - usage.total.0;
    usage.total.0 += added;
    usage.available.0 += added;
    if let Some(inodes) = &mut usage.inodes {
        let added = grown(inodes.total.0) - inodes.total.0;
        inodes.total.0 += added;
        inodes.free.0 += added;
    }
    usage.at = at(seconds);
    usage.crossed = None;
}
