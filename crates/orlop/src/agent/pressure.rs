//! For how long the tasks of a pod have waited for I/O, as the kernel counts it for the pod's cgroup: `io.pressure` of cgroup v2
//! (`Documentation/accounting/psi.rst` and `Documentation/admin-guide/cgroup-v2.rst` of Linux). A kernel without it, or a node
//! with cgroup v1 alone, has none, and then nothing is known.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::SignedDuration;
use orlop_planner::Pressure;

/// Where the kernel has its cgroups.
pub(super) const HIERARCHIES: &str = "/sys/fs/cgroup";

/// For how long tasks have waited, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stalls {
    /// At least one of them.
    pub some: u64,
    /// All that were not idle.
    pub full: u64,
}

impl Stalls {
    /// Can these be what the same cgroup has counted later?
    pub(super) const fn go_on(&self, later: &Self) -> bool {
        self.some <= later.some && self.full <= later.full
    }

    /// For which share of some time they have waited, at the end of which the cgroup has counted that.
    pub(super) fn pressure(&self, over: SignedDuration, now: &Self) -> Pressure {
        let microseconds = u128::try_from(over.as_micros()).unwrap_or(0).max(1);
        let share = |then: u64, now: u64| {
            let percent = u128::from(now.saturating_sub(then)) * 100 / microseconds;
            u8::try_from(percent.min(100)).unwrap_or(100)
        };
        Pressure { some: share(self.some, now.some), full: share(self.full, now.full) }
    }
}

/// Where the cgroups of the node's pods are.
#[derive(Debug, Clone)]
pub struct PodCgroups {
    /// The kubelet's `cgroupRoot` in the hierarchy of version 2; none where there is none.
    root: Option<PathBuf>,
}

impl PodCgroups {
    /// With the place where the node's hierarchies are mounted, and the kubelet's `cgroupRoot`.
    pub fn new(hierarchies: &Path, kubelet_root: &Path) -> Self {
        // Beside version 1 there may be one of version 2, which has processes and no controllers; pressure is not one of those.
        let both = hierarchies.join("unified");
        let mut places = [hierarchies, &both].into_iter();
        let top = places.find(|place| place.join("cgroup.controllers").exists());
        Self { root: top.map(|top| top.join(kubelet_root.strip_prefix("/").unwrap_or(kubelet_root))) }
    }

    /// For how long the tasks of the pod of this UID have waited; none where that is not known.
    pub(super) fn stalls(&self, pod: &str) -> Option<Stalls> {
        let root = self.root.as_ref()?;
        let mut groups = groups(pod).into_iter().map(|group| root.join(group).join("io.pressure"));
        // A kernel that does not count says so when it is read.
        groups.find_map(|file| fs::read_to_string(file).ok()).and_then(|text| parse(&text))
    }
}

/// Where a pod's cgroup may be, by the kubelet's two drivers, cgroupfs and systemd, and the pod's class of service.
fn groups(pod: &str) -> [String; 6] {
    // In the name of a slice a hyphen is a step down.
    let unit = pod.replace('-', "_");
    [
        format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{unit}.slice"),
        format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{unit}.slice"),
        format!("kubepods.slice/kubepods-pod{unit}.slice"),
        format!("kubepods/burstable/pod{pod}"),
        format!("kubepods/besteffort/pod{pod}"),
        format!("kubepods/pod{pod}"),
    ]
}

/// Two lines, such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, of which the second begins with `full`.
fn parse(text: &str) -> Option<Stalls> {
    let total = |kind: &str| {
        let mut fields =
            text.lines().map(str::split_ascii_whitespace).find(|fields| fields.clone().next() == Some(kind))?;
        fields.find_map(|field| field.strip_prefix("total="))?.parse().ok()
    };
    Some(Stalls { some: total("some")?, full: total("full")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "some avg10=0.07 avg60=0.51 avg300=1.45 total=815581502\nfull avg10=0.07 avg60=0.45 avg300=1.21 total=374161132\n";

    const COUNTED: Stalls = Stalls { some: 815_581_502, full: 374_161_132 };

    #[test]
    fn what_the_kernel_says_is_read_as_it_documents_it() {
        assert_eq!(parse(TEXT), Some(COUNTED));
        assert_eq!(parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"), None, "half of it is not enough");
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_pod_s_cgroup_is_found_with_both_drivers_and_in_every_class_of_service() {
        let pod = "0aa4c7c4-91bf-4a2c-a0a4-0b2f4b6d6c2e";
        for (number, group) in groups(pod).into_iter().enumerate() {
            let hierarchies = tempfile::tempdir().unwrap();
            // As where there is only version 2, and as where it is beside version 1.
            let top = if number % 2 == 0 { hierarchies.path().to_owned() } else { hierarchies.path().join("unified") };
            let group = top.join("bed/1").join(group);
            fs::create_dir_all(&group).unwrap();
            fs::write(top.join("cgroup.controllers"), "").unwrap();
            fs::write(group.join("io.pressure"), TEXT).unwrap();
            let cgroups = PodCgroups::new(hierarchies.path(), Path::new("/bed/1"));
            assert_eq!(cgroups.stalls(pod), Some(COUNTED), "{}", group.display());
            assert_eq!(cgroups.stalls("another"), None);
        }
        let old = tempfile::tempdir().unwrap();
        assert_eq!(PodCgroups::new(old.path(), Path::new("/")).stalls(pod), None, "there is only version 1");
    }

    #[test]
    fn pressure_is_the_share_of_time_that_was_waited() {
        let stalls = |some, full| Stalls { some, full };
        let over = SignedDuration::from_secs(10);
        let pressure = stalls(500, 100).pressure(over, &stalls(5_000_500, 2_000_100));
        assert_eq!(pressure, Pressure { some: 50, full: 20 });
        let more = stalls(0, 0).pressure(over, &stalls(10_100_000, 0));
        assert_eq!(more, Pressure { some: 100, full: 0 }, "the kernel counts at its own moments");
    }
}
