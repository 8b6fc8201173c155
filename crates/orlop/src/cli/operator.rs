//! `orlop operator`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use jiff::SignedDuration;
use orlop_api::Period;

use super::{Failure, Outcome};
use crate::{
    operator::{self, Config, LocalConfig, OperatorError, SourcesConfig},
    prometheus::Server,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The namespace of the operator's own objects
    #[arg(long, env = "POD_NAMESPACE", default_value = "orlop-system")]
    namespace: String,
    /// Who this operator is among several, such as its pod's name; no other may have the same identity
    #[arg(long, env = "POD_NAME")]
    identity: String,
    /// Where to serve /metrics, /healthz and /readyz, and below /v1 what the operator knows
    #[arg(long, default_value = "0.0.0.0:8080")]
    http_address: SocketAddr,
    /// Where to listen for agents; port 0 takes any that is free
    #[arg(long, default_value = "0.0.0.0:0")]
    agents_address: SocketAddr,
    /// The address at which agents reach this operator
    #[arg(long, env = "POD_IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pod_ip: IpAddr,
    /// The agents' ServiceAccount, as NAMESPACE/NAME
    #[arg(long, default_value = "orlop-system/orlop-agent", value_parser = service_account)]
    agent_service_account: (String, String),
    /// The local CSI drivers' ServiceAccount, as NAMESPACE/NAME
    #[arg(long, default_value = "orlop-system/orlop-csi", value_parser = service_account)]
    driver_service_account: (String, String),
    /// How often to ask the kubelets of nodes without an agent, such as 30s; left out, they are not asked
    #[arg(long)]
    kubelet_interval: Option<Period>,
    /// A Prometheus server to ask how full the volumes are of nodes without an agent: its URL, or a JSON object with `url` and
    /// any of `bearerTokenFile`, `basicAuthFile`, `caFile`, `timeout` and `matchLabels`. May be repeated
    #[arg(long, value_name = "SERVER")]
    prometheus: Vec<Server>,
    /// How often to ask the Prometheus servers
    #[arg(long, default_value_t = Period::from_secs(30))]
    prometheus_interval: Period,
    /// Of how many claims at most to serve metrics; 0: of none
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    claim_metrics: usize,
    /// In the maintenance windows that policies name, scale StatefulSets and Deployments to zero whose volumes can only be expanded
    /// while no pod uses them, and back
    #[arg(long)]
    maintenance: bool,
    /// Make StatefulSets anew whose claim templates ask for less than their claims have, where a policy says `templateSync:
    /// Recreate`
    #[arg(long)]
    template_sync: bool,
    /// Look after what the local driver's sidecars cannot: snapshots that wait for a node, and volumes whose node is gone
    #[arg(long)]
    local_driver: bool,
    /// How long after a node is gone to delete the volumes that were on it, have no claim and are not to be kept, such as
    /// 24h; left out, they are only reported
    #[arg(long, requires = "local_driver")]
    local_clean_up_after: Option<Period>,
    /// The name of the Lease that the acting operator holds
    #[arg(long, default_value = "orlop-operator")]
    lease_name: String,
    /// For how long the Lease holds when it is not renewed; a standby takes over after that
    #[arg(long, default_value_t = Period::from_secs(15))]
    lease_duration: Period,
}

fn service_account(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(format!("`{text}` is not a ServiceAccount: write NAMESPACE/NAME")),
    }
}

pub(super) async fn run(args: Args) -> Outcome {
    let local =
        args.local_driver.then(|| LocalConfig { clean_up_after: args.local_clean_up_after.map(SignedDuration::from) });
    let config = Config {
        namespace: args.namespace,
        identity: args.identity,
        http_address: args.http_address,
        lease_name: args.lease_name,
        lease_duration: args.lease_duration.into(),
        claim_metrics: args.claim_metrics,
        maintenance: args.maintenance,
        template_sync: args.template_sync,
        sources: SourcesConfig {
            agents_address: args.agents_address,
            pod_ip: args.pod_ip,
            agent_service_account: args.agent_service_account,
            driver_service_account: args.driver_service_account,
            kubelet_interval: args.kubelet_interval.map(Duration::from),
            prometheus: args.prometheus,
            prometheus_interval: args.prometheus_interval.into(),
        },
        local,
    };
    operator::run(config).await.map_err(|error| {
        let remedy = remedy(&error);
        Failure::because("the operator cannot go on", error).remedy(remedy)
    })
}

fn remedy(error: &OperatorError) -> &'static str {
    match error {
        OperatorError::Client(_) => "set KUBECONFIG to the kubeconfig of a cluster, or run it as a pod in one",
        OperatorError::Listen { .. } => "choose a free address with --http-address and --agents-address",
        OperatorError::Deposed(_) => "start it again: it waits as a standby",
        OperatorError::Identity(_) | OperatorError::Agents(_) | OperatorError::Ended(_) | OperatorError::Signals(_) => {
            "start it again, and report it with its log"
        }
    }
}
