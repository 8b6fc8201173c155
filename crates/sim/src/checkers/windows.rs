//! The pods of a StatefulSet are stopped for a volume in a maintenance window of its policy alone, and are back when that is
//! over.

use std::time::Duration;

use jiff::Timestamp;
use orlop_api::{CapacitySpec, Mode, names::SCALED_ANNOTATION};
use orlop_planner::{
    Action,
    maintenance::{ScaledFrom, Windows as Known},
};
use serde_json::Value;

use super::{Checker, fullness, once, slots};
use crate::{
    fact::{Entry, Fact},
    scenario::{Deed, Policy},
    server::Kind,
    simulation::Simulation,
};

/// So long after the time that is written on it a StatefulSet has been scaled back.
const PATIENCE: Duration = Duration::from_mins(3);

pub(super) struct Windows;

impl Checker for Windows {
    fn name(&self) -> &'static str {
        "pods are stopped in windows only"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        let Fact::Applied { action: Some(Action::ScaleToZero { workload, claim, .. }), .. } = &entry.fact else {
            return None;
        };
        if !is_allowed_by_any_policy(world) {
            return Some(format!("{workload} is scaled to zero for {claim}, and no policy in mode Auto has a window"));
        }
        (!any_is_open(world) && !slots::clocks_were_wrong(world))
            .then(|| format!("{workload} is scaled to zero for {claim} outside all windows"))
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        world.scenario.sets.keys().find_map(|set| {
            let object = world.server.get(Kind::Set, set)?;
            let scaled = scaled_from(object)?;
            let overdue = world.time().duration_since(scaled.until);
            let overdue = Duration::try_from(overdue).ok().filter(|overdue| *overdue > PATIENCE)?;
            // By whose clock that time was written is not known.
            let is_at_zero = object["spec"]["replicas"] == 0 && !slots::clocks_were_wrong(world);
            (is_at_zero && fullness::undisturbed_for(world, fullness::recovery(world)))
                .then(|| format!("StatefulSet {set} is still at zero, {overdue:?} after it was to be scaled back"))
        })
    }

    fn conclude(&mut self, world: &Simulation) -> Option<String> {
        // Where clocks were wrong what counts is that it is back in the end.
        if !fullness::undisturbed_for(world, Duration::from_hours(2)) {
            return None;
        }
        world.scenario.sets.keys().find_map(|set| {
            let object = world.server.get(Kind::Set, set)?;
            let since = world.time().duration_since(scaled_from(object)?.at).abs();
            (object["spec"]["replicas"] == 0 && since > jiff::SignedDuration::from_hours(2))
                .then(|| format!("StatefulSet {set} was scaled to zero {since:#} ago, and still is"))
        })
    }
}

fn scaled_from(set: &Value) -> Option<ScaledFrom> {
    serde_json::from_str(set["metadata"]["annotations"][SCALED_ANNOTATION].as_str()?).ok()
}

/// Is a window of any policy open?
pub(super) fn any_is_open(world: &Simulation) -> bool {
    once::specs(world).any(|spec| is_open(spec, world.time()))
}

fn is_open(spec: &CapacitySpec, at: Timestamp) -> bool {
    let windows = spec.maintenance.as_ref().and_then(|maintenance| Known::parse(maintenance).ok());
    windows.is_some_and(|windows| windows.open_at(at).next().is_some())
}

fn is_allowed_by_any_policy(world: &Simulation) -> bool {
    let changed = world.scenario.changes.iter().filter_map(|change| match &change.what {
        Deed::Policy { spec, .. } => Some(spec),
        _ => None,
    });
    let allows = |policy: &Policy| policy.mode == Mode::Auto && policy.capacity.maintenance.is_some();
    world.scenario.policies.values().chain(changed).any(allows)
}
