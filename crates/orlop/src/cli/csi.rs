//! `orlop csi`: the local CSI driver of one node.

use std::{path::PathBuf, sync::Arc};

use orlop_api::{Bytes, names};
use orlop_volume::{LocalVolumes, NodeTag, Observer, Overcommit, Pool, PoolFile, Step, unobserved};
use rustix::process::{Signal, getpid, kill_process};

use super::{Failure, Outcome};
use crate::csi::{Driver, Endpoints, serve};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name of this node
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// The kubelet's directory; the driver must see it at the same path as the node
    #[arg(long, default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// The driver's socket, below the kubelet's directory [default: `plugins/local.orlop.dev/csi.sock` there]
    #[arg(long)]
    endpoint: Option<PathBuf>,
    /// Where the kubelet looks for plugins [default: `plugins_registry` in the kubelet's directory]
    #[arg(long)]
    registration_dir: Option<PathBuf>,
    /// The directory of the volumes, on XFS with reflink or on btrfs
    #[arg(long)]
    pool: PathBuf,
    /// A file to be mounted as the pool; made and formatted as XFS if it is not there
    #[arg(long, requires = "pool_size")]
    pool_file: Option<PathBuf>,
    /// The size of that file when it is made, such as 100Gi
    #[arg(long, requires = "pool_file")]
    pool_size: Option<Bytes>,
    /// How much may be promised, as a multiple of what the pool has
    #[arg(long, default_value_t)]
    overcommit: Overcommit,
    /// Kill this process at that step (for tests)
    #[arg(long, env = "ORLOP_CRASH_AT", hide = true)]
    crash_at: Option<Step>,
}

pub(super) async fn run(args: Args) -> Outcome {
    let volumes = open(&args).map_err(|error| {
        Failure::because(format!("cannot open the pool {}", args.pool.display()), error)
            .remedy("use a directory on XFS (made with reflink=1) or btrfs, or give --pool-file and --pool-size")
    })?;
    let plugin = || args.kubelet_dir.join("plugins").join(names::LOCAL_DRIVER).join("csi.sock");
    let endpoints = Endpoints {
        csi: args.endpoint.clone().unwrap_or_else(plugin),
        registration: args.registration_dir.clone().unwrap_or_else(|| args.kubelet_dir.join("plugins_registry")),
    };
    let driver = Driver::new(args.node_name, Arc::new(volumes));
    serve(driver, &endpoints).await.map_err(|error| {
        Failure::because("the driver has stopped", error)
            .remedy("check that --kubelet-dir is the kubelet's --root-dir, and is mounted at the same path")
    })
}

/// Opens the pool. This blocks, which harms nobody: nothing is served before.
fn open(args: &Args) -> orlop_volume::Result<LocalVolumes> {
    if let (Some(path), Some(size)) = (args.pool_file.clone(), args.pool_size) {
        PoolFile { path, size }.mount(&args.pool)?;
    }
    let pool = Pool::open(&args.pool, args.overcommit)?;
    LocalVolumes::open(pool, NodeTag::of(&args.node_name), args.crash_at.map_or_else(unobserved, crash_at))
}

/// Kills this process at that step, as the kernel would when it is out of memory: nothing is cleaned up.
fn crash_at(fatal: Step) -> Observer {
    Box::new(move |step| {
        if step == fatal {
            tracing::warn!(%step, "killing this process, as asked");
            let _ = kill_process(getpid(), Signal::KILL);
        }
    })
}
