use std::{path::Path, sync::Arc};

use orlop_volume::{
    Ailment, Content, FakeVolumes, Filesystem, Limits, MountOptions, NewVolume, NodeTag, Provisioning, Severity,
    VolumeId, Volumes as _,
};
use tonic::Code;

use super::*;
use crate::rpc::csi_v1::{
    CapacityRange, VolumeCapability,
    volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
};

fn made(content: Content) -> (Driver, Arc<FakeVolumes>, VolumeId) {
    let volumes = Arc::new(FakeVolumes::new(NodeTag::of("a"), Bytes(10 << 30)));
    let new = NewVolume {
        name: "v".into(),
        at_least: Bytes::GIB,
        at_most: None,
        content,
        provisioning: Provisioning::Thin,
        source: None,
        limits: Limits::default(),
    };
    let id = volumes.create(&new).unwrap().id;
    (Driver::new("a".into(), volumes.clone(), "/nowhere".into()), volumes, id)
}

fn driver() -> (Driver, VolumeId) {
    let (driver, _, id) = made(Content::Filesystem(Filesystem::Xfs));
    (driver, id)
}

fn capability(fs_type: &str) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() })),
    }
}

async fn stage(driver: &Driver, id: &str, at: &str, fs_type: &str) -> Result<(), Status> {
    stage_as(driver, id, at, capability(fs_type)).await
}

async fn stage_as(driver: &Driver, id: &str, at: &str, capability: VolumeCapability) -> Result<(), Status> {
    let request = NodeStageVolumeRequest {
        volume_id: id.into(),
        staging_target_path: at.into(),
        volume_capability: Some(capability),
        ..Default::default()
    };
    driver.node_stage_volume(Request::new(request)).await.map(drop)
}

async fn expand(driver: &Driver, id: &VolumeId, range: Option<CapacityRange>) -> Result<i64, Status> {
    let request = NodeExpandVolumeRequest {
        volume_id: id.to_string(),
        volume_path: "/target".into(),
        capacity_range: range,
        ..Default::default()
    };
    Ok(driver.node_expand_volume(Request::new(request)).await?.into_inner().capacity_bytes)
}

#[tokio::test]
async fn staging_refuses_what_is_not_this_volume() {
    let (driver, id) = driver();
    let id = id.to_string();
    let code = async |id, at, fs_type| stage(&driver, id, at, fs_type).await.unwrap_err().code();
    assert_eq!(code("", "/staged", "").await, Code::InvalidArgument);
    assert_eq!(code("not-an-id", "/staged", "").await, Code::NotFound);
    assert_eq!(code(&id, "", "").await, Code::InvalidArgument);
    assert_eq!(code(&id, "relative", "").await, Code::InvalidArgument);
    assert_eq!(code(&id, "/staged", "ext4").await, Code::InvalidArgument);
    stage(&driver, &id, "/staged", "xfs").await.unwrap();
    stage(&driver, &id, "/staged", "").await.unwrap();
}

#[tokio::test]
async fn statistics_have_bytes_and_inodes() {
    let (driver, id) = driver();
    let stats = async |path: &str| {
        let request =
            NodeGetVolumeStatsRequest { volume_id: id.to_string(), volume_path: path.into(), ..Default::default() };
        driver.node_get_volume_stats(Request::new(request)).await
    };
    assert_eq!(stats("/staged").await.unwrap_err().code(), Code::NotFound);
    driver.volumes.stage(&id, Path::new("/staged"), &MountOptions::parse::<&str>(&[]).unwrap()).unwrap();
    let usage = stats("/staged").await.unwrap().into_inner().usage;
    assert_eq!(usage.iter().map(VolumeUsage::unit).collect::<Vec<_>>(), [Unit::Bytes, Unit::Inodes]);
    assert!(usage.iter().all(|usage| usage.total > 0 && usage.available + usage.used == usage.total));
}

async fn publish(driver: &Driver, id: &str, target: &str, capability: VolumeCapability) -> Result<(), Status> {
    let request = NodePublishVolumeRequest {
        volume_id: id.into(),
        staging_target_path: "/staged".into(),
        target_path: target.into(),
        volume_capability: Some(capability),
        ..Default::default()
    };
    driver.node_publish_volume(Request::new(request)).await.map(drop)
}

