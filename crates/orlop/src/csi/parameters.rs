//! What a StorageClass, a `VolumeAttributesClass` and the attributes of an ephemeral volume may say. A parameter that is
//! silently ignored is worse than an error, so an unknown one is refused by name.

use std::{collections::BTreeMap, num::NonZeroU64};

use orlop_api::Bytes;
use orlop_volume::{Limits, Provisioning, VolumeId};

use super::{
    request::{self, DEFAULT_SIZE, Wanted},
    status::Refusal,
};
use crate::rpc::router_v1::Change;

/// The words of the sidecars and of the kubelet themselves, which they may add to say what a volume is for.
const KUBERNETES: &str = "csi.storage.k8s.io/";

/// The parameter that says when a volume's bytes are taken from the pool.
const PROVISIONING: &str = "provisioning";

/// The value of a limit by which there is none.
const NO_LIMIT: &str = "none";

/// Parameters as they are sent, those of Kubernetes itself left out.
fn ours(parameters: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).filter(|(key, _)| !key.starts_with(KUBERNETES))
}

fn unknown(key: &str, known: &str) -> Refusal {
    Refusal::Invalid(format!("parameter `{key}` is unknown to this driver: remove it from the class, or use {known}"))
}

/// Refuses all parameters, where there are none.
pub(super) fn none(parameters: &BTreeMap<String, String>) -> Result<(), Refusal> {
    match ours(parameters).next() {
        Some((key, _)) => Err(Refusal::Invalid(format!(
            "parameter `{key}` is unknown to this driver, which has none here: remove it from the class"
        ))),
        None => Ok(()),
    }
}

/// Reads the parameters of a StorageClass.
pub(super) fn provisioning(parameters: &BTreeMap<String, String>) -> Result<Provisioning, Refusal> {
    let mut provisioning = Provisioning::default();
    for (key, value) in ours(parameters) {
        match key {
            PROVISIONING => provisioning = value.parse().map_err(Refusal::Invalid)?,
            key => return Err(unknown(key, PROVISIONING)),
        }
    }
    Ok(provisioning)
}

/// What becomes of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Edit {
    #[default]
    Keep,
    Remove,
    Set(NonZeroU64),
}

impl Edit {
    fn applied_to(self, present: Option<NonZeroU64>) -> Option<NonZeroU64> {
        match self {
            Self::Keep => present,
            Self::Remove => None,
            Self::Set(limit) => Some(limit),
        }
    }

    /// As it is sent: absent to keep the limit, 0 to remove it.
    fn sent(self) -> Option<u64> {
        match self {
            Self::Keep => None,
            Self::Remove => Some(0),
            Self::Set(limit) => Some(limit.get()),
        }
    }

    fn received(sent: Option<u64>) -> Self {
        match sent.map(NonZeroU64::new) {
            None => Self::Keep,
            Some(None) => Self::Remove,
            Some(Some(limit)) => Self::Set(limit),
        }
    }
}

/// New limits, each of which is left as it is, set, or taken away. Only what a class names is changed, as CSI demands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NewLimits {
    read_iops: Edit,
    write_iops: Edit,
    read_bandwidth: Edit,
    write_bandwidth: Edit,
}

impl NewLimits {
    const NAMES: &str = "readIOPS, writeIOPS, readBandwidth, writeBandwidth";

    /// Reads the parameters of a `VolumeAttributesClass`.
    pub(super) fn read(parameters: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let mut new = Self::default();
        for (key, value) in ours(parameters) {
            if !new.take(key, value)? {
                return Err(unknown(key, Self::NAMES));
            }
        }
        Ok(new)
    }

    /// Takes a parameter in, if it is a limit.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, Refusal> {
        let (limit, is_bandwidth) = match key {
            "readIOPS" => (&mut self.read_iops, false),
            "writeIOPS" => (&mut self.write_iops, false),
            "readBandwidth" => (&mut self.read_bandwidth, true),
            "writeBandwidth" => (&mut self.write_bandwidth, true),
            _ => return Ok(false),
        };
        let number = || if is_bandwidth { value.parse().map(|Bytes(n)| n).ok() } else { value.parse().ok() };
        let example = if is_bandwidth { "bytes a second, such as 100Mi" } else { "operations a second, such as 500" };
        *limit = match value {
            NO_LIMIT => Edit::Remove,
            _ => match number().and_then(NonZeroU64::new) {
                Some(number) => Edit::Set(number),
                None => {
                    return Err(Refusal::Invalid(format!(
                        "parameter `{key}` is `{value}`: write {example}, or `{NO_LIMIT}` to have no limit"
                    )));
                }
            },
        };
        Ok(true)
    }

    /// The limits that a volume has then.
    pub(super) fn applied_to(self, present: Limits) -> Limits {
        Limits {
            read_iops: self.read_iops.applied_to(present.read_iops),
            write_iops: self.write_iops.applied_to(present.write_iops),
            read_bandwidth: self.read_bandwidth.applied_to(present.read_bandwidth),
            write_bandwidth: self.write_bandwidth.applied_to(present.write_bandwidth),
        }
    }

    /// As it is sent to the driver of another node.
    pub(super) fn to_change(self, id: &VolumeId) -> Change {
        Change {
            volume_id: id.to_string(),
            read_iops: self.read_iops.sent(),
            write_iops: self.write_iops.sent(),
            read_bandwidth: self.read_bandwidth.sent(),
            write_bandwidth: self.write_bandwidth.sent(),
        }
    }

    /// As it was sent by the driver of another node.
    pub(super) fn from_change(change: &Change) -> Self {
        Self {
            read_iops: Edit::received(change.read_iops),
            write_iops: Edit::received(change.write_iops),
            read_bandwidth: Edit::received(change.read_bandwidth),
            write_bandwidth: Edit::received(change.write_bandwidth),
        }
    }
}

