//! `DriverProfile`: what a CSI driver can do, for what the Kubernetes API does not say. Profiles for common drivers
//! are [built in](built_in); an object of the driver's name takes the place of the built-in one.

mod attributes;
pub mod built_in;
mod performance;
mod price;
mod saturation;

use std::{borrow::Cow, collections::BTreeMap};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use attributes::{AttributeParameter, Dimension, Limits, ParameterUnit};
pub use performance::Performance;
pub use price::{Price, amount};
pub use saturation::{ExceededCounter, Saturation, TimeUnit};

use crate::units::{Bytes, Period};

/// Whether a driver can expand a volume, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Expansion {
    /// While a pod uses it.
    #[default]
    Online,
    /// Only while no pod uses it.
    Offline,
    /// Never.
    None,
}

/// What the CSI driver of this object's name can do. A driver's name that has a slash is written with a point in its
/// place. What is left out is not known, and limits nothing.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "orlop.dev",
    version = "v1alpha1",
    kind = "DriverProfile",
    plural = "driverprofiles",
    doc = "What a CSI driver can do, where Kubernetes does not say.",
    derive = "PartialEq",
    category = "orlop",
    printcolumn(name = "Expansion", type_ = "string", json_path = ".spec.expansion"),
    printcolumn(name = "Increment", type_ = "string", json_path = ".spec.sizeIncrement"),
    printcolumn(name = "Minimum", type_ = "string", json_path = ".spec.minimumSize"),
    printcolumn(name = "Maximum", type_ = "string", json_path = ".spec.maximumSize"),
    printcolumn(name = "Modifications", type_ = "integer", json_path = ".spec.modifications.count"),
    printcolumn(name = "Window", type_ = "string", json_path = ".spec.modifications.window"),
    printcolumn(name = "As of", type_ = "string", json_path = ".spec.asOf")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.minimumSize) || !has(self.maximumSize) || !isQuantity(self.minimumSize) \
         || !isQuantity(self.maximumSize) \
         || quantity(self.minimumSize).compareTo(quantity(self.maximumSize)) <= 0",
    ).message("minimumSize is above maximumSize: exchange them, or leave out the one that is not known"),
    validation = Rule::new(
        "!has(self.sizeIncrement) || !has(self.maximumSize) || !isQuantity(self.sizeIncrement) \
         || !isQuantity(self.maximumSize) \
         || quantity(self.sizeIncrement).compareTo(quantity(self.maximumSize)) <= 0",
    ).message("sizeIncrement, 1Gi where it is left out, is above maximumSize, so that no size is left: make it smaller"),
    validation = Rule::new("has(self.source) == has(self.asOf)")
        .message("source and asOf belong together: write both, or neither"),
)]
pub struct DriverProfileSpec {
    /// Whether the driver can expand a volume, and when.
    #[serde(default)]
    pub expansion: Expansion,
    /// The driver rounds sizes up to a multiple of this.
    #[serde(default = "default_size_increment")]
    pub size_increment: Bytes,
    /// The smallest volume that the driver makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_size: Option<Bytes>,
    /// The largest volume that the driver makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_size: Option<Bytes>,
    /// How often a volume may be modified. Without it: as often as one likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifications: Option<Modifications>,
    /// The I/O operations a second that a volume has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<Performance>,
    /// The throughput that a volume has, in MiB a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Performance>,
    /// Which parameters of a VolumeAttributesClass limit what a volume does a second. Without it a policy's `performance`
    /// section does nothing for the driver's claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["parameter", "limits"]))]
    pub attribute_parameters: Vec<AttributeParameter>,
    /// By which metrics the driver says for how long more was asked of a volume than its limits allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturation: Option<Saturation>,
    /// What a volume costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The key by which the driver says from where a volume can be reached, as in a node's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub topology_key: Option<String>,
    /// Where the figures come from: the title of a page, or a file of the driver's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub source: Option<String>,
    /// The day on which the source said so, as 2026-01-31.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "day")]
    pub as_of: Option<String>,
    /// The kinds of volume that the driver makes, where they differ. A volume is of the first kind that its StorageClass
    /// asks for; what its kind does not say is as for the driver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volume_types: Vec<VolumeType>,
}

