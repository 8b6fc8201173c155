//! Which volumes are mounted below the kubelet's directory, by the kernel's own list of mounts: no directory is walked,
//! and nothing that is not mounted is ever taken for a volume.
//!
//! Only volumes that a pod cannot name as it likes are found: CSI volumes, whose PersistentVolume the kubelet writes
//! into a file of its own, and local volumes, which exist only as PersistentVolumes. The directory of any other
//! in-tree volume carries a name that its pod may have chosen: a tenant could pass a volume of their own off as
//! somebody else's PersistentVolume. Raw block volumes have no filesystem and are mounted elsewhere.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::unix::ffi::OsStringExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use super::counters::Device;

/// A mount of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// The kernel's number of the mount: tells it from whatever is at the path once it is gone.
    pub id: u64,
    /// What it is on: a block device, or a number that the kernel has made up for a filesystem that is on none.
    pub device: Device,
    /// The UID of the pod that uses it there.
    pub pod: String,
}

/// The mounted volumes by the PersistentVolume's name; of a volume that several pods use, one mount.
pub type Volumes = BTreeMap<String, Mount>;

/// The mounts below one kubelet's directory.
#[derive(Debug)]
pub struct MountTable {
    kubelet_dir: PathBuf,
    mountinfo: File,
    /// Must the list be read again? Also when it could not be read in full the last time.
    stale: bool,
}

impl MountTable {
    /// Watches the mounts of this process's namespace below `kubelet_dir`. Fails when there is no such directory.
    pub fn open(kubelet_dir: &Path) -> io::Result<Self> {
        // The kernel lists mounts by their real path, and the kubelet's directory often is a link to a larger disk.
        let kubelet_dir = kubelet_dir.canonicalize()?;
        Ok(Self { kubelet_dir, mountinfo: File::open("/proc/self/mountinfo")?, stale: true })
    }

    /// Has anything been mounted or unmounted since the last [`read`](Self::read), or did that not see everything?
    /// Never blocks.
    pub fn is_stale(&mut self) -> io::Result<bool> {
        self.stale = self.changed()? || self.stale;
        Ok(self.stale)
    }

    /// The mounted volumes.
    pub fn read(&mut self) -> io::Result<Volumes> {
        let mut text = Vec::new();
        self.mountinfo.rewind()?;
        self.mountinfo.read_to_end(&mut text)?;
        let (volumes, unreadable) = find(&self.kubelet_dir, &text);
        self.stale = unreadable > 0;
        Ok(volumes)
    }

    /// Has the kernel's list changed since this was last asked? The file is then reported as having an exceptional
    /// condition (see proc(5)), which costs one system call and spares reading a long list each second.
    fn changed(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.mountinfo, PollFlags::PRI)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(fds[0].revents().intersects(PollFlags::PRI | PollFlags::ERR))
    }
}

/// The volumes in the text of a `mountinfo`, and of how many mounts it could not be read which volume they are: the
/// kubelet is just making or removing them.
fn find(kubelet_dir: &Path, mountinfo: &[u8]) -> (Volumes, usize) {
    let mut volumes = Volumes::new();
    let mut unreadable = 0;
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let Some((id, device, path)) = parse(line) else { continue };
        let Some((pod, place)) = path.strip_prefix(kubelet_dir).ok().and_then(Place::of) else { continue };
        match place.volume(&path) {
            Ok(Some(volume)) => {
                // Of mounts on one path, one hides those before it; of several paths the first is as good as any.
                let known = volumes.get(&volume);
                if known.is_none_or(|known| path <= known.path) {
                    let pod = pod.to_owned();
                    volumes.insert(volume, Mount { path, id, device, pod });
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot tell which volume is mounted");
                unreadable += 1;
            }
        }
    }
    (volumes, unreadable)
}

/// A line of `mountinfo`: the first field is the mount's number, the third its device, the fifth its path (see proc(5)).
fn parse(line: &[u8]) -> Option<(u64, Device, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let (major, minor) = std::str::from_utf8(fields.nth(1)?).ok()?.split_once(':')?;
    let device = Device { major: major.parse().ok()?, minor: minor.parse().ok()? };
    let path = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    Some((id, device, path))
}

/// Replaces the escapes of white space and backslashes, such as `\040`, by the bytes that they stand for.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// Where volumes are mounted below the kubelet's directory.
enum Place<'a> {
    /// `pods/UID/volumes/kubernetes.io~csi/NAME/mount`, with `vol_data.json` beside it.
    Csi,
    /// `pods/UID/volumes/kubernetes.io~local-volume/NAME`.
    Local(&'a str),
}

impl<'a> Place<'a> {
    /// The UID of the pod, and what is mounted there for it.
    fn of(path: &'a Path) -> Option<(&'a str, Self)> {
        let names: Option<Vec<&str>> = path
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        match names?.as_slice() {
            ["pods", pod, "volumes", "kubernetes.io~csi", _, "mount"] => Some((pod, Self::Csi)),
            ["pods", pod, "volumes", "kubernetes.io~local-volume", name] => Some((pod, Self::Local(name))),
            _ => None,
        }
    }

    /// The PersistentVolume's name; none for a volume that is part of its pod and no PersistentVolume.
    fn volume(&self, path: &Path) -> io::Result<Option<String>> {
        match self {
            Self::Local(name) => Ok(Some((*name).to_owned())),
            Self::Csi => {
                let data = fs::read(path.with_file_name("vol_data.json"))?;
                let data: VolumeData = serde_json::from_slice(&data)?;
                Ok((data.lifecycle.as_deref() != Some("Ephemeral")).then_some(data.volume))
            }
        }
    }
}

