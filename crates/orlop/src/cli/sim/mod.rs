//! `orlop sim`: scenarios in the simulated world, from a file or made from seeds.

mod seeds;

use std::{
    fs,
    num::NonZeroUsize,
    ops::Range,
    path::{Path, PathBuf},
    thread,
};

use orlop_sim::{Outcome as Came, Plot, Scenario, Story, Witness, chance::Chance, witness};
use serde_json::{Value, json};

use super::{Failure, Outcome};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    what: What,
    /// How long a scenario made from a seed lasts, in hours; the last three are without troubles
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(4..=8760), conflicts_with = "scenario")]
    hours: u64,
    /// How many troubles such a scenario has in a day
    #[arg(long, value_name = "PER_DAY", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=100_000), conflicts_with = "scenario")]
    faults: u64,
    /// How many scenarios to run at a time [default: one on each processor]
    #[arg(long, requires = "seeds")]
    jobs: Option<NonZeroUsize>,
    /// Write the scenario that is made from the seed, and do not run it
    #[arg(long, requires = "seed", conflicts_with = "plot")]
    print: bool,
    /// Draw the run into this file, a page for a browser
    #[arg(long, value_name = "FILE.html", value_hint = clap::ValueHint::FilePath, conflicts_with = "seeds")]
    plot: Option<PathBuf>,
    /// How to print what came of it
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// What to run: one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A scenario to run, and to tell as a story
    #[arg(value_hint = clap::ValueHint::FilePath)]
    scenario: Option<PathBuf>,
    /// Run the scenario that is made from this seed, and tell it as a story
    #[arg(long)]
    seed: Option<u64>,
    /// Run the scenarios of these seeds, from the first to before the last, and count
    #[arg(long, value_name = "FIRST..LAST", value_parser = range)]
    seeds: Option<Range<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let seeds = text.split_once("..").and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    seeds
        .filter(|seeds| !seeds.is_empty())
        .ok_or_else(|| format!("`{text}` is no range of seeds: write FIRST..LAST, such as 0..1000 for a thousand"))
}

pub(super) fn run(args: Args) -> Outcome {
    let chance = |seed| Chance { seed, hours: args.hours, faults_a_day: args.faults };
    match args.what {
        What { scenario: Some(path), .. } => {
            let broken = tell(read(&path)?, args.plot.as_ref(), args.output)?;
            fail_where_broken(&broken)
        }
        What { seed: Some(seed), .. } if args.print => {
            print!("{}", chance(seed).scenario().to_yaml());
            Ok(())
        }
        What { seed: Some(seed), .. } => {
            let broken = tell(chance(seed).scenario(), args.plot.as_ref(), args.output)?;
            if let Some(checker) = broken.first() {
                seeds::keep(chance(seed), checker)?;
            }
            fail_where_broken(&broken)
        }
        What { seeds, .. } => {
            let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
            seeds::run(seeds.unwrap_or_default(), chance, jobs, args.output)
        }
    }
}

fn read(path: &Path) -> Outcome<Scenario> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::because(format!("cannot read the scenario {}", path.display()), error)
            .remedy("give the path of a file such as those in crates/sim/scenarios")
    })?;
    Scenario::parse(&text).map_err(|error| {
        Failure::because(format!("cannot run the scenario {}", path.display()), error).remedy(
            "correct it: docs/simulator.md says what a scenario has, and `orlop sim --seed 1 --print` writes one",
        )
    })
}

/// Runs one scenario, tells it and draws it. Returns the checkers whose promises were broken.
fn tell(scenario: Scenario, plot: Option<&PathBuf>, output: Format) -> Outcome<Vec<&'static str>> {
    let mut story = Story::new(&scenario);
    let mut drawing = plot.map(|path| (path, Plot::new(&scenario)));
    let mut witnesses: Vec<&mut dyn Witness> = vec![&mut story];
    if let Some((_, drawing)) = &mut drawing {
        witnesses.push(drawing);
    }
    let outcome = witness(scenario, None, &mut witnesses);
    match output {
        Format::Text => print!("{}", story.conclude(&outcome)),
        Format::Json => println!("{:#}", as_json(&outcome)),
    }
    if let Some((path, drawing)) = drawing {
        fs::write(path, drawing.conclude(&outcome)).map_err(|error| {
            Failure::because(format!("cannot write the plot {}", path.display()), error)
                .remedy("give --plot a file in a folder that is there and can be written to")
        })?;
    }
    Ok(outcome.violations.iter().map(|violation| violation.checker).collect())
}

fn as_json(outcome: &Came) -> Value {
    let violations = outcome
        .violations
        .iter()
        .map(|it| json!({ "seconds": it.at.as_secs_f64(), "checker": it.checker, "what": it.what }));
    json!({
        "seconds": outcome.lasted.as_secs_f64(),
        "events": outcome.events,
        "growths": outcome.growths,
        "full": outcome.full,
        "faults": outcome.faults,
        "violations": violations.collect::<Vec<_>>(),
    })
}

fn fail_where_broken(broken: &[&'static str]) -> Outcome {
    match broken {
        [] => Ok(()),
        _ => Err(Failure::new(format!("broken promises: {}", broken.join("; ")))
            .remedy("the story above tells how; where the scenario asks for it, correct the operator or the checker")),
    }
}
