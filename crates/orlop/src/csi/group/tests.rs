use std::sync::Arc;

use orlop_api::Bytes;
use orlop_volume::{Content, FakeVolumes, Limits, NewVolume, NodeTag, Provisioning, SnapshotId, Volumes as _};
use tonic::Code;

use super::*;
use crate::rpc::csi_v1::{DeleteSnapshotRequest, controller_server::Controller as _};

/// A driver with two volumes.
fn driver() -> (Driver, [String; 2]) {
    let volumes = FakeVolumes::new(NodeTag::of("a"), Bytes(10 << 30));
    let ids = ["v", "w"].map(|name| {
        let new = NewVolume {
            name: name.into(),
            at_least: Bytes::GIB,
            at_most: None,
            content: Content::Block,
            provisioning: Provisioning::Thin,
            source: None,
            limits: Limits::default(),
        };
        volumes.create(&new).unwrap().id.to_string()
    });
    (Driver::new("a".into(), Arc::new(volumes), "/nowhere".into()), ids)
}

async fn create(driver: &Driver, name: &str, ids: &[String]) -> Result<VolumeGroupSnapshot, Status> {
    let request =
        CreateVolumeGroupSnapshotRequest { name: name.into(), source_volume_ids: ids.to_vec(), ..Default::default() };
    Ok(driver.create_volume_group_snapshot(Request::new(request)).await?.into_inner().group_snapshot.unwrap())
}

async fn get(driver: &Driver, id: &str, members: &[String]) -> Result<VolumeGroupSnapshot, Status> {
    let request = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id.into(),
        snapshot_ids: members.to_vec(),
        ..Default::default()
    };
    Ok(driver.get_volume_group_snapshot(Request::new(request)).await?.into_inner().group_snapshot.unwrap())
}

async fn delete(driver: &Driver, id: &str, members: &[String]) -> Result<(), Status> {
    let request = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: id.into(),
        snapshot_ids: members.to_vec(),
        ..Default::default()
    };
    driver.delete_volume_group_snapshot(Request::new(request)).await.map(drop)
}

#[tokio::test]
async fn a_group_has_a_snapshot_of_each_volume_and_goes_as_a_whole() {
    let (driver, ids) = driver();
    let group = create(&driver, "g", &ids).await.unwrap();
    assert!(group.ready_to_use && group.creation_time.is_some());
    let mut of: Vec<_> = group.snapshots.iter().map(|snapshot| snapshot.source_volume_id.clone()).collect();
    of.sort();
    let mut all = ids.to_vec();
    all.sort();
    assert_eq!(of, all);
    assert!(group.snapshots.iter().all(|snapshot| snapshot.group_snapshot_id == group.group_snapshot_id));
    assert_eq!(create(&driver, "g", &ids).await.unwrap(), group);
    assert_eq!(create(&driver, "g", &ids[..1]).await.unwrap_err().code(), Code::AlreadyExists);

    let members: Vec<_> = group.snapshots.iter().map(|snapshot| snapshot.snapshot_id.clone()).collect();
    assert_eq!(get(&driver, &group.group_snapshot_id, &members).await.unwrap(), group);
    assert_eq!(get(&driver, &group.group_snapshot_id, &[]).await.unwrap(), group);
    let alone = DeleteSnapshotRequest { snapshot_id: members[0].clone(), ..Default::default() };
    let alone = driver.delete_snapshot(Request::new(alone)).await.unwrap_err();
    assert_eq!(alone.code(), Code::InvalidArgument);
    assert!(alone.message().contains("delete the group"), "{alone}");

    let stranger = [SnapshotId::derive(&NodeTag::of("a"), "x").to_string()];
    for refused in [
        get(&driver, &group.group_snapshot_id, &stranger).await.unwrap_err(),
        delete(&driver, &group.group_snapshot_id, &stranger).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    for _ in 0..2 {
        delete(&driver, &group.group_snapshot_id, &members).await.unwrap();
    }
    assert_eq!(get(&driver, &group.group_snapshot_id, &[]).await.unwrap_err().code(), Code::NotFound);
    assert!(driver.volumes.list_snapshots().unwrap().is_empty());
}

#[tokio::test]
async fn a_group_is_of_volumes_of_this_node() {
    let (driver, ids) = driver();
    let there = VolumeId::derive(&NodeTag::of("b"), "v").to_string();
    let refused = async |name, ids: &[String]| create(&driver, name, ids).await.unwrap_err();
    let scattered = refused("g", &[ids[0].clone(), there.clone()]).await;
    assert_eq!(scattered.code(), Code::FailedPrecondition);
    assert!(scattered.message().contains("not on one node"), "{scattered}");
    let elsewhere = refused("g", std::slice::from_ref(&there)).await;
    assert_eq!(elsewhere.code(), Code::FailedPrecondition);
    assert!(elsewhere.message().contains("ask the driver there"), "{elsewhere}");
    assert_eq!(refused("", &ids).await.code(), Code::InvalidArgument);
    assert_eq!(refused("g", &[]).await.code(), Code::InvalidArgument);
    assert_eq!(refused("g", &["../v".into()]).await.code(), Code::NotFound);
    let missing = VolumeId::derive(&NodeTag::of("a"), "x").to_string();
    assert_eq!(refused("g", &[ids[0].clone(), missing]).await.code(), Code::NotFound);
    assert!(driver.volumes.list_snapshots().unwrap().is_empty(), "all or none");
}

#[tokio::test]
async fn an_id_that_nobody_made_is_gone_already_and_one_of_another_node_is_not() {
    let (driver, _) = driver();
    delete(&driver, "not-an-id", &[]).await.unwrap();
    assert_eq!(get(&driver, "not-an-id", &[]).await.unwrap_err().code(), Code::NotFound);
    for id in ["", "../g"] {
        let code = get(&driver, id, &[]).await.unwrap_err().code();
        assert_eq!(code, if id.is_empty() { Code::InvalidArgument } else { Code::NotFound });
    }
    let there = orlop_volume::GroupId::derive(&NodeTag::of("b"), "g").to_string();
    assert_eq!(delete(&driver, &there, &[]).await.unwrap_err().code(), Code::FailedPrecondition);
}
