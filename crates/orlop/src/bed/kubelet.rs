//! A node's kubelet: its configuration and its flags.

use std::net::SocketAddrV4;

use serde_json::{Value, json};

use super::{
    Component, Error,
    bundle::Bundle,
    daemon::Daemon,
    error::OnPath as _,
    files::{self, Readers},
    layout::{Layout, NodeLayout},
    pki, ports,
    state::State,
};

/// Writes the configuration and says how to start the kubelet with it.
pub(super) fn configure(layout: &Layout, node: &NodeLayout, bundle: &Bundle, state: &State) -> Result<Daemon, Error> {
    let component = Component::Kubelet(node.number);
    let config = node.kubelet_config();
    let address = ports::address(state.index, node.number);
    let listen = SocketAddrV4::new(address, state.ports.kubelet(node.number));
    let text = serde_yaml_ng::to_string(&render(layout, node, listen)).map_err(std::io::Error::other);
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
            format!("--node-ip={address}"),
        ],
        configs: vec![config, kubeconfig, layout.certificate(&pki::node_server(node.number))],
    })
}

fn render(layout: &Layout, node: &NodeLayout, listen: SocketAddrV4) -> Value {
    let server = pki::node_server(node.number);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": listen.ip(),
        "port": listen.port(),
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
        // A component that a test has ended again and again is to be back in seconds, not after five minutes.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        "failCgroupV1": false,
        "failSwapOn": false,
        "featureGates": {"KubeletCrashLoopBackOffMax": true},
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

#[cfg(test)]
mod tests {
    use super::{super::layout::*, *};

    #[test]
    fn a_kubelet_authenticates_its_callers_and_keeps_its_files_below_its_node() {
        let layout = Layout::new(&BedName::default());
        let node = layout.node(NodeNumber(3));
        insta::assert_yaml_snapshot!(render(&layout, &node, SocketAddrV4::new([10, 200, 0, 3].into(), 21_005)));
    }
}
