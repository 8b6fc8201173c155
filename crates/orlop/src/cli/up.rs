//! `orlop up`: a cluster on this machine.

use std::path::PathBuf;

use super::{Failure, Outcome};
use crate::{
    bed::{Bed, BedName, BedOptions},
    ui::progress::Progress,
};

// Without a group: `orlop demo` takes these arguments beside its own.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// The cluster's name; several run side by side
    #[arg(long, default_value_t)]
    name: BedName,
    /// How many nodes it has, each with a zone and a pool of its own [default: as before, or 1]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: Option<u8>,
    /// Where Kubernetes' programs, the images and the manifests are [default: as before, or the cache folder's]
    #[arg(long, value_name = "DIR")]
    kubernetes_dir: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> Outcome {
    let bed = start(args).await?;
    println!("Cluster {} is up. To look at it:", bed.name());
    println!("  export KUBECONFIG={}", bed.kubeconfig_path().display());
    println!("  {} get nodes", bed.program("kubectl").display());
    Ok(())
}

/// Starts the cluster that the arguments describe.
pub(super) async fn start(args: Args) -> Outcome<Bed> {
    let options = BedOptions { name: args.name, nodes: args.nodes, kubernetes_dir: args.kubernetes_dir };
    let what = format!("cluster {} did not start", options.name);
    Bed::up(&options, &Progress::shown()).await.map_err(|error| {
        let remedy = error.remedy();
        Failure::because(what, error).remedy(remedy)
    })
}
