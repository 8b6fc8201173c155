//! Many seeds: run beside each other, counted, and those that fail made short and kept.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    ops::Range,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use orlop_sim::{Outcome as Came, chance::Chance, shrink};
use serde::Serialize;
use serde_json::json;

use super::Format;
use crate::cli::{Failure, Outcome};

/// Of so many seeds that fail the scenario is made short: one bug makes many fail, and a few show it.
const SHRUNK_MAX: usize = 3;

/// How many runs it may take to make a scenario short.
const SHRINK_RUNS_MAX: u64 = 1_000;

const YEAR: Duration = Duration::from_hours(8766);

/// What came of all seeds.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tally {
    seeds: u64,
    #[serde(rename = "virtualYears", serialize_with = "years")]
    lasted: Duration,
    events: u64,
    growths: u64,
    full: u64,
    faults: BTreeMap<&'static str, u64>,
    failures: Vec<FailedSeed>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedSeed {
    seed: u64,
    checker: &'static str,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scenario: Option<PathBuf>,
}

impl Tally {
    fn add(&mut self, seed: u64, came: Came) {
        self.seeds += 1;
        self.lasted += came.lasted;
        self.events += came.events;
        self.growths += came.growths;
        self.full += came.full;
        for (fault, times) in came.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        if let Some(violation) = came.violations.into_iter().next() {
            self.failures.push(FailedSeed { seed, checker: violation.checker, what: violation.what, scenario: None });
        }
    }
}

/// Runs the scenarios of these seeds, so many at a time. Fails where one breaks a promise.
pub(super) fn run(
    seeds: Range<u64>,
    chance: impl Fn(u64) -> Chance + Sync,
    jobs: NonZeroUsize,
    output: Format,
) -> Outcome {
    let begun = Instant::now();
    let mut tally = run_all(seeds, &chance, jobs);
    tally.failures.sort_by_key(|failure| failure.seed);
    for failure in tally.failures.iter_mut().take(SHRUNK_MAX) {
        failure.scenario = Some(keep(chance(failure.seed), failure.checker)?);
    }
    match output {
        Format::Json => println!("{:#}", json!(tally)),
        Format::Text => print(&tally, begun.elapsed()),
    }
    match &tally.failures[..] {
        [] => Ok(()),
        [first, ..] => {
            let Chance { seed, hours, faults_a_day } = chance(first.seed);
            Err(Failure::new(format!("{} of {} seeds break a promise", tally.failures.len(), tally.seeds)).remedy(
                format!("read how the first does: orlop sim --seed {seed} --hours {hours} --faults {faults_a_day}"),
            ))
        }
    }
}

fn run_all(seeds: Range<u64>, chance: &(impl Fn(u64) -> Chance + Sync), jobs: NonZeroUsize) -> Tally {
    let progress = ProgressBar::new(seeds.end - seeds.start).with_style(
        ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let tally = Mutex::new(Tally::default());
    let next = AtomicU64::new(seeds.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let came = orlop_sim::run(chance(seed).scenario(), None, |_, _| {});
            if let Some(violation) = came.violations.first() {
                progress.suspend(|| eprintln!("seed {seed} fails: {}: {}", violation.checker, violation.what));
            }
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(seed, came);
            progress.inc(1);
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(work);
        }
    });
    progress.finish_and_clear();
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the scenario of a seed that fails as short as can be, and writes it to a file, ready to be kept under
/// `crates/sim/scenarios`.
pub(super) fn keep(chance: Chance, checker: &str) -> Outcome<PathBuf> {
    let seed = chance.seed;
    eprintln!("making the scenario of seed {seed} short");
    let mut shrunk = shrink(chance.scenario(), checker, SHRINK_RUNS_MAX, || None);
    let scenario = &mut shrunk.scenario;
    scenario.story =
        format!("Breaks the promise: {checker}. Made from seed {seed}, and short after {} runs.\n", shrunk.runs);
    let path = PathBuf::from(format!("seed-{seed}.yaml"));
    fs::write(&path, scenario.to_yaml()).map_err(|error| {
        Failure::because(format!("cannot write the scenario {}", path.display()), error)
            .remedy("run it in a folder that can be written to")
    })?;
    eprintln!(
        "wrote {}: {} claims, {} troubles, {}; run it by `orlop sim {}`",
        path.display(),
        scenario.claims.len(),
        scenario.faults.len(),
        scenario.lasts,
        path.display()
    );
    Ok(path)
}

fn print(tally: &Tally, took: Duration) {
    let Tally { seeds, lasted, events, growths, full, faults, failures } = tally;
    let years = lasted.as_secs_f64() / YEAR.as_secs_f64();
    println!("{seeds} seeds, {years:.2} virtual years and {events} events in {:.1} s", took.as_secs_f64());
    println!("{growths} growths, and a volume was full {full} times");
    println!("{} things went wrong:", faults.values().sum::<u64>());
    for (fault, times) in faults {
        println!("  {times:>9}  {fault}");
    }
    println!("{} seeds broke a promise", failures.len());
    for FailedSeed { seed, checker, what, .. } in failures {
        println!("  seed {seed}: {checker}: {what}");
    }
}

fn years<S: serde::Serializer>(lasted: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(lasted.as_secs_f64() / YEAR.as_secs_f64())
}
