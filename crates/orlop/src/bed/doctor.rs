//! What a machine needs to run a bed, each with its remedy.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{bundle::Bundle, layout::ROOT, loops, network, ports};

/// The packages of Debian 12 that a bed uses, with a program of each.
const PACKAGES: [(&str, &str); 8] = [
    ("containerd", "/usr/bin/containerd"),
    ("containerd", "/usr/bin/ctr"),
    ("runc", "/usr/sbin/runc"),
    ("xfsprogs", "/usr/sbin/mkfs.xfs"),
    ("e2fsprogs", "/usr/sbin/mkfs.ext4"),
    ("util-linux", "/usr/bin/setsid"),
    ("iproute2", network::IP),
    ("mount", loops::LOSETUP),
];

/// A control plane with one node takes a little less than 1.5 GiB; pods come on top.
const MEMORY_MIN_BYTES: u64 = 2 << 30;

/// Images unpacked for one node, the control plane's store and a demonstration's volumes.
const DISK_MIN_BYTES: u64 = 8 << 30;

/// A thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as a bed needs it.
    pub ok: bool,
    /// What to do when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, ok: bool, remedy: impl FnOnce() -> String) -> Self {
        Self { name: name.into(), ok, remedy: (!ok).then(remedy) }
    }
}

/// Looks at everything that a bed needs on this machine. `kubernetes_dir` names the bundle, when it is not the one in
/// the cache folder.
pub fn examine(kubernetes_dir: Option<&Path>) -> Vec<Check> {
    let mut checks = vec![root()];
    checks.extend(packages());
    checks.push(network_plugins());
    checks.extend(["overlay", "xfs"].map(filesystem));
    checks.push(Check::new("loop devices", Path::new("/dev/loop-control").exists(), || {
        "load the kernel's loop module: modprobe loop".to_owned()
    }));
    checks.push(cgroups());
    checks.push(memory());
    checks.push(disk());
    checks.push(free_ports());
    checks.push(bundle(&Bundle::at(kubernetes_dir)));
    checks
}

/// What [`examine`] found lacking.
pub(super) fn lacking(kubernetes_dir: Option<&Path>) -> Vec<Check> {
    examine(kubernetes_dir).into_iter().filter(|check| !check.ok).collect()
}

fn root() -> Check {
    Check::new("root", rustix::process::geteuid().is_root(), || {
        "run it as root: a cluster mounts filesystems and makes cgroups".to_owned()
    })
}

fn packages() -> Vec<Check> {
    let found = |program: &str| Path::new(program).exists();
    let check = |(package, program): (&str, &str)| {
        let name = format!("{program} of package {package}");
        Check::new(name, found(program), || format!("apt-get install --no-install-recommends {package}"))
    };
    PACKAGES.into_iter().map(check).collect()
}

fn network_plugins() -> Check {
    let missing = |name: &&str| !Path::new(network::PLUGINS).join(name).exists();
    let ok = !["ptp", "host-local", "loopback"].iter().any(missing);
    Check::new("pod network plugins", ok, || {
        "apt-get install --no-install-recommends containernetworking-plugins".to_owned()
    })
}

fn filesystem(name: &str) -> Check {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let ok = known.lines().any(|line| line.split_whitespace().last() == Some(name));
    Check::new(format!("kernel support for {name}"), ok, || format!("load it: modprobe {name}"))
}

fn cgroups() -> Check {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let v1 = ["cpu", "cpuset", "memory", "pids"].iter().all(|name| Path::new("/sys/fs/cgroup").join(name).is_dir());
    Check::new("cgroups", v1 || v2, || {
        "mount the cgroup filesystem at /sys/fs/cgroup: version 2, or version 1 with cpu, cpuset, memory and pids"
            .to_owned()
    })
}

fn memory() -> Check {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    // What cannot be read is no reason to refuse.
    let available = available_memory_bytes(&text).unwrap_or(u64::MAX);
    Check::new("memory", available >= MEMORY_MIN_BYTES, || {
        format!("free some: {} MiB are available, {} are needed", available >> 20, MEMORY_MIN_BYTES >> 20)
    })
}

fn available_memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    // The kernel writes kB and means KiB.
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn disk() -> Check {
    let root = Path::new(ROOT);
    let directory: PathBuf = root.ancestors().find(|directory| directory.exists()).unwrap_or(Path::new("/")).into();
    let free = rustix::fs::statvfs(&directory).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    Check::new("disk", free >= DISK_MIN_BYTES, || {
        format!("free some below {ROOT}: {} MiB are available, {} are needed", free >> 20, DISK_MIN_BYTES >> 20)
    })
}

/// A block without enough free ports is passed over, but some block must have them.
fn free_ports() -> Check {
    let ok = (0..ports::BEDS_MAX).any(|index| ports::Ports::choose(index, ports::free).is_ok());
    Check::new("free ports on 127.0.0.1", ok, || "end what listens on ports from 21000 to 26000".to_owned())
}

fn bundle(bundle: &Bundle) -> Check {
    let missing = bundle.missing();
    Check::new("Kubernetes, the sidecars and the images", missing.is_empty(), || {
        let first = missing.first().map_or_else(String::new, |path| path.display().to_string());
        format!("build them, with the same ORLOP_CACHE if it is set: make bed image ({first} is missing)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_given_exactly_when_something_lacks() {
        assert_eq!(Check::new("a", true, || "b".to_owned()).remedy, None);
        assert_eq!(Check::new("a", false, || "b".to_owned()).remedy.as_deref(), Some("b"));
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        let meminfo = "MemTotal:       24684092 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available_memory_bytes(meminfo), Some(2 << 20));
        assert_eq!(available_memory_bytes("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_bundle_that_is_not_there_is_said_with_what_to_do() {
        let empty = tempfile::tempdir().expect("a directory");
        let check = bundle(&Bundle::at(Some(empty.path())));
        assert!(!check.ok);
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("make bed image")));
    }
}
