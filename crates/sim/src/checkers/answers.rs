//! A volume that is called for growth gets it in the end, also where it does not fill: long after the last trouble none is
//! still low that could grow.

use std::{collections::BTreeMap, time::Duration};

use super::{Checker, fullness};
use crate::{simulation::Simulation, volume::Expansion};

/// How long that may take. A kubelet that has heard nothing syncs a pod once in a minute and a half.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Default)]
pub(super) struct Answers {
    low_since: BTreeMap<String, Duration>,
}

impl Checker for Answers {
    fn name(&self) -> &'static str {
        "growth is not forgotten"
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        for (name, volume) in world.volumes() {
            let low = fullness::is_low(world, volume)
                && volume.node.is_some()
                // What is left to do is the driver's.
                && !matches!(volume.expansion, Expansion::Running { .. })
                && fullness::could_grow(world, volume)
                && fullness::undisturbed_for(world, fullness::recovery(world));
            if !low {
                self.low_since.remove(name);
                continue;
            }
            let Some(since) = self.low_since.get(name).copied() else {
                self.low_since.insert(name.clone(), world.now());
                continue;
            };
            let low_for = world.now().saturating_sub(since);
            if low_for > PATIENCE {
                self.low_since.insert(name.clone(), world.now());
                return Some(format!("{name} has been low for {low_for:?}, and could grow"));
            }
        }
        None
    }
}
