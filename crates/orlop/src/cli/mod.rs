//! The commands. Each has a file of its own with its arguments and its `run`; this one only dispatches.

mod agent;
mod backtest;
mod completion;
mod crd;
mod csi;
mod demo;
mod doctor;
mod down;
mod failure;
mod inspect;
mod kubeconfig;
mod lint;
mod operator;
mod sim;
mod up;
mod writer;

use std::{ffi::OsStr, path::Path, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use failure::{Failure, Outcome};

use self::inspect::{explain, status, top};

/// Persistent storage, orchestrated: volumes of Kubernetes that grow before they are full.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a real Kubernetes cluster on this machine, or repair the one that is there
    Up(up::Args),
    /// Remove a cluster that `orlop up` started, with every trace of it
    Down(down::Args),
    /// Print the path of a cluster's kubeconfig, or the kubeconfig itself
    Kubeconfig(kubeconfig::Args),
    /// Say what this machine lacks to run a cluster, each with its remedy
    Doctor(doctor::Args),
    /// Show the main job on a real cluster: a volume that grows before it is full
    Demo(demo::Args),
    /// Say what was decided about a claim, and the numbers that led to it
    Explain(explain::Args),
    /// Show on one screen how the claims are kept, what needs a hand first
    Status(status::Args),
    /// Watch the claims live: how full, how fast, what is done
    Top(top::Args),
    /// Run the operator in a simulated world, where everything can go wrong
    Sim(sim::Args),
    /// Find in manifests what would hurt in production, with no cluster
    Lint(lint::Args),
    /// Say what a policy would have done, by the history of how full volumes were
    Backtest(backtest::Args),
    /// Print the custom resource definitions
    Crd(crd::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Run the operator (a role in the cluster)
    Operator(operator::Args),
    /// Run the node agent (a role in the cluster)
    Agent(agent::Args),
    /// Run the local CSI driver (a role in the cluster)
    Csi(csi::Args),
    /// Thaw what a local CSI driver has frozen and died over (a role in the cluster, beside the driver)
    #[command(hide = true)]
    CsiWatchdog(csi::WatchdogArgs),
    /// Write checksummed data into a directory at a set rate, and verify it
    Writer(writer::Args),
}

/// Runs the command line. A failure is printed with its remedy and its causes; the exit code is 1, or 2 for a command
/// line that is not understood, unless the command says otherwise.
pub fn main() -> ExitCode {
    let cli = parse();
    let in_cluster =
        matches!(cli.command, Command::Operator(_) | Command::Agent(_) | Command::Csi(_) | Command::CsiWatchdog(_));
    // A tool returns its errors and prints them once; the client would log each attempt of a wait beside that.
    // Whatever goes wrong in a simulated world is part of its story.
    let default = match cli.command {
        Command::Sim(_) => "error",
        _ if in_cluster => "info",
        _ => "warn,kube_client=off",
    };
    let filter = EnvFilter::try_from_env("ORLOP_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.code()
        }
    }
}

/// The name under which `kubectl` finds it as a plugin.
const PLUGIN: &str = "kubectl-orlop";

/// Reads the command line, or ends with what is wrong with it.
fn parse() -> Cli {
    let program = std::env::args_os().next();
    let matches = command(program.as_deref()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The commands, called by what they were started as.
fn command(program: Option<&OsStr>) -> clap::Command {
    let is_plugin = program.and_then(|program| Path::new(program).file_stem()).is_some_and(|name| name == PLUGIN);
    if is_plugin { Cli::command().bin_name("kubectl orlop") } else { Cli::command() }
}

#[tokio::main]
async fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Up(args) => up::run(args).await,
        Command::Down(args) => down::run(args).await,
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Demo(args) => demo::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Top(args) => top::run(args).await,
        Command::Sim(args) => sim::run(args),
        Command::Lint(args) => lint::run(&args),
        Command::Backtest(args) => backtest::run(args).await,
        Command::Crd(args) => crd::run(&args),
        Command::Completion(args) => completion::run(&args),
        Command::Operator(args) => operator::run(args).await,
        Command::Agent(args) => agent::run(args).await,
        Command::Csi(args) => csi::run(args).await,
        Command::CsiWatchdog(args) => csi::watch(args).await,
        Command::Writer(args) => writer::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(program: &str) -> String {
        let mut command = command(Some(OsStr::new(program)));
        command.build();
        let status = command.find_subcommand_mut("status").unwrap();
        status.render_usage().to_string()
    }

    #[test]
    fn as_a_plugin_of_kubectl_it_calls_itself_so() {
        assert_eq!(usage("/usr/local/bin/kubectl-orlop"), "Usage: kubectl orlop status [OPTIONS]");
        assert_eq!(usage("/usr/local/bin/orlop"), "Usage: orlop status [OPTIONS]");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_shell_can_complete_the_commands() {
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), "orlop", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in ["explain", "status", "top"] {
            assert!(script.contains(&format!("orlop,{command})")), "{command}");
        }
    }
}
