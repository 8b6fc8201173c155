use std::{path::Path, sync::Arc};

use orlop_volume::{FakeVolumes, Filesystem, MountOptions, NewVolume, NodeTag, VolumeId, Volumes as _};
use tonic::Code;

use super::*;
use crate::rpc::csi_v1::{
    CapacityRange, VolumeCapability,
    volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
};

fn driver() -> (Driver, VolumeId) {
    let volumes = FakeVolumes::new(NodeTag::of("a"), Bytes(10 << 30));
    let new = NewVolume { name: "v".into(), at_least: Bytes::GIB, at_most: None, filesystem: Filesystem::Xfs };
    let id = volumes.create(&new).unwrap().id;
    (Driver::new("a".into(), Arc::new(volumes)), id)
}

fn capability(fs_type: &str) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() })),
    }
}

async fn stage(driver: &Driver, id: &str, at: &str, fs_type: &str) -> Result<(), Status> {
    let request = NodeStageVolumeRequest {
        volume_id: id.into(),
        staging_target_path: at.into(),
        volume_capability: Some(capability(fs_type)),
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
