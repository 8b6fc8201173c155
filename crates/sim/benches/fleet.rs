//! How fast the simulator is, on one core: a fleet of a thousand volumes, and the small fleets of the tests. Prints a
//! table: `cargo bench -p orlop-sim`.

use std::time::{Duration, Instant};

use orlop_api::Bytes;
use orlop_sim::{Scenario, Simulation, Workload, chance::Chance, run};

fn main() {
    println!(
        "| world | virtual time | took | virtual hours a second | hours of a volume a second | virtual years a minute |"
    );
    println!("|---|---|---|---|---|---|");
    row("1,000 volumes on 20 nodes, 2 % a day written, no troubles, no checkers", || fleet(24));
    row("one volume, no troubles, no checkers", || one(24 * 30));
    row("200 small fleets (1 to 4 volumes) under 200 troubles a day, all checkers", small_fleets);
}

/// How long a run was, in virtual hours and in those of each of its volumes.
struct Hours {
    of_worlds: u32,
    of_volumes: u32,
}

/// Times a run.
fn row(world: &str, work: impl FnOnce() -> Hours) {
    let begun = Instant::now();
    let Hours { of_worlds, of_volumes } = work();
    let took = begun.elapsed();
    let a_second = |hours: u32| f64::from(hours) / took.as_secs_f64();
    let years_a_minute = a_second(of_worlds) * 60.0 / 24.0 / 365.0;
    println!(
        "| {world} | {of_worlds} h | {took:.1?} | {:.0} | {:.0} | {years_a_minute:.2} |",
        a_second(of_worlds),
        a_second(of_volumes)
    );
}

fn small_fleets() -> Hours {
    let mut hours = Hours { of_worlds: 0, of_volumes: 0 };
    for seed in 0..200 {
        let scenario = Chance { seed, hours: 6, faults_a_day: 200 }.scenario();
        hours.of_worlds += 6;
        hours.of_volumes += 6 * u32::try_from(scenario.claims.len()).expect("few claims");
        run(scenario, None, |_, _| {});
    }
    hours
}

fn one(hours: u32) -> Hours {
    quiet(1, 1, hours)
}

fn fleet(hours: u32) -> Hours {
    quiet(1_000, 20, hours)
}

fn quiet(volumes: u32, nodes: usize, hours: u32) -> Hours {
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
    for index in 0..volumes as usize {
        // Two parts in a hundred a day: each volume grows about every second week.
        let rate = Bytes(size.0 / 50 / 86_400);
        let claim = orlop_sim::Claim {
            size,
            class: "fast".to_owned(),
            attributes_class: None,
            labels: std::collections::BTreeMap::new(),
            node: index % nodes,
            used: Bytes(size.0 / 100 * (index as u64 % 80)),
            inodes: None,
            workload: Workload::Steady { rate },
            demand: None,
        };
        scenario.claims.insert(format!("data-{index}"), claim);
    }
    let mut world = Simulation::new(scenario);
    while world.step() {
        world.take_facts();
    }
    assert_eq!(world.now(), Duration::from_secs(u64::from(hours) * 3600));
    Hours { of_worlds: hours, of_volumes: hours * volumes }
}
