//! A bed's cgroups: what its processes and containers run in, and how `down` finds every one of them. Works on cgroup
//! v1, on v2, and on the two side by side.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    Error,
    error::OnPath as _,
    mounts::{self, Mount},
};

/// How long killed processes may take to go. Those in the middle of an uninterruptible write take longest.
const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// The cgroup hierarchies of this machine.
#[derive(Debug)]
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    kind: Kind,
}

/// What a hierarchy's new groups need before they are of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Plain,
    /// The `cpuset` controller in cgroup v1: a group without CPUs and memory nodes of its own takes no process.
    Cpuset,
    /// cgroup v2 with all controllers: a group has those that the group above passes on, and a kubelet insists on its
    /// own.
    Unified,
}

/// The controllers that a kubelet limits pods by.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "hugetlb", "memory", "pids"];

impl Cgroups {
    /// Reads the hierarchies from the machine's mounts.
    pub(super) fn of_this_machine() -> Result<Self, Error> {
        Ok(Self { hierarchies: hierarchies(&mounts::all()?) })
    }

    /// Makes the group `path` in every hierarchy.
    pub(super) fn create(&self, path: &str) -> Result<(), Error> {
        for hierarchy in &self.hierarchies {
            let directory = hierarchy.directory(path);
            fs::create_dir_all(&directory).on("make cgroup", &directory)?;
            match hierarchy.kind {
                Kind::Plain => {}
                Kind::Cpuset => hierarchy.inherit_cpuset(&directory)?,
                Kind::Unified => hierarchy.pass_controllers(&directory)?,
            }
        }
        Ok(())
    }

    /// Moves the process `pid` into the group `path` of every hierarchy.
    pub(super) fn join(&self, path: &str, pid: i32) -> Result<(), Error> {
        for hierarchy in &self.hierarchies {
            let procs = hierarchy.directory(path).join("cgroup.procs");
            match fs::write(&procs, pid.to_string()) {
                // The process ended already: whoever started it finds that out when waiting for it.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                result => result.on("join cgroup", &procs)?,
            }
        }
        Ok(())
    }

    /// Kills everything in the group `path` and the groups below it but for programs named `spared`, and waits until it
    /// is gone.
    pub(super) async fn kill(&self, path: &str, spared: Option<&str>) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            // Again and again, because what dies may have forked in between.
            let mut pids = self.pids(path);
            pids.retain(|pid| spared.is_none_or(|spared| name(*pid).as_deref() != Some(spared)));
            if pids.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > KILL_DEADLINE {
                let pids: Vec<_> = pids.iter().map(i32::to_string).collect();
                return Err(Error::Undying { cgroup: path.to_owned(), pids: pids.join(", ") });
            }
            for pid in pids.iter().copied().filter_map(Pid::from_raw) {
                // It may be gone since: that is what was wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The processes in the group `path` and below, in any hierarchy.
    pub(super) fn pids(&self, path: &str) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            for directory in deepest_first(&hierarchy.directory(path)) {
                let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                // Zero stands for a process of a PID namespace that we cannot see.
                pids.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            }
        }
        pids
    }

    /// Removes the group `path` and those below it. A group that is not there is fine.
    pub(super) async fn remove(&self, path: &str) -> Result<(), Error> {
        for directory in self.hierarchies.iter().flat_map(|hierarchy| deepest_first(&hierarchy.directory(path))) {
            let begun = Instant::now();
            loop {
                match fs::remove_dir(&directory) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    // The kernel lets go of a dead process's group a little after the process.
                    Err(error) if busy(&error) && begun.elapsed() < KILL_DEADLINE => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    result => break result.on("remove cgroup", &directory)?,
                }
            }
        }
        Ok(())
    }
}

impl Hierarchy {
    fn directory(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Passes the controllers on from the root down to `directory`, which passes them on itself when it gets groups.
    fn pass_controllers(&self, directory: &Path) -> Result<(), Error> {
        let above = directory.ancestors().skip(1).take_while(|group| group.starts_with(&self.root));
        let mut path: Vec<&Path> = above.collect();
        path.reverse();
        for group in path {
            let there = group.join("cgroup.controllers");
            let there = fs::read_to_string(&there).on("read", &there)?;
            let wanted = there.split_whitespace().filter(|controller| CONTROLLERS.contains(controller));
            let wanted: Vec<String> = wanted.map(|controller| format!("+{controller}")).collect();
            let passed = group.join("cgroup.subtree_control");
            fs::write(&passed, wanted.join(" ")).on("pass controllers on by", &passed)?;
        }
        Ok(())
    }

    /// Gives the groups from the root down to `directory` the CPUs and memory nodes of the group above each, where
    /// they have none.
    fn inherit_cpuset(&self, directory: &Path) -> Result<(), Error> {
        let mut path: Vec<&Path> = directory.ancestors().take_while(|above| *above != self.root).collect();
        path.reverse();
        for group in path {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let own = group.join(file);
                if fs::read_to_string(&own).on("read", &own)?.trim().is_empty() {
                    let above = group.parent().unwrap_or(&self.root).join(file);
                    let value = fs::read_to_string(&above).on("read", &above)?;
                    fs::write(&own, value.trim()).on("write", &own)?;
                }
            }
        }
        Ok(())
    }
}