#[tokio::test]
async fn a_volume_for_one_pod_is_published_once_and_others_as_often_as_wanted() {
    let (driver, id) = driver();
    let id = id.to_string();
    let with = |mode: Mode| VolumeCapability { access_mode: Some(AccessMode { mode: mode.into() }), ..capability("") };
    stage(&driver, &id, "/staged", "").await.unwrap();
    for target in ["/target", "/target", "/other"] {
        publish(&driver, &id, target, with(Mode::SingleNodeMultiWriter)).await.unwrap();
    }
    let status = publish(&driver, &id, "/target", with(Mode::SingleNodeSingleWriter)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("in use at /other"), "{status}");
    let other = NodeUnpublishVolumeRequest { volume_id: id.clone(), target_path: "/other".into() };
    driver.node_unpublish_volume(Request::new(other)).await.unwrap();
    for _ in 0..2 {
        publish(&driver, &id, "/target", with(Mode::SingleNodeSingleWriter)).await.unwrap();
    }
}

#[tokio::test]
async fn a_block_volume_is_published_and_has_only_a_size() {
    let (driver, _, id) = made(Content::Block);
    let id = id.to_string();
    let block = VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..capability("") };
    assert_eq!(stage(&driver, &id, "/staged", "").await.unwrap_err().code(), Code::InvalidArgument);
    stage_as(&driver, &id, "/staged", block.clone()).await.unwrap();
    assert_eq!(publish(&driver, &id, "/target", capability("")).await.unwrap_err().code(), Code::InvalidArgument);
    publish(&driver, &id, "/target", block).await.unwrap();
    let stats = async |path: &str| {
        let request =
            NodeGetVolumeStatsRequest { volume_id: id.clone(), volume_path: path.into(), ..Default::default() };
        driver.node_get_volume_stats(Request::new(request)).await
    };
    let [size] = stats("/target").await.unwrap().into_inner().usage[..] else { panic!("bytes only") };
    assert_eq!((size.unit(), size.total, size.used, size.available), (Unit::Bytes, 1 << 30, 0, 0));
    assert_eq!(stats("/elsewhere").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn publishing_asks_for_a_staged_volume() {
    let (driver, id) = driver();
    let mut request = NodePublishVolumeRequest {
        volume_id: id.to_string(),
        target_path: "/target".into(),
        volume_capability: Some(capability("")),
        ..Default::default()
    };
    let publish = async |request| driver.node_publish_volume(Request::new(request)).await.unwrap_err();
    let status = publish(request.clone()).await;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("`staging_target_path`"), "{status}");
    request.staging_target_path = "/staged".into();
    assert!(publish(request).await.message().contains("stage it first"));
}

#[tokio::test]
async fn the_kubelet_and_newer_callers_are_told_what_is_wrong() {
    let (driver, volumes, id) = made(Content::Filesystem(Filesystem::Xfs));
    stage(&driver, id.as_str(), "/staged", "").await.unwrap();
    let condition = async || {
        let request = NodeGetVolumeStatsRequest {
            volume_id: id.to_string(),
            volume_path: "/staged".into(),
            ..Default::default()
        };
        driver.node_get_volume_stats(Request::new(request)).await.unwrap().into_inner().volume_condition.unwrap()
    };
    assert!(!condition().await.abnormal);
    let ailment = |severity, reason| vec![Ailment { severity, reason, message: format!("{reason}: sorry") }];
    volumes.ail(Some(&id), ailment(Severity::DataLoss, "ImageShort"));
    volumes.ail(None, ailment(Severity::Degraded, "PoolLow"));
    let present = condition().await;
    assert!(present.abnormal && present.message.contains("ImageShort"), "{present:?}");

    let request = NodeGetVolumeHealthRequest { volume_id: id.to_string(), ..Default::default() };
    let health = driver.node_get_volume_health(Request::new(request)).await.unwrap().into_inner();
    let health = health.volume_health.unwrap();
    assert_eq!(health.volume_id, id.as_str());
    assert_eq!(health.health_statuses[0].reason, "ImageShort");
    let storage = driver.node_get_storage_health(Request::new(NodeGetStorageHealthRequest::default())).await;
    let storage = storage.unwrap().into_inner().backend_health;
    assert_eq!(storage.iter().map(|entry| entry.reason.as_str()).collect::<Vec<_>>(), ["PoolLow"]);
}

#[tokio::test]
async fn a_volume_grows_to_what_is_required_and_not_beyond_the_limit() {
    let (driver, id) = driver();
    let range = |required_bytes, limit_bytes| Some(CapacityRange { required_bytes, limit_bytes });
    assert_eq!(expand(&driver, &id, range((2 << 30) - 1, 0)).await.unwrap(), 2 << 30);
    assert_eq!(expand(&driver, &id, None).await.unwrap(), 2 << 30);
    assert_eq!(expand(&driver, &id, range(1 << 30, 0)).await.unwrap(), 2 << 30);
    assert_eq!(expand(&driver, &id, range(1 << 30, 1 << 30)).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(expand(&driver, &id, range(20 << 30, 0)).await.unwrap_err().code(), Code::ResourceExhausted);
}
