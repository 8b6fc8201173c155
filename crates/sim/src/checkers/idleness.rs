//! No class is lowered before its volume has done little for as long as its policy says, as far as an agent could see.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use orlop_api::names::PerformanceReason;

use super::{Checker, classes};
use crate::{
    fact::{Entry, Fact},
    scenario::{Deed, Trouble},
    simulation::Simulation,
    volume::Volume,
};

/// A node's clock is corrected with a little delay, and what a measurement says may be dated so much too early.
const TOLERANCE: Duration = Duration::from_mins(3);

/// A request may be under way for so long after it was decided.
const UNDER_WAY: Duration = Duration::from_secs(45);

/// What is done while an agent is away for less than this, or while its reports are lost, nobody sees, and nobody misses.
const UNSEEN: Duration = Duration::from_mins(4);

#[derive(Default)]
pub(super) struct Idleness {
    /// From when until when each volume did so much that it was not idle by the class with this name, the latest last.
    lively: BTreeMap<(String, String), VecDeque<(Duration, Duration)>>,
}

impl Checker for Idleness {
    fn name(&self) -> &'static str {
        "no class is lowered before its time"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        if let Fact::Changed(change) = &entry.fact
            && let Deed::Recreate { claim } = &change.what
        {
            self.lively.retain(|(of, _), _| of != claim);
        }
        let (volume, record, _) = classes::class_change(entry, world)?;
        let to = record.to.clone().filter(|_| record.reason == PerformanceReason::Idle)?;
        let decided_by = entry.at.saturating_sub(UNDER_WAY);
        let lively = self.lively.get(&(volume.claim.clone(), to.clone()))?;
        let lively = lively.iter().rev().find(|(from, _)| *from <= decided_by).map(|(_, to)| (*to).min(decided_by))?;
        // Of several policies, or of one that was changed, the least patient counts.
        let lower_after = classes::specs(world, volume).map(|spec| Duration::from(spec.lower_after)).min()?;
        let idle_for = entry.at.saturating_sub(lively);
        (idle_for + TOLERANCE < lower_after && was_seen(world, lively))
            .then(|| format!("{} is given class {to} after {idle_for:?} of idleness", volume.claim))
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        for (name, volume) in world.volumes() {
            let lively: Vec<_> = classes_too_slow_for(world, volume).collect();
            for class in lively {
                let spans = self.lively.entry((name.clone(), class.clone())).or_default();
                match spans.back_mut().filter(|(_, to)| world.now().saturating_sub(*to) < UNDER_WAY) {
                    Some((_, to)) => *to = world.now(),
                    None => spans.push_back((world.now(), world.now())),
                }
                if spans.len() > 3 {
                    spans.pop_front();
                }
            }
        }
        None
    }
}

/// The classes for which a volume does too much to be given one of them.
fn classes_too_slow_for<'a>(world: &'a Simulation, volume: &'a Volume) -> impl Iterator<Item = &'a String> {
    let rates = volume.rates_of(volume.io.mean(world.now()));
    let share = classes::specs(world, volume).map(|spec| spec.lower_below.number()).max();
    let classes = world.scenario.attributes_classes.keys().filter(|_| volume.node.is_some());
    classes.filter(move |class| {
        let limits = world.scenario.limits(&volume.spec.class, Some(class));
        share.is_some_and(|share| rates.reaches(&limits.share(share)))
    })
}

/// Could an agent see and say what was done then?
fn was_seen(world: &Simulation, at: Duration) -> bool {
    let hides = |trouble: &Trouble| {
        matches!(
            trouble,
            Trouble::AgentDown { .. }
                | Trouble::AgentsDown {}
                | Trouble::Measurements { .. }
                | Trouble::NodeClock { .. }
                | Trouble::OperatorClock { .. }
        )
    };
    !world.scenario.faults.iter().any(|fault| {
        let (begins, ends) = (Duration::from(fault.at), Duration::from(fault.at) + Duration::from(fault.lasting));
        hides(&fault.what) && begins <= at + UNSEEN && at <= ends + UNSEEN
    })
}
