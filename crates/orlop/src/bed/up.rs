//! Starting a bed, or what is missing of it: the control plane and the nodes' runtimes at the same time, then the
//! kubelets, then what every cluster gets.

use std::time::Duration;

use futures::future::{try_join, try_join_all};
use kube::Client;
use serde_json::json;

use super::{
    Component, Error, NodeNumber, api,
    bundle::Bundle,
    cgroup::Cgroups,
    control_plane,
    daemon::{self, Daemon},
    files,
    files::Readers,
    host, kubeconfig,
    layout::Layout,
    node::{self, finish},
    pki, ports, process,
    state::State,
};
use crate::ui::progress::Progress;

/// How long a part of the control plane may take: seconds, and more while other builds use the machine's cores.
const CONTROL_PLANE_DEADLINE: Duration = Duration::from_mins(2);

/// The version of the snapshot controller in the bundle, its image's tag.
const SNAPSHOT_CONTROLLER_IMAGE: &str = "orlop.dev/bed/snapshot-controller:v8.7.0";

/// The snapshot controller's right to read nodes.
const SNAPSHOT_CONTROLLER_NODES: &str = "snapshot-controller-nodes";

/// What all parts of the start need.
pub(super) struct Context<'a> {
    pub(super) layout: &'a Layout,
    pub(super) bundle: &'a Bundle,
    pub(super) state: &'a State,
    pub(super) cgroups: &'a Cgroups,
    pub(super) progress: &'a Progress,
}

/// Starts everything that does not run, and waits until pods can run on all nodes.
pub(super) async fn up(context: &Context<'_>) -> Result<(), Error> {
    let Context { layout, state, .. } = *context;
    host::remember()?;
    let nodes: Vec<NodeNumber> = (1..=state.nodes).map(NodeNumber).collect();
    pki::ensure_control_plane(layout)?;

    for &number in &nodes {
        pki::ensure_node(layout, number, ports::address(state.index, number))?;
        let path = layout.kubeconfig_of(Component::Kubelet(number));
        kubeconfig::write(layout, &path, &pki::node_client(number), state.ports.api_server)?;
    }
    let control_plane = async {
        let client = start_control_plane(context).await?;
        // Before any kubelet is asked something: a kubelet remembers for half a minute that the API server may not.
        install(context, &client).await?;
        Ok(client)
    };
    let runtimes = try_join_all(nodes.iter().map(|&number| node::start_runtime(context, number)));
    let (client, _) = try_join(control_plane, runtimes).await?;
    try_join_all(nodes.iter().map(|&number| node::start_kubelet(context, &client, number))).await?;

    let step = context.progress.step("snapshot controller");
    api::deployment(&client, "kube-system", "snapshot-controller", CONTROL_PLANE_DEADLINE).await?;
    step.done("available");
    Ok(())
}

async fn start_control_plane(context: &Context<'_>) -> Result<Client, Error> {
    let Context { layout, bundle, state, .. } = *context;
    let ports = &state.ports;
    for (path, certificate) in [
        (layout.kubeconfig(), pki::ADMIN),
        (layout.kubeconfig_of(Component::ControllerManager), "kube-controller-manager"),
        (layout.kubeconfig_of(Component::Scheduler), "kube-scheduler"),
    ] {
        kubeconfig::write(layout, &path, certificate, ports.api_server)?;
    }
    let client = api::client(&layout.kubeconfig()).await?;

    let etcd = ports.etcd;
    start(context, &control_plane::etcd(layout, bundle, ports), async || {
        tokio::net::TcpStream::connect(("127.0.0.1", etcd)).await.is_ok()
    })
    .await?;
    let api_server = control_plane::api_server(layout, bundle, ports);
    start(context, &api_server, async || api::ready(&client).await).await?;
    // These two serve nothing that could be asked: what they do is waited for where it is needed.
    start(context, &control_plane::controller_manager(layout, bundle), async || true).await?;
    start(context, &control_plane::scheduler(layout, bundle), async || true).await?;
    Ok(client)
}

async fn start(context: &Context<'_>, daemon: &Daemon, ready: impl AsyncFnMut() -> bool) -> Result<(), Error> {
    let step = context.progress.step(daemon.component.to_string());
    let ensured = daemon.ensure(context.layout, context.cgroups).await?;
    daemon::wait_until(context.layout, daemon.component, CONTROL_PLANE_DEADLINE, ready).await?;
    finish(step, ensured);
    Ok(())
}

/// Applies what every cluster gets, and waits until pods can be created.
async fn install(context: &Context<'_>, client: &Client) -> Result<(), Error> {
    let step = context.progress.step("snapshot resources");
    let layout = context.layout;
    let own = layout.dir.join("manifests.json");
    let text = manifests(context.state.ports.api_server).to_string();
    files::write(&own, &text, Readers::Everyone)?;
    let kubectl = context.bundle.program("kubectl");
    process::run(
        &kubectl,
        &[
            &format!("--kubeconfig={}", layout.kubeconfig().display()),
            // Not in the home directory of whoever runs us.
            &format!("--cache-dir={}", layout.dir.join("kubectl").display()),
            "apply",
            "--server-side",
            "--force-conflicts",
            &format!("--filename={}", context.bundle.manifests().display()),
            &format!("--filename={}", own.display()),
        ],
    )
    .await?;
    api::default_service_account(client, CONTROL_PLANE_DEADLINE).await?;
    step.done("applied");
    Ok(())
}

/// The objects that depend on the bed: the API server's right to reach kubelets, and the snapshot controller, which
/// runs on the host's network because there is no Service that it could find the API server by. It labels the snapshots
/// of local volumes with their nodes, and needs a right for that which is not among those that the bundle has for it.
fn manifests(api_server: u16) -> serde_json::Value {
    let labels = json!({"app.kubernetes.io/name": "snapshot-controller"});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": pki::KUBELET_CLIENT_USER},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:kubelet-api-admin",
            },
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "User",
                "name": pki::KUBELET_CLIENT_USER,
            }],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": SNAPSHOT_CONTROLLER_NODES},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": SNAPSHOT_CONTROLLER_NODES},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": SNAPSHOT_CONTROLLER_NODES,
            },
            "subjects": [{"kind": "ServiceAccount", "name": "snapshot-controller", "namespace": "kube-system"}],
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "snapshot-controller", "namespace": "kube-system"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "serviceAccountName": "snapshot-controller",
                        "hostNetwork": true,
                        "priorityClassName": "system-cluster-critical",
                        "containers": [{
                            "name": "snapshot-controller",
                            "image": SNAPSHOT_CONTROLLER_IMAGE,
                            "args": [
                                "--leader-election=false",
                                "--enable-distributed-snapshotting=true",
                                // What fails is mostly waited for by a person: the defaults are a second and 5 minutes.
                                "--retry-interval-start=200ms",
                                "--retry-interval-max=30s",
                            ],
                            "env": [
                                {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
                                {"name": "KUBERNETES_SERVICE_PORT", "value": api_server.to_string()},
                            ],
                        }],
                    },
                },
            },
        },
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_controller_is_the_one_that_the_bundle_holds() {
        let required = include_str!("../../../../bed/sidecars/go.mod");
        let line = required.lines().find(|line| line.contains("external-snapshotter/v8 v")).expect("required");
        let version = line.split_whitespace().nth(1).expect("a version");
        assert_eq!(SNAPSHOT_CONTROLLER_IMAGE, format!("orlop.dev/bed/snapshot-controller:{version}"));
    }

    #[test]
    fn what_every_cluster_gets_finds_the_api_server_on_its_port() {
        insta::assert_yaml_snapshot!(manifests(21_002));
    }
}
