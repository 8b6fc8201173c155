//! What holds for every view: for worlds that make sense, whose growth is played through to its end, and for wild ones
//! in which any number may be anything.

use std::collections::BTreeMap;

use orlop_api::{
    Bytes, CapacitySpec, Count, DriverProfileSpec, Expansion, Mode, Period, Threshold, names::LOCAL_DRIVER,
};
use proptest::{option, prelude::*};

use crate::{
    Action, Capacity, Claim, GrowthRecord, Outcome, Policy, Resize, Source, Usage, View,
    fixture::{at, claim, cluster, id, namespaced, pod, policy, record, usage, view},
    invariants, plan, plan_claims,
};

fn threshold<U: Copy + std::fmt::Debug>(absolute: impl Strategy<Value = U>) -> impl Strategy<Value = Threshold<U>> {
    prop_oneof![(1_u8..=99).prop_map(Threshold::Percent), absolute.prop_map(Threshold::Absolute)]
}

fn bytes(bits: u32) -> impl Strategy<Value = Bytes> {
    // Evenly over the magnitudes, and not nearly always the largest.
    (0..=bits, any::<u64>()).prop_map(|(bits, value)| Bytes(value & ((1_u64 << bits) - 1)))
}

fn spec(bits: u32) -> impl Strategy<Value = CapacitySpec> {
    let inodes = threshold(any::<u16>().prop_map(|count| Count(count.into())));
    (threshold(bytes(bits)), inodes, 1_u64..100_000, threshold(bytes(bits)), bytes(bits)).prop_map(
        |(min_free, min_free_inodes, time_to_full, increase, maximum)| CapacitySpec {
            min_free,
            min_free_inodes,
            time_to_full: Period::from_secs(time_to_full),
            increase,
            maximum,
        },
    )
}

fn profile() -> impl Strategy<Value = DriverProfileSpec> {
    let expansion =
        prop_oneof![4 => Just(Expansion::Online), 1 => Just(Expansion::Offline), 1 => Just(Expansion::None)];
    let increment = prop_oneof![Just(0), Just(1), Just(4096), Just(1 << 20), Just(1 << 30), Just(3_000_000_007)];
    (expansion, increment, option::weighted(0.2, bytes(50))).prop_map(|(expansion, increment, maximum_size)| {
        DriverProfileSpec { expansion, size_increment: Bytes(increment), maximum_size, ..DriverProfileSpec::default() }
    })
}

prop_compose! {
    /// A claim with a filesystem that is somewhat smaller than it, filled and filling in any way, and often much.
    fn sensible_claim()(
        size in bytes(44).prop_map(|size| size.0 + (1 << 20)),
        overhead_percent in 0_u64..30,
        free_permille in prop_oneof![0_u64..=1000, 0_u64..=100],
        inodes in option::of((1_u64..1 << 30, 0_u64..=1000)),
        rate in bytes(32),
        crossed in option::of(-100_i64..0),
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
        Claim { requested: size, capacity: size, volume_capacity: size, usage: Some(usage), ..claim() }
    }
}

prop_compose! {
    /// One such claim under an Auto policy that mostly leaves it some way to go, with a driver that expands online.
    fn sensible()(
        claim in sensible_claim(),
        spec in spec(44),
        maximum_percent in prop_oneof![1 => 0_u64..=100, 9 => 100_u64..10_000],
        profile in profile(),
    ) -> View {
        let mut view = view();
        let maximum = Bytes(claim.requested.0 / 100 * maximum_percent);
        view.claims.insert(id("data-0"), claim);
        view.policies
            .insert(namespaced("keep"), Policy { capacity: Some(CapacitySpec { maximum, ..spec }), ..policy() });
        view.drivers.insert(LOCAL_DRIVER.to_owned(), DriverProfileSpec { expansion: Expansion::Online, ..profile });
        view
    }
}

prop_compose! {
    fn wild_record()(from in bytes(45), to in bytes(45), filesystem in bytes(45), usable in option::of(-100_i64..100))
        -> GrowthRecord
    {
        GrowthRecord { from, to, filesystem, usable: usable.map(at), ..record() }
    }
}

