//! The life of a driver process: how it starts, dies, comes back and stops.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use orlop::rpc::{
    csi_v1::{GetCapacityRequest, ListVolumesRequest},
    registration_v1::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient},
};
use rustix::process::Signal;

use crate::{
    calls::{GIB, create, delete, grow, mount, run, unmount},
    driver::{Node, connect},
};

pub const TESTS: &[(&str, fn())] = &[
    ("the kubelet is told where the driver is", the_kubelet_is_told_where_the_driver_is),
    ("a driver that the kubelet refuses ends with the reason", a_driver_that_the_kubelet_refuses_ends),
    ("a driver that is told to stop leaves volumes mounted", a_driver_that_stops_leaves_volumes_mounted),
    ("a watchdog that is told to stop stops, and one that cannot serve says so", a_watchdog_stops),
    ("a driver killed during a call completes it when asked again", a_driver_killed_completes_the_call),
    ("volumes are writable while their driver dies again and again", volumes_outlive_their_driver),
];

/// The size of the filesystem at a path, in bytes.
fn filesystem_size(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_blocks * stat.f_frsize
}

fn the_kubelet_is_told_where_the_driver_is() {
    let node = Node::new();
    let driver = node.start();
    run(async {
        let mut registration = RegistrationClient::new(connect(&node.registration_socket()).await);
        let info = registration.get_info(InfoRequest {}).await.unwrap().into_inner();
        assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "local.orlop.dev"));
        let mut there = orlop::rpc::csi_v1::node_client::NodeClient::new(connect(Path::new(&info.endpoint)).await);
        assert_eq!(
            there.node_get_info(orlop::rpc::csi_v1::NodeGetInfoRequest {}).await.unwrap().into_inner().node_id,
            "a-node"
        );
        let registered = RegistrationStatus { plugin_registered: true, error: String::new() };
        registration.notify_registration_status(registered).await.unwrap();
    });
    assert!(driver.stop().success());
    assert!(!node.registration_socket().exists(), "the kubelet is to see that the driver is gone");
}

fn a_driver_that_the_kubelet_refuses_ends() {
    let node = Node::new();
    let mut driver = node.start();
    run(async {
        let mut registration = RegistrationClient::new(connect(&node.registration_socket()).await);
        let refused = RegistrationStatus { plugin_registered: false, error: "no such luck".into() };
        // The driver may have ended before its answer is through.
        let _ = registration.notify_registration_status(refused).await;
    });
    assert_eq!(driver.ended().code(), Some(1));
    assert!(node.log().contains("no such luck"), "{}", node.log());
}

fn a_driver_that_stops_leaves_volumes_mounted() {
    let node = Node::new();
    let driver = node.start();
    let id = run(async {
        let id = create(&node, "v").await.unwrap();
        mount(&node, &id, "target").await.unwrap();
        id
    });
    assert!(driver.stop().success());
    fs::write(node.path("target/data"), "kept").unwrap();
    let _driver = node.start();
    run(async {
        mount(&node, &id, "target").await.unwrap();
        assert_eq!(fs::read_to_string(node.path("target/data")).unwrap(), "kept");
        assert_eq!(node.mounts().len(), 3, "the pool, and the volume where it is staged and published");
        unmount(&node, &id, "target").await.unwrap();
        delete(&node, &id).await.unwrap();
        assert_eq!(node.mounts(), [node.path("pool")]);
    });
}

fn a_watchdog_stops() {
    let node = Node::new();
    assert!(node.start_watchdog(&node.path("second.sock")).stop().success());
    let mut refused = node.start_watchdog(&node.path("nowhere/w.sock"));
    assert_eq!(refused.ended().code(), Some(1));
    assert!(node.log().contains("the watchdog cannot serve on"), "{}", node.log());
}

fn a_driver_killed_completes_the_call() {
    let node = Node::new();
    let crash = |step: &str, call: &dyn Fn()| {
        let mut driver = node.start_to_crash_at(step);
        call();
        let status = driver.ended();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{step}: {status}\n{}", node.log());
    };
    let id = {
        crash("CreateFormatted", &|| assert!(run(create(&node, "v")).is_err()));
        let _driver = node.start();
        run(async {
            let free = node.controller().await.get_capacity(GetCapacityRequest::default()).await.unwrap().into_inner();
            assert!(free.available_capacity > 7 * GIB, "what was begun takes no room: {free:?}");
            create(&node, "v").await.unwrap()
        })
    };
    {
        crash("StageAttached", &|| assert!(run(mount(&node, &id, "target")).is_err()));
        let _driver = node.start();
        run(mount(&node, &id, "target")).unwrap();
        fs::write(node.path("target/data"), "kept").unwrap();
    }
    for (step, to) in [("GrowImage", 2), ("GrowDevice", 3), ("GrowFilesystem", 4)] {
        crash(step, &|| assert!(run(grow(&node, &id, "target", to * GIB)).is_err()));
        let _driver = node.start();
        assert_eq!(run(grow(&node, &id, "target", to * GIB)).unwrap(), to * GIB);
        assert!(filesystem_size(&node.path("target")) > u64::try_from(to * GIB - GIB / 2).unwrap(), "{step}");
        assert_eq!(fs::read_to_string(node.path("target/data")).unwrap(), "kept");
    }
    {
        crash("DeleteRenamed", &|| {
            run(async {
                unmount(&node, &id, "target").await.unwrap();
                assert!(delete(&node, &id).await.is_err());
            });
        });
        let _driver = node.start();
        run(async {
            delete(&node, &id).await.unwrap();
            let left = node.controller().await.list_volumes(ListVolumesRequest::default()).await.unwrap().into_inner();
            assert!(left.entries.is_empty(), "{left:?}");
        });
    }
    assert_eq!(fs::read_dir(node.path("pool/volumes")).unwrap().count(), 0, "nothing is left behind");
}

/// A writer that is never told of the driver's troubles must never feel them.
fn volumes_outlive_their_driver() {
    const ROUNDS: i64 = 10;
    let node = Node::new();
    let driver = node.start();
    let id = run(async {
        let id = create(&node, "v").await.unwrap();
        mount(&node, &id, "target").await.unwrap();
        id
    });
    drop(driver);
    let rounds_done = AtomicU64::new(0);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 0_u64;
            while rounds_done.load(Ordering::Relaxed) < ROUNDS.cast_unsigned() {
                fs::write(node.path("target").join((number % 64).to_string()), number.to_string().repeat(1000))
                    .unwrap();
                number += 1;
            }
            number
        });
        for round in 1..=ROUNDS {
            let driver = node.start();
            run(async {
                let to = GIB + round * (GIB / 4);
                // Killed at some moment of the growth, or after it.
                let delay = Duration::from_micros(500 * round.cast_unsigned());
                let _ = tokio::time::timeout(delay, grow(&node, &id, "target", to)).await;
            });
            drop(driver);
            let _driver = node.start();
            let to = GIB + round * (GIB / 4);
            assert_eq!(run(grow(&node, &id, "target", to)).unwrap(), to);
            rounds_done.fetch_add(1, Ordering::Relaxed);
        }
        writer.join().unwrap()
    });
    assert!(written > 64, "{written} files");
    for number in written - 64..written {
        let text = fs::read_to_string(node.path("target").join((number % 64).to_string())).unwrap();
        assert!(text == number.to_string().repeat(1000), "file {number}");
    }
}
