//! Mount options, as a StorageClass lists them.

use std::ffi::CString;

use rustix::mount::MountFlags;

use crate::{Error, Filesystem, Result};

/// Options of a mount that were checked.
#[derive(Debug, Clone)]
pub struct MountOptions {
    pub(crate) flags: MountFlags,
    /// What the filesystem itself is told, comma-separated.
    pub(crate) data: CString,
}

/// What each option that is not the filesystem's own means: the flags, and whether they are set or cleared.
const FLAGS: [(&str, MountFlags, bool); 18] = [
    ("defaults", MountFlags::empty(), true),
    ("rw", MountFlags::RDONLY, false),
    ("ro", MountFlags::RDONLY, true),
    ("dev", MountFlags::NODEV, false),
    ("nodev", MountFlags::NODEV, true),
    ("suid", MountFlags::NOSUID, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("exec", MountFlags::NOEXEC, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("atime", MountFlags::NOATIME, false),
    ("noatime", MountFlags::NOATIME, true),
    ("diratime", MountFlags::NODIRATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("relatime", MountFlags::RELATIME, true),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
];

/// Options that would take the mount away from the driver's control.
const REFUSED: [&str; 8] = ["bind", "rbind", "remount", "move", "shared", "slave", "private", "loop"];

/// The flags of a mount that is there, from the options that the kernel shows for it.
pub(crate) fn flags_of(shown: &str) -> MountFlags {
    let set = shown.split(',').filter_map(|option| FLAGS.iter().find(|(name, _, set)| *name == option && *set));
    set.fold(MountFlags::empty(), |flags, (_, flag, _)| flags | *flag)
}

impl MountOptions {
    /// Reads a list of options, of which each may hold several, separated by commas. Device files and set-user-id
    /// programs on a volume have no effect on the node unless `dev` or `suid` ask for it: a volume's content is its
    /// user's, the node is not.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> Result<Self> {
        let mut flags = MountFlags::NODEV | MountFlags::NOSUID;
        let mut data = Vec::new();
        for option in options.iter().flat_map(|option| option.as_ref().split(',')).filter(|option| !option.is_empty()) {
            let refuse = |why| Err(Error::MountOption(option.to_owned(), why));
            if let Some((_, flag, set)) = FLAGS.iter().find(|(name, ..)| *name == option) {
                flags.set(*flag, *set);
            } else if REFUSED.contains(&option) {
                return refuse("the driver decides it");
            } else if option.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-=:.".contains(&byte)) {
                data.push(option);
            } else {
                return refuse("an option has letters, digits and `_-=:.` only");
            }
        }
        // No option has a NUL, because each has only the characters that are allowed above.
        let data = CString::new(data.join(",")).unwrap_or_default();
        Ok(Self { flags, data })
    }

    /// An error if that option is among those that the filesystem is told.
    pub(crate) fn refuse(&self, option: &str, why: &'static str) -> Result<()> {
        let told = self.data.to_string_lossy();
        if told
            .split(',')
            .any(|told| told == option || told.strip_prefix(option).is_some_and(|rest| rest.starts_with('=')))
        {
            return Err(Error::MountOption(option.to_owned(), why));
        }
        Ok(())
    }

    /// What a filesystem is told. Discarding is the pool's to schedule, and btrfs does it unless told otherwise.
    pub(crate) fn data_for(&self, filesystem: Filesystem) -> CString {
        match filesystem {
            Filesystem::Btrfs => {
                let data = [b"nodiscard".as_slice(), self.data.as_bytes()].join(&b',');
                // Neither half has a NUL. A comma at the end is no option.
                CString::new(data).unwrap_or_default()
            }
            Filesystem::Xfs | Filesystem::Ext4 => self.data.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_kernels_and_the_rest_is_the_filesystems() {
        let options = MountOptions::parse(&["noatime,suid", "logbsize=64k", "inode64"]).unwrap();
        assert_eq!(options.flags, MountFlags::NODEV | MountFlags::NOATIME);
        assert_eq!(options.data.to_str().unwrap(), "logbsize=64k,inode64");
    }

    #[test]
    fn an_option_that_is_the_drivers_to_decide_is_refused_by_name() {
        for option in ["bind", "remount", "loop", "x=/etc/shadow", "a b"] {
            assert!(MountOptions::parse(&[option]).unwrap_err().to_string().contains(&format!("`{option}`")));
        }
    }
}
