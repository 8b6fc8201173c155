//! What it takes to replay a year of ten thousand volumes that are measured every five minutes, on one core. The history is
//! made up beforehand and lies in memory: a set of histories, each of which many claims have. Prints a table:
//! `cargo bench -p orlop-backtest`.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use orlop_api::{Bytes, CapacitySpec, Mode, Period};
use orlop_backtest::{
    Replay, Report, Sample, Terms, World,
    generate::{Recipe, history},
    namespace,
};
use orlop_planner::{ClaimId, Class, Policy, PolicyId, PolicyKind, Selector, View};

const CLAIMS: usize = 10_000;
const HISTORIES: u64 = 24;
const STEP_S: u64 = 300;
const YEAR: u64 = 365 * 86_400 / STEP_S;

fn main() {
    let recipe = Recipe { seed: 1, from_s: 1_780_272_000, samples: YEAR, every_s: STEP_S };
    let histories: Vec<Vec<Sample>> = (0..HISTORIES).map(|number| history(recipe, number).collect()).collect();
    println!("{CLAIMS} claims of {HISTORIES} histories of a year, a sample every {STEP_S} s; one core.\n");
    println!("| replay | samples | growths | fills averted | took | a sample | memory beside the history |");
    println!("|---|---|---|---|---|---|---|");
    let before = resident_kib();
    for (name, driver) in
        [("gp3 volumes, with modification slots", "ebs.csi.aws.com"), ("local volumes", "local.orlop.dev")]
    {
        let (took, report, most) = replay(&histories, driver);
        let nanoseconds = took.as_nanos() / u128::from(report.samples.max(1));
        println!(
            "| {name} | {} | {} | {} of {} | {:.1} s | {nanoseconds} ns | {} MiB |",
            report.samples,
            report.totals.growths,
            report.totals.averted,
            report.totals.recorded_full.times,
            took.as_secs_f64(),
            most.saturating_sub(before) / 1024,
        );
    }
}

fn replay(histories: &[Vec<Sample>], driver: &str) -> (Duration, Report, u64) {
    let mut replay = Replay::new(world(driver), Terms::default());
    let start = clock();
    for number in 0..CLAIMS {
        let id = ClaimId { namespace: namespace("shop"), name: format!("data-{number}").into() };
        let claim = replay.claim(&id);
        for sample in &histories[number % histories.len()] {
            assert_eq!(replay.feed(claim, sample), Ok(()));
        }
    }
    let most = resident_kib();
    let report = replay.conclude();
    (start.elapsed(), report, most)
}

fn world(driver: &str) -> World {
    let capacity = CapacitySpec { time_to_full: Period::from_secs(600), ..CapacitySpec::up_to(Bytes(4 << 40)) };
    let everything = Selector::default();
    let policy = Policy {
        mode: Mode::Auto,
        namespaces: everything.clone(),
        claims: everything,
        capacity: Some(capacity),
        performance: None,
        maintenance: None,
    };
    let class = Class { provisioner: driver.to_owned(), expandable: true, parameters: BTreeMap::new() };
    let view = View {
        policies: BTreeMap::from([(PolicyId { kind: PolicyKind::Cluster, name: "all".into() }, policy)]),
        classes: BTreeMap::from([("standard".to_owned(), class)]),
        ..View::default()
    };
    World::new(view, BTreeMap::new(), "standard")
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; what it measures is given one")]
fn clock() -> Instant {
    Instant::now()
}

/// How much memory the process has now, where the system says so.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures memory")]
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