prop_compose! {
    fn wild_usage()(
        at_second in -200_i64..200,
        source in prop_oneof![Just(Source::Agent), Just(Source::Kubelet)],
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
    fn wild_claim()(
        sensible in sensible_claim(),
        sizes in option::of((bytes(63), bytes(63), bytes(63))),
        usage in option::weighted(0.5, option::of(wild_usage())),
        growth in option::weighted(0.3, wild_record()),
        bound in prop::bool::weighted(0.9),
        raw_block in prop::bool::weighted(0.1),
        class in prop_oneof![4 => Just(Some("orlop-local")), 1 => Just(Some("none")), 1 => Just(None)],
        infeasible in prop::bool::weighted(0.1),
        pods in 0_usize..3,
    ) -> Claim {
        let (requested, capacity, volume_capacity) =
            sizes.unwrap_or((sensible.requested, sensible.capacity, sensible.volume_capacity));
        Claim {
            requested, capacity, volume_capacity, growth, bound, raw_block,
            usage: usage.unwrap_or(sensible.usage),
            class: class.map(str::to_owned),
            resize: if infeasible { Resize::Infeasible("no".to_owned()) } else { Resize::Idle },
            pods: ["a", "b"][..pods.min(2)].iter().map(|name| pod(name)).collect(),
            ..claim()
        }
    }
}

prop_compose! {
    fn wild()(
        claims in prop::collection::vec(wild_claim(), 1..4),
        policies in prop::collection::vec((spec(63), prop::sample::select(vec![Mode::Auto, Mode::Auto, Mode::Recommend, Mode::Off])), 0..3),
        profile in option::of(profile()),
        expandable in prop::bool::weighted(0.9),
    ) -> View {
        let mut view = view();
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

/// What the API server has after the plan was applied.
fn apply(view: &mut View, actions: &[Action]) {
    for action in actions {
        let claim = view.claims.get_mut(action.claim()).unwrap();
        match action {
            Action::Grow { record, .. } => {
                claim.requested = record.to;
                claim.growth = Some(record.clone());
            }
            Action::RecordUsable { record, .. } => claim.growth = Some(record.clone()),
            Action::SyncPod { pod, value, .. } => {
                let used = claim.pods.iter_mut().find(|used| used.id == *pod).unwrap();
                used.synced = Some(value.clone());
            }
        }
    }
}

/// What driver and kubelet make of it: everything grows in proportion, and nothing is written meanwhile.
fn carry_out(claim: &mut Claim, seconds: i64) {
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

fn grows(actions: &[Action]) -> Option<Bytes> {
    actions.iter().find_map(Action::requests)
}

/// The largest size that policy and driver allow.
fn limit(view: &View) -> Bytes {
    let maximum = view.policies[&namespaced("keep")].capacity.as_ref().unwrap().maximum;
    let driver = view.driver_profile(LOCAL_DRIVER);
    driver.maximum_size.map_or(maximum, |size| size.min(maximum)).round_down(driver.size_increment)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_breaks_an_invariant(view in wild(), second in -100_i64..1000) {
        let (planned, report) = plan(&view, at(second));
        let (sound, violations) = invariants::retain_sound(&view, planned.clone());
        prop_assert_eq!(violations, vec![]);
        prop_assert_eq!(sound, planned);
        prop_assert_eq!(report.decisions.len(), view.claims.len());
    }

    #[test]
    fn no_claim_shrinks_or_passes_its_maximum(view in prop_oneof![wild(), sensible()], second in 0_i64..100) {
        for action in plan(&view, at(second)).0.actions {
            let Some(to) = action.requests() else { continue };
            let claim = &view.claims[action.claim()];
            prop_assert!(to > claim.requested && to > claim.capacity);
            let most = view.policies.values().filter_map(|policy| Some(policy.capacity.as_ref()?.maximum)).max();
            prop_assert!(to <= most.unwrap());
            prop_assert!(view.driver_profile(LOCAL_DRIVER).maximum_size.is_none_or(|size| to <= size));
        }
    }

    #[test]
    fn what_is_decided_about_a_claim_depends_on_nothing_else(view in wild(), second in 0_i64..100) {
        let (planned, report) = plan(&view, at(second));
        let mut actions = Vec::new();
        for id in view.claims.keys() {
            let mut alone = view.clone();
            alone.claims = BTreeMap::from([(id.clone(), view.claims[id].clone())]);
            let (plan, report_alone) = plan_claims(&alone, [id], at(second));
            actions.extend(plan.actions);
            prop_assert_eq!(&report_alone.decisions[id], &report.decisions[id]);
        }
        prop_assert_eq!(actions, planned.actions);
    }

    #[test]
    fn a_growth_is_asked_for_once(mut view in sensible(), later in 1_i64..10_000, free_permille in 0_u64..1000) {
        let (planned, _) = plan(&view, at(1));
        apply(&mut view, &planned.actions);
        prop_assume!(grows(&planned.actions).is_some());
        // However full the volume gets meanwhile, and however far driver and kubelet have got.
        for stage in 0..3 {
            let claim = view.claims.get_mut(&id("data-0")).unwrap();
            if stage > 0 { claim.volume_capacity = claim.requested; }
            if stage > 1 { claim.capacity = claim.requested; }
            let usage = claim.usage.as_mut().unwrap();
            usage.available = Bytes(usage.total.0 / 1000 * free_permille);
            usage.at = at(later);
            let (again, report) = plan(&view, at(later));
            prop_assert_eq!(grows(&again.actions), None);
            prop_assert!(matches!(report.decisions[&id("data-0")].outcome, Outcome::Growing(_)));
        }
    }

    #[test]
    fn one_growth_is_enough_or_ends_at_the_maximum(mut view in sensible()) {
        let (planned, _) = plan(&view, at(1));
        prop_assume!(grows(&planned.actions).is_some());
        apply(&mut view, &planned.actions);
        carry_out(view.claims.get_mut(&id("data-0")).unwrap(), 2);
        let (recorded, _) = plan(&view, at(3));
        prop_assert!(matches!(recorded.actions[..], [Action::RecordUsable { .. }]), "{:?}", recorded);
        apply(&mut view, &recorded.actions);
        let (again, _) = plan(&view, at(3));
        prop_assert_eq!(again.actions, vec![]);
        let claim = &view.claims[&id("data-0")];
        let usage = claim.usage.as_ref().unwrap();
        let spec = view.policies[&namespaced("keep")].capacity.as_ref().unwrap();
        let roomy = usage.available.0 >= spec.min_free.of(usage.total.0);
        prop_assert!(roomy || claim.requested == limit(&view), "{:?} of {:?}", usage, limit(&view));
    }

    #[test]
    fn what_is_not_known_now_changes_nothing(mut view in sensible(), age in 30_i64..100_000, missing: bool) {
        let claim = view.claims.get_mut(&id("data-0")).unwrap();
        if missing { claim.usage = None; }
        prop_assert_eq!(plan(&view, at(age)).0.actions, vec![]);
        prop_assert_eq!(plan(&view, at(-61)).0.actions, vec![]);
    }

    #[test]
    fn a_claim_with_enough_room_is_left_alone(mut view in sensible()) {
        let spec = view.policies[&namespaced("keep")].capacity.clone().unwrap();
        let usage = view.claims.get_mut(&id("data-0")).unwrap().usage.as_mut().unwrap();
        let filled = u128::from(usage.fill_bytes_per_second) * u128::from(spec.time_to_full.as_secs());
        prop_assume!(usage.available.0 >= spec.min_free.of(usage.total.0));
        prop_assume!(u128::from(usage.available.0) >= filled);
        usage.inodes = None;
        let (planned, report) = plan(&view, at(1));
        prop_assert_eq!(planned.actions, vec![]);
        prop_assert_eq!(report.decisions[&id("data-0")].outcome, Outcome::Keep);
    }
}
