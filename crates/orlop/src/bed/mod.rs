//! A real Kubernetes on this machine: what `orlop up` starts and `orlop down` removes. Everything of a bed lies below
//! `/var/lib/orlop/NAME`, in cgroups below `/orlop-NAME`, and on ports and subnets of its own, so that several run side
//! by side. Nothing is remembered that the kernel can be asked: processes, mounts and loop devices are found, and only
//! the numbers that a bed chose are written down.

mod api;
mod bundle;
mod cgroup;
mod containerd;
mod control_plane;
mod daemon;
pub mod doctor;
mod error;
mod files;
mod host;
mod images;
pub mod install;
mod kubeconfig;
mod kubelet;
mod layout;
mod loops;
mod mounts;
mod network;
mod node;
mod pki;
mod ports;
mod process;
mod state;
mod teardown;
mod up;

use std::path::PathBuf;

pub use error::Error;
pub use layout::{BedName, Component, NodeNumber};

use self::{
    bundle::Bundle,
    cgroup::Cgroups,
    layout::Layout,
    state::{Lock, State},
    up::Context,
};
use crate::ui::progress::Progress;

/// What a bed is to be like.
#[derive(Debug, Clone, Default)]
pub struct BedOptions {
    /// Its name.
    pub name: BedName,
    /// How many nodes it has, up to 32; what it had before, or one, when not said.
    pub nodes: Option<u8>,
    /// The bundle that it runs; what it ran before, or the one in the cache folder, when not said.
    pub kubernetes_dir: Option<PathBuf>,
}

/// A bed that was started, now or before.
#[derive(Debug, Clone)]
pub struct Bed {
    layout: Layout,
    state: State,
}

impl Bed {
    /// Starts a bed, or what is missing of it: components that died, and those whose flags or programs changed. Waits
    /// until pods can run on all its nodes.
    ///
    /// Fails with [`Error::Machine`] when the machine lacks something, and otherwise with what went wrong first; what
    /// was started by then stays, for the next call to go on from and for [`Bed::down`] to remove.
    pub async fn up(options: &BedOptions, progress: &Progress) -> Result<Self, Error> {
        let layout = Layout::new(&options.name);
        let before = State::load(&layout)?;
        let dir = options.kubernetes_dir.clone().or_else(|| before.as_ref().map(|state| state.bundle.clone()));
        let bundle = Bundle::at(dir.as_deref());
        let lacking = doctor::lacking(Some(bundle.dir()));
        if !lacking.is_empty() {
            return Err(Error::Machine(lacking));
        }

        let _lock = lock(progress).await?;
        let state = match State::load(&layout)? {
            None => State::new(options.nodes.unwrap_or(1), bundle.dir())?,
            Some(state) => {
                let wanted = options.nodes.unwrap_or(state.nodes);
                if wanted < state.nodes {
                    let name = options.name.to_string();
                    return Err(Error::Shrink { name, existing: state.nodes, wanted });
                }
                State { nodes: wanted, bundle: bundle.dir().to_owned(), ..state }
            }
        };
        state.save(&layout)?;
        let cgroups = Cgroups::of_this_machine()?;
        up::up(&Context { layout: &layout, bundle: &bundle, state: &state, cgroups: &cgroups, progress }).await?;
        Ok(Self { layout, state })
    }

    /// The bed of this name, if it was started and not removed since.
    pub fn open(name: &BedName) -> Result<Self, Error> {
        let layout = Layout::new(name);
        let state = State::load(&layout)?.ok_or_else(|| Error::Absent(name.to_string()))?;
        Ok(Self { layout, state })
    }

    /// Removes the bed of this name with every trace of it; fine when there is none. Fails with [`Error::Left`] when
    /// something cannot be removed.
    pub async fn down(name: &BedName, progress: &Progress) -> Result<(), Error> {
        let _lock = lock(progress).await?;
        let step = progress.step(format!("cluster {name}"));
        teardown::down(&Layout::new(name)).await?;
        step.done("removed");
        Ok(())
    }

    /// The names of all beds on this machine.
    pub fn names() -> Vec<BedName> {
        state::names()
    }

    /// The bed's name.
    pub fn name(&self) -> &BedName {
        &self.layout.name
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The port of the API server on 127.0.0.1.
    pub fn api_server_port(&self) -> u16 {
        self.state.ports.api_server
    }

    /// The port of the operator's HTTP server on 127.0.0.1: metrics and health.
    pub fn operator_port(&self) -> u16 {
        self.state.ports.operator
    }

    /// A client with every right.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        api::client(&self.kubeconfig_path()).await
    }

    /// The command `kubectl`, as the administrator of this bed.
    pub fn kubectl(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.program("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig_path());
        command
    }

    /// The bed's nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeNumber> {
        (1..=self.state.nodes).map(NodeNumber)
    }

    /// The directory that a node's local volumes may use: a shared mount, so that what one container mounts there,
    /// others and the kubelet see.
    pub fn pool_dir(&self, node: NodeNumber) -> PathBuf {
        self.layout.node(node).pool_dir()
    }

    /// The root directory of a node's kubelet.
    pub fn kubelet_dir(&self, node: NodeNumber) -> PathBuf {
        self.layout.node(node).kubelet_dir()
    }

    /// The certificate that a node's kubelet serves with, and its key.
    pub fn kubelet_certificate(&self, node: NodeNumber) -> (PathBuf, PathBuf) {
        let name = pki::node_server(node);
        (self.layout.certificate(&name), self.layout.key(&name))
    }

    /// The cgroup above a node's pods, as a path from a hierarchy's root.
    fn cgroup_root(&self, node: NodeNumber) -> String {
        self.layout.node(node).cgroup
    }

    fn bundle_dir(&self) -> &std::path::Path {
        &self.state.bundle
    }

    /// A program of the bundle that the bed runs, such as `kubectl` or `helm`.
    pub fn program(&self, name: &str) -> PathBuf {
        Bundle::at(Some(&self.state.bundle)).program(name)
    }

    /// The components of the bed, in the order in which they start.
    pub fn components(&self) -> Vec<Component> {
        Component::all(self.state.nodes)
    }

    /// The process id of a component, or nothing when it does not run.
    pub fn pid(&self, component: Component) -> Option<i32> {
        daemon::pid(&self.layout, component)
    }

    /// The file that a component logs to.
    pub fn log_path(&self, component: Component) -> PathBuf {
        self.layout.log(component)
    }
}

async fn lock(progress: &Progress) -> Result<Lock, Error> {
    Lock::acquire(|| progress.note("waiting for another orlop up or down to end")).await
}
