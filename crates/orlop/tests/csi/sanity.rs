//! The CSI project's own conformance tests, run against the driver.

use std::{collections::BTreeSet, env, fs, path::PathBuf, process::Command};

use crate::driver::Node;

/// Names the csi-sanity program.
pub const VARIABLE: &str = "CSI_SANITY";

/// The csi-sanity program, if there is one.
pub fn tool() -> Option<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from).filter(|path| path.is_file())
}

/// Why csi-sanity skips specs: volumes are not attached by a controller, and of the topology of snapshots see
/// `csi::snapshots`.
const NOT_OFFERED: [&str; 4] = [
    "ControllerPublishVolume not supported",
    "ControllerUnpublishVolume not supported",
    "Controller Publish, UnpublishVolume not supported",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported",
];

pub fn passes() {
    let node = Node::new();
    let driver = node.start();
    let limits = node.path("limits.yaml");
    fs::write(&limits, "readIOPS: \"1000\"\nwriteBandwidth: 100Mi\n").unwrap();
    let output = Command::new(tool().expect("the test is ignored without it"))
        .args([
            "--ginkgo.v",
            "--ginkgo.no-color",
            "--csi.testvolumesize=536870912",
            "--csi.testvolumeexpandsize=1073741824",
        ])
        .arg("--csi.endpoint")
        .arg(node.socket())
        .arg("--csi.testvolumemutableparameters")
        .arg(limits)
        .arg("--csi.stagingdir")
        .arg(node.path("staging"))
        .arg("--csi.mountdir")
        .arg(node.path("mount"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", node.log());
    let skipped: BTreeSet<_> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("[SKIPPED] "))
        .filter(|why| !why.starts_with("in "))
        .collect();
    assert_eq!(skipped, NOT_OFFERED.into(), "csi-sanity is to skip what the driver does not offer, and no more");
    let run: u32 = said.split("Ran ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(run >= 91, "csi-sanity ran {run} specs only:\n{said}");
    assert_eq!(node.mounts(), [node.path("pool")], "csi-sanity leaves nothing mounted");
    assert!(driver.stop().success());
}
