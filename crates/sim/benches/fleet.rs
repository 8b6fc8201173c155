//! How fast the simulator is, on one core: a fleet of a thousand volumes, and the small fleets of the tests. Prints a
//! table: `cargo bench -p orlop-sim`.

use std::time::{Duration, Instant};

use orlop_api::Bytes;
use orlop_sim::{Scenario, Simulation, Workload, chance::Chance, run};

fn main() {
    println!("| world | virtual time | took | virtual hours a second | virtual years a minute |");
    println!("|---|---|---|---|---|");
    row("1,000 volumes on 20 nodes, 2 % a day written, no troubles, no checkers", || fleet(24));
    row("one volume, no troubles, no checkers", || one(24 * 30));
    row("200 small fleets (1 to 4 volumes) under 200 troubles a day, all checkers", small_fleets);
}

/// Times a run that returns how many virtual hours it was.
fn row(world: &str, work: impl FnOnce() -> u32) {
    let begun = Instant::now();
    let hours = work();
    let took = begun.elapsed();
    let a_second = f64::from(hours) / took.as_secs_f64();
    println!("| {world} | {hours} h | {took:.1?} | {a_second:.0} | {:.2} |", a_second * 60.0 / 24.0 / 365.0);
}

fn small_fleets() -> u32 {
    for seed in 0..200 {
        run(Chance { seed, hours: 6, faults_a_day: 200 }.scenario(), None, |_, _| {});
    }
    200 * 6
}

fn one(hours: u32) -> u32 {
    quiet(1, 1, hours)
}

fn fleet(hours: u32) -> u32 {
    quiet(1_000, 20, hours)
}

fn quiet(volumes: usize, nodes: usize, hours: u32) -> u32 {
    let mut scenario = Scenario::parse(
        "
story: a fleet
lasts: 1h
classes: { fast: {} }
policies: { all: { capacity: { maximum: 1Ti } } }
claims: {}
",
    )
    .expect("a scenario");
    scenario.nodes = nodes;
    scenario.lasts = orlop_api::Period::from_secs(u64::from(hours) * 3600);
    let size = Bytes(100 << 30);
    for index in 0..volumes {
        // Two parts in a hundred a day: each volume grows about every second week.
        let rate = Bytes(size.0 / 50 / 86_400);
        let claim = orlop_sim::Claim {
            size,
            class: "fast".to_owned(),
            labels: std::collections::BTreeMap::new(),
            node: index % nodes,
            used: Bytes(size.0 / 100 * (index as u64 % 80)),
            inodes: None,
            workload: Workload::Steady { rate },
        };
        scenario.claims.insert(format!("data-{index}"), claim);
    }
    let mut world = Simulation::new(scenario);
    while world.step() {
        world.take_facts();
    }
    assert_eq!(world.now(), Duration::from_secs(u64::from(hours) * 3600));
    hours
}
