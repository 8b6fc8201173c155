//! A node's kubelet: its configuration and its flags.

use serde_json::{Value, json};

use super::{
    Component, Error, NodeNumber,
    bundle::Bundle,
    error::OnPath as _,
    files::{self, Readers},
    layout::{Layout, NodeLayout},
    pki,
    process::Daemon,
};

/// Writes the configuration and says how to start the kubelet with it.
pub(super) fn configure(layout: &Layout, node: &NodeLayout, bundle: &Bundle, port: u16) -> Result<Daemon, Error> {
    let component = Component::Kubelet(node.number);
    let config = node.kubelet_config();
    let text = serde_yaml_ng::to_string(&render(layout, node, port)).map_err(std::io::Error::other);
    files::write(&config, &text.on("write", &config)?, Readers::Everyone)?;
    let kubeconfig = layout.kubeconfig_of(component);
    Ok(Daemon {
        component,
        program: bundle.program("kubelet"),
        args: vec![
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--root-dir={}", node.kubelet_dir().display()),
            format!("--cert-dir={}", node.kubelet_dir().join("pki").display()),
            format!("--hostname-override={}", node.number),
            format!("--node-labels=topology.kubernetes.io/zone={}", node.number.zone()),
            // A kubelet refuses to call a loopback address its own. With an outside cloud provider it leaves the
            // addresses to that, which here is whoever starts the node.
            "--cloud-provider=external".to_owned(),
        ],
        configs: vec![config, kubeconfig, layout.certificate(&pki::node_server(node.number))],
    })
}

fn render(layout: &Layout, node: &NodeLayout, port: u16) -> Value {
    let server = pki::node_server(node.number);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": port,
        // The default port of its health endpoint would be the same for all nodes.
        "healthzPort": 0,
        "readOnlyPort": 0,
        "tlsCertFile": layout.certificate(&server),
        "tlsPrivateKeyFile": layout.key(&server),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.certificate(pki::CA)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", node.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup,
        "failCgroupV1": false,
        "failSwapOn": false,
        "podLogsDir": node.pod_logs_dir(),
        "volumePluginDir": node.kubelet_dir().join("flexvolume"),
        // There are no Services to route, so no rules are needed in the machine's packet filter.
        "makeIPTablesUtilChains": false,
        // All nodes share one disk with the machine: how full that is says nothing about a node.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        // How old the kubelet's own volume statistics may be. A minute by default, which is what makes a user wait.
        "volumeStatsAggPeriod": "10s",
    })
}

/// The taint that a kubelet with an outside cloud provider starts with.
pub(super) const UNINITIALIZED_TAINT: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// The addresses that a node's status gets: logs, exec and statistics go by way of the first.
pub(super) fn addresses(node: NodeNumber) -> Value {
    json!([
        {"type": "InternalIP", "address": "127.0.0.1"},
        {"type": "Hostname", "address": node.to_string()},
    ])
}

#[cfg(test)]
mod tests {
    use super::{super::layout::*, *};

    #[test]
    fn a_kubelet_authenticates_its_callers_and_keeps_its_files_below_its_node() {
        let layout = Layout::new(&BedName::default());
        let node = layout.node(NodeNumber(3));
        insta::assert_yaml_snapshot!(render(&layout, &node, 21_005));
    }
}
