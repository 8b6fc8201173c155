//! No volume is ever asked to be smaller, and none becomes so.

use super::Checker;
use crate::{
    fact::{Entry, Fact},
    server,
    simulation::Simulation,
};

pub(super) struct Shrinking;

impl Checker for Shrinking {
    fn name(&self) -> &'static str {
        "no volume shrinks"
    }

    fn see(&mut self, entry: &Entry, _: &Simulation) -> Option<String> {
        match &entry.fact {
            Fact::Applied { before, after, .. } if server::requested(after) < server::requested(before) => {
                Some(format!("asked for {} after {}", server::requested(after), server::requested(before)))
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