fn hierarchies(mounts: &[Mount]) -> Vec<Hierarchy> {
    // Beside version 1 there may be a version 2 that has processes and no controllers.
    let v1 = mounts.iter().any(|mount| mount.filesystem == "cgroup");
    let hierarchy = |mount: &Mount| {
        let kind = match mount.filesystem.as_str() {
            "cgroup" if mount.super_options.iter().any(|option| option == "cpuset") => Kind::Cpuset,
            "cgroup2" if !v1 => Kind::Unified,
            "cgroup" | "cgroup2" => Kind::Plain,
            _ => return None,
        };
        Some(Hierarchy { root: mount.point.clone(), kind })
    };
    mounts.iter().filter_map(hierarchy).collect()
}

/// The name that the kernel has for a process's program: at most 15 bytes of it.
fn name(pid: i32) -> Option<String> {
    Some(fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")).ok()?.trim_end().to_owned())
}

fn deepest_first(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let below = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut all: Vec<PathBuf> = below.flat_map(|entry| deepest_first(&entry.path())).collect();
    all.push(directory.to_owned());
    all
}

fn busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, filesystem: &str, options: &[&str]) -> Mount {
        let super_options = options.iter().map(|&option| option.to_owned()).collect();
        Mount { point: point.into(), filesystem: filesystem.to_owned(), super_options }
    }

    #[test]
    fn each_hierarchy_is_known_for_what_its_new_groups_need() {
        let found = |mounts: &[Mount]| -> Vec<(String, Kind)> {
            hierarchies(mounts).iter().map(|one| (one.root.display().to_string(), one.kind)).collect()
        };
        let both = [
            mount("/", "ext4", &["rw"]),
            mount("/sys/fs/cgroup", "tmpfs", &["rw"]),
            mount("/sys/fs/cgroup/cpuset", "cgroup", &["rw", "cpuset"]),
            mount("/sys/fs/cgroup/memory", "cgroup", &["rw", "memory"]),
            mount("/sys/fs/cgroup/unified", "cgroup2", &["rw"]),
        ];
        let expected = [
            ("/sys/fs/cgroup/cpuset".to_owned(), Kind::Cpuset),
            ("/sys/fs/cgroup/memory".to_owned(), Kind::Plain),
            ("/sys/fs/cgroup/unified".to_owned(), Kind::Plain),
        ];
        assert_eq!(found(&both), expected);
        let v2 = [mount("/sys/fs/cgroup", "cgroup2", &["rw", "nsdelegate"])];
        assert_eq!(found(&v2), [("/sys/fs/cgroup".to_owned(), Kind::Unified)]);
    }

    #[test]
    fn controllers_are_passed_on_by_every_group_above_a_new_one_and_not_by_itself() {
        let root = tempfile::tempdir().expect("a directory");
        let node = root.path().join("bed/node-1");
        fs::create_dir_all(&node).expect("made");
        for group in [root.path(), node.parent().expect("above"), &node] {
            fs::write(group.join("cgroup.controllers"), "cpuset cpu io memory pids").expect("written");
        }
        let hierarchy = Hierarchy { root: root.path().to_owned(), kind: Kind::Unified };
        hierarchy.pass_controllers(&node).expect("passed");
        let passed = |group: &Path| fs::read_to_string(group.join("cgroup.subtree_control")).ok();
        assert_eq!(passed(root.path()).as_deref(), Some("+cpuset +cpu +memory +pids"));
        assert_eq!(passed(&root.path().join("bed")).as_deref(), Some("+cpuset +cpu +memory +pids"));
        assert_eq!(passed(&node), None);
    }

    #[test]
    fn groups_are_removed_from_the_leaves_up() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("a/b")).expect("made");
        let order = deepest_first(root.path());
        assert_eq!(order, [root.path().join("a/b"), root.path().join("a"), root.path().to_owned()]);
    }
}
