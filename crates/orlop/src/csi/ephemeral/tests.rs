use std::{collections::BTreeMap, sync::Arc};

use orlop_api::Bytes;
use orlop_volume::{Content, FakeVolumes, Filesystem, NodeTag, Provisioning, Storage, Volumes as _};
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use super::*;
use crate::rpc::csi_v1::{
    CapacityRange, CreateVolumeRequest, NodeGetVolumeStatsRequest, NodeUnpublishVolumeRequest, VolumeCapability,
    controller_server::Controller as _,
    node_server::Node as _,
    volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
};

/// An id of the kubelet's.
const HANDLE: &str = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Node {
    folder: TempDir,
    volumes: Arc<FakeVolumes>,
    driver: Driver,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pods")).unwrap();
        let volumes = Arc::new(FakeVolumes::new(NodeTag::of("a"), Bytes(10 << 30)));
        let driver = Driver::new("a".into(), volumes.clone(), folder.path().join("ephemeral"));
        Self { folder, volumes, driver }
    }

    /// What the kubelet writes down before it has a volume published.
    fn remember(&self, pod: &str, handle: &str) -> PathBuf {
        let folder = self.folder.path().join("pods").join(pod).join("volumes/kubernetes.io~csi/scratch");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vol_data.json"), format!(r#"{{"driverName":"d","volumeHandle":"{handle}"}}"#)).unwrap();
        folder
    }

    async fn publish(&self, handle: &str, fs_type: &str, attributes: &[(&str, &str)]) -> Result<(), Status> {
        let mut volume_context: BTreeMap<String, String> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        volume_context.insert(EPHEMERAL.into(), "true".into());
        volume_context.insert("csi.storage.k8s.io/pod.name".into(), "p".into());
        let request = NodePublishVolumeRequest {
            volume_id: handle.into(),
            target_path: "/target".into(),
            volume_capability: Some(capability(fs_type)),
            volume_context,
            ..Default::default()
        };
        self.driver.node_publish_volume(Request::new(request)).await.map(drop)
    }

    async fn unpublish(&self, handle: &str) -> Result<(), Status> {
        let request = NodeUnpublishVolumeRequest { volume_id: handle.into(), target_path: "/target".into() };
        self.driver.node_unpublish_volume(Request::new(request)).await.map(drop)
    }

    fn is_clean(&self) -> bool {
        let staged = fs::read_dir(self.folder.path().join("ephemeral")).map_or(0, Iterator::count);
        self.volumes.list().unwrap().is_empty() && staged == 0
    }
}

fn capability(fs_type: &str) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() })),
    }
}

#[tokio::test]
async fn an_ephemeral_volume_is_as_its_pod_says_and_goes_with_it() {
    let node = Node::new();
    let attributes = [("size", "2Gi"), ("fsType", "ext4"), ("provisioning", "thick"), ("readIOPS", "50")];
    for _ in 0..2 {
        node.publish(HANDLE, "", &attributes).await.unwrap();
    }
    let [volume] = &node.volumes.list().unwrap()[..] else { panic!("there is one") };
    assert_eq!((volume.size, volume.provisioning), (Bytes(2 << 30), Provisioning::Thick));
    assert_eq!(volume.content, Content::Filesystem(Filesystem::Ext4));
    assert_eq!(volume.limits.read_iops.unwrap().get(), 50);
    let stats =
        NodeGetVolumeStatsRequest { volume_id: HANDLE.into(), volume_path: "/target".into(), ..Default::default() };
    let stats = node.driver.node_get_volume_stats(Request::new(stats)).await.unwrap().into_inner();
    assert_eq!(stats.usage[0].total, 2 << 30);
    for _ in 0..2 {
        node.unpublish(HANDLE).await.unwrap();
        assert!(node.is_clean());
    }
}

