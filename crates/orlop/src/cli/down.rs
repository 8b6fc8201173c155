//! `orlop down`: removes a cluster with every trace of it.

use super::{Failure, Outcome};
use crate::{
    bed::{Bed, BedName},
    ui::progress::Progress,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cluster's name
    #[arg(long, default_value_t)]
    name: BedName,
    /// Remove all clusters of this machine
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let names = if args.all { Bed::names() } else { vec![args.name] };
    let progress = Progress::shown();
    for name in names {
        Bed::down(&name, &progress).await.map_err(|error| {
            let remedy = error.remedy();
            Failure::because(format!("cluster {name} was not removed"), error).remedy(remedy)
        })?;
    }
    Ok(())
}
