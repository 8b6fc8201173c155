//! Progress of work that takes a while: spinners on a terminal, a line for each finished step elsewhere.

use std::{
    borrow::Cow,
    io::{IsTerminal as _, stderr},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where steps show.
#[derive(Debug, Clone)]
pub struct Progress {
    shown: Shown,
}

#[derive(Debug, Clone)]
enum Shown {
    Spinners(MultiProgress),
    Lines,
    Nothing,
}

impl Progress {
    /// Shows on the error output, so that a command's own output can be piped.
    pub fn shown() -> Self {
        Self { shown: if stderr().is_terminal() { Shown::Spinners(MultiProgress::new()) } else { Shown::Lines } }
    }

    /// Shows nothing, for tests.
    pub fn hidden() -> Self {
        Self { shown: Shown::Nothing }
    }

    /// Begins a step. Several may run at a time.
    pub fn step(&self, what: impl Into<Cow<'static, str>>) -> Step {
        let what = what.into();
        let shown = match &self.shown {
            Shown::Spinners(all) => {
                let spinner = all.add(ProgressBar::new_spinner().with_style(style()).with_message(what.clone()));
                spinner.enable_steady_tick(Duration::from_millis(100));
                StepShown::Spinner(spinner)
            }
            Shown::Lines => StepShown::Line,
            Shown::Nothing => StepShown::Nothing,
        };
        Step { what, begun: Instant::now(), shown }
    }

    /// Says something beside the steps.
    pub fn note(&self, text: &str) {
        match &self.shown {
            // A terminal that cannot be written to is no reason to fail.
            Shown::Spinners(all) => drop(all.println(text)),
            Shown::Lines => eprintln!("{text}"),
            Shown::Nothing => {}
        }
    }
}

/// A step that was begun. One that is dropped instead of done has failed; the failure itself is told elsewhere.
#[derive(Debug)]
pub struct Step {
    what: Cow<'static, str>,
    begun: Instant,
    shown: StepShown,
}

#[derive(Debug)]
enum StepShown {
    Spinner(ProgressBar),
    Line,
    Nothing,
}

impl Step {
    /// Ends the step with what came of it.
    pub fn done(self, outcome: &str) {
        let line = format!("{:<32} {outcome} ({:.1} s)", self.what, self.begun.elapsed().as_secs_f64());
        match &self.shown {
            StepShown::Spinner(spinner) => {
                spinner.set_style(ProgressStyle::with_template("  {msg}").unwrap_or_else(|_| style()));
                spinner.finish_with_message(line);
            }
            StepShown::Line => eprintln!("  {line}"),
            StepShown::Nothing => {}
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let StepShown::Spinner(spinner) = &self.shown
            && !spinner.is_finished()
        {
            spinner.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}
