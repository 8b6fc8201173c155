//! `DriverProfile`: what a CSI driver can do, for what the Kubernetes API does not say. Profiles for common drivers
//! are built in; an object of the driver's name overrides them.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{names, units::Bytes};

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

/// What the CSI driver of this object's name can do.
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
    printcolumn(name = "Maximum", type_ = "string", json_path = ".spec.maximumSize")
)]
#[serde(rename_all = "camelCase")]
pub struct DriverProfileSpec {
    /// Whether the driver can expand a volume, and when.
    #[serde(default)]
    pub expansion: Expansion,
    /// The driver rounds sizes up to a multiple of this.
    #[serde(default = "default_size_increment")]
    pub size_increment: Bytes,
    /// The largest volume that the driver makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_size: Option<Bytes>,
}

/// Most drivers round up to whole GiB, so a growth of whole GiB is what it seems to be with any of them.
fn default_size_increment() -> Bytes {
    Bytes::GIB
}

impl Default for DriverProfileSpec {
    fn default() -> Self {
        Self { expansion: Expansion::default(), size_increment: default_size_increment(), maximum_size: None }
    }
}

impl DriverProfileSpec {
    /// What is known of the driver `name` without an object of that name: for an unknown driver, that it expands
    /// online in whole GiB, which is the common case and errs towards asking for less.
    pub fn built_in(name: &str) -> Self {
        match name {
            // Our own: images grow by whole MiB (crates/volume); XFS ends at 8 EiB, ext4 with 4 KiB blocks at 16 TiB.
            names::LOCAL_DRIVER => {
                Self { size_increment: Bytes::MIB, maximum_size: Some(Bytes(16 << 40)), ..Self::default() }
            }
            _ => Self::default(),
        }
    }
}
