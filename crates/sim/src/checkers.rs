//! What must never happen, whatever goes wrong: each promise has its checker, which sees every fact and the truth behind
//! it. A new capability adds its own here.

mod answers;
mod budgets;
mod classes;
mod foreign;
mod fullness;
mod idleness;
mod leaders;
mod once;
mod reasons;
mod saturation;
mod sets;
mod settling;
mod shrinking;
mod slots;
mod windows;

use std::time::Duration;

use crate::{fact::Entry, simulation::Simulation};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When it was noticed.
    pub at: Duration,
    /// The checker's name.
    pub checker: &'static str,
    /// What was wrong.
    pub what: String,
}

/// Watches over one promise.
pub trait Checker {
    /// The promise, as a name.
    fn name(&self) -> &'static str;

    /// Something has happened; the world is as it is just after it. Returns what is wrong with it.
    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        let _ = (entry, world);
        None
    }

    /// Time has passed: asked after every fact, and every few seconds. To be answered fast.
    fn look(&mut self, world: &Simulation) -> Option<String> {
        let _ = world;
        None
    }

    /// The scenario is over.
    fn conclude(&mut self, world: &Simulation) -> Option<String> {
        let _ = world;
        None
    }
}

/// All checkers.
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(shrinking::Shrinking),
        Box::new(fullness::Fullness::default()),
        Box::new(slots::Slots::default()),
        Box::new(budgets::Budgets::default()),
        Box::new(once::Once::default()),
        Box::new(foreign::Foreign),
        Box::new(leaders::Leaders),
        Box::new(reasons::Reasons::default()),
        Box::new(settling::Settling::default()),
        Box::new(answers::Answers::default()),
        Box::new(saturation::Saturation::default()),
        Box::new(idleness::Idleness::default()),
        Box::new(classes::Listed),
        Box::new(classes::Steady::default()),
        Box::new(sets::Lost::default()),
        Box::new(sets::Replicas::default()),
        Box::new(windows::Windows),
    ]
}
