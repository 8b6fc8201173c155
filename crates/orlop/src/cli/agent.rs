//! `orlop agent`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use kube::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Outcome};
use crate::agent::{self, Config, dial::Published, metrics::Metrics};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node that it runs on
    #[arg(long, env = "NODE_NAME")]
    node_name: String,
    /// The kubelet's directory, with its mounts propagated from the host
    #[arg(long, default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// The kubelet's cgroup root (cgroupRoot of its configuration), below which the pods' cgroups are
    #[arg(long, default_value = "/")]
    cgroup_root: PathBuf,
    /// The namespace of the operator
    #[arg(long, env = "POD_NAMESPACE", default_value = "orlop-system")]
    namespace: String,
    /// The token to show the operator, for the audience orlop.dev/operator; it is read anew for each connection
    #[arg(long, default_value = "/var/run/secrets/orlop.dev/operator/token")]
    token_file: PathBuf,
    /// How often a volume is measured, in milliseconds; one that is about to reach its threshold is every 100
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval_ms: u64,
    /// Where to serve /metrics and /healthz; not served when left out
    #[arg(long)]
    http_address: Option<SocketAddr>,
}

pub(super) async fn run(args: Args) -> Outcome {
    let client = Client::try_default().await.map_err(|error| {
        Failure::because("the agent cannot find the API server", error)
            .remedy("run it as a pod in a cluster, or set KUBECONFIG to the kubeconfig of one")
    })?;
    let [terminate, interrupt] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let signals = terminate.and_then(|terminate| Ok((terminate, interrupt?)));
    let (terminate, interrupt) =
        signals.map_err(|error| Failure::because("the agent cannot listen to signals", error))?;

    let metrics = Metrics::default();
    let config = Config {
        node: args.node_name,
        kubelet_dir: args.kubelet_dir,
        cgroup_root: args.cgroup_root,
        interval: Duration::from_millis(args.interval_ms),
    };
    let directory = Published::new(client, args.namespace, args.token_file);
    let agent = async {
        agent::run(config, directory, &metrics, told_to_end(terminate, interrupt)).await.map_err(|error| {
            Failure::because("the agent cannot work", error)
                .remedy("set --kubelet-dir to the kubelet's directory, and mount it into the agent's pod")
        })
    };
    match args.http_address {
        None => agent.await,
        Some(address) => tokio::select! {
            ended = agent => ended,
            served = metrics.serve(address) => Err(match served {
                Ok(()) => Failure::new("the agent no longer serves its metrics"),
                Err(error) => Failure::because(format!("the agent cannot serve its metrics on {address}"), error)
                    .remedy("choose a free address with --http-address, or leave it out"),
            }),
        },
    }
}

async fn told_to_end(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to end");
}
