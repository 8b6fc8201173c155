//! The CSI project's own conformance tests, run against the driver.

use std::{env, fs, path::PathBuf, process::Command};

use crate::driver::Node;

/// Names the csi-sanity program.
pub const VARIABLE: &str = "CSI_SANITY";

/// The csi-sanity program, if there is one.
pub fn tool() -> Option<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from).filter(|path| path.is_file())
}

pub fn passes() {
    let node = Node::new();
    let driver = node.start();
    let limits = node.path("limits.yaml");
    fs::write(&limits, "readIOPS: \"1000\"\nwriteBandwidth: 100Mi\n").unwrap();
    let output = Command::new(tool().expect("the test is ignored without it"))
        .args(["--ginkgo.no-color", "--csi.testvolumesize=536870912", "--csi.testvolumeexpandsize=1073741824"])
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
    // What is skipped is what the driver does not offer: snapshots, clones, groups, modification, attachment. Should it
    // skip more, it no longer sees something that is offered.
    let run: u32 = said.split("Ran ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(run >= 48, "csi-sanity ran {run} specs only:\n{said}");
    assert_eq!(node.mounts(), [node.path("pool")], "csi-sanity leaves nothing mounted");
    assert!(driver.stop().success());
}
