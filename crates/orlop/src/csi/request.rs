//! What callers send, checked and typed.

use std::{collections::BTreeMap, path::PathBuf};

use orlop_api::Bytes;
use orlop_volume::{Filesystem, MountOptions, SIZE_INCREMENT};

use super::status::Refusal;
use crate::rpc::csi_v1::{
    CapacityRange, VolumeCapability,
    volume_capability::{AccessType, access_mode::Mode},
};

/// The size of a volume that is asked for without a size.
const DEFAULT_SIZE: Bytes = Bytes::GIB;

/// A text that must not be empty.
pub(super) fn given<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Refusal> {
    if text.is_empty() { Err(Refusal::Missing(field)) } else { Ok(text) }
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
        let Some(CapacityRange { required_bytes, limit_bytes }) = range else { return Ok(None) };
        let bytes = |bytes: i64| {
            u64::try_from(bytes).map(Bytes).map_err(|_| Refusal::OutOfRange(format!("a size of {bytes} bytes is none")))
        };
        let (required, limit) = (bytes(*required_bytes)?, bytes(*limit_bytes)?);
        let at_most = (limit.0 > 0).then_some(limit);
        let at_least = match (required, at_most) {
            (Bytes(0), None) => return Ok(None),
            (Bytes(0), Some(limit)) => limit.min(DEFAULT_SIZE).round_down(SIZE_INCREMENT),
            (required, _) => required.round_up(SIZE_INCREMENT),
        };
        match at_most {
            Some(limit) if limit < at_least => Err(Refusal::OutOfRange(format!(
                "no size from {required} to {limit} is a whole number of {SIZE_INCREMENT}: leave more room between them"
            ))),
            _ => Ok(Some(Self { at_least, at_most })),
        }
    }

    /// The sizes of a range, or the default.
    pub(super) fn or_default(range: Option<&CapacityRange>) -> Result<Self, Refusal> {
        Ok(Self::read(range)?.unwrap_or(Self { at_least: DEFAULT_SIZE, at_most: None }))
    }
}

/// How a volume is to be used.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    /// `None` leaves it to the driver, or to what the volume has.
    pub filesystem: Option<Filesystem>,
    pub options: MountOptions,
    pub read_only: bool,
}

impl Usage {
    /// Reads a capability, or says why this driver has none such.
    pub(super) fn read(capability: Option<&VolumeCapability>) -> Result<Self, Refusal> {
        let capability = capability.ok_or(Refusal::Missing("volume_capability"))?;
        let mount = match &capability.access_type {
            Some(AccessType::Mount(mount)) => mount,
            Some(AccessType::Block(_)) => {
                return Err(Refusal::Invalid("raw block volumes are not offered: use volumeMode Filesystem".into()));
            }
            None => return Err(Refusal::Missing("volume_capability.access_type")),
        };
        let mode = capability.access_mode.as_ref().ok_or(Refusal::Missing("volume_capability.access_mode"))?.mode();
        let read_only = match mode {
            Mode::SingleNodeWriter => false,
            Mode::SingleNodeReaderOnly => true,
            Mode::Unknown => return Err(Refusal::Missing("volume_capability.access_mode")),
            _ => {
                return Err(Refusal::Invalid(format!(
                    "access mode {} is not offered, because a local volume is on one node: use ReadWriteOnce",
                    mode.as_str_name()
                )));
            }
        };
        let filesystem = match mount.fs_type.as_str() {
            "" => None,
            name => Some(name.parse().map_err(Refusal::Invalid)?),
        };
        Ok(Self { filesystem, options: MountOptions::parse(&mount.mount_flags)?, read_only })
    }

    /// Reads the capabilities of a volume to be made, of which there must be one at least, and which must agree.
    pub(super) fn read_all(capabilities: &[VolumeCapability]) -> Result<Option<Filesystem>, Refusal> {
        if capabilities.is_empty() {
            return Err(Refusal::Missing("volume_capabilities"));
        }
        let mut filesystem = None;
        for capability in capabilities {
            let usage = Self::read(Some(capability))?;
            match (filesystem, usage.filesystem) {
                (Some(one), Some(other)) if one != other => {
                    return Err(Refusal::Invalid(format!("a volume cannot be both {one} and {other}")));
                }
                _ => filesystem = filesystem.or(usage.filesystem),
            }
        }
        Ok(filesystem)
    }
}

/// Refuses parameters by name: a parameter that is silently ignored is worse than an error. Those of the provisioner
/// itself, which it may add to say what a volume is for, are let through.
pub(super) fn no_parameters(parameters: &BTreeMap<String, String>) -> Result<(), Refusal> {
    const PROVISIONER: &str = "csi.storage.k8s.io/";
    match parameters.keys().find(|key| !key.starts_with(PROVISIONER)) {
        Some(key) => {
            Err(Refusal::Invalid(format!("parameter `{key}` is unknown to this driver: remove it from the class")))
        }
        None => Ok(()),
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

    #[test]
    fn a_size_is_rounded_up_within_its_limit() {
        let read = |required_bytes, limit_bytes| Sizes::read(Some(&CapacityRange { required_bytes, limit_bytes }));
        let mib = |mib: u64| Bytes(mib << 20);
        assert_eq!(read(1, 0).unwrap(), Some(Sizes { at_least: mib(1), at_most: None }));
        assert_eq!(read(0, 3 << 20).unwrap(), Some(Sizes { at_least: mib(3), at_most: Some(mib(3)) }));
        assert_eq!(read(0, 5 << 30).unwrap().unwrap().at_least, DEFAULT_SIZE);
        assert_eq!(read(0, 0).unwrap(), None);
        for (required, limit) in [(-1, 0), (0, -1), (2 << 20, 1 << 20), (1, 2)] {
            assert!(matches!(read(required, limit), Err(Refusal::OutOfRange(_))), "{required} to {limit}");
        }
    }

    #[test]
    fn what_a_local_volume_cannot_be_is_said() {
        let refused = |capability| Usage::read(Some(&capability)).unwrap_err().to_string();
        assert!(refused(capability(Mode::MultiNodeMultiWriter, "xfs")).contains("use ReadWriteOnce"));
        assert!(refused(capability(Mode::SingleNodeWriter, "zfs")).contains("`zfs` is not supported"));
        let block = VolumeCapability {
            access_type: Some(AccessType::Block(BlockVolume {})),
            ..capability(Mode::SingleNodeWriter, "")
        };
        assert!(refused(block).contains("volumeMode Filesystem"));
        assert!(Usage::read(Some(&capability(Mode::SingleNodeReaderOnly, ""))).unwrap().read_only);
    }

    #[test]
    fn capabilities_of_one_volume_must_agree() {
        let [xfs, ext4, any] = ["xfs", "ext4", ""].map(|name| capability(Mode::SingleNodeWriter, name));
        assert_eq!(Usage::read_all(&[any.clone(), xfs.clone()]).unwrap(), Some(Filesystem::Xfs));
        assert_eq!(Usage::read_all(&[any]).unwrap(), None);
        assert!(Usage::read_all(&[xfs, ext4]).unwrap_err().to_string().contains("both xfs and ext4"));
        assert!(matches!(Usage::read_all(&[]), Err(Refusal::Missing(_))));
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name() {
        let parameters = |key: &str| [(key.to_owned(), "x".to_owned())].into();
        assert!(no_parameters(&parameters("replicas")).unwrap_err().to_string().contains("`replicas`"));
        assert!(no_parameters(&parameters("csi.storage.k8s.io/pvc/name")).is_ok());
    }
}
