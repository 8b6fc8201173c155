//! At no moment do two operators think that they may act.

use super::Checker;
use crate::simulation::Simulation;

pub(super) struct Leaders;

impl Checker for Leaders {
    fn name(&self) -> &'static str {
        "one operator leads"
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        if world.processes.len() < 2 {
            return None;
        }
        let leads = (0..world.processes.len()).filter(|operator| world.leads(*operator)).count();
        (leads > 1).then(|| format!("{leads} operators lead at once"))
    }
}
