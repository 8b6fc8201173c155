//! Formatting an image, with its later growth in mind, and growing what is in it.

use std::{fmt, path::Path, str::FromStr};

use orlop_api::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Result, SIZE_INCREMENT, loops::BLOCK_SIZE, tool};

/// What a volume is formatted with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// XFS, which grows online everywhere.
    #[default]
    Xfs,
    /// ext4, which needs `CAP_SYS_RESOURCE` to grow online.
    Ext4,
    /// btrfs, which grows online everywhere.
    Btrfs,
}

impl Filesystem {
    /// The name that mount(2) and a StorageClass know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
        }
    }

    /// The smallest volume of this kind. `mkfs.xfs` makes none below 300 MB; an ext4 below 16 MiB has no room for a
    /// journal, and `mkfs.btrfs` makes none below 109 MiB.
    pub const fn minimum(self) -> Bytes {
        match self {
            Self::Xfs => Bytes(300 << 20),
            Self::Ext4 => Bytes(16 << 20),
            Self::Btrfs => Bytes(128 << 20),
        }
    }

    /// Formats an image, whatever is in it. The image is a file, so no device is needed for that.
    pub(crate) fn format(self, image: &Path, size: Bytes) -> Result<()> {
        let block = BLOCK_SIZE.to_string();
        match self {
            Self::Xfs => {
                let mut arguments = vec![
                    // No discard: a new image is a hole already. Quiet, and over a leftover of an interrupted run.
                    "-K".to_owned(),
                    "-q".to_owned(),
                    "-f".to_owned(),
                    // The sector size must be the loop device's block size, or the kernel refuses the mount.
                    format!("-ssize={block}"),
                    format!("-dagsize={}", xfs_group_size(size).0),
                    // The journal lies in the first group, because the second may be too small for it.
                    "-lagnum=0".to_owned(),
                ];
                if size > XFS_LOG_CAPPED {
                    arguments.push(format!("-lsize={}", XFS_LOG.0));
                }
                tool::run("mkfs.xfs", &arguments, image, 0)
            }
            Self::Ext4 => {
                // Nothing to zero in the background, because a new image reads as zeros; and no blocks kept for root,
                // because a volume has one user. Checksums do not depend on the UUID, so that a clone gets its own at once.
                const EXTENDED: &str = "nodiscard,lazy_journal_init=1,lazy_itable_init=1,assume_storage_prezeroed=1";
                tool::run(
                    "mkfs.ext4",
                    &["-q", "-F", "-b", &block, "-m", "0", "-O", "metadata_csum_seed", "-E", EXTENDED],
                    image,
                    0,
                )
            }
            // No discard, quiet, and over a leftover, as above.
            Self::Btrfs => tool::run("mkfs.btrfs", &["-K", "-q", "-f", "-s", &block], image, 0),
        }
    }
}

/// The name, such as `xfs`.
impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Filesystem {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "xfs" => Ok(Self::Xfs),
            "ext4" => Ok(Self::Ext4),
            "btrfs" => Ok(Self::Btrfs),
            _ => Err(format!("filesystem `{text}` is not supported: use xfs, ext4 or btrfs")),
        }
    }
}

/// The largest journal of an XFS. A clone gets its own UUID, which is in each record of the journal, so that it is written
/// anew: that must not take longer for a large volume.
const XFS_LOG: Bytes = Bytes(128 << 20);

/// Beyond this, `mkfs.xfs` would make a larger one: it takes 1/2048 of the volume.
const XFS_LOG_CAPPED: Bytes = Bytes(XFS_LOG.0 * 2048);

/// The size of an XFS allocation group for a volume that is born with `size`.
///
/// A filesystem keeps the group size of its birth, and one with thousands of groups is slow: born at 512 MiB with the
/// customary four groups it has 8,192 of them at 1 TiB. Groups of a quarter of the volume, but of 4 GiB at least, keep
/// that within 256. A volume smaller than that gets one group with nearly all of it, and the small rest as a second
/// (XFS keeps two copies of its superblock), which the first growth extends to a whole one: 2,100 at 1 TiB if born at
/// 512 MiB.
fn xfs_group_size(size: Bytes) -> Bytes {
    /// XFS makes no group smaller than 16 MiB at birth, and drops a remainder that is.
    const SMALLEST: Bytes = Bytes(16 << 20);
    /// And none larger than 1 TiB, less one block.
    const LARGEST: Bytes = Bytes((1 << 40) - SIZE_INCREMENT.0);
    const PREFERRED: Bytes = Bytes(4 << 30);

    let quarter = Bytes(size.0.div_ceil(4)).round_up(SIZE_INCREMENT);
    let group = quarter.clamp(PREFERRED.min(Bytes(size.0 - SMALLEST.0)), LARGEST);
    let rest = size.0 % group.0;
    if (1..SMALLEST.0).contains(&rest) { Bytes(group.0 - SMALLEST.0) } else { group }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn groups_are_few_however_far_a_volume_grows() {
        for (size_mib, group_mib) in
            [(300, 284), (512, 496), (4096, 4080), (8192, 4096), (8200, 4080), (1 << 20, 1 << 18)]
        {
            assert_eq!(xfs_group_size(Bytes(size_mib << 20)), Bytes(group_mib << 20), "{size_mib} MiB");
        }
    }

    proptest! {
        #[test]
        fn there_are_two_groups_at_least_and_the_last_is_large_enough(mib in 300_u64..64 << 20) {
            let size = Bytes(mib << 20);
            let group = xfs_group_size(size);
            prop_assert!(group < size, "{group} of {size}");
            prop_assert!(group.0.is_multiple_of(SIZE_INCREMENT.0));
            let rest = size.0 % group.0;
            prop_assert!(rest == 0 || rest >= 16 << 20, "{group} of {size} leaves {rest}");
        }
    }
}
