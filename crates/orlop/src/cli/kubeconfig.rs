//! `orlop kubeconfig`: how to reach a cluster.

use std::fs;

use super::{Failure, Outcome};
use crate::bed::{Bed, BedName};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cluster's name
    #[arg(long, default_value_t)]
    name: BedName,
    /// Print the kubeconfig itself and not its path
    #[arg(long)]
    print: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let bed = Bed::open(&args.name).map_err(|error| {
        let remedy = error.remedy();
        Failure::because(format!("cluster {} has no kubeconfig", args.name), error).remedy(remedy)
    })?;
    let path = bed.kubeconfig_path();
    if args.print {
        let text = fs::read_to_string(&path).map_err(|error| {
            Failure::because(format!("cannot read {}", path.display()), error).remedy("run orlop up")
        })?;
        print!("{text}");
    } else {
        println!("{}", path.display());
    }
    Ok(())
}
