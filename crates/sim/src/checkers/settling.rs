//! The plan settles when the world stops changing: after a while of rest nothing is asked of the API server but the lease.

use std::time::Duration;

use super::{Checker, fullness, windows};
use crate::{
    fact::{Entry, Fact},
    simulation::Simulation,
};

/// So long after the last change everything has been said.
const REST: Duration = Duration::from_mins(15);

#[derive(Default)]
pub(super) struct Settling {
    /// When the world last changed.
    changed: Duration,
    requests: usize,
    window_is_open: bool,
}

impl Checker for Settling {
    fn name(&self) -> &'static str {
        "the plan settles"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        match &entry.fact {
            Fact::Applied { .. } | Fact::Refused { .. } => {
                let writes = world.volumes().values().any(|volume| volume.rate().0 > 0);
                let rested =
                    !writes && entry.at.saturating_sub(self.changed) > REST && fullness::undisturbed_for(world, REST);
                self.requests = if rested { self.requests + 1 } else { 0 };
                // Time alone may change what a status says, such as when a slot becomes free that was waited for. A refusal is
                // asked about again every five minutes, which is as it should be.
                let statuses = world.scenario.policies.len() + world.scenario.budgets.len();
                // Then each claim that had waited for it, or follows one that had, is grown.
                let told = 3 * statuses.max(1) + world.volumes().len();
                let allowed = if matches!(entry.fact, Fact::Refused { .. }) { 30 } else { told };
                (self.requests > allowed)
                    .then(|| format!("{} requests in a world at rest: {}", self.requests, entry.fact))
            }
            Fact::Decided { .. } | Fact::Started { .. } | Fact::Leads { .. } | Fact::Ended { .. } => None,
            _ => {
                self.changed = entry.at;
                None
            }
        }
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        if world.volumes().values().any(|volume| volume.rate().0 > 0) {
            self.changed = world.now();
        }
        // What is waited for is another thing within a maintenance window and outside.
        let is_open = windows::any_is_open(world);
        if std::mem::replace(&mut self.window_is_open, is_open) != is_open {
            self.changed = world.now();
        }
        None
    }
}
