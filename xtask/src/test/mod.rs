//! `cargo xtask test`: every check and every test that there is, from the formatting to the real cluster. Each check
//! counts as one test. The last line says how many passed, failed and were skipped.

mod chart;
mod licences;
mod links;
mod metrics;
mod tally;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use crate::{bed, cache, generate, image, program, run};
use tally::{Report, Tally};

/// Runs everything. Returns whether nothing failed.
pub fn run() -> bool {
    let mut report = Report::default();
    let root = cache::repository();

    report.check("formatting", || cargo(&["fmt", "--all", "--check"]));
    report.check("links in the documentation", || links::check(root));
    report.check("metrics, alerts and their documentation", || metrics::check(root));
    report.check("licences of dependencies", licences::check);
    let bundle = report.prepare("Kubernetes and the sidecars", || bed::run(&bed::Args {}));
    report.check_with("formatting of Go", bundle.as_ref(), |()| go(root));
    report.check("lints (the first time about 3 minutes)", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny=warnings"])
    });
    let orlop = report.prepare("compiling the tests (the first time about 5 minutes)", || {
        program::build(&["test", "--workspace", "--no-run"])
    });
    report.check_with("generated files", orlop.as_ref(), |orlop| {
        generate::run(&generate::Args { check: true, orlop: Some(orlop.clone()) })
    });
    report.check_with("chart", bundle.as_ref().and(orlop.as_ref()), |orlop| chart::check(root, orlop));
    let images = bundle
        .as_ref()
        .and(orlop.as_ref())
        .and_then(|orlop| report.prepare("the image", || image::run(&image::Args { binary: Some(orlop.clone()) })));
    report.tests("tests, unit to cluster", images.as_ref(), |()| tests());

    report.conclude()
}

/// Runs cargo with its output shown.
fn cargo(arguments: &[&str]) -> Result<()> {
    let status = program::cargo().args(arguments).status()?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

/// The Go sources are formatted, and `go vet` finds nothing. The flags are those of the build, so that nothing is
/// compiled a second time.
fn go(root: &Path) -> Result<()> {
    let unformatted = run::output(Command::new("gofmt").arg("-l").arg(root.join("bed")))?;
    ensure!(unformatted.is_empty(), "not formatted: {}; run gofmt -w on it", unformatted.trim());
    let mut vet = Command::new("go");
    vet.current_dir(root.join("bed/kubernetes")).env("CGO_ENABLED", "0").args(["vet", "-trimpath", "./..."]);
    run::output(&mut vet)?;
    Ok(())
}

/// Runs all tests of the workspace. What they print is shown, and their results are counted.
fn tests() -> Result<(Tally, Vec<String>)> {
    let mut child = program::cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        // The traces of panics that tests expect would bury everything else.
        .env("RUST_BACKTRACE", "0")
        .env("CSI_SANITY", cache::bundle_link()?.join("bin/csi-sanity"))
        .stdout(Stdio::piped())
        .spawn()?;
    let (counted, failures) = Tally::of_output(child.stdout.take())?;
    let status = child.wait()?;
    ensure!(status.success() || counted.failed > 0, "cargo test failed, and no test did");
    Ok((counted, failures))
}
