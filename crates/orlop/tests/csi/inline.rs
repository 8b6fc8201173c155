//! Volumes that are declared in a pod, and what the driver says of itself.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use orlop::rpc::csi_v1::{ListVolumesRequest, NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use rustix::mount::UnmountFlags;
use tonic::Status;

use crate::{
    calls::{create, filesystem, mount, run, take_snapshot, unmount},
    driver::Node,
};

pub const TESTS: &[(&str, fn())] = &[
    ("an ephemeral volume is made for its pod and goes with it", an_ephemeral_volume_goes_with_its_pod),
    ("an ephemeral volume that a killed driver left is removed", what_a_killed_driver_left_is_removed),
    ("metrics tell of the pool, of each volume and of snapshots", metrics_tell_of_everything),
];

/// An id of the kubelet's.
const HANDLE: &str = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

async fn publish(node: &Node) -> Result<(), Status> {
    let context = [("csi.storage.k8s.io/ephemeral", "true"), ("size", "512Mi"), ("fsType", "ext4")];
    let request = NodePublishVolumeRequest {
        volume_id: HANDLE.into(),
        target_path: node.path("target").display().to_string(),
        volume_capability: Some(filesystem("")),
        volume_context: context.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..Default::default()
    };
    node.node().await.node_publish_volume(request).await.map(drop)
}

async fn unpublish(node: &Node) -> Result<(), Status> {
    let target_path = node.path("target").display().to_string();
    let request = NodeUnpublishVolumeRequest { volume_id: HANDLE.into(), target_path };
    node.node().await.node_unpublish_volume(request).await.map(drop)
}

async fn volumes(node: &Node) -> usize {
    let request = ListVolumesRequest::default();
    node.controller().await.list_volumes(request).await.unwrap().into_inner().entries.len()
}

/// What the kubelet writes down before it has a volume published.
fn remember(node: &Node) {
    let folder = node.path("kubelet/pods/uid/volumes/kubernetes.io~csi/scratch");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("vol_data.json"), format!(r#"{{"volumeHandle":"{HANDLE}"}}"#)).unwrap();
}

fn an_ephemeral_volume_goes_with_its_pod() {
    let node = Node::new();
    let driver = node.start();
    remember(&node);
    run(async {
        publish(&node).await.unwrap();
        fs::write(node.path("target/data"), "kept").unwrap();
    });
    // Killed, while the pod runs.
    drop(driver);
    let _driver = node.start();
    run(async {
        publish(&node).await.unwrap();
        assert_eq!(fs::read_to_string(node.path("target/data")).unwrap(), "kept");
        for _ in 0..2 {
            unpublish(&node).await.unwrap();
            assert_eq!(volumes(&node).await, 0);
        }
    });
    assert_eq!(node.mounts(), [node.path("pool")]);
    assert!(!node.path("target").exists());
}

fn what_a_killed_driver_left_is_removed() {
    for step in ["CreateNamed", "StageAttached", "StageMounted", "PublishBound"] {
        let node = Node::new();
        remember(&node);
        {
            let mut driver = node.start_to_crash_at(step);
            assert!(run(publish(&node)).is_err());
            driver.ended();
        }
        // The pod is there, and its volume unpublished before it ever was published.
        {
            let _driver = node.start();
            run(async {
                assert_eq!(volumes(&node).await, 1, "{step}");
                unpublish(&node).await.unwrap();
                assert_eq!(volumes(&node).await, 0, "{step}");
            });
        }
        assert_eq!(node.mounts(), [node.path("pool")], "{step}");
        {
            let mut driver = node.start_to_crash_at(step);
            assert!(run(publish(&node)).is_err());
            driver.ended();
        }
        // The pod is gone, and nobody asks for its volume again.
        fs::remove_dir_all(node.path("kubelet/pods/uid")).unwrap();
        let _driver = node.start();
        assert_eq!(run(volumes(&node)), 0, "{step}");
        assert_eq!(node.mounts(), [node.path("pool")], "{step}");
    }
}

fn metrics_tell_of_everything() {
    let node = Node::new();
    let address = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().local_addr().unwrap();
    let _driver = node.start_with_metrics(address);
    run(async {
        let id = create(&node, "pvc-1").await.unwrap();
        mount(&node, &id, "v").await.unwrap();
        take_snapshot(&node, "s", &id).await.unwrap();
        // The frozen time is picked up several times a second.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let text = get(address, "/metrics");
        for part in [
            "orlop_local_pool_free_bytes ",
            "orlop_local_frozen_seconds_count 1\n",
            &format!(r#"orlop_local_volume_operations_total{{volume="{id}",name="pvc-1",operation="write"}} "#),
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(get(address, "/healthz").ends_with("ok\n"));
        unmount(&node, &id, "v").await.unwrap();
    });
    // An alarm must not be lost with what it is about.
    rustix::mount::unmount(node.path("pool"), UnmountFlags::DETACH).unwrap();
    let text = get(address, "/metrics");
    assert!(text.contains(r#"severity="inaccessible"} 1"#), "{text}");
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: driver\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
