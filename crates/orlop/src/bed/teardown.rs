//! Removing a bed with every trace of it. Each step works on what it finds, whatever state the bed is in.

use std::{fs, io, path::Path};

use super::{
    Component, Error, NodeNumber,
    cgroup::Cgroups,
    daemon,
    error::OnPath as _,
    host,
    layout::{Layout, ROOT},
    mounts, network, ports,
    state::{self, State},
};

/// Where containerd's shims listen, whatever containerd's configuration says.
const SHIM_SOCKETS: &str = "/run/containerd/s";

/// Where kubelets link containers' logs to, whatever their configuration says.
const LOG_LINKS: &str = "/var/log/containers";

/// Removes the bed. Removing one that is not there is fine.
pub(super) async fn down(layout: &Layout) -> Result<(), Error> {
    let cgroups = Cgroups::of_this_machine()?;
    // Kubelets first, so that none starts again what is being killed; the containers then go by their cgroups.
    let mut components = Component::all(ports::NODES_MAX);
    components.reverse();
    components.sort_by_key(|component| !matches!(component, Component::Kubelet(_)));
    for component in components {
        daemon::kill(layout, component).await?;
    }
    cgroups.kill(&layout.cgroup(), None).await?;

    let sockets = shim_sockets(&layout.dir);
    mounts::unmount_below(&layout.dir)?;
    mounts::detach_loop_devices_below(&layout.dir)?;
    cgroups.remove(&layout.cgroup()).await?;

    for socket in sockets {
        remove_file(&socket)?;
    }
    network::forget(&layout.network_prefix())?;
    // A state that cannot be read belongs to a bed that got no further than its directory.
    if let Ok(Some(state)) = State::load(layout) {
        for node in (1..=state.nodes).map(NodeNumber) {
            network::remove_address(ports::address(state.index, node)).await?;
        }
    }
    remove_log_links(&layout.dir)?;
    remove_directory(layout)?;
    if state::names().is_empty() {
        host::restore()?;
        // Fails while something else lies there, which is then not ours.
        let _ = fs::remove_dir(ROOT);
    }
    Ok(())
}

/// The sockets of the bed's shims: each is written down in its container's directory.
fn shim_sockets(bed: &Path) -> Vec<std::path::PathBuf> {
    let read = |path: &Path| fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let mut sockets = Vec::new();
    for node in read(bed) {
        for container in read(&node.path().join("state/io.containerd.runtime.v2.task/k8s.io")) {
            let address = fs::read_to_string(container.path().join("address")).unwrap_or_default();
            if let Some(socket) = address.trim().strip_prefix("unix://")
                && socket.starts_with(SHIM_SOCKETS)
            {
                sockets.push(socket.into());
            }
        }
    }
    sockets
}

fn remove_log_links(bed: &Path) -> Result<(), Error> {
    let Ok(links) = fs::read_dir(LOG_LINKS) else { return Ok(()) };
    for link in links.filter_map(Result::ok).map(|entry| entry.path()) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(bed)) {
            remove_file(&link)?;
        }
    }
    Ok(())
}

/// Removes the bed's directory, but never through a mount: behind one may lie what is not the bed's.
fn remove_directory(layout: &Layout) -> Result<(), Error> {
    let left = mounts::below(&layout.dir)?;
    if let Some(first) = left.first() {
        let what = format!("{} is still mounted", first.display());
        return Err(Error::Left { name: layout.name.to_string(), what });
    }
    match fs::remove_dir_all(&layout.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.on("remove", &layout.dir),
    }
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.on("remove", path),
    }
}
