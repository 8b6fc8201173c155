//! `orlop operator`.

use std::{net::SocketAddr, time::Duration};

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
        OperatorError::Deposed(_) => "start it again: it waits as a standby",
        OperatorError::Ended(_) | OperatorError::Signals(_) => "start it again, and report it with its log",
    }
}
