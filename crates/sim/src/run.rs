//! Running a scenario to its end, with every checker watching.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    checkers::{self, Violation},
    fact::{Entry, Fact},
    scenario::Scenario,
    simulation::{Simulation, Tamper},
};

/// How often the checkers look at a world in which nothing happens that is worth telling.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The promises that were broken, the first of each checker.
    pub violations: Vec<Violation>,
    /// How long it lasted, in virtual time.
    pub lasted: Duration,
    /// How many events happened.
    pub events: u64,
    /// How many growths were asked for.
    pub growths: u64,
    /// How often a volume was full.
    pub full: u64,
    /// How often each thing went wrong.
    pub faults: BTreeMap<&'static str, u64>,
}

/// Runs a scenario. Whoever wants to know is told of each fact as it happens, with the world as it is then.
pub fn run(scenario: Scenario, tamper: Option<Box<dyn Tamper>>, mut tell: impl FnMut(&Entry, &Simulation)) -> Outcome {
    let mut world = Simulation::new(scenario);
    if let Some(tamper) = tamper {
        world.tamper(tamper);
    }
    let mut checkers = checkers::all();
    let mut outcome = Outcome::default();
    let mut goes_on = true;
    let mut looked = Duration::ZERO;
    while goes_on {
        goes_on = world.step();
        let facts = world.take_facts();
        let looks = !facts.is_empty() || world.now().saturating_sub(looked) > LOOK_EVERY;
        for entry in facts {
            match &entry.fact {
                Fact::Applied { action: Some(orlop_planner::Action::Grow { .. }), .. } => outcome.growths += 1,
                Fact::Full { .. } => outcome.full += 1,
                _ => {}
            }
            for checker in &mut checkers {
                let wrong = checker.see(&entry, &world);
                outcome.note(world.now(), checker.name(), wrong);
            }
            tell(&entry, &world);
        }
        if looks {
            looked = world.now();
            for checker in &mut checkers {
                let wrong = checker.look(&world);
                outcome.note(world.now(), checker.name(), wrong);
            }
        }
    }
    for checker in &mut checkers {
        let wrong = checker.conclude(&world);
        outcome.note(world.now(), checker.name(), wrong);
    }
    outcome.lasted = world.now();
    outcome.events = world.events();
    outcome.faults.clone_from(&world.faults().dealt);
    outcome
}

impl Outcome {
    fn note(&mut self, at: Duration, checker: &'static str, what: Option<String>) {
        if let Some(what) = what
            && self.violations.iter().all(|known| known.checker != checker)
        {
            self.violations.push(Violation { at, checker, what });
        }
    }
}
