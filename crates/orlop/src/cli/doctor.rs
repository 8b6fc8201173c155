//! `orlop doctor`: what this machine lacks to run a cluster.

use std::path::PathBuf;

use super::{Failure, Outcome};
use crate::bed::doctor::{Check, examine};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where Kubernetes' programs, the images and the manifests are [default: the cache folder's]
    #[arg(long, value_name = "DIR")]
    kubernetes_dir: Option<PathBuf>,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn run(args: &Args) -> Outcome {
    let checks = examine(args.kubernetes_dir.as_deref());
    match args.output {
        Format::Text => checks.iter().for_each(print),
        Format::Json => println!("{:#}", serde_json::json!(checks)),
    }
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        count => Err(Failure::new(format!("this machine lacks {count} of {} things", checks.len()))
            .remedy("do what each line says")),
    }
}

fn print(check: &Check) {
    match &check.remedy {
        None => println!("ok       {}", check.name),
        Some(remedy) => println!("LACKING  {}\n         {remedy}", check.name),
    }
}
