//! A node's container runtime: the distribution's containerd, with everything it keeps below the node's directory.

use serde_json::json;

use super::{
    Component, Error,
    daemon::Daemon,
    files::{self, Readers},
    layout::NodeLayout,
    network,
};

/// The image that holds a pod's namespaces open.
const PAUSE_IMAGE: &str = "orlop.dev/pause:1";

/// Writes the configuration and says how to start containerd with it.
pub(super) fn configure(node: &NodeLayout) -> Result<Daemon, Error> {
    files::write(&node.containerd_config(), &render(node), Readers::Everyone)?;
    for directory in [node.containerd_root(), node.containerd_state(), node.runc_dir()] {
        files::directory(&directory)?;
    }
    Ok(Daemon {
        component: Component::Containerd(node.number),
        program: "/usr/bin/containerd".into(),
        args: vec![format!("--config={}", node.containerd_config().display()), "--log-level=warn".to_owned()],
        configs: vec![node.containerd_config()],
    })
}

/// The configuration, in containerd's format version 2, which 1.6 and 1.7 read and 2.x converts.
fn render(node: &NodeLayout) -> String {
    // JSON's strings are TOML's basic strings.
    let text = |path: std::path::PathBuf| json!(path).to_string();
    format!(
        r#"version = 2
root = {root}
state = {state}
# Snapshotters that the node does not use, and a plugin that makes a directory below /opt.
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = {socket}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE, which some sandboxes lack, no container could start with a lower score than ours.
  restrict_oom_score_adj = true
  # So that unmounting what is below the node's directory ends the pods' networks too.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = {runc}
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = {cni}
"#,
        root = text(node.containerd_root()),
        state = text(node.containerd_state()),
        socket = text(node.containerd_socket()),
        runc = text(node.runc_dir()),
        plugins = network::PLUGINS,
        cni = text(node.cni_dir()),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::layout::*, *};

    #[test]
    fn everything_containerd_keeps_lies_below_its_node() {
        let node = Layout::new(&BedName::default()).node(NodeNumber(1));
        insta::assert_snapshot!(render(&node));
    }
}
