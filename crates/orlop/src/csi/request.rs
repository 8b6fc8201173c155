//! What callers send, checked and typed. What a StorageClass says is in `parameters`.

use std::{fmt, path::PathBuf};

use orlop_api::Bytes;
use orlop_volume::{Content, Filesystem, MountOptions, SIZE_INCREMENT};

use super::status::Refusal;
use crate::rpc::csi_v1::{
    CapacityRange, VolumeCapability,
    volume_capability::{AccessType, access_mode::Mode},
};

/// The size of a volume that is asked for without a size, and starts empty.
pub(super) const DEFAULT_SIZE: Bytes = Bytes::GIB;

/// A text that must not be empty.
pub(super) fn given<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Refusal> {
    if text.is_empty() { Err(Refusal::Missing(field)) } else { Ok(text) }
}

/// A name that must not be empty, and has none of the control characters that CSI bans from names.
pub(super) fn name(text: &str) -> Result<&str, Refusal> {
    match text.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        Some(banned) => Err(Refusal::Invalid(format!("`name` has the character {banned:?}: leave it out"))),
        None => given("name", text),
    }
}

/// A path that must be absolute.
pub(super) fn path(field: &'static str, text: &str) -> Result<PathBuf, Refusal> {
    let path = PathBuf::from(given(field, text)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Refusal::Invalid(format!("`{field}` is `{text}`, and must be an absolute path")))
    }
}

/// The sizes that a caller accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// A multiple of [`SIZE_INCREMENT`].
    pub at_least: Bytes,
    pub at_most: Option<Bytes>,
}

impl Sizes {
    /// The sizes of a range, of which both ends may be open, or `None` without a range.
    pub(super) fn read(range: Option<&CapacityRange>) -> Result<Option<Self>, Refusal> {
        Self::read_with(DEFAULT_SIZE, range)
    }

    /// The sizes of a range, or the default; and the default, as far as the range allows it, for one that is open at its
    /// lower end.
    pub(super) fn or_default(default: Bytes, range: Option<&CapacityRange>) -> Result<Self, Refusal> {
        Ok(Self::read_with(default, range)?.unwrap_or(Self { at_least: default, at_most: None }))
    }

    fn read_with(default: Bytes, range: Option<&CapacityRange>) -> Result<Option<Self>, Refusal> {
        let Some(CapacityRange { required_bytes, limit_bytes }) = range else { return Ok(None) };
        let bytes = |bytes: i64| {
            u64::try_from(bytes).map(Bytes).map_err(|_| Refusal::OutOfRange(format!("a size of {bytes} bytes is none")))
        };
        let (required, limit) = (bytes(*required_bytes)?, bytes(*limit_bytes)?);
        if required > SIZE_MAX {
            return Err(Refusal::OutOfRange(format!(
                "{required} is beyond the largest size, {SIZE_MAX}: ask for less"
            )));
        }
        let at_most = (limit.0 > 0).then_some(limit);
        let at_least = match (required, at_most) {
            (Bytes(0), None) => return Ok(None),
            (Bytes(0), Some(limit)) => limit.min(default).round_down(SIZE_INCREMENT),
            (required, _) => required.round_up(SIZE_INCREMENT),
        };
        match at_most {
            Some(limit) if limit < at_least => Err(Refusal::OutOfRange(format!(
                "no size from {required} to {limit} is a whole number of {SIZE_INCREMENT}: leave more room between them"
            ))),
            _ => Ok(Some(Self { at_least, at_most })),
        }
    }
}

/// The largest size that can be rounded up and still be said on the wire, where sizes end at 2^63 - 1.
const SIZE_MAX: Bytes = Bytes((1 << 63) - SIZE_INCREMENT.0);

/// What a caller wants a volume to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A filesystem, whichever the volume has, or the driver chooses.
    AnyFilesystem,
    /// Just this.
    Only(Content),
}

impl Wanted {
    /// Is a volume of this content what is wanted?
    pub(super) fn accepts(self, present: Content) -> bool {
        match self {
            Self::AnyFilesystem => matches!(present, Content::Filesystem(_)),
            Self::Only(content) => content == present,
        }
    }

