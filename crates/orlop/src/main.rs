//! The `orlop` binary: every role and every tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    orlop::cli::main()
}
