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
    csi_v1::{
        CapacityRange, CreateVolumeRequest, DeleteVolumeRequest, GetCapacityRequest, ListVolumesRequest,
        NodeExpandVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest,
        NodeUnstageVolumeRequest, VolumeCapability,
        volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
    },
    registration_v1::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient},
};
use rustix::process::Signal;
use tonic::Status;

use crate::driver::{Node, connect};

pub const TESTS: &[(&str, fn())] = &[
    ("the kubelet is told where the driver is", the_kubelet_is_told_where_the_driver_is),
    ("a driver that the kubelet refuses ends with the reason", a_driver_that_the_kubelet_refuses_ends),
    ("a driver that is told to stop leaves volumes mounted", a_driver_that_stops_leaves_volumes_mounted),
    ("a driver killed during a call completes it when asked again", a_driver_killed_completes_the_call),
    ("volumes are writable while their driver dies again and again", volumes_outlive_their_driver),
];

const GIB: i64 = 1 << 30;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn capability() -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

fn at_least(required_bytes: i64) -> CapacityRange {
    CapacityRange { required_bytes, limit_bytes: 0 }
}

async fn create(node: &Node) -> Result<String, Status> {
    let request = CreateVolumeRequest {
        name: "v".into(),
        capacity_range: Some(at_least(GIB)),
        volume_capabilities: vec![capability()],
        ..Default::default()
    };
    Ok(node.controller().await.create_volume(request).await?.into_inner().volume.unwrap().volume_id)
}

async fn mount(node: &Node, id: &str) -> Result<(), Status> {
    let [staged, target] = ["staged", "target"].map(|name| node.path(name).display().to_string());
    fs::create_dir_all(&staged).unwrap();
    let stage = NodeStageVolumeRequest {
        volume_id: id.into(),
        staging_target_path: staged.clone(),
        volume_capability: Some(capability()),
        ..Default::default()
    };
    node.node().await.node_stage_volume(stage).await?;
    let publish = NodePublishVolumeRequest {
        volume_id: id.into(),
        staging_target_path: staged,
        target_path: target,
        volume_capability: Some(capability()),
        ..Default::default()
    };
    node.node().await.node_publish_volume(publish).await.map(drop)
}

async fn grow(node: &Node, id: &str, to: i64) -> Result<i64, Status> {
    let request = NodeExpandVolumeRequest {
        volume_id: id.into(),
        volume_path: node.path("target").display().to_string(),
        capacity_range: Some(at_least(to)),
        ..Default::default()
    };
    Ok(node.node().await.node_expand_volume(request).await?.into_inner().capacity_bytes)
}

async fn unmount(node: &Node, id: &str) -> Result<(), Status> {
    let [staging_target_path, target_path] = ["staged", "target"].map(|name| node.path(name).display().to_string());
    let unpublish = NodeUnpublishVolumeRequest { volume_id: id.into(), target_path };
    node.node().await.node_unpublish_volume(unpublish).await?;
    let unstage = NodeUnstageVolumeRequest { volume_id: id.into(), staging_target_path };
    node.node().await.node_unstage_volume(unstage).await.map(drop)
}

async fn delete(node: &Node, id: &str) -> Result<(), Status> {
    let request = DeleteVolumeRequest { volume_id: id.into(), ..Default::default() };
    node.controller().await.delete_volume(request).await.map(drop)
}

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
        let id = create(&node).await.unwrap();
        mount(&node, &id).await.unwrap();
        id
    });
    assert!(driver.stop().success());
    fs::write(node.path("target/data"), "kept").unwrap();
    let _driver = node.start();
    run(async {
        mount(&node, &id).await.unwrap();
        assert_eq!(fs::read_to_string(node.path("target/data")).unwrap(), "kept");
        assert_eq!(node.mounts().len(), 3, "the pool, and the volume where it is staged and published");
        unmount(&node, &id).await.unwrap();
        delete(&node, &id).await.unwrap();
        assert_eq!(node.mounts(), [node.path("pool")]);
    });
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
        crash("CreateFormatted", &|| assert!(run(create(&node)).is_err()));
        let _driver = node.start();
        run(async {
            let free = node.controller().await.get_capacity(GetCapacityRequest::default()).await.unwrap().into_inner();
            assert!(free.available_capacity > 7 * GIB, "what was begun takes no room: {free:?}");
            create(&node).await.unwrap()
        })
    };
    {
        crash("StageAttached", &|| assert!(run(mount(&node, &id)).is_err()));
        let _driver = node.start();
        run(mount(&node, &id)).unwrap();
        fs::write(node.path("target/data"), "kept").unwrap();
    }
    for (step, to) in [("GrowImage", 2), ("GrowDevice", 3), ("GrowFilesystem", 4)] {
        crash(step, &|| assert!(run(grow(&node, &id, to * GIB)).is_err()));
        let _driver = node.start();
        assert_eq!(run(grow(&node, &id, to * GIB)).unwrap(), to * GIB);
        assert!(filesystem_size(&node.path("target")) > u64::try_from(to * GIB - GIB / 2).unwrap(), "{step}");
        assert_eq!(fs::read_to_string(node.path("target/data")).unwrap(), "kept");
    }
    {
        crash("DeleteRenamed", &|| {
            run(async {
                unmount(&node, &id).await.unwrap();
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
        let id = create(&node).await.unwrap();
        mount(&node, &id).await.unwrap();
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
                let _ = tokio::time::timeout(delay, grow(&node, &id, to)).await;
            });
            drop(driver);
            let _driver = node.start();
            let to = GIB + round * (GIB / 4);
            assert_eq!(run(grow(&node, &id, to)).unwrap(), to);
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