    /// The content of a new volume, with what its source holds.
    pub(super) fn choose(self, source: Option<Content>) -> Content {
        match (self, source) {
            (Self::Only(content), _) => content,
            (Self::AnyFilesystem, Some(held @ Content::Filesystem(_))) => held,
            (Self::AnyFilesystem, _) => Content::Filesystem(Filesystem::default()),
        }
    }

    /// What is wanted by two who want the same volume.
    fn and(self, other: Self) -> Result<Self, Refusal> {
        match (self, other) {
            (one, other) if one == other => Ok(one),
            (Self::AnyFilesystem, Self::Only(content)) | (Self::Only(content), Self::AnyFilesystem)
                if Self::AnyFilesystem.accepts(content) =>
            {
                Ok(Self::Only(content))
            }
            (one, other) => Err(Refusal::Invalid(format!("a volume cannot be both {one} and {other}"))),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyFilesystem => "a filesystem".fmt(f),
            Self::Only(content) => content.fmt(f),
        }
    }
}

/// How a volume is to be used.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    pub wanted: Wanted,
    pub options: MountOptions,
    pub read_only: bool,
    /// May it be published only once at a time?
    pub alone: bool,
}

impl Usage {
    /// Reads a capability, or says why this driver has none such.
    pub(super) fn read(capability: Option<&VolumeCapability>) -> Result<Self, Refusal> {
        let capability = capability.ok_or(Refusal::Missing("volume_capability"))?;
        let (wanted, flags) = match &capability.access_type {
            Some(AccessType::Mount(mount)) => (filesystem(&mount.fs_type)?, mount.mount_flags.as_slice()),
            Some(AccessType::Block(_)) => (Wanted::Only(Content::Block), &[][..]),
            None => return Err(Refusal::Missing("volume_capability.access_type")),
        };
        let mode = capability.access_mode.as_ref().ok_or(Refusal::Missing("volume_capability.access_mode"))?.mode();
        match mode {
            Mode::SingleNodeWriter
            | Mode::SingleNodeReaderOnly
            | Mode::SingleNodeSingleWriter
            | Mode::SingleNodeMultiWriter => {}
            Mode::Unknown => return Err(Refusal::Missing("volume_capability.access_mode")),
            _ => {
                return Err(Refusal::Invalid(format!(
                    "access mode {} is not offered, because a local volume is on one node: use ReadWriteOnce or \
                     ReadWriteOncePod",
                    mode.as_str_name()
                )));
            }
        }
        Ok(Self {
            wanted,
            options: MountOptions::parse(flags)?,
            read_only: mode == Mode::SingleNodeReaderOnly,
            alone: mode == Mode::SingleNodeSingleWriter,
        })
    }

    /// Reads the capabilities of a volume to be made, of which there must be one at least, and which must agree.
    pub(super) fn read_all(capabilities: &[VolumeCapability]) -> Result<Wanted, Refusal> {
        let mut usages = capabilities.iter().map(|capability| Self::read(Some(capability)));
        let first = usages.next().ok_or(Refusal::Missing("volume_capabilities"))??.wanted;
        usages.try_fold(first, |wanted, usage| wanted.and(usage?.wanted))
    }
}

