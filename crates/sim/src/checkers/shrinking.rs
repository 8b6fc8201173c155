//! No volume is ever asked to be smaller than it is, and none becomes so. A request is lowered only where the driver has
//! refused it.

use orlop_api::Bytes;
use orlop_planner::Action;

use super::Checker;
use crate::{
    fact::{Entry, Fact},
    server,
    simulation::Simulation,
    volume::{Expansion, Volume},
};

pub(super) struct Shrinking;

impl Checker for Shrinking {
    fn name(&self) -> &'static str {
        "no volume shrinks"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        match &entry.fact {
            Fact::Applied { action, before, after, .. } if server::requested(after) < server::requested(before) => {
                let (to, from) = (server::requested(after), server::requested(before));
                let refused = matches!(action, Some(Action::TakeBack { claim, .. }) if world
                    .volumes()
                    .get(&*claim.name)
                    .is_some_and(|volume| to > volume.size.0 && has_refused(volume, Bytes(from))));
                (!refused).then(|| format!("asked for {to} after {from}"))
            }
            // That the API server would not have it is no excuse.
            Fact::Refused { before, asks: Some(asks), .. } if asks.0 < server::capacity(before) => {
                Some(format!("asked for {asks}, and there are {}", server::capacity(before)))
            }
            Fact::Expanded { claim, from, to } if to < from => Some(format!("{claim} went from {from} to {to}")),
            _ => None,
        }
    }
}

fn has_refused(volume: &Volume, size: Bytes) -> bool {
    matches!(volume.expansion, Expansion::Refused { to, .. } if to == size)
}
