//! The cgroups of pods, and the limits of block devices in them.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::{Limits, loops::DeviceNumber};

/// Where the cgroups of this node's pods are.
#[derive(Debug, Clone)]
pub struct PodCgroups {
    hierarchies: PathBuf,
    kubelet_root: PathBuf,
}

/// A group, and what tells it from a later one of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub path: PathBuf,
    pub inode: u64,
}

/// The hierarchy that has the controller of block devices.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hierarchy {
    /// `io.max` of cgroup v2 (`Documentation/admin-guide/cgroup-v2.rst`). A group's limit holds for all groups below it
    /// together. As each device is one volume, one limit for all pods together is just what is wanted.
    Unified(PathBuf),
    /// `blkio.throttle` of cgroup v1 (`Documentation/admin-guide/cgroup-v1/blkio-controller.rst`). A limit holds for
    /// the group itself and not for those below it, so that each container has it for itself; and what the kernel
    /// writes back later for everybody, journals and dirty pages, is done in the root group, which has it too.
    Throttle(PathBuf),
}

impl PodCgroups {
    /// With the place where the node's hierarchies are mounted, and the kubelet's `cgroupRoot`.
    pub fn new(hierarchies: &Path, kubelet_root: &Path) -> Self {
        let kubelet_root = kubelet_root.strip_prefix("/").unwrap_or(kubelet_root).to_owned();
        Self { hierarchies: hierarchies.to_owned(), kubelet_root }
    }

    /// The groups in which a device must have its limits, so that they hold for every pod. The first is
    /// [`PodCgroups::outermost`].
    pub(crate) fn groups(&self) -> io::Result<Vec<Group>> {
        let mut groups = Vec::new();
        match self.find()? {
            (Hierarchy::Unified(top), pods) => {
                for group in pods {
                    pass_io_on(&top, &group)?;
                    groups.extend(Group::at(group)?);
                }
            }
            (Hierarchy::Throttle(top), pods) => {
                groups.extend(Group::at(top)?);
                pods.into_iter().try_for_each(|group| add_with_those_below(group, &mut groups))?;
            }
        }
        Ok(groups)
    }

    /// The group that is limited first, and so has the limits that any of them has.
    pub(crate) fn outermost(&self) -> io::Result<Option<Group>> {
        match self.find()? {
            (Hierarchy::Unified(_), pods) => pods.into_iter().next().map_or(Ok(None), Group::at),
            (Hierarchy::Throttle(top), _) => Group::at(top),
        }
    }

    /// The hierarchy, and the groups of all pods in it: one at least.
    fn find(&self) -> io::Result<(Hierarchy, Vec<PathBuf>)> {
        let missing = |what: String| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "{what}: mount the node's /sys/fs/cgroup into the driver's container, and give it the kubelet's \
                     cgroupRoot as --cgroup-root"
                ),
            )
        };
        let hierarchy = self.hierarchy().ok_or_else(|| {
            missing(format!(
                "{} has neither cgroup v2 with the io controller nor the blkio controller of v1",
                self.hierarchies.display()
            ))
        })?;
        let top = hierarchy.top();
        // By the names of the kubelet's two drivers, cgroupfs and systemd.
        let pods: Vec<_> = ["kubepods", "kubepods.slice"]
            .map(|name| top.join(&self.kubelet_root).join(name))
            .into_iter()
            .filter(|group| group.is_dir())
            .collect();
        if pods.is_empty() {
            return Err(missing(format!("no pods are below {}", top.join(&self.kubelet_root).display())));
        }
        Ok((hierarchy, pods))
    }

    fn hierarchy(&self) -> Option<Hierarchy> {
        let unified = |top: PathBuf| {
            let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
            controllers.split_whitespace().any(|name| name == "io").then_some(Hierarchy::Unified(top))
        };
        let throttle =
            |top: PathBuf| top.join("blkio.throttle.read_bps_device").exists().then_some(Hierarchy::Throttle(top));
        let below = |name: &str| self.hierarchies.join(name);
        // A controller is in one hierarchy only. With both versions, the unified one is beside the others.
        unified(self.hierarchies.clone()).or_else(|| throttle(below("blkio"))).or_else(|| unified(below("unified")))
    }
}

