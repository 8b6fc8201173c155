//! A simulated world in which Orlop's promises are attacked before any user's cluster is. The operator's mind
//! (`orlop_operator`) and the planner run in it as they are; around them are an API server, drivers, kubelets, agents and
//! workloads of plain data, and everything that can go wrong between them. Time is virtual, chance is seeded, and nothing
//! runs beside anything else: the same [`Scenario`] always goes the same way.

pub mod chance;
pub mod checkers;
mod fact;
mod faults;
mod io;
mod plot;
mod process;
mod run;
mod scenario;
mod server;
mod shrink;
mod simulation;
mod story;
mod volume;
mod words;
mod workload;

pub use self::{
    fact::{Entry, Fact, Resource},
    faults::Faults,
    io::{Demand, Pattern},
    plot::Plot,
    run::{Outcome, Witness, run, until_broken, witness},
    scenario::*,
    shrink::{Shrunk, shrink},
    simulation::{Simulation, Tamper},
    story::Story,
    volume::Volume,
    workload::Workload,
};
