//! Removing a bed with every trace of it. Each step works on what it finds, whatever state the bed is in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Component, Error,
    cgroup::Cgroups,
    daemon,
    error::OnPath as _,
    host,
    layout::{Layout, ROOT},
    loops, mounts, network, ports, state,
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

    if let Some(device) = loops::unmount_and_detach_below(&layout.dir).await?.first() {
        return Err(left(layout, format!("{} is still attached", device.display())));
    }
    cgroups.remove(&layout.cgroup()).await?;

    let containers = containers(&layout.dir);
    for socket in containers.iter().filter_map(|container| shim_socket(container)) {
        remove_file(&socket)?;
    }
    let ids = containers.iter().filter_map(|container| container.file_name()?.to_str().map(str::to_owned));
    network::forget(&layout.network_prefix(), &ids.collect::<Vec<_>>())?;
    for address in state::addresses(layout) {
        network::remove_address(address).await?;
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

/// The directories that containerd keeps of the bed's running containers and sandboxes, each named by its id.
fn containers(bed: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let of_node = |node: fs::DirEntry| {
        entries(&node.path().join("state/io.containerd.runtime.v2.task/k8s.io")).map(|container| container.path())
    };
    entries(bed).flat_map(of_node).collect()
}

/// The socket of a container's shim, which containerd wrote down for itself.
fn shim_socket(container: &Path) -> Option<PathBuf> {
    let address = fs::read_to_string(container.join("address")).ok()?;
    let socket = PathBuf::from(address.trim().strip_prefix("unix://")?);
    socket.starts_with(SHIM_SOCKETS).then_some(socket)
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
    if let Some(first) = mounts::below(&layout.dir)?.first() {
        return Err(left(layout, format!("{} is still mounted", first.display())));
    }
    match fs::remove_dir_all(&layout.dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.on("remove", &layout.dir),
    }
}

fn left(layout: &Layout, what: String) -> Error {
    Error::Left { name: layout.name.to_string(), what }
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.on("remove", path),
    }
}
