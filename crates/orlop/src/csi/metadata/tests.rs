use std::sync::Arc;

use orlop_volume::{
    Content, FakeVolumes, Limits, NewVolume, NodeTag, Provisioning, Snapshots as _, VolumeId, Volumes as _,
};
use tonic::Code;

use super::*;

const MIB: u64 = 1 << 20;

fn driver() -> (Driver, Arc<FakeVolumes>, VolumeId) {
    let volumes = Arc::new(FakeVolumes::new(NodeTag::of("a"), Bytes(10 << 30)));
    let new = NewVolume {
        name: "v".into(),
        at_least: Bytes(64 * MIB),
        at_most: None,
        content: Content::Block,
        provisioning: Provisioning::Thin,
        source: None,
        limits: Limits::default(),
    };
    let id = volumes.create(&new).unwrap().id;
    (Driver::new("a".into(), volumes.clone(), "/nowhere".into()), volumes, id)
}

/// The messages' ranges.
async fn allocated(driver: &Driver, id: &str, from: i64, most: i32) -> Result<Vec<Vec<(i64, i64)>>, Status> {
    let request = GetMetadataAllocatedRequest {
        snapshot_id: id.into(),
        starting_offset: from,
        max_results: most,
        ..Default::default()
    };
    let messages = driver.get_metadata_allocated(Request::new(request)).await?.into_inner();
    let messages: Vec<_> = messages.collect::<Result<_, Status>>().await?;
    Ok(messages
        .into_iter()
        .map(|message| {
            assert_eq!(message.block_metadata_type(), BlockMetadataType::VariableLength);
            assert_eq!(message.volume_capacity_bytes, 64 << 20);
            ranges(message.block_metadata)
        })
        .collect())
}

async fn changed(driver: &Driver, base: &str, target: &str, from: i64) -> Result<Vec<(i64, i64)>, Status> {
    let request = GetMetadataDeltaRequest {
        base_snapshot_id: base.into(),
        target_snapshot_id: target.into(),
        starting_offset: from,
        ..Default::default()
    };
    let messages = driver.get_metadata_delta(Request::new(request)).await?.into_inner();
    let messages: Vec<_> = messages.collect::<Result<_, Status>>().await?;
    Ok(messages.into_iter().flat_map(|message| ranges(message.block_metadata)).collect())
}

/// In units of a MiB.
fn ranges(metadata: Vec<BlockMetadata>) -> Vec<(i64, i64)> {
    metadata.into_iter().map(|range| (range.byte_offset >> 20, range.size_bytes >> 20)).collect()
}

#[tokio::test]
async fn what_a_snapshot_holds_comes_in_messages_no_larger_than_wanted() {
    let (driver, volumes, id) = driver();
    for (offset, length) in [(0, 2), (4, 1), (8, 8), (20, 1), (63, 1)] {
        volumes.write(&id, offset * MIB, length * MIB);
    }
    let snapshot = volumes.snapshot("s", &id).unwrap().id.to_string();
    let all = [(0, 2), (4, 1), (8, 8), (20, 1), (63, 1)];
    assert_eq!(allocated(&driver, &snapshot, 0, 0).await.unwrap(), [all.to_vec()]);
    let parted = allocated(&driver, &snapshot, 0, 2).await.unwrap();
    assert_eq!(parted, [vec![(0, 2), (4, 1)], vec![(8, 8), (20, 1)], vec![(63, 1)]]);
    // One that contains the offset is sent whole.
    assert_eq!(allocated(&driver, &snapshot, 9 << 20, 0).await.unwrap(), [all[2..].to_vec()]);
    assert_eq!(allocated(&driver, &snapshot, 64 << 20, 0).await.unwrap(), [vec![]]);
}

#[tokio::test]
async fn an_empty_snapshot_still_says_how_large_it_is() {
    let (driver, volumes, id) = driver();
    let snapshot = volumes.snapshot("s", &id).unwrap().id.to_string();
    assert_eq!(allocated(&driver, &snapshot, 0, 0).await.unwrap(), [vec![]]);
}

#[tokio::test]
async fn only_what_was_written_between_two_snapshots_has_changed() {
    let (driver, volumes, id) = driver();
    volumes.write(&id, 0, 4 * MIB);
    let base = volumes.snapshot("s", &id).unwrap().id.to_string();
    volumes.write(&id, MIB, MIB);
    volumes.write(&id, 10 * MIB, MIB);
    let target = volumes.snapshot("t", &id).unwrap().id.to_string();
    assert_eq!(changed(&driver, &base, &target, 0).await.unwrap(), [(1, 1), (10, 1)]);
    assert_eq!(changed(&driver, &base, &target, 2 << 20).await.unwrap(), [(10, 1)]);
    assert_eq!(changed(&driver, &base, &base, 0).await.unwrap(), []);
}

#[tokio::test]
async fn what_cannot_be_told_is_refused() {
    let (driver, volumes, id) = driver();
    let snapshot = volumes.snapshot("s", &id).unwrap().id.to_string();
    let refused = async |id: &str, from, most| allocated(&driver, id, from, most).await.unwrap_err().code();
    assert_eq!(refused("", 0, 0).await, Code::InvalidArgument);
    assert_eq!(refused("../s", 0, 0).await, Code::NotFound);
    assert_eq!(refused(&snapshot, -1, 0).await, Code::OutOfRange);
    assert_eq!(refused(&snapshot, (64 << 20) + 1, 0).await, Code::OutOfRange);
    assert_eq!(refused(&snapshot, 0, -1).await, Code::InvalidArgument);

    let other = NewVolume {
        name: "w".into(),
        at_least: Bytes(64 * MIB),
        at_most: None,
        content: Content::Block,
        provisioning: Provisioning::Thin,
        source: None,
        limits: Limits::default(),
    };
    let other = volumes.create(&other).unwrap().id;
    let other = volumes.snapshot("o", &other).unwrap().id.to_string();
    let refused = async |base: &str, target: &str| changed(&driver, base, target, 0).await.unwrap_err();
    let unrelated = refused(&snapshot, &other).await;
    assert_eq!(unrelated.code(), Code::InvalidArgument);
    assert!(unrelated.message().contains("not snapshots of one volume"), "{unrelated}");
    assert_eq!(refused(&snapshot, "not-an-id").await.code(), Code::NotFound);
    assert_eq!(refused("", &snapshot).await.code(), Code::InvalidArgument);
}