/// Those of a kubelet that was told nothing.
impl Default for PodCgroups {
    fn default() -> Self {
        Self::new(Path::new("/sys/fs/cgroup"), Path::new("/"))
    }
}

impl Hierarchy {
    fn top(&self) -> &Path {
        match self {
            Self::Unified(top) | Self::Throttle(top) => top,
        }
    }
}

impl Group {
    /// `None` if it is gone.
    fn at(path: PathBuf) -> io::Result<Option<Self>> {
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(Self { inode: metadata.ino(), path })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the limits of a device in this group; those that are `None` are taken away. A group that is gone has none.
    pub(crate) fn limit(&self, device: DeviceNumber, limits: &Limits) -> io::Result<()> {
        let unified = self.path.join("io.max");
        let result = if unified.exists() {
            fs::write(unified, unified_line(device, limits))
        } else {
            throttle_lines(device, limits)
                .into_iter()
                .try_for_each(|(file, line)| fs::write(self.path.join(file), line))
        };
        match result {
            Err(error) if is_gone(&error) && !self.path.exists() => Ok(()),
            result => result,
        }
    }

    pub(crate) fn has_limits(&self, device: DeviceNumber) -> bool {
        self.limited().contains(&device)
    }

    /// The devices that have limits in this group.
    pub(crate) fn limited(&self) -> Vec<DeviceNumber> {
        let files = throttle_lines((0, 0), &Limits::default()).map(|(file, _)| file);
        let texts =
            files.into_iter().chain(["io.max"]).filter_map(|file| fs::read_to_string(self.path.join(file)).ok());
        let mut devices: Vec<_> =
            texts.flat_map(|text| text.lines().filter_map(device_of).collect::<Vec<_>>()).collect();
        devices.sort_unstable();
        devices.dedup();
        devices
    }
}

/// The device that a line such as `7:3 rbps=max` is about.
fn device_of(line: &str) -> Option<DeviceNumber> {
    let (major, minor) = line.split(' ').next()?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn unified_line((major, minor): DeviceNumber, limits: &Limits) -> String {
    let each = [
        ("rbps", limits.read_bandwidth),
        ("wbps", limits.write_bandwidth),
        ("riops", limits.read_iops),
        ("wiops", limits.write_iops),
    ];
    each.iter().fold(format!("{major}:{minor}"), |line, (name, limit)| match limit {
        Some(limit) => format!("{line} {name}={limit}"),
        None => format!("{line} {name}=max"),
    })
}

/// The files of cgroup v1, and what is written to each. 0 takes a limit away.
fn throttle_lines((major, minor): DeviceNumber, limits: &Limits) -> [(&'static str, String); 4] {
    [
        ("blkio.throttle.read_bps_device", limits.read_bandwidth),
        ("blkio.throttle.write_bps_device", limits.write_bandwidth),
        ("blkio.throttle.read_iops_device", limits.read_iops),
        ("blkio.throttle.write_iops_device", limits.write_iops),
    ]
    .map(|(file, limit)| (file, format!("{major}:{minor} {}", limit.map_or(0, std::num::NonZero::get))))
}

/// Has the groups from `top` down to the parent of `group` pass the io controller on, without which it has no `io.max`.
fn pass_io_on(top: &Path, group: &Path) -> io::Result<()> {
    if group.join("io.max").exists() {
        return Ok(());
    }
    let above: Vec<_> = group.ancestors().skip(1).take_while(|above| above.starts_with(top)).collect();
    above.into_iter().rev().try_for_each(|above| fs::write(above.join("cgroup.subtree_control"), "+io"))
}

fn add_with_those_below(group: PathBuf, groups: &mut Vec<Group>) -> io::Result<()> {
    let entries = match fs::read_dir(&group) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    groups.extend(Group::at(group)?);
    for entry in entries {
        match entry {
            Ok(entry) if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                add_with_those_below(entry.path(), groups)?;
            }
            Ok(_) => {}
            Err(error) if is_gone(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Groups come and go with their containers.
fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NODEV))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn limits() -> Limits {
        Limits { read_iops: NonZeroU64::new(100), write_bandwidth: NonZeroU64::new(5 << 20), ..Limits::default() }
    }

    fn make(top: &Path, groups: &[&str], files: &[&str]) {
        for group in groups {
            fs::create_dir_all(top.join(group)).unwrap();
            for file in files {
                fs::write(top.join(group).join(file), "").unwrap();
            }
        }
    }

    fn names(groups: &[Group], top: &Path) -> Vec<String> {
        groups.iter().map(|group| group.path.strip_prefix(top).unwrap().display().to_string()).collect()
    }

    #[test]
    fn in_version_2_the_group_of_all_pods_has_the_limit() {
        let top = tempfile::tempdir().unwrap();
        make(top.path(), &["", "a", "a/kubepods", "a/kubepods/pod-1"], &["cgroup.subtree_control"]);
        fs::write(top.path().join("cgroup.controllers"), "cpu io memory").unwrap();
        let groups = PodCgroups::new(top.path(), Path::new("/a")).groups().unwrap();
        assert_eq!(names(&groups, top.path()), ["a/kubepods"]);
        for above in ["", "a"] {
            assert_eq!(fs::read_to_string(top.path().join(above).join("cgroup.subtree_control")).unwrap(), "+io");
        }
        assert_eq!(fs::read_to_string(top.path().join("a/kubepods/cgroup.subtree_control")).unwrap(), "");
        fs::write(groups[0].path.join("io.max"), "").unwrap();
        groups[0].limit((7, 3), &limits()).unwrap();
        let line = fs::read_to_string(groups[0].path.join("io.max")).unwrap();
        assert_eq!(line, "7:3 rbps=max wbps=5242880 riops=100 wiops=max");
        assert_eq!(groups[0].limited(), [(7, 3)]);
    }

    #[test]
    fn in_version_1_the_root_and_every_group_of_pods_has_the_limit() {
        let top = tempfile::tempdir().unwrap();
        let blkio = top.path().join("blkio");
        let files = throttle_lines((0, 0), &Limits::default()).map(|(file, _)| file);
        make(&blkio, &["", "kubepods", "kubepods/pod-1", "kubepods/pod-1/c", "other"], &files);
        let groups = PodCgroups::new(top.path(), Path::new("/")).groups().unwrap();
        assert_eq!(names(&groups, &blkio), ["", "kubepods", "kubepods/pod-1", "kubepods/pod-1/c"]);
        groups[3].limit((7, 3), &limits()).unwrap();
        let read = |file: &str| fs::read_to_string(groups[3].path.join(file)).unwrap();
        assert_eq!(read("blkio.throttle.write_bps_device"), "7:3 5242880");
        assert_eq!(read("blkio.throttle.read_bps_device"), "7:3 0");
        fs::remove_dir_all(&groups[3].path).unwrap();
        groups[3].limit((7, 3), &limits()).unwrap();
    }

    #[test]
    fn without_cgroups_of_pods_the_error_says_what_to_do() {
        let top = tempfile::tempdir().unwrap();
        let error = || PodCgroups::new(top.path(), Path::new("/a")).groups().unwrap_err().to_string();
        assert!(error().contains("neither cgroup v2"), "{}", error());
        make(&top.path().join("blkio"), &[""], &["blkio.throttle.read_bps_device"]);
        assert!(error().contains("no pods are below") && error().contains("--cgroup-root"), "{}", error());
    }
}
