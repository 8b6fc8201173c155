//! What holds for every view: for worlds that make sense, whose growth is played through to its end, and for wild ones
//! in which any number may be anything.

mod worlds;

use orlop_api::{
    Abilities, BudgetLimits, Bytes, CapacitySpec, Count, Days, Decimal, DriverProfileSpec, Expansion, Mode,
    Modifications, Period, Price, TemplateSync, Threshold, VolumeType,
    names::{LOCAL_DRIVER, Reason},
};
use proptest::{option, prelude::*};

use crate::{
    Account, Action, Budget, BudgetName, Capacity, Claim, GrowthRecord, Outcome, Policy, Resize, Selector, Source,
    Usage, View,
    fixture::{ask_for_small, at, claim, cluster, id, namespaced, pod, policy, record, small, usage, view},
    forecast::{Forecast, Outlook, PerDay},
    invariants, plan, plan_claims, still_enough, watch,
};

use self::worlds::*;

fn grows(actions: &[Action]) -> Option<Bytes> {
    actions.iter().find_map(Action::requests)
}

fn spec_of(view: &View) -> &CapacitySpec {
    view.policies[&namespaced("keep")].capacity.as_ref().unwrap()
}

/// The largest size that policy and driver allow.
fn limit(view: &View) -> Bytes {
    let maximum = spec_of(view).maximum;
    let Abilities { maximum_size, size_increment, .. } = abilities(view);
    maximum_size.map_or(maximum, |size| size.min(maximum)).round_down(size_increment)
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
    fn no_plan_breaks_a_budget(mut view in budgeted(), second in 0_i64..100) {
        let before = view.clone();
        let (planned, report) = plan(&view, at(second));
        let (sound, violations) = invariants::retain_sound(&view, planned.clone());
        prop_assert_eq!(violations, vec![]);
        prop_assert_eq!(&sound, &planned);
        apply(&mut view, &planned.actions);
        view.charge_all();
        for (name, budget, account) in view.budgets.iter() {
            let BudgetLimits { bytes, iops: _, monthly_cost } = &budget.limits;
            let was = before.budgets.get(name).unwrap().1.used;
            // What was over before stays so, and gets no more.
            let most = |limit: u128, was: u128| limit.max(was);
            prop_assert!(bytes.is_none_or(|it| account.used.bytes <= most(it.0.into(), was.bytes)), "{:?}", planned);
            prop_assert!(
                monthly_cost.is_none_or(|it| account.used.cost <= most(it.millionths().into(), was.cost)),
                "{:?}", planned
            );
        }
        for (id, decision) in &report.decisions {
            prop_assert_eq!(decision.reason == Reason::OverBudget, decision.over_budget.is_some());
            // Who waits for its budgets would grow without them.
            if decision.reason == Reason::OverBudget {
                let mut free = before.clone();
                let names: Vec<_> = free.budgets.iter().map(|(name, ..)| name.clone()).collect();
                for name in names { free.set_budget(&name, None); }
                let outcome = plan_claims(&free, [id], at(second)).1.decisions[id].outcome;
                prop_assert!(matches!(outcome, Outcome::Grow(_) | Outcome::Recommend(_)), "{:?}", outcome);
            }
        }
    }

    #[test]
    fn no_claim_shrinks_or_passes_its_maximum(view in prop_oneof![wild(), sensible()], second in 0_i64..100) {
        for action in plan(&view, at(second)).0.actions {
            let Some(to) = action.requests() else { continue };
            let claim = &view.claims[action.claim()];
            // A request may be lowered again, and never to what the claim or its volume has.
            let taken_back = matches!(action, Action::TakeBack { .. });
            prop_assert!(to > claim.requested || taken_back && to > claim.volume_capacity);
            prop_assert!(to > claim.capacity);
            if taken_back { continue; }
            let most = view.policies.values().filter_map(|policy| Some(policy.capacity.as_ref()?.maximum)).max();
            prop_assert!(to <= most.unwrap());
            let Abilities { minimum_size, maximum_size, .. } = abilities(&view);
            prop_assert!(maximum_size.is_none_or(|size| to <= size));
            prop_assert!(minimum_size.is_none_or(|size| to >= size));
        }
    }

    #[test]
    fn what_is_decided_about_a_claim_depends_on_nothing_else(view in wild(), second in 0_i64..100) {
        let (planned, report) = plan(&view, at(second));
        let mut actions = Vec::new();
        for id in view.claims.keys() {
            let mut alone = view.clone();
            alone.claims = crate::Claims::from([(id.clone(), view.claims[id].clone())]);
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
    fn a_growth_that_is_always_refused_is_asked_for_in_few_sizes_each_smaller_than_the_last(mut view in sensible()) {
        let (planned, _) = plan(&view, at(1));
        prop_assume!(grows(&planned.actions).is_some());
        apply(&mut view, &planned.actions);
        let present = view.claims[&id("data-0")].capacity;
        let mut asked = vec![view.claims[&id("data-0")].requested];
        loop {
            view.claims.get_mut(&id("data-0")).unwrap().resize = Resize::Infeasible("no".to_owned());
            let (planned, report) = plan(&view, at(2));
            prop_assert_eq!(invariants::retain_sound(&view, planned.clone()).1, vec![]);
            let Some(to) = grows(&planned.actions) else {
                prop_assert_eq!(report.decisions[&id("data-0")].reason, Reason::GrowthFailed);
                break;
            };
            prop_assert!(to > present && to < *asked.last().unwrap());
            asked.push(to);
            prop_assert!(asked.len() <= 5);
            apply(&mut view, &planned.actions);
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
        let used = u128::from(usage.total.0 - usage.available.0) * 100;
        let aimed = spec.target_utilization.is_none_or(|it| used <= u128::from(usage.total.0) * u128::from(it.number()));
        let roomy = usage.available.0 >= spec.min_free.of(usage.total.0) && aimed;
        prop_assert!(roomy || claim.requested == limit(&view), "{:?} of {:?}", usage, limit(&view));
    }

    #[test]
    fn claims_of_a_group_become_as_large_as_the_largest_and_then_rest(
        sizes in prop::collection::vec(1_u64..100_000, 2..5),
        increment in prop::sample::select(vec![0, 1, 1 << 20, 3_000_000_007]),
        maximum in bytes(50),
    ) {
        let mut view = world();
        view.claims = (0..).map(|number| id(&format!("data-{number}"))).zip(sizes.into_iter().map(|size| {
            let size = Bytes(size << 20);
            let usage = Usage { total: size, available: size, inodes: None, ..usage() };
            Claim { requested: size, capacity: size, volume_capacity: size, usage: Some(usage), ..claim() }
        })).collect();
        let ids: Vec<_> = view.claims.keys().cloned().collect();
        let spec = CapacitySpec { group_by: Some("app".to_owned()), ..CapacitySpec::up_to(maximum) };
        view.policies.insert(namespaced("keep"), Policy { capacity: Some(spec), ..policy() });
        let size_increment = Bytes(increment);
        view.drivers.insert(LOCAL_DRIVER.to_owned(), DriverProfileSpec { size_increment, ..DriverProfileSpec::default() });
        let largest = view.claims.values().map(|claim| claim.requested).max().unwrap();
        let before: Vec<_> = view.claims.values().map(|claim| claim.requested).collect();
        for second in [1, 2] {
            view.regroup(&ids);
            let (planned, _) = plan(&view, at(second));
            prop_assert_eq!(invariants::retain_sound(&view, planned.clone()).1, vec![]);
            apply(&mut view, &planned.actions);
            view.claims.values_mut().for_each(|claim| carry_out(claim, second + 1));
        }
        view.regroup(&ids);
        prop_assert_eq!(plan(&view, at(3)).0.actions, vec![], "one round is enough, and one to record it");
        let goal = largest.min(maximum.round_down(size_increment));
        for (claim, before) in view.claims.values().zip(before) {
            prop_assert_eq!(claim.requested, before.max(goal));
        }
    }

    #[test]
    fn no_window_holds_more_modifications_than_the_driver_allows(
        mut view in sensible(),
        rule in modifications(),
        pauses in prop::collection::vec(1_i64..40_000, 1..40),
    ) {
        let roomy = CapacitySpec {
            min_free: Threshold::Percent(20),
            maximum: Bytes(1 << 62),
            increase: Threshold::Percent(1),
            target_utilization: None,
            horizon: None,
            ..spec_of(&view).clone()
        };
        let growable = DriverProfileSpec {
            modifications: Some(rule.clone()), size_increment: Bytes(1), ..DriverProfileSpec::default()
        };
        view.policies.insert(namespaced("keep"), Policy { capacity: Some(roomy), ..policy() });
        view.drivers.insert(LOCAL_DRIVER.to_owned(), growable);
        let (mut now, mut asked) = (0, Vec::new());
        for pause in pauses {
            now += pause;
            // The volume is full whenever it is looked at, and nothing but the claim is remembered.
            let claim = view.claims.get_mut(&id("data-0")).unwrap();
            claim.usage.as_mut().unwrap().available = Bytes(0);
            claim.usage.as_mut().unwrap().fill_bytes_per_second = 0;
            claim.usage.as_mut().unwrap().at = at(now);
            let (planned, report) = plan(&view, at(now));
            prop_assert_eq!(invariants::retain_sound(&view, planned.clone()).1, vec![]);
            if grows(&planned.actions).is_none() {
                prop_assert_eq!(report.decisions[&id("data-0")].reason, Reason::NoModificationSlot);
                continue;
            }
            asked.push(now);
            apply(&mut view, &planned.actions);
            carry_out(view.claims.get_mut(&id("data-0")).unwrap(), now + 1);
            let (recorded, _) = plan(&view, at(now + 1));
            apply(&mut view, &recorded.actions);
            now += 1;
        }
        let (window, count) = (i64::try_from(rule.window.as_secs()).unwrap(), usize::try_from(rule.count).unwrap());
        for (index, first) in asked.iter().enumerate() {
            prop_assert!(asked[index..].iter().filter(|at| **at < first + window).count() <= count, "{:?}", asked);
        }
        if let Some(cooldown) = rule.cooldown {
            let cooldown = i64::try_from(cooldown.as_secs()).unwrap();
            prop_assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= cooldown), "{:?}", asked);
        }
        let kept = &view.claims[&id("data-0")].growth;
        prop_assert!(kept.as_ref().is_none_or(|record| record.earlier.len() < count), "the record does not grow");
    }

    #[test]
    fn waiting_for_a_slot_ends_when_it_says(mut view in sensible(), rule in modifications(), decided in -100_000_i64..0) {
        let claim = view.claims.get_mut(&id("data-0")).unwrap();
        let to = claim.requested;
        claim.growth = Some(Box::new(GrowthRecord { from: Bytes(1), to, decided: at(decided), usable: Some(at(0)), ..record() }));
        view.drivers.get_mut(LOCAL_DRIVER).unwrap().modifications = Some(rule);
        let mut now = 1;
        let mut decision = plan(&view, at(now)).1.decisions[&id("data-0")].clone();
        while decision.reason == Reason::NoModificationSlot {
            let again_at = decision.again_at.unwrap();
            prop_assert!(again_at > at(now));
            now = again_at.duration_since(at(0)).as_secs();
            prop_assert!(now <= 100_000, "the slot is free by then");
            // As it would be measured again and again until then.
            view.claims.get_mut(&id("data-0")).unwrap().usage.as_mut().unwrap().at = at(now);
            decision = plan(&view, at(now)).1.decisions[&id("data-0")].clone();
        }
    }

    #[test]
    fn the_last_modification_lasts_until_the_next_one_or_ends_at_the_maximum(
        mut view in sensible(),
        rule in modifications(),
        earlier in prop::collection::vec(-100_000_i64..-1, 0..4),
    ) {
        let claim = view.claims.get_mut(&id("data-0")).unwrap();
        let mut earlier: Vec<_> = earlier.into_iter().map(at).collect();
        earlier.sort();
        let to = claim.requested;
        claim.growth = earlier.pop().map(|decided| {
            Box::new(GrowthRecord { from: Bytes(1), to, decided, earlier, usable: Some(at(0)), ..record() })
        });
        view.drivers.get_mut(LOCAL_DRIVER).unwrap().modifications = Some(rule.clone());
        let (planned, _) = plan(&view, at(1));
        prop_assume!(grows(&planned.actions).is_some());
        apply(&mut view, &planned.actions);
        carry_out(view.claims.get_mut(&id("data-0")).unwrap(), 2);
        let claim = &view.claims[&id("data-0")];
        let taken = &claim.growth.as_ref().unwrap().earlier;
        let lasts_s = if taken.len() + 1 == usize::try_from(rule.count).unwrap() {
            let oldest = taken.first().copied().unwrap_or(at(1));
            rule.window.as_secs() - u64::try_from(at(1).duration_since(oldest).as_secs()).unwrap()
        } else {
            rule.cooldown.map_or(0, Period::as_secs)
        };
        let usage = claim.usage.as_ref().unwrap();
        let filled = u128::from(usage.fill_bytes_per_second) * u128::from(lasts_s);
        let lasts = u128::from(usage.available.0) >= filled;
        prop_assert!(lasts || claim.requested == limit(&view), "{:?} for {} s", usage, lasts_s);
    }

    #[test]
    fn what_has_grown_for_the_days_ahead_lasts_for_the_horizon_or_is_as_large_as_it_may_be(
        mut view in sensible(),
        horizon in 1_u8..=99,
        days_permille in 0_u64..2_000,
        steadiness in 0_u64..=100,
        slots in option::of(modifications()),
    ) {
        let spec = view.policies.get_mut(&namespaced("keep")).unwrap().capacity.as_mut().unwrap();
        (spec.horizon, spec.min_free) = (Some(Days::new(horizon)), Threshold::Absolute(Bytes(1)));
        view.drivers.get_mut(LOCAL_DRIVER).unwrap().modifications = slots;
        let claim = view.claims.get_mut(&id("data-0")).unwrap();
        let usage = claim.usage.as_mut().unwrap();
        (usage.available, usage.fill_bytes_per_second, usage.inodes) = (Bytes(usage.total.0 / 2), 0, None);
        let high = i64::try_from(usage.total.0 / 1000 * days_permille / u64::from(horizon)).unwrap();
        let per_day = PerDay { low: 0, median: high / 100 * i64::try_from(steadiness).unwrap(), high };
        let forecast = Forecast { per_day, peak: Bytes(usage.total.0 / 2) };
        claim.outlook = Some(Box::new(Outlook::Known(forecast)));
        let rise = u128::from(high.unsigned_abs())
            + u128::from(per_day.median.unsigned_abs()) * u128::from(horizon - 1);
        let lasts = |usage: &Usage| {
            u128::from(usage.available.0.min(usage.total.0.saturating_sub(forecast.peak.0))) >= rise
        };
        let lasted = lasts(usage);
        let (planned, report) = plan(&view, at(1));
        let decision = &report.decisions[&id("data-0")];
        prop_assert_eq!(lasted, decision.reason == Reason::EnoughRoom, "{}", decision.message);
        if grows(&planned.actions).is_some() {
            prop_assert_eq!(decision.reason, Reason::FullWithinHorizon);
            apply(&mut view, &planned.actions);
            carry_out(view.claims.get_mut(&id("data-0")).unwrap(), 2);
            let claim = &view.claims[&id("data-0")];
            let usage = claim.usage.as_ref().unwrap();
            prop_assert!(lasts(usage) || claim.requested == limit(&view), "{:?} for {}", usage, rise);
        }
    }

    #[test]
    fn what_is_not_known_now_changes_nothing(mut view in sensible(), age in 30_i64..100_000, missing: bool) {
        let claim = view.claims.get_mut(&id("data-0")).unwrap();
        if missing { claim.usage = None; }
        prop_assert_eq!(plan(&view, at(age)).0.actions, vec![]);
        prop_assert_eq!(plan(&view, at(-61)).0.actions, vec![]);
    }

    /// What an operator need not decide about.
    #[test]
    fn a_measurement_that_crosses_no_watch_leads_to_the_same_decision(
        mut view in sensible(),
        next in sensible_claim(),
        available_permille in 0_u64..1_100,
        free_permille in 0_u64..1_100,
    ) {
        let before = plan(&view, at(1)).1.decisions[&id("data-0")].clone();
        prop_assume!(before.reason == Reason::EnoughRoom);
        let watch = watch(&view, &id("data-0"), &view.claims[&id("data-0")]).unwrap();
        let usage = view.claims.get_mut(&id("data-0")).unwrap().usage.as_mut().unwrap();
        let mut after = next.usage.unwrap();
        after.total = usage.total;
        after.available = Bytes(u64::try_from(u128::from(usage.total.0) * u128::from(available_permille) / 1000).unwrap());
        after.inodes = usage.inodes.map(|it| Capacity { free: Count(it.total.0 * free_permille / 1000), ..it });
        let still_enough = still_enough(&watch, usage, &after);
        *usage = after;
        let after = plan(&view, at(1)).1.decisions[&id("data-0")].clone();
        prop_assert_eq!(still_enough, after == before, "{:?}", after);
    }

    #[test]
    fn a_claim_with_enough_room_is_left_alone(mut view in sensible()) {
        let spec = view.policies[&namespaced("keep")].capacity.clone().unwrap();
        view.claims.get_mut(&id("data-0")).unwrap().outlook = None;
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
