//! `orlop demo`: the main job on a real cluster, watched live. It starts a cluster, installs Orlop from its chart,
//! applies the quickstart, follows what happens, and ends with what was measured. Each figure of the summary is read
//! from the cluster or from the writer's own account.

mod follow;
mod summary;

use std::path::PathBuf;

use super::{Failure, Outcome, up};
use crate::bed::{Bed, install};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    up: up::Args,
    /// The chart to install
    #[arg(long, default_value = "charts/orlop")]
    chart: PathBuf,
    /// The manifests to apply
    #[arg(long, default_value = "examples/quickstart")]
    example: PathBuf,
    /// Give up when the writer is not done after this many seconds
    #[arg(long, default_value_t = 900)]
    timeout_s: u64,
}

/// What the quickstart's manifests name; the demo follows exactly these objects.
struct Quickstart;

impl Quickstart {
    const NAMESPACE: &str = "orlop-quickstart";
    const POD: &str = "writer-0";
    const CLAIM: &str = "data-writer-0";
}

pub(super) async fn run(args: Args) -> Outcome {
    for path in [&args.chart, &args.example] {
        if !path.exists() {
            return Err(Failure::new(format!("there is no {}", path.display())).remedy(
                "run the demo in a checkout of the repository, or name the folders with --chart and --example",
            ));
        }
    }
    let bed = up::start(args.up).await?;
    install::chart(&bed, &args.chart).await.map_err(|error| Failure::because("cannot install Orlop's chart", error))?;
    fresh(&bed, &args.example).await?;
    let client = bed.client().await.map_err(|error| Failure::because("cannot talk to the cluster", error))?;
    let story = follow::until_verified(&client, std::time::Duration::from_secs(args.timeout_s)).await?;
    print!("{}", summary::render(&story, &bed));
    story.verdict()
}

/// Applies the example, after removing what an earlier demo left: each demo starts with an empty volume.
async fn fresh(bed: &Bed, example: &std::path::Path) -> Outcome {
    let kubectl = |arguments: &[&str]| {
        let mut command = bed.kubectl();
        command.args(arguments).arg("-f").arg(example);
        command
    };
    for arguments in [&["delete", "--ignore-not-found", "--wait", "--timeout=120s"][..], &["apply"][..]] {
        let output =
            kubectl(arguments).output().await.map_err(|error| Failure::because("cannot run kubectl", error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::because(format!("kubectl {} failed for {}", arguments[0], example.display()), said));
        }
    }
    println!(
        "Applied {}: a StatefulSet that fills its volume, and the StoragePolicy that keeps it from filling up.",
        example.display()
    );
    Ok(())
}
