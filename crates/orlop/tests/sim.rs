//! `orlop sim` as a process: what it prints, and how it ends.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim/scenarios/capacity");

/// A volume that fills because no operator is there: a promise that nobody keeps.
const NOBODY: &str = "
    story: Nobody is there.
    lasts: 1h
    operators: 0
    classes:
      fast: {}
    policies:
      all:
        capacity: { maximum: 100Gi }
    claims:
      data: { size: 10Gi, class: fast, workload: { steady: { rate: 5Mi } } }
";

fn sim(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    command.arg("sim").args(arguments).current_dir(folder).output().expect("the program that was built can be run")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("no text")
}

#[test]
fn a_scenario_is_told_as_the_story_that_is_kept_beside_it() {
    let folder = TempDir::new().unwrap();
    let file = format!("{SCENARIOS}/kubelet-that-is-late.yaml");
    let output = sim(folder.path(), &[&file]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let story = fs::read_to_string(Path::new(&file).with_extension("out")).unwrap();
    assert_eq!(text(&output.stdout), story);
}

#[test]
fn a_broken_promise_is_told_and_fails() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("nobody.yaml"), NOBODY).unwrap();
    let output = sim(folder.path(), &["nobody.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("VIOLATION      no volume fills that could grow at 00:"));
    let said = text(&output.stderr);
    assert!(said.starts_with("error: broken promises: ") && said.contains("no volume fills that could grow"), "{said}");

    let output = sim(folder.path(), &["nobody.yaml", "--output", "json"]);
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&outcome["full"], &outcome["growths"]), (&1.into(), &0.into()), "{outcome}");
    let mut violations = outcome["violations"].as_array().unwrap().iter();
    assert!(violations.any(|it| it["checker"] == "no volume fills that could grow"), "{outcome}");
}

#[test]
fn what_is_wrong_with_a_scenario_is_said_with_its_remedy() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("wrong.yaml"), NOBODY.replace("class: fast", "class: fats")).unwrap();
    let output = sim(folder.path(), &["wrong.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("class fats of claim data is not in the scenario: write it under classes"), "{said}");
    assert!(said.contains("to do: "), "{said}");
}

#[test]
fn a_seed_is_written_as_a_scenario_that_goes_as_the_seed_does() {
    let folder = TempDir::new().unwrap();
    let of_seed = ["--seed", "3", "--hours", "6", "--faults", "0"];
    let written = sim(folder.path(), &[&of_seed[..], &["--print"]].concat());
    assert!(text(&written.stdout).starts_with("story: "), "{}", text(&written.stdout));
    fs::write(folder.path().join("three.yaml"), &written.stdout).unwrap();
    let (seed, file) = (sim(folder.path(), &of_seed), sim(folder.path(), &["three.yaml"]));
    assert!(seed.status.success(), "{}", text(&seed.stderr));
    assert_eq!(text(&seed.stdout), text(&file.stdout));
}

#[test]
fn seeds_are_counted() {
    let folder = TempDir::new().unwrap();
    let arguments = ["--seeds", "0..5", "--hours", "4", "--faults", "0", "--jobs", "2", "--output", "json"];
    let output = sim(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let tally: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(tally["seeds"], 5, "{tally}");
    assert_eq!(tally["failures"], Value::Array(Vec::new()), "{tally}");
    let hours = tally["virtualYears"].as_f64().unwrap() * 8766.0;
    assert!((hours - 20.0).abs() < 0.001, "{tally}");
}

#[test]
fn a_run_is_drawn_with_nothing_from_elsewhere() {
    let folder = TempDir::new().unwrap();
    let output = sim(folder.path(), &[&format!("{SCENARIOS}/stops-at-the-maximum.yaml"), "--plot", "run.html"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = fs::read_to_string(folder.path().join("run.html")).unwrap();
    assert!(page.contains("scratch is FULL"), "the moment in which it was full is marked");
    assert_eq!(page.matches("class=\"growth\"").count(), 8 + 1, "each growth, and the legend");
    for elsewhere in ["http:", "https:", "<script", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}
