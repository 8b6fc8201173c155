//! A volume that does all that its class gives gets a faster one, where its policy lists one, its driver takes it and its
//! budgets allow it.

use std::{collections::BTreeMap, time::Duration};

use orlop_api::{Mode, PerformanceSpec, Period};
use orlop_planner::Source;

use super::{Checker, budgets, classes, foreign, fullness, slots};
use crate::{
    fact::{Entry, Fact},
    server::{self, Kind},
    simulation::Simulation,
    volume::Volume,
};

/// What may pass after `raiseAfter` until the operator has asked: an agent takes rates over ten seconds, a request takes its
/// time, and what it was asked for a growth before is done first.
const REACTION: Duration = Duration::from_mins(2);

/// A class that was refused is not tried again for a day, and a little while for the operator to see that.
const REFUSED_FOR: Duration = Duration::from_mins(24 * 60 + 10);

#[derive(Default)]
pub(super) struct Saturation {
    /// Since when each volume could have been given a faster class, by the truth.
    since: BTreeMap<String, Duration>,
    /// When a driver last refused a class of a claim.
    refused: BTreeMap<String, Duration>,
}

impl Checker for Saturation {
    fn name(&self) -> &'static str {
        "no saturated volume keeps its class"
    }

    fn see(&mut self, entry: &Entry, _: &Simulation) -> Option<String> {
        if let Fact::ModificationFails { claim, why: "it refuses", .. } = &entry.fact {
            self.refused.insert(claim.clone(), entry.at);
        }
        None
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        if world.scenario.attributes_classes.is_empty() {
            return None;
        }
        for (name, volume) in world.volumes() {
            let refused = self.refused.get(name).is_some_and(|at| world.now().saturating_sub(*at) < REFUSED_FOR);
            let Some(raise_after) = could_be_raised(world, volume).filter(|_| !refused) else {
                self.since.remove(name);
                continue;
            };
            let since = *self.since.entry(name.clone()).or_insert_with(|| world.now());
            let passed = world.now().saturating_sub(since);
            if passed > Duration::from(raise_after) + REACTION {
                self.since.remove(name);
                return Some(format!("{name} has been saturated for {passed:?}, and could have a faster class"));
            }
        }
        None
    }
}

/// After how long a volume is to be given a faster class, where it is saturated and nothing stands in the way.
fn could_be_raised(world: &Simulation, volume: &Volume) -> Option<Period> {
    let policies: Vec<_> = fullness::governing(world, volume).collect();
    let [policy] = &policies[..] else { return None };
    let spec = policy.performance.as_ref().filter(|_| policy.mode == Mode::Auto)?;
    let claim = world.server.get(Kind::Claim, &volume.claim)?;
    let rests = claim["spec"]["volumeAttributesClassName"].as_str() == volume.attributes.current.as_deref()
        && !volume.attributes.is_changing()
        && server::requested(claim) <= server::capacity(claim)
        && !fullness::is_low(world, volume)
        && !foreign::is_paused(claim);
    let measured = fullness::measured_by(world, volume) == Some(Source::Agent) && volume.node.is_some();
    let rule = world.scenario.classes.get(&volume.spec.class)?.driver.modifications.as_ref();
    (rests
        && measured
        && world.scenario.policies.len() == 1
        && !changes_policies(world)
        && fullness::undisturbed_for(world, fullness::recovery(world))
        && is_saturated(world, volume, spec)
        && has_faster(world, volume, spec)
        && slots::has_free_beside_growth(world, volume, rule))
    .then_some(spec.raise_after)
}

fn changes_policies(world: &Simulation) -> bool {
    world.scenario.changes.iter().any(|change| matches!(change.what, crate::scenario::Deed::Policy { .. }))
}

fn is_saturated(world: &Simulation, volume: &Volume, spec: &PerformanceSpec) -> bool {
    let limits = world.scenario.limits(&volume.spec.class, volume.attributes.current.as_deref());
    volume.rates_of(volume.io.mean(world.now())).reaches(&limits.share(spec.raise_above.number()))
}

/// Does the policy list a class that gives more of what the volume has used up, and have its budgets room for any of the
/// faster ones?
fn has_faster(world: &Simulation, volume: &Volume, spec: &PerformanceSpec) -> bool {
    let limits = |class: Option<&str>| world.scenario.limits(&volume.spec.class, class);
    let present = limits(volume.attributes.current.as_deref());
    let rates = volume.rates_of(volume.io.mean(world.now()));
    let used_up: Vec<_> = rates.at_bounds(&present.share(spec.raise_above.number())).collect();
    let position = |class: &String| spec.attributes_classes.iter().position(|it| it == class);
    let faster = match &volume.attributes.current {
        None => &spec.attributes_classes[..],
        Some(current) => position(current).map_or(&[][..], |at| &spec.attributes_classes[at + 1..]),
    };
    let gives_more = |class: &&String| {
        let gives = limits(Some(class));
        used_up.iter().any(|dimension| gives.get(*dimension) > present.get(*dimension))
    };
    faster.iter().any(|class| gives_more(&class))
        && faster.iter().all(|class| budgets::leave_iops(world, volume, class))
        && classes::specs(world, volume).count() == 1
}
