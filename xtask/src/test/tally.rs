//! Counting: what passed, what failed, what was skipped, and how long each step took.

use std::{
    io::{BufRead as _, BufReader, Read},
    ops::AddAssign,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// How much of what is said of failures is repeated at the end.
const FAILURE_LINES_MAX: usize = 200;

/// How many tests came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Tally {
    const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Shows the output of test programs as it comes, and adds up the results in it. A program that began and did not
    /// come to a result, for it crashed or was killed, counts as one failure.
    ///
    /// What the programs say of failures, from a line `failures:` to their result, is returned too: among thousands of
    /// lines it would not be found.
    pub fn of_output(output: Option<impl Read>) -> Result<(Self, Vec<String>)> {
        let mut tally = Self::default();
        let mut unfinished = 0_usize;
        let mut failures = Vec::new();
        let mut failing = false;
        for line in BufReader::new(output.context("the tests have no output")?).lines() {
            let line = line?;
            println!("{line}");
            failing = (failing || line == "failures:") && !line.starts_with("test result: ");
            if failing && !line.is_empty() && failures.len() < FAILURE_LINES_MAX {
                failures.push(line.clone());
            }
            if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
                unfinished += 1;
            } else if let Some(result) = Self::of_line(&line) {
                unfinished = unfinished.saturating_sub(1);
                tally += result;
            }
        }
        tally.failed += unfinished;
        Ok((tally, failures))
    }

    /// The counts of a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out`.
    fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            let part = counts.split("; ").find_map(|part| part.strip_suffix(word))?;
            part.trim().parse::<usize>().ok()
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }
}

/// The steps so far.
#[derive(Default)]
pub struct Report {
    steps: Vec<(String, Tally, Duration)>,
    failures: Vec<String>,
}

impl Report {
    /// Runs a check; it passes or fails.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        self.step(name, || (check().map(|()| Tally::PASSED), ()));
    }

    /// Runs a check that needs what was prepared before; it is skipped where that failed.
    pub fn check_with<T>(&mut self, name: &str, needed: Option<&T>, check: impl FnOnce(&T) -> Result<()>) {
        self.tests(name, needed, |needed| check(needed).map(|()| (Tally::PASSED, Vec::new())));
    }

    /// Runs tests that need what was prepared before; they are skipped where that failed. Beside their count they tell
    /// what they say of failures.
    pub fn tests<T>(&mut self, name: &str, needed: Option<&T>, tests: impl FnOnce(&T) -> Result<(Tally, Vec<String>)>) {
        let failures = self.step(name, || match needed.map(tests) {
            Some(Ok((tally, failures))) => (Ok(tally), failures),
            Some(Err(error)) => (Err(error), Vec::new()),
            None => {
                println!("skipped, for what it needs is not there");
                (Ok(Tally::SKIPPED), Vec::new())
            }
        });
        self.failures.extend(failures);
    }

    /// Prepares something for later steps, which is no test unless it fails.
    pub fn prepare<T>(&mut self, name: &str, prepare: impl FnOnce() -> Result<T>) -> Option<T> {
        self.step(name, || match prepare() {
            Ok(prepared) => (Ok(Tally::default()), Some(prepared)),
            Err(error) => (Err(error), None),
        })
    }

    fn step<T>(&mut self, name: &str, step: impl FnOnce() -> (Result<Tally>, T)) -> T {
        println!("\n=== {name}");
        let begun = Instant::now();
        let (result, value) = step();
        let tally = result.unwrap_or_else(|error| {
            println!("failed: {error:#}");
            self.failures.push(format!("{name}: {error:#}"));
            Tally::FAILED
        });
        self.steps.push((name.to_owned(), tally, begun.elapsed()));
        value
    }

    /// Prints what failed, every step and, as the last line, the sum. Returns whether nothing failed.
    #[must_use]
    pub fn conclude(self) -> bool {
        let mut sum = Tally::default();
        if !self.failures.is_empty() {
            println!("\n=== what failed\n{}", self.failures.join("\n"));
        }
        println!("\n{:>7}  {:>7} {:>7} {:>7}  step", "seconds", "passed", "failed", "skipped");
        for (name, tally, time) in &self.steps {
            let seconds = time.as_secs();
            println!("{seconds:>7}  {:>7} {:>7} {:>7}  {name}", tally.passed, tally.failed, tally.skipped);
            sum += *tally;
        }
        println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
        sum.failed == 0
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn results_of_all_test_programs_are_added_up() {
        let output = "\
running 2 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.12s

running 7 tests

failures:

---- b ----
it is broken

test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.12s
the test result: ok. 7 passed
";
        let (tally, failures) = Tally::of_output(Some(output.as_bytes())).unwrap();
        assert_eq!(tally, Tally { passed: 5, failed: 4, skipped: 1 });
        assert_eq!(failures, ["failures:", "---- b ----", "it is broken"]);
    }

    #[test]
    fn a_test_program_that_is_killed_is_a_failure() {
        let output = "running 2 tests\ntest a ... ok\nrunning 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        let (tally, _) = Tally::of_output(Some(output.as_bytes())).unwrap();
        assert_eq!(tally, Tally { passed: 1, failed: 1, skipped: 0 });
    }

    #[test]
    fn one_failure_fails_the_whole() {
        let mut report = Report::default();
        report.check("good", || Ok(()));
        report.check("bad", || bail!("for some reason"));
        assert!(!report.conclude());
    }

    #[test]
    fn what_needs_a_failed_preparation_is_skipped_and_not_run() {
        let mut report = Report::default();
        let prepared: Option<u8> = report.prepare("preparation", || bail!("for some reason"));
        report.check_with("needs it", prepared.as_ref(), |_| panic!("it ran"));
        let tallies: Vec<Tally> = report.steps.iter().map(|(_, tally, _)| *tally).collect();
        assert_eq!(tallies, [Tally::FAILED, Tally::SKIPPED]);
    }
}