/// What the kubelet writes beside the mount of a CSI volume.
#[derive(Deserialize)]
struct VolumeData {
    #[serde(rename = "specVolID")]
    volume: String,
    /// `Persistent`, or `Ephemeral` for a volume that is written into the pod and named by it.
    #[serde(rename = "volumeLifecycleMode")]
    lifecycle: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kubelet's directory with CSI volumes: their path below `pods` and the content of `vol_data.json`.
    fn kubelet(volumes: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, data) in volumes {
            let volume = dir.path().join("pods").join(path);
            fs::create_dir_all(volume.join("mount")).unwrap();
            fs::write(volume.join("vol_data.json"), data).unwrap();
        }
        dir
    }

    fn mountinfo(kubelet: &Path, mounts: &[(u64, &str)]) -> Vec<u8> {
        let line = |(id, path): &(u64, &str)| {
            let path = kubelet.join("pods").join(path);
            format!("{id} 1 7:3 / {} rw,relatime shared:9 - xfs /dev/loop3 rw\n", path.display())
        };
        mounts.iter().map(line).collect::<String>().into_bytes()
    }

    const LOOP_3: Device = Device { major: 7, minor: 3 };

    const PERSISTENT: &str =
        r#"{"specVolID":"pvc-1","driverName":"local.orlop.dev","volumeLifecycleMode":"Persistent"}"#;

    #[test]
    fn a_csi_volume_is_found_by_the_name_that_the_kubelet_wrote() {
        let dir = kubelet(&[("u1/volumes/kubernetes.io~csi/dir-1", PERSISTENT)]);
        let text = mountinfo(dir.path(), &[(40, "u1/volumes/kubernetes.io~csi/dir-1/mount")]);
        let (volumes, unreadable) = find(dir.path(), &text);
        let path = dir.path().join("pods/u1/volumes/kubernetes.io~csi/dir-1/mount");
        assert_eq!(
            volumes,
            Volumes::from([("pvc-1".to_owned(), Mount { path, id: 40, device: LOOP_3, pod: "u1".to_owned() })])
        );
        assert_eq!(unreadable, 0);
    }

    #[test]
    fn a_volume_that_is_there_and_not_mounted_is_not_found() {
        let dir = kubelet(&[("u1/volumes/kubernetes.io~csi/dir-1", PERSISTENT)]);
        assert_eq!(find(dir.path(), b"").0, Volumes::new());
    }

    #[test]
    fn a_local_volume_is_found_and_what_a_pod_may_name_is_not() {
        let inline = r#"{"specVolID":"pvc-2","volumeLifecycleMode":"Ephemeral"}"#;
        let dir = kubelet(&[("u1/volumes/kubernetes.io~csi/pvc-2", inline)]);
        let text = mountinfo(
            dir.path(),
            &[
                (40, "u1/volumes/kubernetes.io~local-volume/disk-7"),
                (41, "u1/volumes/kubernetes.io~nfs/pvc-1"),
                (42, "u1/volumes/kubernetes.io~empty-dir/pvc-1"),
                (43, "u1/volumes/kubernetes.io~csi/pvc-2/mount"),
                (44, "u1/volume-subpaths/kubernetes.io~local-volume/pvc-1"),
                (45, "u1/volumes/kubernetes.io~local-volume/pvc-1/deeper"),
            ],
        );
        let (volumes, unreadable) = find(dir.path(), &text);
        assert_eq!(volumes.keys().collect::<Vec<_>>(), ["disk-7"]);
        assert_eq!(unreadable, 0);
    }

    #[test]
    fn a_volume_of_several_pods_is_measured_at_one_mount_and_at_the_topmost_there() {
        let dir = kubelet(&[
            ("u1/volumes/kubernetes.io~csi/pvc-1", PERSISTENT),
            ("u2/volumes/kubernetes.io~csi/pvc-1", PERSISTENT),
        ]);
        let (one, two) = ("u1/volumes/kubernetes.io~csi/pvc-1/mount", "u2/volumes/kubernetes.io~csi/pvc-1/mount");
        let (volumes, _) = find(dir.path(), &mountinfo(dir.path(), &[(40, two), (41, one), (42, one)]));
        assert_eq!(volumes.len(), 1);
        let path = dir.path().join("pods").join(one);
        assert_eq!(volumes["pvc-1"], Mount { path, id: 42, device: LOOP_3, pod: "u1".to_owned() });
    }

    #[test]
    fn a_mount_that_the_kubelet_is_just_making_is_counted_as_unreadable() {
        let dir = kubelet(&[("u1/volumes/kubernetes.io~csi/pvc-1", "{")]);
        let text = mountinfo(dir.path(), &[(40, "u1/volumes/kubernetes.io~csi/pvc-1/mount")]);
        assert_eq!(find(dir.path(), &text), (Volumes::new(), 1));
    }

    #[test]
    fn a_path_with_escaped_spaces_is_read_back() {
        let mount = parse(br"36 35 98:0 / /mnt/a\040b\134c rw - ext4 /dev/x rw").unwrap();
        assert_eq!(mount, (36, Device { major: 98, minor: 0 }, r"/mnt/a b\c".into()));
        assert_eq!(unescape(br"\04"), br"\04", "a cut escape stands for itself");
    }

    #[test]
    fn the_list_is_read_again_only_after_a_change() {
        let dir = kubelet(&[]);
        let mut table = MountTable::open(dir.path()).unwrap();
        assert!(table.is_stale().unwrap(), "it has never been read");
        // Other processes mount and unmount too: of some readings in a row, one is not outdated at once.
        let mut outdated = (0..100).map(|_| {
            assert_eq!(table.read().unwrap(), Volumes::new());
            table.is_stale().unwrap()
        });
        assert!(outdated.any(|outdated| !outdated));
    }
}
