//! VolumeAttributesClasses, pods that want more or less of them, and what goes wrong with both: in one world of four.

use std::collections::BTreeMap;

use fastrand::Rng;
use orlop_api::{AttributeParameter, BudgetLimits, Bytes, Dimension, ParameterUnit, Percent, PerformanceSpec, Period};

use super::choose;
use crate::{
    io::{Demand, Pattern},
    scenario::{AttributesClass, Budget, Claim, Deed, Fault, Scenario, Trouble},
};

/// From the slowest to the fastest, with the operations a second that each gives.
const CLASSES: [(&str, u64); 3] = [("basic", 500), ("medium", 2_000), ("quick", 8_000)];

/// The classes are all of the driver of this StorageClass.
const OF: &str = "slow";

pub(super) fn chance(scenario: &mut Scenario, busy: u64, rng: &mut Rng) {
    if rng.u8(0..4) > 0 {
        return;
    }
    let limits_throughput = rng.bool();
    if let Some(class) = scenario.classes.get_mut(OF) {
        let parameter = |name: &str, limits, unit| AttributeParameter { parameter: name.to_owned(), limits, unit };
        class.driver.attribute_parameters.push(parameter("iops", Dimension::Iops, None));
        let throughput = parameter("throughput", Dimension::Throughput, Some(ParameterUnit::MiB));
        class.driver.attribute_parameters.push(throughput);
    }
    for (name, iops) in CLASSES {
        let mut parameters = [("iops".to_owned(), iops.to_string())].to_vec();
        if limits_throughput {
            parameters.push(("throughput".to_owned(), (iops / 32).to_string()));
        }
        let attributes = AttributesClass { class: OF.to_owned(), parameters: parameters.into_iter().collect() };
        scenario.attributes_classes.insert(name.to_owned(), attributes);
    }
    let spec = PerformanceSpec {
        raise_above: Percent::new(*choose(&[70, 90], rng)),
        raise_after: Period::from_secs(*choose(&[30, 120], rng)),
        lower_below: Percent::new(*choose(&[20, 40], rng)),
        lower_after: Period::from_secs(*choose(&[900, 1800, 3600], rng)),
        ..PerformanceSpec::among(CLASSES.map(|(name, _)| name.to_owned()).to_vec())
    };
    let changed = scenario.changes.iter_mut().filter_map(|change| match &mut change.what {
        Deed::Policy { spec, .. } => Some(spec),
        _ => None,
    });
    scenario.policies.values_mut().chain(changed).for_each(|policy| policy.performance = Some(spec.clone()));
    for claim in scenario.claims.values_mut() {
        OF.clone_into(&mut claim.class);
        claim.attributes_class = Some(choose(&CLASSES, rng).0.to_owned());
        claim.demand = (rng.u8(0..5) > 0).then(|| demand(rng));
    }
    if rng.bool() {
        let given = |claim: &Claim| CLASSES.iter().find(|(name, _)| claim.attributes_class.as_deref() == Some(name));
        let at_first: u64 = scenario.claims.values().filter_map(given).map(|(_, iops)| iops).sum();
        let limits = BudgetLimits { bytes: None, iops: None, monthly_cost: None };
        let none = || Budget { labels: BTreeMap::new(), limits, emergency_reserve: None };
        let budget = scenario.budgets.entry("team".to_owned()).or_insert_with(none);
        budget.limits.iops = Some(at_first + choose(&[0, 1_500, 8_000], rng));
    }
    trouble(scenario, busy, rng);
}

fn demand(rng: &mut Rng) -> Demand {
    let iops = *choose(&[100, 400, 600, 1_500, 3_000, 10_000], rng);
    let pattern = match rng.u8(0..4) {
        0..=1 => Pattern::Steady { iops },
        2 => Pattern::Daily { iops },
        _ => Pattern::Bursts {
            iops,
            lasting: Period::from_secs(*choose(&[15, 120, 1800], rng)),
            every: Period::from_secs(*choose(&[600, 3600, 7200], rng)),
        },
    };
    Demand { pattern, bytes_each: *choose(&[Bytes(4 << 10), Bytes(16 << 10), Bytes(64 << 10)], rng) }
}

fn trouble(scenario: &mut Scenario, busy: u64, rng: &mut Rng) {
    for _ in 0..rng.usize(0..3) {
        let at = rng.u64(60..busy);
        let what = match rng.u8(0..3) {
            0 => Trouble::ModificationRefused { class: None },
            1 => Trouble::ModificationRefused { class: Some(choose(&CLASSES, rng).0.to_owned()) },
            _ => Trouble::ModificationFails {},
        };
        let lasting = rng.u64(60..=(busy - at).max(60));
        scenario.faults.push(Fault { at: Period::from_secs(at), lasting: Period::from_secs(lasting), what });
    }
}