/// The filesystem of that name; any, where none is named.
pub(super) fn filesystem(name: &str) -> Result<Wanted, Refusal> {
    match name {
        "" => Ok(Wanted::AnyFilesystem),
        name => Ok(Wanted::Only(Content::Filesystem(name.parse().map_err(Refusal::Invalid)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::csi_v1::volume_capability::{AccessMode, BlockVolume, MountVolume};

    fn capability(mode: Mode, fs_type: &str) -> VolumeCapability {
        VolumeCapability {
            access_mode: Some(AccessMode { mode: mode.into() }),
            access_type: Some(AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() })),
        }
    }

    fn block(mode: Mode) -> VolumeCapability {
        VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..capability(mode, "") }
    }

    #[test]
    fn a_size_is_rounded_up_within_its_limit() {
        let read = |required_bytes, limit_bytes| Sizes::read(Some(&CapacityRange { required_bytes, limit_bytes }));
        let mib = |mib: u64| Bytes(mib << 20);
        assert_eq!(read(1, 0).unwrap(), Some(Sizes { at_least: mib(1), at_most: None }));
        assert_eq!(read(0, 3 << 20).unwrap(), Some(Sizes { at_least: mib(3), at_most: Some(mib(3)) }));
        assert_eq!(read(0, 5 << 30).unwrap().unwrap().at_least, DEFAULT_SIZE);
        assert_eq!(read(0, 0).unwrap(), None);
        for (required, limit) in [(-1, 0), (0, -1), (2 << 20, 1 << 20), (1, 2), (i64::MAX, 0), (i64::MIN, i64::MAX)] {
            assert!(matches!(read(required, limit), Err(Refusal::OutOfRange(_))), "{required} to {limit}");
        }
    }

    #[test]
    fn a_name_may_have_any_character_but_those_that_control_a_terminal() {
        for good in ["pvc-1", "größer", "two words", "a\tb"] {
            assert_eq!(name(good).unwrap(), good);
        }
        for bad in ["", "a\0b", "\u{1b}[31m", "\u{85}"] {
            name(bad).unwrap_err();
        }
    }

    #[test]
    fn what_a_local_volume_cannot_be_is_said() {
        let refused = |capability| Usage::read(Some(&capability)).unwrap_err().to_string();
        assert!(refused(capability(Mode::MultiNodeMultiWriter, "xfs")).contains("use ReadWriteOnce"));
        assert!(refused(capability(Mode::SingleNodeWriter, "zfs")).contains("`zfs` is not supported"));
        assert!(refused(block(Mode::MultiNodeReaderOnly)).contains("MULTI_NODE_READER_ONLY"));
        assert!(Usage::read(Some(&capability(Mode::SingleNodeReaderOnly, ""))).unwrap().read_only);
        assert!(Usage::read(Some(&block(Mode::SingleNodeSingleWriter))).unwrap().alone);
        assert!(!Usage::read(Some(&block(Mode::SingleNodeMultiWriter))).unwrap().alone);
    }

    #[test]
    fn capabilities_of_one_volume_must_agree() {
        let [xfs, ext4, any] = ["xfs", "ext4", ""].map(|name| capability(Mode::SingleNodeWriter, name));
        let block = block(Mode::SingleNodeWriter);
        let only = |filesystem| Wanted::Only(Content::Filesystem(filesystem));
        assert_eq!(Usage::read_all(&[any.clone(), xfs.clone()]).unwrap(), only(Filesystem::Xfs));
        assert_eq!(Usage::read_all(std::slice::from_ref(&any)).unwrap(), Wanted::AnyFilesystem);
        assert_eq!(Usage::read_all(&[block.clone(), block.clone()]).unwrap(), Wanted::Only(Content::Block));
        assert!(Usage::read_all(&[xfs, ext4]).unwrap_err().to_string().contains("both xfs and ext4"));
        assert!(Usage::read_all(&[any, block]).unwrap_err().to_string().contains("both a filesystem and block"));
        assert!(matches!(Usage::read_all(&[]), Err(Refusal::Missing(_))));
    }

    #[test]
    fn a_new_volume_is_what_its_source_holds_where_no_filesystem_is_named() {
        let ext4 = Content::Filesystem(Filesystem::Ext4);
        assert_eq!(Wanted::AnyFilesystem.choose(Some(ext4)), ext4);
        assert_eq!(Wanted::AnyFilesystem.choose(None), Content::Filesystem(Filesystem::default()));
        // The pool says that these differ.
        assert_eq!(Wanted::AnyFilesystem.choose(Some(Content::Block)), Content::Filesystem(Filesystem::default()));
        assert_eq!(Wanted::Only(Content::Block).choose(Some(ext4)), Content::Block);
    }
}
