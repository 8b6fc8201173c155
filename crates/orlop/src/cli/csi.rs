//! `orlop csi`: the local CSI driver of one node.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use kube::Client;
use orlop_api::{Bytes, Period, names};
use orlop_volume::{
    LocalVolumes, NodeTag, Observer, Overcommit, PodCgroups, Pool, PoolDevice, PoolFile, Step, Storage, unobserved,
    watchdog,
};
use rustix::process::{Signal, getpid, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Failure, Outcome};
use crate::{
    agent::dial::Published,
    csi::{
        Driver, Endpoints,
        metrics::Metrics,
        peers::{self, ViaOperator},
        serve,
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name of this node
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// The zone of this node, by which a class may choose it, as topology.local.orlop.dev/zone
    #[arg(long, env = "NODE_ZONE")]
    zone: Option<String>,
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
    /// The size of that file, such as 100Gi; one that is smaller is enlarged
    #[arg(long, requires = "pool_file")]
    pool_size: Option<Bytes>,
    /// A block device to be mounted as the pool; formatted as XFS if it holds nothing at all
    #[arg(long, conflicts_with = "pool_file")]
    pool_device: Option<PathBuf>,
    /// How much may be promised, as a multiple of what the pool has
    #[arg(long, default_value_t)]
    overcommit: Overcommit,
    /// The socket of the watchdog, which thaws what this process has frozen and cannot thaw itself; without one, volumes in
    /// use are not copied [default: `watchdog.sock` beside the driver's socket]
    #[arg(long)]
    watchdog: Option<PathBuf>,
    /// The kubelet's cgroupRoot, below which the limits of volumes are set for all pods
    #[arg(long, default_value = "/")]
    cgroup_root: PathBuf,
    /// How often each mounted thin volume gives back to the pool what was deleted in it, such as 24h
    #[arg(long, default_value_t = Period::from_secs(86_400))]
    trim_interval: Period,
    /// Where to serve /metrics and /healthz; not served when left out
    #[arg(long)]
    http_address: Option<SocketAddr>,
    /// The namespace of the operator, which hands on changes of volumes of other nodes; left out, only volumes of this
    /// node can be changed
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// The token to show the operator, for the audience orlop.dev/operator; it is read anew for each connection
    #[arg(long, default_value = "/var/run/secrets/orlop.dev/operator/token")]
    token_file: PathBuf,
    /// Kill this process at that step (for tests)
    #[arg(long, env = "ORLOP_CRASH_AT", hide = true)]
    crash_at: Option<Step>,
}

#[derive(Debug, clap::Args)]
pub(super) struct WatchdogArgs {
    /// The socket on which the driver says what it is about to freeze
    #[arg(long)]
    socket: PathBuf,
}

/// Thaws what a driver has frozen and does not thaw itself, until this process is told to end. A container's first process
/// ends by a signal only if it listens to it.
pub(super) async fn watch(args: WatchdogArgs) -> Outcome {
    let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let signals = terminate.and_then(|terminate| Ok((terminate, interrupt?)));
    let (mut terminate, mut interrupt) =
        signals.map_err(|error| Failure::because("the watchdog cannot listen to signals", error))?;
    let (fail, failed) = oneshot::channel();
    let socket = args.socket.clone();
    // A thread that nobody waits for: it serves until the process ends.
    thread::spawn(move || {
        let Err(error) = watchdog::serve(&socket);
        let _ = fail.send(error);
    });
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Ok(error) = failed => {
            Err(Failure::because(format!("the watchdog cannot serve on {}", args.socket.display()), error)
                .remedy("check that the socket's directory is there, and shared with the driver"))
        }
    }
}

pub(super) async fn run(args: Args) -> Outcome {
    let plugin = || args.kubelet_dir.join("plugins").join(names::LOCAL_DRIVER).join("csi.sock");
    let endpoints = Endpoints {
        csi: args.endpoint.clone().unwrap_or_else(plugin),
        registration: args.registration_dir.clone().unwrap_or_else(|| args.kubelet_dir.join("plugins_registry")),
    };
    let watchdog = args.watchdog.clone().unwrap_or_else(|| endpoints.csi.with_file_name("watchdog.sock"));
    let volumes = open(&args, watchdog).map_err(|error| {
        Failure::because(format!("cannot open the pool {}", args.pool.display()), error).remedy(
            "use a directory on XFS (made with reflink=1) or btrfs, or give --pool-device, or --pool-file and --pool-size",
        )
    })?;
    let volumes: Arc<dyn Storage> = Arc::new(volumes);
    let ephemeral_dir = endpoints.csi.with_file_name("ephemeral");
    let mut driver = Driver::new(args.node_name.clone(), Arc::clone(&volumes), ephemeral_dir);
    // A node without a zone has an empty label in its pods' environment.
    if let Some(zone) = args.zone.filter(|zone| !zone.is_empty()) {
        driver = driver.in_zone(zone);
    }
    if let Err(error) = driver.remove_orphans(&args.kubelet_dir) {
        tracing::warn!(%error, "cannot look for the volumes of pods that are gone");
    }

    let metrics = Metrics::default();
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    driver
        .watch_pool(metrics.clone(), stop)
        .map_err(|error| Failure::because("the driver cannot start to look after its pool", error))?;
    // End with this function.
    let mut tasks = JoinSet::new();
    if let Some(namespace) = args.namespace {
        let directory = Published::new(client().await?, namespace, args.token_file);
        driver = driver.with_peers(Arc::new(ViaOperator(directory.clone())));
        tasks.spawn(peers::keep(directory, driver.clone()));
    }
    tasks.spawn(driver.clone().trim_volumes(args.trim_interval.into()));
    let serving = async {
        serve(driver, &endpoints).await.map_err(|error| {
            Failure::because("the driver has stopped", error)
                .remedy("check that --kubelet-dir is the kubelet's --root-dir, and is mounted at the same path")
        })
    };
    match args.http_address {
        None => serving.await,
        Some(address) => tokio::select! {
            ended = serving => ended,
            served = metrics.serve(volumes, address) => Err(match served {
                Ok(()) => Failure::new("the driver no longer serves its metrics"),
                Err(error) => Failure::because(format!("the driver cannot serve its metrics on {address}"), error)
                    .remedy("choose a free address with --http-address, or leave it out"),
            }),
        },
    }
}

/// Whom to ask where the operator is.
async fn client() -> Result<Client, Failure> {
    Client::try_default().await.map_err(|error| {
        Failure::because("the driver cannot find the API server", error)
            .remedy("run it as a pod in a cluster, or leave --namespace out")
    })
}

/// Opens the pool. This blocks, which harms nobody: nothing is served before.
fn open(args: &Args, watchdog: PathBuf) -> orlop_volume::Result<LocalVolumes> {
    if let (Some(path), Some(size)) = (args.pool_file.clone(), args.pool_size) {
        PoolFile { path, size }.mount(&args.pool)?;
    }
    if let Some(path) = args.pool_device.clone() {
        PoolDevice { path }.mount(&args.pool)?;
    }
    let pool = Pool::open(&args.pool, args.overcommit)?;
    let observer = args.crash_at.map_or_else(unobserved, crash_at);
    let pods = PodCgroups::new(Path::new("/sys/fs/cgroup"), &args.cgroup_root);
    Ok(LocalVolumes::open(pool, NodeTag::of(&args.node_name), observer, Some(watchdog))?.limited_in(pods))
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
