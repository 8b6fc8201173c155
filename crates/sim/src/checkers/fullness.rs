//! No volume fills while it could have grown: where its policy, its driver and its budgets allow it, and for long enough
//! before nothing stood in the operator's way.

use std::{collections::BTreeMap, time::Duration};

use orlop_api::{Bytes, Expansion as Expands, Mode};
use orlop_planner::Source;

use super::{Checker, budgets, once, slots};
use crate::{
    fact::{Entry, Fact},
    scenario::Trouble,
    simulation::Simulation,
    volume::{Expansion, Volume, filesystem},
};

/// What may pass between less than `minFree` and the driver's beginning: the agent, the operator and the resizer are done
/// in seconds; but a growth before it has first to be over, whose kubelet may have missed a touch and is touched again
/// after 15.
const REACTION: Duration = Duration::from_secs(45);

/// A kubelet measures once a minute, and says so when it is asked.
const KUBELET_MEASURES: Duration = Duration::from_secs(61);

/// So long after the last trouble everything has come right: an operator lists within 10 s and leads within 150, clocks
/// are corrected within two minutes, watches that are late or listed from an old cache are right within 70 s, and the
/// longest pause of a resizer or of the operator is five minutes.
const RECOVERY: Duration = Duration::from_mins(8);

/// The same where kubelets are asked: one that has not answered is asked again after ten minutes.
const RECOVERY_WITH_KUBELETS: Duration = Duration::from_mins(13);

#[derive(Default)]
pub(super) struct Fullness {
    /// Since when each volume has been called for growth, by the truth.
    called: BTreeMap<String, Duration>,
}

impl Checker for Fullness {
    fn name(&self) -> &'static str {
        "no volume fills that could grow"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        let claim = match &entry.fact {
            Fact::Full { claim, .. } => claim,
            // What its driver took of the time does not count.
            Fact::Usable { claim, .. } => {
                self.called.remove(claim);
                return None;
            }
            _ => return None,
        };
        let volume = world.volumes().get(claim)?;
        let since = *self.called.get(claim)?;
        // What was low already when the last trouble was over is another promise: see `answers`.
        let all_was_well = since.saturating_sub(world.faults().changed.unwrap_or_default()) > recovery(world);
        if !could_grow(world, volume) || is_disturbed(world) || !all_was_well {
            return None;
        }
        // It may be that no driver is fast enough for the writer. That it is asked in time is what counts.
        let under_way =
            matches!(volume.expansion, Expansion::Running { .. }) || volume.filesystem < filesystem(volume.size);
        let asked = if under_way { volume.modified.last().copied()? } else { entry.at };
        let passed = asked.saturating_sub(since);
        (passed > reaction(world, volume))
            .then(|| format!("{claim} is full, and {passed:?} passed before its driver was asked"))
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        for (name, volume) in world.volumes() {
            if is_low(world, volume) {
                if !self.called.contains_key(name) {
                    self.called.insert(name.clone(), world.now());
                }
            } else if !self.called.is_empty() {
                self.called.remove(name);
            }
        }
        None
    }
}

/// How long it may take to ask for growth of this volume: longer where a kubelet measures it.
fn reaction(world: &Simulation, volume: &Volume) -> Duration {
    match (measured_by(world, volume), world.scenario.kubelet_interval) {
        (Some(Source::Kubelet), Some(interval)) => REACTION + KUBELET_MEASURES + Duration::from(interval),
        _ => REACTION,
    }
}

/// How long after the last trouble everything has come right.
pub(super) fn recovery(world: &Simulation) -> Duration {
    if world.scenario.kubelet_interval.is_some() { RECOVERY_WITH_KUBELETS } else { RECOVERY }
}

/// Who measures a volume, where somebody does. Nobody need measure one that no pod uses.
pub(super) fn measured_by(world: &Simulation, volume: &Volume) -> Option<Source> {
    volume.node.map_or(Some(Source::Agent), |node| world.measured_by(node))
}

/// Are fewer bytes or inodes free than any policy in mode Auto that selects the claim wants?
pub(super) fn is_low(world: &Simulation, volume: &Volume) -> bool {
    let (available, inodes) = (volume.available(world.now()), volume.inodes(world.now()));
    let mut policies = governing(world, volume);
    policies.any(|policy| {
        available.0 < policy.capacity.min_free.of(volume.filesystem.0)
            || inodes.is_some_and(|it| it.free.0 < policy.capacity.min_free_inodes.of(it.total.0))
    })
}

pub(super) fn governing<'a>(
    world: &'a Simulation,
    volume: &'a Volume,
) -> impl Iterator<Item = &'a crate::scenario::Policy> {
    let selects = |policy: &&crate::scenario::Policy| {
        policy.mode == Mode::Auto && policy.labels.iter().all(|(key, value)| volume.spec.labels.get(key) == Some(value))
    };
    world.scenario.policies.values().filter(selects)
}

/// Would the claim's policy, driver and budgets allow a larger size, and does anybody see how full it is?
pub(super) fn could_grow(world: &Simulation, volume: &Volume) -> bool {
    let Some(class) = world.scenario.classes.get(&volume.spec.class) else { return false };
    let increment = class.driver.size_increment;
    let most = class.driver.maximum_size.unwrap_or(Bytes(u64::MAX)).min(once::maximum(world)).round_down(increment);
    // Two policies that select it, or one that a user changes, make it another story.
    governing(world, volume).count() == 1
        && world.scenario.policies.len() == 1
        && !world.scenario.has_deeds()
        && class.expandable
        && class.driver.expansion == Expands::Online
        && most > volume.size()
        && measured_by(world, volume).is_some()
        // What the driver does about its class may have had it wait.
        && !volume.attributes.is_changing()
        && slots::has_free(world, volume, class.driver.modifications.as_ref())
        && budgets::leave_room(world, volume)
}

/// Is any trouble on that keeps the operator from what it promises? That agents are gone does not, where kubelets are asked.
fn is_disturbed(world: &Simulation) -> bool {
    let kubelets_serve = world.scenario.kubelet_interval.is_some();
    world.faults().is_on(|trouble| match trouble {
        Trouble::AgentDown { .. } | Trouble::AgentsDown {} => !kubelets_serve,
        _ => true,
    })
}

/// Has no trouble been on for so long?
pub(super) fn undisturbed_for(world: &Simulation, long: Duration) -> bool {
    !is_disturbed(world) && world.now().saturating_sub(world.faults().changed.unwrap_or_default()) > long
}
