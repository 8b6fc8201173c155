//! A claim's VolumeAttributesClass is changed as its policy says: only to one of those that the policy lists, or back to what
//! the volume has where its driver refused; not while another change is under way; and not to and fro while the load is steady.

use std::{collections::BTreeMap, time::Duration};

use orlop_api::{PerformanceSpec, names::PerformanceReason};
use orlop_planner::{Action, ClassChange};
use serde_json::Value;

use super::{Checker, fullness};
use crate::{
    fact::{Entry, Fact},
    scenario::{Deed, Policy},
    simulation::Simulation,
    volume::{Change, Volume},
};

/// A change that is asked for so long after the load has changed may have been decided by what was done before: until a
/// measurement is stale, and a request that is late arrives.
const LAG: Duration = Duration::from_mins(3);

/// The classes that a claim is given are ones that its policy lists.
pub(super) struct Listed;

impl Checker for Listed {
    fn name(&self) -> &'static str {
        "no class but those that the policy lists"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        let (volume, record, before) = class_change(entry, world)?;
        let Fact::Applied { after, .. } = &entry.fact else { return None };
        let current = volume.attributes.current.as_deref();
        // What was asked for, and not what was decided.
        let asked = after["spec"]["volumeAttributesClassName"].as_str();
        let (to, claim) = (asked.unwrap_or("none"), &volume.claim);
        if record.reason == PerformanceReason::ClassTakenBack {
            let refused = matches!(&volume.attributes.change, Change::Refused { class, .. } if Some(class) == record.from.as_ref());
            return (asked != current || !refused).then(|| {
                format!("class {to} of {claim} is asked for in place of one that the driver has not refused")
            });
        }
        if before["status"]["modifyVolumeStatus"]["status"] == "InProgress" {
            return Some(format!("{claim} is asked for class {to} while it is being given another"));
        }
        let is_listed = specs(world, volume).any(|spec| {
            let position = |class: &str| spec.attributes_classes.iter().position(|it| it == class);
            let from = record.from.as_deref().map(position);
            match (from, position(to)) {
                (_, None) | (Some(None), _) => false,
                (None, Some(_)) => record.reason == PerformanceReason::Saturated,
                (Some(Some(from)), Some(to)) => (from < to) == (record.reason == PerformanceReason::Saturated),
            }
        });
        (!is_listed).then(|| {
            let from = record.from.as_deref().unwrap_or("none");
            format!("{claim} is asked for class {to} in place of {from} ({}), and no policy says so", record.reason)
        })
    }
}

/// The class of a claim settles while the load is steady.
#[derive(Default)]
pub(super) struct Steady {
    /// When each claim was last asked for another class, and was that a faster one?
    moves: BTreeMap<String, (Duration, bool)>,
}

impl Checker for Steady {
    fn name(&self) -> &'static str {
        "a class settles"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        let (volume, record, _) = class_change(entry, world)?;
        if record.reason == PerformanceReason::ClassTakenBack {
            self.moves.remove(&volume.claim);
            return None;
        }
        let is_raised = record.reason == PerformanceReason::Saturated;
        let (at, was_raised) = self.moves.insert(volume.claim.clone(), (entry.at, is_raised))?;
        let steady_from = volume.io.wanted_since + LAG;
        let disturbed = world.faults().changed.is_some_and(|changed| changed + fullness::recovery(world) > at);
        let deeds = world.scenario.has_deeds();
        (was_raised != is_raised && at > steady_from && !disturbed && !world.faults().any() && !deeds).then(|| {
            let to = record.to.as_deref().unwrap_or("none");
            format!(
                "{} is asked for class {to}, and {:?} before for one on the other side",
                volume.claim,
                entry.at.saturating_sub(at)
            )
        })
    }
}

/// The change of a claim's class that was just asked for, with the claim as it was before.
pub(super) fn class_change<'a>(
    entry: &'a Entry,
    world: &'a Simulation,
) -> Option<(&'a Volume, &'a ClassChange, &'a Value)> {
    let Fact::Applied { action: Some(Action::SetClass { claim, record, .. }), before, .. } = &entry.fact else {
        return None;
    };
    Some((world.volumes().get(&*claim.name)?, record, before))
}

/// The performance sections of the policies that select a volume, also of those that a user puts in their place.
pub(super) fn specs<'a>(world: &'a Simulation, volume: &'a Volume) -> impl Iterator<Item = &'a PerformanceSpec> {
    let changed = world.scenario.changes.iter().filter_map(|change| match &change.what {
        Deed::Policy { spec, .. } => Some(spec),
        _ => None,
    });
    let selects =
        |policy: &&Policy| policy.labels.iter().all(|(key, value)| volume.spec.labels.get(key) == Some(value));
    let policies = world.scenario.policies.values().chain(changed).filter(selects);
    policies.filter_map(|policy| policy.performance.as_ref())
}
