//! The `orlop` program, for the tasks that need it.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::cache;

/// The program given, or the one that `cargo build` makes. It always names the whole workspace, for cargo compiles the
/// dependencies anew for each set of packages that wants other features of them.
pub fn given_or_built(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(program) => Ok(program.to_owned()),
        None => build(&["build", "--workspace", "--bins"]),
    }
}

/// Runs a cargo command that compiles `orlop`, and says where it is, which cargo alone knows.
pub fn build(arguments: &[&str]) -> Result<PathBuf> {
    let output = cargo()
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        // Cargo says there how far it is, and what is wrong with the code.
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cargo {} failed", arguments.join(" "));
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "orlop" && message["target"]["kind"][0] == "bin")
        // As a program, and not as a program with its unit tests.
        .filter(|message| message["profile"]["test"] == false)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built no program named orlop")
}

/// The cargo that runs this, in the root of the repository.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(cache::repository());
    cargo
}
