//! Where everything of a bed lies: its name, its directories, its components and their files. Only paths: nothing here
//! touches the disk.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::Error;

/// Where beds keep their state. Short, because Unix sockets lie below it and the kernel takes no more than 107 bytes
/// for the path of one (`sun_path` in unix(7)).
pub(super) const ROOT: &str = "/var/lib/orlop";

/// The longest name of a bed, in bytes: the longest socket below a bed's directory, a CSI driver's registration, then
/// still fits the kernel's limit.
const NAME_MAX_BYTES: usize = 20;

/// The name of a bed: lowercase letters, digits and hyphens, beginning and ending with a letter or digit, 20 bytes at
/// most. It becomes part of paths, of cgroup names and of network names, so nothing else is let through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BedName(String);

impl BedName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BedName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = !text.is_empty()
            && text.len() <= NAME_MAX_BYTES
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text.to_owned())) } else { Err(Error::Name(text.to_owned())) }
    }
}

impl Default for BedName {
    fn default() -> Self {
        Self("bed".to_owned())
    }
}

impl fmt::Display for BedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node of a bed, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeNumber(pub u8);

impl NodeNumber {
    /// The zone that the node is labelled with. Three zones, taken in turn, as in most regions.
    pub fn zone(self) -> &'static str {
        ["zone-a", "zone-b", "zone-c"][usize::from((self.0 - 1) % 3)]
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{}", self.0)
    }
}

/// A process that a bed consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store behind the API server.
    Etcd,
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`.
    ControllerManager,
    /// `kube-scheduler`.
    Scheduler,
    /// The container runtime of a node.
    Containerd(NodeNumber),
    /// The kubelet of a node.
    Kubelet(NodeNumber),
}

impl Component {
    /// All components of a bed with `nodes` nodes, in the order in which they start.
    pub fn all(nodes: u8) -> Vec<Self> {
        let control_plane = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler];
        let of_nodes = (1..=nodes).map(NodeNumber).flat_map(|node| [Self::Containerd(node), Self::Kubelet(node)]);
        control_plane.into_iter().chain(of_nodes).collect()
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd => f.write_str("etcd"),
            Self::ApiServer => f.write_str("kube-apiserver"),
            Self::ControllerManager => f.write_str("kube-controller-manager"),
            Self::Scheduler => f.write_str("kube-scheduler"),
            Self::Containerd(node) => write!(f, "containerd-{node}"),
            Self::Kubelet(node) => write!(f, "kubelet-{node}"),
        }
    }
}

/// The paths of one bed.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) name: BedName,
    pub(super) dir: PathBuf,
}

impl Layout {
    pub(super) fn new(name: &BedName) -> Self {
        Self { name: name.clone(), dir: Path::new(ROOT).join(name.as_str()) }
    }

    pub(super) fn state_file(&self) -> PathBuf {
        self.dir.join("bed.json")
    }

    pub(super) fn pki_dir(&self) -> PathBuf {
        self.dir.join("pki")
    }

    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.pki_dir().join(format!("{name}.crt"))
    }

    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.pki_dir().join(format!("{name}.key"))
    }

    /// The administrator's kubeconfig, the one that users get.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The kubeconfig of a component.
    pub(super) fn kubeconfig_of(&self, component: Component) -> PathBuf {
        self.dir.join("kubeconfigs").join(component.to_string())
    }

    pub(super) fn etcd_dir(&self) -> PathBuf {
        self.dir.join("etcd")
    }

    pub(super) fn log(&self, component: Component) -> PathBuf {
        self.dir.join("log").join(format!("{component}.log"))
    }

    /// What is remembered of a component's process.
    pub(super) fn record(&self, component: Component) -> PathBuf {
        self.dir.join("run").join(format!("{component}.json"))
    }

    /// The cgroup above all processes of the bed, as a path from a hierarchy's root.
    pub(super) fn cgroup(&self) -> String {
        format!("/orlop-{}", self.name)
    }

    /// The cgroup of a component, and of what it starts outside of pods. Not the bed's own, because cgroup v2 allows
    /// processes in leaves only.
    pub(super) fn cgroup_of(&self, component: Component) -> String {
        format!("{}/system/{component}", self.cgroup())
    }

    /// The name of a node's pod network. A bed's name holds no dot, so no bed's prefix is another bed's too.
    pub(super) fn network(&self, node: NodeNumber) -> String {
        format!("{}{node}", self.network_prefix())
    }

    pub(super) fn network_prefix(&self) -> String {
        format!("orlop.{}.", self.name)
    }

    pub(super) fn node(&self, number: NodeNumber) -> NodeLayout {
        NodeLayout {
            number,
            dir: self.dir.join(number.to_string()),
            cgroup: format!("{}/{number}", self.cgroup()),
            network: self.network(number),
        }
    }
}

/// The paths of one node.
#[derive(Debug, Clone)]
pub(super) struct NodeLayout {
    pub(super) number: NodeNumber,
    pub(super) dir: PathBuf,
    /// The cgroup above the node's pods.
    pub(super) cgroup: String,
    pub(super) network: String,
}

impl NodeLayout {
    pub(super) fn containerd_config(&self) -> PathBuf {
        self.dir.join("containerd.toml")
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// What containerd keeps: images and snapshots.
    pub(super) fn containerd_root(&self) -> PathBuf {
        self.dir.join("containerd")
    }

    /// What containerd keeps only while its containers run.
    pub(super) fn containerd_state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(super) fn runc_dir(&self) -> PathBuf {
        self.dir.join("runc")
    }

    pub(super) fn cni_dir(&self) -> PathBuf {
        self.dir.join("cni")
    }

    /// The addresses given out to the node's pods.
    pub(super) fn ipam_dir(&self) -> PathBuf {
        self.dir.join("ipam")
    }

    pub(super) fn kubelet_config(&self) -> PathBuf {
        self.dir.join("kubelet.yaml")
    }

    pub(super) fn kubelet_dir(&self) -> PathBuf {
        self.dir.join("kubelet")
    }

    pub(super) fn pool_dir(&self) -> PathBuf {
        self.dir.join("pool")
    }

    pub(super) fn pod_logs_dir(&self) -> PathBuf {
        self.dir.join("pods")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_or_break_a_socket_path_are_refused() {
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a.b", "a_b", "a b", &"a".repeat(21)] {
            assert!(bad.parse::<BedName>().is_err(), "{bad:?} was taken");
        }
        for good in ["a", "bed", "site-2", &"a".repeat(20)] {
            assert!(good.parse::<BedName>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn the_longest_socket_of_the_longest_bed_fits_the_kernels_limit() {
        let name = "a".repeat(NAME_MAX_BYTES).parse().expect("a valid name");
        let kubelet = Layout::new(&name).node(NodeNumber(255)).kubelet_dir();
        let socket = kubelet.join("plugins_registry/local.orlop.dev-reg.sock");
        assert!(socket.as_os_str().len() <= 107, "{} bytes", socket.as_os_str().len());
    }

    #[test]
    fn no_beds_network_prefix_begins_another_beds_network() {
        let short = Layout::new(&"a".parse().expect("a valid name"));
        let long = Layout::new(&"a-node-1".parse().expect("a valid name"));
        assert!(!long.network(NodeNumber(1)).starts_with(&short.network_prefix()));
    }

    #[test]
    fn zones_are_taken_in_turn() {
        let zones: Vec<_> = (1..=4).map(|number| NodeNumber(number).zone()).collect();
        assert_eq!(zones, ["zone-a", "zone-b", "zone-c", "zone-a"]);
    }
}
