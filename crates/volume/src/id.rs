//! The identities of volumes, snapshots and groups: which node has them, and which name they were asked for by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A short, fixed-length stand-in for a node's name: the first 32 bits of its SHA-256, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeTag(String);

impl NodeTag {
    /// The tag of the node of that name.
    pub fn of(node: &str) -> Self {
        Self(hex(node, 4))
    }
}

impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Defines the identity of one kind of object: its prefix, the tag of its node, then 128 bits of the SHA-256 of its name.
///
/// The name alone decides it, so that a repeated request finds the object that the first one made. The node is in it,
/// because every node has a driver of its own: one that is asked about an object of another node must not take "not in
/// my pool" for "deleted". Only hexadecimal digits follow the prefix, so that an id is always a safe file name.
macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            const PREFIX: &'static str = $prefix;

            /// The id of what is called `name` on the node `tag`.
            pub fn derive(tag: &NodeTag, name: &str) -> Self {
                Self(format!("{}{tag}-{}", Self::PREFIX, hex(name, NAME_LENGTH / 2)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The tag of the node that has it.
            pub fn tag(&self) -> NodeTag {
                NodeTag(self.0[Self::PREFIX.len()..][..TAG_LENGTH].to_owned())
            }

            /// Is it on the node of that tag?
            pub fn is_on(&self, tag: &NodeTag) -> bool {
                self.0[Self::PREFIX.len()..].starts_with(&tag.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_id(text, Self::PREFIX) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId(text.chars().take(128).collect()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

/// The length of a node's tag, in characters.
const TAG_LENGTH: usize = 8;
/// The length of what stands for the name, in characters.
const NAME_LENGTH: usize = 32;

identity!(
    /// The identity of a volume, `vol-NNNNNNNN-VVVV…`.
    VolumeId,
    "vol-"
);
identity!(
    /// The identity of a snapshot, `snap-NNNNNNNN-SSSS…`.
    SnapshotId,
    "snap-"
);
identity!(
    /// The identity of a group of snapshots that were taken at one moment, `group-NNNNNNNN-GGGG…`.
    GroupId,
    "group-"
);

/// Not an id of this driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id of this driver")]
pub struct InvalidId(String);

fn is_id(text: &str, prefix: &str) -> bool {
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    text.strip_prefix(prefix)
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(tag, name)| is_hex(tag, TAG_LENGTH) && is_hex(name, NAME_LENGTH))
}

/// The first `bytes` bytes of the SHA-256 of `text`, in hexadecimal.
fn hex(text: &str, bytes: usize) -> String {
    use fmt::Write as _;
    Sha256::digest(text).iter().take(bytes).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_name_on_the_same_node_is_the_same_volume() {
        let (here, there) = (NodeTag::of("node-1"), NodeTag::of("node-2"));
        let id = VolumeId::derive(&here, "pvc-1");
        assert_eq!(id, VolumeId::derive(&here, "pvc-1"));
        assert_ne!(id, VolumeId::derive(&here, "pvc-2"));
        assert_ne!(id, VolumeId::derive(&there, "pvc-1"));
        assert!(id.is_on(&here) && !id.is_on(&there));
    }

    #[test]
    fn an_id_that_could_be_a_path_is_refused() {
        let good = VolumeId::derive(&NodeTag::of("n"), "v").to_string();
        for text in ["", "vol-", "vol-../../etc/passwd", "..", "vol-00000000-..", &format!("{good}/"), &good[1..]] {
            assert!(text.parse::<VolumeId>().is_err(), "{text}");
        }
        assert!(good.to_uppercase().parse::<VolumeId>().is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_names_the_id_reads_back_and_is_a_plain_file_name(node in ".*", name in ".*") {
            let id = VolumeId::derive(&NodeTag::of(&node), &name);
            prop_assert_eq!(id.as_str().parse(), Ok(id.clone()));
            prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        }
    }
}
