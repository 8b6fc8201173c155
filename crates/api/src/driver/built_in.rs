//! The profiles that are built in: `profiles/*.yaml` of this crate, each as it could be applied to a cluster.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{DriverProfile, DriverProfileSpec, profile_name};
use crate::manifest;

const FILES: [&str; 16] = [
    include_str!("../../profiles/cephfs.csi.ceph.com.yaml"),
    include_str!("../../profiles/disk.csi.azure.com.yaml"),
    include_str!("../../profiles/driver.longhorn.io.yaml"),
    include_str!("../../profiles/ebs.csi.aws.com.yaml"),
    include_str!("../../profiles/efs.csi.aws.com.yaml"),
    include_str!("../../profiles/file.csi.azure.com.yaml"),
    include_str!("../../profiles/filestore.csi.storage.gke.io.yaml"),
    include_str!("../../profiles/io.openebs.csi-mayastor.yaml"),
    include_str!("../../profiles/local.csi.openebs.io.yaml"),
    include_str!("../../profiles/local.orlop.dev.yaml"),
    include_str!("../../profiles/pd.csi.storage.gke.io.yaml"),
    include_str!("../../profiles/pxd.portworx.com.yaml"),
    include_str!("../../profiles/rancher.io.local-path.yaml"),
    include_str!("../../profiles/rbd.csi.ceph.com.yaml"),
    include_str!("../../profiles/topolvm.io.yaml"),
    include_str!("../../profiles/zfs.csi.openebs.io.yaml"),
];

/// By name.
static PROFILES: LazyLock<BTreeMap<String, DriverProfile>> = LazyLock::new(|| manifest::built_in(&FILES));

static UNKNOWN: LazyLock<DriverProfileSpec> = LazyLock::new(DriverProfileSpec::default);

/// Every built-in profile, in the order of their names.
pub fn all() -> impl Iterator<Item = &'static DriverProfile> {
    PROFILES.values()
}

/// What is known of a driver without an object of its name; of an unknown one, what is so of most.
pub fn of(driver: &str) -> &'static DriverProfileSpec {
    get(driver).unwrap_or(&UNKNOWN)
}

/// What is known of a driver without an object of its name, if anything is.
///
/// A driver may have a name of its own before that of its kind, as Rook's have their namespace:
/// `rook-ceph.rbd.csi.ceph.com`.
pub fn get(driver: &str) -> Option<&'static DriverProfileSpec> {
    let name = profile_name(driver);
    let names = std::iter::successors(Some(&*name), |name| name.split_once('.').map(|(_, rest)| rest));
    let mut known = names.filter_map(|name| PROFILES.get(name));
    known.next().map(|profile| &profile.spec)
}

#[cfg(test)]
mod tests;
