//! `orlop csi` as a process, spoken to over its sockets as the kubelet and the sidecars do. It needs root; without it,
//! and without the tool that a test needs, the test is reported as ignored.

mod driver;
mod life;
mod sanity;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let privileged = rustix::process::geteuid().is_root();
    if !privileged {
        eprintln!("not root: the driver cannot attach loop devices, so all of this is ignored");
    }
    let tool = sanity::tool();
    if tool.is_none() {
        eprintln!("{} does not name csi-sanity: its tests are ignored", sanity::VARIABLE);
    }
    let mut trials = vec![trial("csi-sanity passes", privileged && tool.is_some(), sanity::passes)];
    trials.extend(life::TESTS.iter().map(|(name, test)| trial(name, privileged, *test)));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, possible: bool, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
    .with_ignored_flag(!possible)
}
