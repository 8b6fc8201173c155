//! Running a scenario to its end, with every checker watching.

use std::{collections::BTreeMap, time::Duration};

use orlop_planner::Action;

use crate::{
    checkers::{self, Checker, Violation},
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

/// Sees a run as it goes on.
pub trait Witness {
    /// Something has happened; the world is as it is just after it.
    fn see(&mut self, entry: &Entry, world: &Simulation);

    /// An event has been dealt with, whatever came of it. Asked often, and so to be answered fast.
    fn look(&mut self, world: &Simulation) {
        let _ = world;
    }
}

impl<F: FnMut(&Entry, &Simulation)> Witness for F {
    fn see(&mut self, entry: &Entry, world: &Simulation) {
        self(entry, world);
    }
}

/// Runs a scenario with all checkers. Whoever wants to know is told of each fact as it happens, with the world as it is
/// then.
pub fn run(scenario: Scenario, tamper: Option<Box<dyn Tamper>>, mut tell: impl FnMut(&Entry, &Simulation)) -> Outcome {
    witness(scenario, tamper, &mut [&mut tell])
}

/// Runs a scenario with all checkers before the eyes of witnesses.
pub fn witness(scenario: Scenario, tamper: Option<Box<dyn Tamper>>, witnesses: &mut [&mut dyn Witness]) -> Outcome {
    let mut run = Run::new(scenario, tamper, checkers::all());
    while run.step(witnesses) {}
    run.conclude()
}

/// Runs a scenario until it breaks the promise of one checker; none where it keeps it.
pub fn until_broken(scenario: Scenario, tamper: Option<Box<dyn Tamper>>, checker: &str) -> Option<Violation> {
    let mut run = Run::new(scenario, tamper, checkers::all().into_iter().filter(|it| it.name() == checker).collect());
    while run.outcome.violations.is_empty() && run.step(&mut []) {}
    run.conclude().violations.into_iter().next()
}

/// A world with the checkers that watch it.
struct Run {
    world: Simulation,
    checkers: Vec<Box<dyn Checker>>,
    outcome: Outcome,
    /// When the checkers last looked.
    looked: Duration,
}

impl Run {
    fn new(scenario: Scenario, tamper: Option<Box<dyn Tamper>>, checkers: Vec<Box<dyn Checker>>) -> Self {
        let mut world = Simulation::new(scenario);
        if let Some(tamper) = tamper {
            world.tamper(tamper);
        }
        Self { world, checkers, outcome: Outcome::default(), looked: Duration::ZERO }
    }

    /// Goes on by one event; false where the scenario is over.
    fn step(&mut self, witnesses: &mut [&mut dyn Witness]) -> bool {
        let Self { world, checkers, outcome, looked } = self;
        let goes_on = world.step();
        let facts = world.take_facts();
        let looks = !facts.is_empty() || world.now().saturating_sub(*looked) > LOOK_EVERY;
        for entry in facts {
            match &entry.fact {
                Fact::Applied { action: Some(Action::Grow { .. }), .. } => outcome.growths += 1,
                Fact::Full { .. } => outcome.full += 1,
                _ => {}
            }
            for checker in &mut *checkers {
                let wrong = checker.see(&entry, world);
                outcome.note(world.now(), checker.name(), wrong);
            }
            for witness in &mut *witnesses {
                witness.see(&entry, world);
            }
        }
        if looks {
            *looked = world.now();
            for checker in &mut *checkers {
                let wrong = checker.look(world);
                outcome.note(world.now(), checker.name(), wrong);
            }
        }
        for witness in witnesses {
            witness.look(world);
        }
        goes_on
    }

    fn conclude(self) -> Outcome {
        let Self { world, mut checkers, mut outcome, .. } = self;
        for checker in &mut checkers {
            let wrong = checker.conclude(&world);
            outcome.note(world.now(), checker.name(), wrong);
        }
        outcome.lasted = world.now();
        outcome.events = world.events();
        outcome.faults.clone_from(&world.faults().dealt);
        outcome
    }
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
