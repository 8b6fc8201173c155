//! What beds change in the machine itself: kernel settings that kubelets and pod networks set, and directories that
//! their programs make at fixed places. Written down before the first bed starts, put back after the last one.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Error,
    error::OnPath as _,
    files::{self, Readers},
    layout::ROOT,
};

/// The settings that a kubelet makes for itself (its container manager's kernel tunables), and forwarding, which the
/// plugin of the pod network turns on.
const SETTINGS: [&str; 7] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// Directories that kubelets, containerd and the network plugins make wherever they run, deepest first.
const DIRECTORIES: [&str; 9] = [
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/lib/cni/results",
    "/var/lib/cni/networks",
    "/var/lib/cni",
    "/run/containerd/s",
    "/run/containerd/fifo",
    "/run/containerd",
];

/// How the machine was before its first bed.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Before {
    settings: BTreeMap<String, String>,
    /// Those of the directories above that did not exist.
    absent: Vec<PathBuf>,
}

fn file() -> PathBuf {
    Path::new(ROOT).join("host.json")
}

/// Writes down how the machine is, unless a bed has done so.
pub(super) fn remember() -> Result<(), Error> {
    let path = file();
    if path.exists() {
        return Ok(());
    }
    let value = |name: &str| Some((name.to_owned(), fs::read_to_string(setting(name)).ok()?.trim().to_owned()));
    let before = Before {
        settings: SETTINGS.iter().filter_map(|name| value(name)).collect(),
        absent: DIRECTORIES.iter().map(PathBuf::from).filter(|directory| !directory.exists()).collect(),
    };
    let text = serde_json::to_string_pretty(&before).on("write", &path)?;
    files::write(&path, &text, Readers::Everyone)
}

/// Puts the machine back to what was written down. Call it when no bed is left.
pub(super) fn restore() -> Result<(), Error> {
    let path = file();
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let before: Before = serde_json::from_str(&text).on("understand", &path)?;
    for (name, value) in &before.settings {
        let setting = setting(name);
        if fs::read_to_string(&setting).is_ok_and(|current| current.trim() != value) {
            fs::write(&setting, value).on("set", &setting)?;
        }
    }
    for directory in &before.absent {
        // What the kubelets' device managers left there is empty sockets and checkpoints of theirs.
        if directory.ends_with("device-plugins") {
            let _ = fs::remove_dir_all(directory);
        }
        if directory.ends_with("containerd/s") {
            remove_dead_sockets(directory);
        }
        // Only when empty: what somebody else put there since is theirs.
        let _ = fs::remove_dir(directory);
    }
    fs::remove_file(&path).on("remove", path)
}

/// Removes the sockets that nobody listens on: those of shims that were killed and that containerd forgot since.
fn remove_dead_sockets(directory: &Path) {
    for socket in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let refused =
            UnixStream::connect(socket.path()).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if refused {
            let _ = fs::remove_file(socket.path());
        }
    }
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
