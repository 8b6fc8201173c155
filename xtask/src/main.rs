//! What the build does beyond cargo. Each task has a file of its own; this one only dispatches.

mod generate;

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
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Generate(args) => generate::run(&args),
    }
}
