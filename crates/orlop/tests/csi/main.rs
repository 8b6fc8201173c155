//! `orlop csi` as a process, spoken to over its sockets as the kubelet and the sidecars do. It needs root; without it,
//! and without the tool that a test needs, the test is reported as ignored.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod copies;
mod counter;
mod drill;
mod driver;
mod inline;
mod life;
mod power;
mod rounds;
mod sanity;

use std::{os::unix::process::CommandExt as _, process::Command};

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let privileged = rustix::process::geteuid().is_root();
    if privileged {
        enter_own_namespace();
    } else {
        eprintln!("not root: the driver cannot attach loop devices, so all of this is ignored");
    }
    let tool = sanity::tool();
    if tool.is_none() {
        eprintln!("{} does not name csi-sanity: its tests are ignored", sanity::VARIABLE);
    }
    let mut trials = vec![trial("csi-sanity passes", privileged && tool.is_some(), sanity::passes)];
    let tests = [life::TESTS, copies::TESTS, inline::TESTS, rounds::TESTS, power::TESTS, drill::TESTS].concat();
    trials.extend(tests.into_iter().map(|(name, test)| trial(name, privileged, test)));
    libtest_mimic::run(&arguments, trials).exit();
}

/// Goes on in a mount namespace of its own: no process that happens to start meanwhile, such as a container, takes a copy
/// of a test's mounts along and keeps their devices attached; and what is mounted is gone with this process, however it
/// ends. What others unmount meanwhile is unmounted here too: a copy of it would keep their devices.
fn enter_own_namespace() {
    const ENTERED: &str = "ORLOP_TEST_NAMESPACE";
    if std::env::var_os(ENTERED).is_none() {
        let error = Command::new("unshare")
            .args(["--mount", "--propagation", "slave", "--"])
            .args(std::env::args_os())
            .env(ENTERED, "")
            .exec();
        panic!("cannot run unshare, of util-linux: {error}");
    }
}

fn trial(name: &str, possible: bool, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
    .with_ignored_flag(!possible)
}