#[tokio::test]
async fn a_volume_that_was_only_begun_is_removed_all_the_same() {
    let node = Node::new();
    node.publish(HANDLE, "", &[]).await.unwrap();
    let id = node.driver.ephemeral_id(HANDLE).unwrap();
    // As a driver leaves it that is killed before it publishes, or before it stages.
    node.volumes.unpublish(&id, Path::new("/target")).unwrap();
    node.unpublish(HANDLE).await.unwrap();
    assert!(node.is_clean());
    node.publish(HANDLE, "", &[]).await.unwrap();
    node.volumes.unpublish(&id, Path::new("/target")).unwrap();
    node.volumes.unstage(&id, &node.folder.path().join("ephemeral").join(id.as_str())).unwrap();
    node.unpublish(HANDLE).await.unwrap();
    assert!(node.is_clean());
}

#[tokio::test]
async fn what_a_pod_may_not_say_is_refused_and_nothing_is_left() {
    let node = Node::new();
    let refused = async |handle: &str, fs_type: &str, attributes: &[(&str, &str)], part: &str| {
        let status = node.publish(handle, fs_type, attributes).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(part), "{status}");
    };
    refused(HANDLE, "", &[("medium", "memory")], "`medium`").await;
    refused(HANDLE, "", &[("size", "much")], "`size`").await;
    refused(HANDLE, "xfs", &[("fsType", "ext4")], "say one of them").await;
    refused("csi-../../etc", "", &[], "not an id of the kubelet's").await;
    let foreign = VolumeId::derive(&NodeTag::of("a"), "v").to_string();
    refused(&foreign, "", &[], "not an id of the kubelet's").await;
    assert_eq!(node.publish(HANDLE, "", &[("size", "20Gi")]).await.unwrap_err().code(), Code::ResourceExhausted);
    assert!(node.is_clean());
}

#[tokio::test]
async fn no_claim_can_take_the_name_of_an_ephemeral_volume() {
    let node = Node::new();
    let request = CreateVolumeRequest {
        name: format!("{PREFIX}{HANDLE}"),
        capacity_range: Some(CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
        volume_capabilities: vec![capability("")],
        ..Default::default()
    };
    let status = node.driver.create_volume(Request::new(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn only_the_volumes_of_pods_that_the_kubelet_no_longer_knows_are_removed_at_start() {
    let node = Node::new();
    let gone = format!("csi-{}", "f".repeat(64));
    node.publish(HANDLE, "", &[]).await.unwrap();
    // As after a restart of the node: nothing is mounted.
    let id = node.driver.ephemeral_id(HANDLE).unwrap();
    node.volumes.unpublish(&id, Path::new("/target")).unwrap();
    node.publish(&gone, "", &[]).await.unwrap();
    let storage: Arc<dyn Storage> = node.volumes.clone();
    storage.create(&claimed()).unwrap();
    node.remember("pod-1", HANDLE);
    let left = node.remember("pod-2", &gone);
    node.driver.remove_orphans(node.folder.path()).unwrap();
    assert_eq!(node.volumes.list().unwrap().len(), 3, "the kubelet knows both");

    fs::remove_file(left.join("vol_data.json")).unwrap();
    node.driver.remove_orphans(node.folder.path()).unwrap();
    let names: Vec<_> = node.volumes.list().unwrap().into_iter().map(|volume| volume.name).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&format!("{PREFIX}{HANDLE}")) && names.contains(&"pvc-1".into()), "{names:?}");
}

#[tokio::test]
async fn nothing_is_removed_while_it_is_not_known_what_the_kubelet_knows() {
    let node = Node::new();
    node.publish(HANDLE, "", &[]).await.unwrap();
    fs::write(node.remember("pod-1", HANDLE).join("vol_data.json"), "{").unwrap();
    node.driver.remove_orphans(node.folder.path()).unwrap_err();
    fs::remove_dir_all(node.folder.path().join("pods")).unwrap();
    node.driver.remove_orphans(node.folder.path()).unwrap_err();
    assert_eq!(node.volumes.list().unwrap().len(), 1);
}

fn claimed() -> NewVolume {
    NewVolume {
        name: "pvc-1".into(),
        at_least: Bytes::GIB,
        at_most: None,
        content: Content::Filesystem(Filesystem::Xfs),
        provisioning: Provisioning::Thin,
        source: None,
        limits: orlop_volume::Limits::default(),
    }
}
