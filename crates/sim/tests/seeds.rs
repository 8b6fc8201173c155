//! A thousand small fleets, each with its own troubles: no promise is broken.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use orlop_sim::{chance::Chance, run};

const SEEDS: u64 = 1_000;

fn scenario(seed: u64) -> Chance {
    // Three hours, in which there is a trouble every seven minutes, and three of rest.
    Chance { seed, hours: 6, faults_a_day: 200 }
}

#[test]
fn no_promise_is_broken_whatever_goes_wrong() {
    let next = AtomicU64::new(0);
    let broken: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut broken = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= SEEDS {
                    return broken;
                }
                for violation in run(scenario(seed).scenario(), None, |_, _| {}).violations {
                    let at = violation.at.as_secs_f64();
                    broken.push(format!("seed {seed} at {at:.2} s: {}: {}", violation.checker, violation.what));
                }
            }
        };
        let threads: Vec<_> =
            (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let again = "run it alone with `orlop sim --seed N --hours 6 --faults 200`";
    assert!(broken.is_empty(), "{again}:\n{}", broken.join("\n"));
}

#[test]
fn the_same_seed_goes_the_same_way() {
    let story = || {
        let mut story = String::new();
        let outcome = run(Chance { seed: 7, hours: 24, faults_a_day: 100 }.scenario(), None, |entry, _| {
            let _ = writeln!(story, "{:?} {}", entry.at, entry.fact);
        });
        (story, outcome.events)
    };
    let (first, events) = story();
    assert!(events > 10_000 && first.lines().count() > 100, "something happens");
    assert_eq!((first, events), story());
}