/// A kind of volume. Each field but the first two is as in the profile, and goes before it.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.minimumSize) || !has(self.maximumSize) || !isQuantity(self.minimumSize) \
         || !isQuantity(self.maximumSize) \
         || quantity(self.minimumSize).compareTo(quantity(self.maximumSize)) <= 0",
    ).message("minimumSize is above maximumSize: exchange them, or leave out the one that is not known"),
    validation = Rule::new("has(self.source) == has(self.asOf)")
        .message("source and asOf belong together: write both, or neither"),
)]
pub struct VolumeType {
    /// What the kind is called, such as gp3.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What a StorageClass says to ask for this kind. All of them must match.
    #[schemars(length(min = 1, max = 4))]
    pub parameters: Vec<ParameterMatch>,
    /// Whether the driver can expand a volume, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<Expansion>,
    /// The driver rounds sizes up to a multiple of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_increment: Option<Bytes>,
    /// The smallest volume that the driver makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_size: Option<Bytes>,
    /// The largest volume that the driver makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_size: Option<Bytes>,
    /// How often a volume may be modified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifications: Option<Modifications>,
    /// The I/O operations a second that a volume has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<Performance>,
    /// The throughput that a volume has, in MiB a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Performance>,
    /// What a volume costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Where the figures come from: the title of a page, or a file of the driver's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub source: Option<String>,
    /// The day on which the source said so, as 2026-01-31.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "day")]
    pub as_of: Option<String>,
}

/// A parameter of a StorageClass, compared without regard to case as most drivers do.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParameterMatch {
    /// The parameter's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Other names that the driver knows the parameter by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(max = 63)))]
    pub aliases: Vec<String>,
    /// The values that match.
    #[schemars(length(min = 1, max = 16), inner(length(max = 63)))]
    pub values: Vec<String>,
    /// Whether a StorageClass without the parameter matches, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

impl ParameterMatch {
    fn matches(&self, parameters: &BTreeMap<String, String>) -> bool {
        let is_named = |given: &str| {
            let mut names = std::iter::once(&self.name).chain(&self.aliases);
            names.any(|name| name.eq_ignore_ascii_case(given))
        };
        match parameters.iter().find(|(name, _)| is_named(name)) {
            Some((_, given)) => self.values.iter().any(|value| value.eq_ignore_ascii_case(given)),
            None => self.default,
        }
    }
}

/// How often a volume may be modified. Each expansion takes one of `count` slots, which is free again after `window`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.cooldown) || !self.cooldown.matches('^[0-9hms]+$') || !self.window.matches('^[0-9hms]+$') \
         || duration(self.cooldown) <= duration(self.window)",
    ).message("cooldown is longer than window, so that no more than one slot is ever used: make window as long"),
    validation = Rule::new("has(self.source) == has(self.asOf)")
        .message("source and asOf belong together: write both, or neither"),
)]
pub struct Modifications {
    /// How many modifications of one volume may begin within the window, 1 to 24.
    #[schemars(with = "i32", range(min = 1, max = 24))]
    pub count: u32,
    /// The window, which ends now at any time.
    pub window: Period,
    /// Whether the next modification begins only when the last one is completed, which can take hours after the new size
    /// can be used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub next_when_completed: bool,
    /// How long after the begin of a modification the next one may begin at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Period>,
    /// Where the figures come from: the title of a page, or a file of the driver's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub source: Option<String>,
    /// The day on which the source said so, as 2026-01-31.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "day")]
    pub as_of: Option<String>,
}

/// Most drivers round up to whole GiB, so a growth of whole GiB is what it seems to be with any of them.
fn default_size_increment() -> Bytes {
    Bytes::GIB
}

/// A day is only ever shown, so it stays the text that it is.
pub(crate) fn day(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "maxLength": 10,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$')",
            "message": "is not a day: write year, month and day, such as 2026-01-31",
        }],
    })
}

/// For a driver of which nothing is known: that it expands online in whole GiB, which is the common case and errs
/// towards asking for less.
impl Default for DriverProfileSpec {
    fn default() -> Self {
        Self {
            expansion: Expansion::default(),
            size_increment: default_size_increment(),
            minimum_size: None,
            maximum_size: None,
            modifications: None,
            iops: None,
            throughput: None,
            attribute_parameters: Vec::new(),
            saturation: None,
            price: None,
            topology_key: None,
            source: None,
            as_of: None,
            volume_types: Vec::new(),
        }
    }
}

/// What holds for the volumes of one StorageClass: what the profile says of their kind, before what it says of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Abilities<'a> {
    /// The kind of volume, where the class asks for one that the profile knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<&'a str>,
    /// Whether the driver can expand a volume, and when.
    pub expansion: Expansion,
    /// Sizes are rounded up to a multiple of this.
    pub size_increment: Bytes,
    /// The smallest volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_size: Option<Bytes>,
    /// The largest volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_size: Option<Bytes>,
    /// How often a volume may be modified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modifications: Option<&'a Modifications>,
    /// I/O operations a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<&'a Performance>,
    /// Throughput in MiB a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<&'a Performance>,
    /// What a volume costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<&'a Price>,
}

