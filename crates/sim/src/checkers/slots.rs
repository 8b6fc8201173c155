//! No more modifications of a volume are asked for than its driver allows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{
    Modifications,
    names::{CLASS_ANNOTATION, GROWTH_ANNOTATION, PerformanceReason},
};
use orlop_planner::{Action, ClassChange, GrowthRecord};

use super::Checker;
use crate::{
    fact::{Entry, Fact},
    scenario::{Deed, Trouble},
    server::Kind,
    simulation::Simulation,
    volume::Volume,
};

/// A request may be under way for so long after it was decided.
const UNDER_WAY: Duration = Duration::from_secs(45);

#[derive(Default)]
pub(super) struct Slots {
    /// When a modification of each claim was asked for: a growth, or another class.
    asked: BTreeMap<String, Vec<Duration>>,
}

impl Checker for Slots {
    fn name(&self) -> &'static str {
        "no more modifications than slots"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        match &entry.fact {
            // Another claim of the name has another volume.
            Fact::Changed(change) => {
                if let Deed::Recreate { claim } = &change.what {
                    self.asked.remove(claim);
                }
                None
            }
            Fact::Applied { action: Some(action), .. } if takes_slot(action) => {
                let claim = action.claim();
                let volume = world.volumes().get(&*claim.name)?;
                let rule = world.scenario.classes.get(&volume.spec.class)?.driver.modifications.as_ref()?;
                let asked = self.asked.entry(claim.name.to_string()).or_default();
                asked.push(entry.at);
                if clocks_were_wrong(world) {
                    return None;
                }
                let window = Duration::from(rule.window).saturating_sub(UNDER_WAY);
                let taken = asked.iter().filter(|at| entry.at.saturating_sub(**at) < window).count();
                let allowed = usize::try_from(rule.count).unwrap_or(usize::MAX);
                if taken > allowed {
                    return Some(format!("{} is asked for its {taken}th modification in {}", claim.name, rule.window));
                }
                let [.., before, _] = asked[..] else { return None };
                let cooldown = Duration::from(rule.cooldown?).saturating_sub(UNDER_WAY);
                let apart = entry.at.saturating_sub(before);
                (apart < cooldown)
                    .then(|| format!("{} is asked for a modification {apart:?} after the last", claim.name))
            }
            _ => None,
        }
    }
}

/// Has the volume a slot, by the operator's count too? That begins when it asks, and by its own clock, so that nothing can
/// be said of slots where that was wrong.
pub(super) fn has_free(world: &Simulation, volume: &Volume, rule: Option<&Modifications>) -> bool {
    has_free_keeping(0, world, volume, rule)
}

/// Has the volume a slot beside the one that is kept for its growth?
pub(super) fn has_free_beside_growth(world: &Simulation, volume: &Volume, rule: Option<&Modifications>) -> bool {
    has_free_keeping(1, world, volume, rule)
}

fn has_free_keeping(kept: usize, world: &Simulation, volume: &Volume, rule: Option<&Modifications>) -> bool {
    let Some(rule) = rule else { return true };
    let by_driver = volume.next_slot(rule).is_none_or(|at| at + UNDER_WAY < world.now());
    let by_record = asked_lately(world, volume, rule) + kept < usize::try_from(rule.count).unwrap_or(usize::MAX);
    by_driver && by_record && !clocks_were_wrong(world)
}

/// How many modifications within the window the claim's records have, also such as the driver never began.
fn asked_lately(world: &Simulation, volume: &Volume, rule: &Modifications) -> usize {
    let claim = world.server.get(Kind::Claim, &volume.claim);
    let record = |key: &str| claim.and_then(|claim| claim["metadata"]["annotations"][key].as_str());
    let growth = record(GROWTH_ANNOTATION).and_then(|text| serde_json::from_str::<GrowthRecord>(text).ok());
    let change = record(CLASS_ANNOTATION).and_then(|text| serde_json::from_str::<ClassChange>(text).ok());
    let growths = growth.into_iter().flat_map(|it| it.earlier.into_iter().chain([it.decided]));
    let changes = change.into_iter().flat_map(|it| it.earlier.into_iter().chain([it.decided]));
    let window = SignedDuration::from(rule.window) + SignedDuration::try_from(UNDER_WAY).unwrap_or_default();
    let lately = |at: &Timestamp| world.time().duration_since(*at).abs() < window;
    growths.chain(changes).filter(lately).collect::<BTreeSet<_>>().len()
}

/// Does it ask the driver for something that it counts? To take back what the driver has refused it does not.
fn takes_slot(action: &Action) -> bool {
    match action {
        Action::Grow { .. } => true,
        Action::SetClass { record, .. } => record.reason != PerformanceReason::ClassTakenBack,
        _ => false,
    }
}

/// Is an operator's clock wrong by hours at some time? What it has written down as the time is wrong then.
pub(super) fn clocks_were_wrong(world: &Simulation) -> bool {
    world.scenario.faults.iter().any(|fault| matches!(fault.what, Trouble::OperatorClock { .. }))
}