/// What a pod says of its ephemeral volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub size: Bytes,
    pub wanted: Wanted,
    pub provisioning: Provisioning,
    pub limits: Limits,
}

impl Attributes {
    /// Reads the attributes of a CSI ephemeral volume.
    pub(super) fn read(attributes: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let (mut size, mut wanted, mut provisioning) = (DEFAULT_SIZE, Wanted::AnyFilesystem, Provisioning::default());
        let mut limits = NewLimits::default();
        for (key, value) in ours(attributes) {
            match key {
                "size" => {
                    size = value.parse().map_err(|error| Refusal::Invalid(format!("attribute `size`: {error}")))?;
                }
                "fsType" => wanted = request::filesystem(value)?,
                PROVISIONING => provisioning = value.parse().map_err(Refusal::Invalid)?,
                key if limits.take(key, value)? => {}
                key => {
                    return Err(Refusal::Invalid(format!(
                        "volume attribute `{key}` is unknown to this driver: remove it, or use size, fsType, \
                         {PROVISIONING}, {}",
                        NewLimits::NAMES
                    )));
                }
            }
        }
        Ok(Self { size, wanted, provisioning, limits: limits.applied_to(Limits::default()) })
    }
}

#[cfg(test)]
mod tests {
    use orlop_volume::{Content, Filesystem, NodeTag};

    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name_and_those_of_kubernetes_are_let_through() {
        let kubernetes = parameters(&[("csi.storage.k8s.io/pvc/name", "x")]);
        none(&kubernetes).unwrap();
        assert_eq!(provisioning(&kubernetes).unwrap(), Provisioning::Thin);
        assert_eq!(NewLimits::read(&kubernetes).unwrap(), NewLimits::default());
        let unknown = parameters(&[("replicas", "3")]);
        for refused in [
            none(&unknown).unwrap_err(),
            provisioning(&unknown).unwrap_err(),
            NewLimits::read(&unknown).unwrap_err(),
            Attributes::read(&unknown).unwrap_err(),
        ] {
            assert!(refused.to_string().contains("`replicas`"), "{refused}");
        }
    }

    #[test]
    fn a_class_is_thin_or_thick_and_nothing_else() {
        assert_eq!(provisioning(&parameters(&[("provisioning", "thick")])).unwrap(), Provisioning::Thick);
        let refused = provisioning(&parameters(&[("provisioning", "fat")])).unwrap_err().to_string();
        assert!(refused.contains("`fat`") && refused.contains("thin or thick"), "{refused}");
    }

    #[test]
    fn limits_are_numbers_or_quantities_a_second_or_none() {
        let new = NewLimits::read(&parameters(&[("readIOPS", "500"), ("writeBandwidth", "100Mi")])).unwrap();
        let limits = new.applied_to(Limits::default());
        assert_eq!((limits.read_iops, limits.write_iops), (NonZeroU64::new(500), None));
        assert_eq!((limits.read_bandwidth, limits.write_bandwidth), (None, NonZeroU64::new(100 << 20)));
        for (key, value) in [
            ("readIOPS", "0"),
            ("readIOPS", "-1"),
            ("readIOPS", "1.5"),
            ("writeIOPS", ""),
            ("writeIOPS", "many"),
            ("readBandwidth", "0"),
            ("writeBandwidth", "-1Mi"),
            ("writeBandwidth", "1MiB"),
        ] {
            let refused = NewLimits::read(&parameters(&[(key, value)])).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{key}` is `{value}`")), "{refused}");
        }
    }

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name_also_on_its_way_to_another_node() {
        let before = NewLimits::read(&parameters(&[("readIOPS", "1"), ("writeIOPS", "2"), ("readBandwidth", "3")]));
        let before = before.unwrap().applied_to(Limits::default());
        let new = NewLimits::read(&parameters(&[("readIOPS", "9"), ("readBandwidth", "none")])).unwrap();
        let id = VolumeId::derive(&NodeTag::of("a"), "v");
        let received = NewLimits::from_change(&new.to_change(&id));
        assert_eq!(received, new);
        let after = received.applied_to(before);
        assert_eq!((after.read_iops, after.write_iops), (NonZeroU64::new(9), NonZeroU64::new(2)));
        assert_eq!((after.read_bandwidth, after.write_bandwidth), (None, None));
    }

    #[test]
    fn a_pod_says_what_its_ephemeral_volume_is() {
        let attributes = parameters(&[
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("size", "2Gi"),
            ("fsType", "ext4"),
            ("provisioning", "thick"),
            ("writeIOPS", "100"),
        ]);
        let read = Attributes::read(&attributes).unwrap();
        assert_eq!((read.size, read.provisioning), (Bytes(2 << 30), Provisioning::Thick));
        assert_eq!(read.wanted, Wanted::Only(Content::Filesystem(Filesystem::Ext4)));
        assert_eq!(read.limits.write_iops, NonZeroU64::new(100));
        assert!(Attributes::read(&parameters(&[("size", "big")])).unwrap_err().to_string().contains("`size`"));
        assert_eq!(Attributes::read(&parameters(&[])).unwrap().size, DEFAULT_SIZE);
    }
}
