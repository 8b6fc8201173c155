//! The volumes of this crate against the kernel of this machine. One conformance suite runs on the real volumes and on
//! the fake; the rest is for the real ones alone, which need root, and are reported as ignored without it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod block;
mod conformance;
mod copies;
mod crash;
mod extents;
mod limits;
mod pool;
mod real;
mod room;
mod world;
mod writer;

use std::{os::unix::process::CommandExt as _, process::Command};

use libtest_mimic::{Arguments, Trial};

fn main() {
    if crash::is_child() {
        crash::child();
    }
    let arguments = Arguments::from_args();
    let privileged = rustix::process::geteuid().is_root();
    if privileged {
        enter_own_namespace();
        world::start_watchdog();
    } else {
        eprintln!("not root: whatever needs loop devices and mounts is ignored");
    }
    let mut trials = Vec::new();
    for (name, test) in conformance::TESTS {
        trials.push(Trial::test(format!("fake: {name}"), move || {
            test(&world::fake());
            Ok(())
        }));
        trials.push(real_trial(format!("real: {name}"), privileged, move || test(&world::real())));
    }
    for (name, test) in real::TESTS
        .iter()
        .chain(copies::TESTS)
        .chain(block::TESTS)
        .chain(pool::TESTS)
        .chain(room::TESTS)
        .chain(limits::TESTS)
        .chain(extents::TESTS)
    {
        trials.push(real_trial((*name).to_owned(), privileged, *test));
    }
    trials.extend(crash::tests().into_iter().map(|(name, test)| real_trial(name, privileged, test)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if privileged {
        let _ = std::fs::remove_file(world::watchdog());
    }
    conclusion.exit();
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

fn real_trial(name: String, privileged: bool, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
    .with_ignored_flag(!privileged)
}