impl DriverProfileSpec {
    /// What holds for the volumes of a StorageClass with these parameters.
    pub fn abilities(&self, parameters: &BTreeMap<String, String>) -> Abilities<'_> {
        let asked_for = |kind: &&VolumeType| kind.parameters.iter().all(|parameter| parameter.matches(parameters));
        let kind = self.volume_types.iter().find(asked_for);
        Abilities {
            volume_type: kind.map(|kind| &*kind.name),
            expansion: kind.and_then(|kind| kind.expansion).unwrap_or(self.expansion),
            size_increment: kind.and_then(|kind| kind.size_increment).unwrap_or(self.size_increment),
            minimum_size: kind.and_then(|kind| kind.minimum_size).or(self.minimum_size),
            maximum_size: kind.and_then(|kind| kind.maximum_size).or(self.maximum_size),
            modifications: kind.and_then(|kind| kind.modifications.as_ref()).or(self.modifications.as_ref()),
            iops: kind.and_then(|kind| kind.iops.as_ref()).or(self.iops.as_ref()),
            throughput: kind.and_then(|kind| kind.throughput.as_ref()).or(self.throughput.as_ref()),
            price: kind.and_then(|kind| kind.price.as_ref()).or(self.price.as_ref()),
        }
    }
}

/// The name that the profile of a driver has. Not every provisioner's name can be an object's: some have a slash. What
/// was once a part of Kubernetes is the CSI driver that does its work now (csi-translation-lib of Kubernetes).
pub fn profile_name(driver: &str) -> Cow<'_, str> {
    match driver {
        "kubernetes.io/aws-ebs" => "ebs.csi.aws.com".into(),
        "kubernetes.io/azure-disk" => "disk.csi.azure.com".into(),
        "kubernetes.io/azure-file" => "file.csi.azure.com".into(),
        "kubernetes.io/gce-pd" => "pd.csi.storage.gke.io".into(),
        "kubernetes.io/portworx-volume" => "pxd.portworx.com".into(),
        _ if driver.contains('/') => driver.replace('/', ".").into(),
        _ => driver.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(yaml: &str) -> DriverProfileSpec {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    fn parameters<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn what_an_earlier_profile_says_means_the_same_still() {
        let spec = profile("{expansion: Offline, sizeIncrement: 4Gi, maximumSize: 16Ti}");
        let abilities = spec.abilities(&parameters([("type", "any")]));
        assert_eq!(abilities.expansion, Expansion::Offline);
        assert_eq!((abilities.size_increment, abilities.maximum_size), (Bytes(4 << 30), Some(Bytes(16 << 40))));
        assert_eq!(profile("{}"), DriverProfileSpec::default());
    }

    #[test]
    fn a_class_asks_for_a_kind_by_its_parameters_in_any_case() {
        let spec = profile(
            "
            maximumSize: 16Ti
            volumeTypes:
              - name: twice
                parameters: [{name: type, values: [ssd]}, {name: replicas, values: ['2']}]
                maximumSize: 2Ti
              - name: ssd
                parameters: [{name: type, aliases: [kind], values: [ssd, fast]}]
                maximumSize: 1Ti
              - name: disk
                parameters: [{name: type, aliases: [kind], values: [disk], default: true}]
            ",
        );
        for (given, name, maximum) in [
            (parameters([("type", "SSD")]), Some("ssd"), 1),
            (parameters([("Kind", "fast")]), Some("ssd"), 1),
            (parameters([("type", "ssd"), ("replicas", "2")]), Some("twice"), 2),
            (parameters([("replicas", "2")]), Some("disk"), 16),
            (parameters([]), Some("disk"), 16),
            (parameters([("type", "tape")]), None, 16),
        ] {
            let abilities = spec.abilities(&given);
            assert_eq!(
                (abilities.volume_type, abilities.maximum_size),
                (name, Some(Bytes(maximum << 40))),
                "{given:?}"
            );
        }
    }

    #[test]
    fn a_profile_can_be_named_after_any_driver() {
        assert_eq!(profile_name("ebs.csi.aws.com"), "ebs.csi.aws.com");
        assert_eq!(profile_name("rancher.io/local-path"), "rancher.io.local-path");
        assert_eq!(profile_name("kubernetes.io/aws-ebs"), "ebs.csi.aws.com");
    }
}
