//! What the build does beyond cargo. Each task has a file of its own; this one only dispatches.

mod archive;
mod bed;
mod cache;
mod generate;
mod image;
mod program;
mod rootfs;
mod run;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What the build does beyond cargo")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the generated files: the wire formats and the custom resource definitions
    Generate(generate::Args),
    /// Compile Kubernetes and the CSI sidecars into the bundle that `orlop up` runs
    Bed(bed::Args),
    /// Write the images that `orlop up` imports
    Image(image::Args),
    /// Run every check and every test, and count them
    Test,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().task {
        Task::Generate(args) => generate::run(&args),
        Task::Bed(args) => bed::run(&args),
        Task::Image(args) => image::run(&args),
        // What failed has been said, and the last line is the sum.
        Task::Test => return Ok(if test::run() { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
    }
    .map(|()| ExitCode::SUCCESS)
}
