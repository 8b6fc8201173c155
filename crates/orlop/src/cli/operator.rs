//! `orlop operator`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use orlop_api::Period;

use super::{Failure, Outcome};
use crate::operator::{self, Config, OperatorError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The namespace of the operator's own objects
    #[arg(long, env = "POD_NAMESPACE", default_value = "orlop-system")]
    namespace: String,
    /// Who this operator is among several, such as its pod's name; no other may have the same identity
    #[arg(long, env = "POD_NAME")]
    identity: String,
    /// Where to serve /metrics, /healthz and /readyz
    #[arg(long, default_value = "0.0.0.0:8080")]
    http_address: SocketAddr,
    /// Where to serve agents; port 0 for any free one, which they learn from the ConfigMap orlop-agents
    #[arg(long, default_value = "0.0.0.0:0")]
    agents_address: SocketAddr,
    /// Under which address agents reach this process
    #[arg(long, env = "POD_IP")]
    pod_ip: IpAddr,
    /// The ServiceAccount that agents run as, in the operator's namespace
    #[arg(long, default_value = "orlop-agent")]
    agent_service_account: String,
    /// Ask the kubelets of nodes without an agent this often, such as 30s; not at all when left out
    #[arg(long)]
    kubelet_interval: Option<Period>,
    /// The name of the Lease that the acting operator holds
    #[arg(long, default_value = "orlop-operator")]
    lease_name: String,
    /// For how many seconds the Lease holds when it is not renewed
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=3600))]
    lease_duration_seconds: u64,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = Config {
        namespace: args.namespace,
        identity: args.identity,
        http_address: args.http_address,
        agents_address: args.agents_address,
        pod_ip: args.pod_ip,
        agent_service_account: args.agent_service_account,
        kubelet_interval: args.kubelet_interval.map(|period| Duration::from_secs(period.as_secs())),
        lease_name: args.lease_name,
        lease_duration: Duration::from_secs(args.lease_duration_seconds),
    };
    operator::run(config).await.map_err(|error| {
        let remedy = remedy(&error);
        Failure::because("the operator cannot go on", error).remedy(remedy)
    })
}

fn remedy(error: &OperatorError) -> &'static str {
    match error {
        OperatorError::Client(_) => "set KUBECONFIG to the kubeconfig of a cluster, or run it as a pod in one",
        OperatorError::Http { .. } => "choose a free address with --http-address",
        OperatorError::Sources(_) => "choose a free address with --agents-address",
        OperatorError::Deposed(_) => "start it again: it waits as a standby",
        OperatorError::Ended(_) | OperatorError::Signals(_) => "start it again, and report it with its log",
    }
}
