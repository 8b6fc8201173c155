//! Snapshots, and volumes that start with something.

use super::*;
use crate::rpc::csi_v1::Snapshot;

fn snapshot_source(id: &str) -> VolumeContentSource {
    VolumeContentSource { r#type: Some(SourceType::Snapshot(SnapshotSource { snapshot_id: id.into() })) }
}

async fn take(driver: &Driver, name: &str, volume: &str) -> Result<Snapshot, Status> {
    let request = CreateSnapshotRequest { name: name.into(), source_volume_id: volume.into(), ..Default::default() };
    Ok(driver.create_snapshot(Request::new(request)).await?.into_inner().snapshot.unwrap())
}

async fn list(driver: &Driver, request: ListSnapshotsRequest) -> ListSnapshotsResponse {
    driver.list_snapshots(Request::new(request)).await.unwrap().into_inner()
}

async fn listed(driver: &Driver, request: ListSnapshotsRequest) -> Vec<String> {
    list(driver, request).await.entries.into_iter().map(|entry| entry.snapshot.unwrap().snapshot_id).collect()
}

#[tokio::test]
async fn a_snapshot_says_what_it_holds_until_it_is_deleted() {
    let driver = driver("a");
    let volume = create(&driver, request("v", GIB)).await.unwrap().volume_id;
    let snapshot = take(&driver, "s", &volume).await.unwrap();
    assert_eq!((snapshot.size_bytes, &snapshot.source_volume_id), (GIB, &volume));
    assert!(snapshot.ready_to_use && snapshot.creation_time.is_some() && snapshot.group_snapshot_id.is_empty());
    assert_eq!(take(&driver, "s", &volume).await.unwrap().snapshot_id, snapshot.snapshot_id);

    let get = async |id: &str| {
        let request = GetSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
        Ok::<_, Status>(driver.get_snapshot(Request::new(request)).await?.into_inner().snapshot.unwrap())
    };
    assert_eq!(get(&snapshot.snapshot_id).await.unwrap(), snapshot);
    assert_eq!(get("").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(get("not-an-id").await.unwrap_err().code(), Code::NotFound);

    let delete = async |driver: &Driver, id: &str| {
        let request = DeleteSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
        driver.delete_snapshot(Request::new(request)).await.map(drop)
    };
    delete(&driver, "not-an-id").await.unwrap();
    let elsewhere = delete(&super::driver("b"), &snapshot.snapshot_id).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::FailedPrecondition, "it is not taken for deleted");
    delete(&driver, &snapshot.snapshot_id).await.unwrap();
    delete(&driver, &snapshot.snapshot_id).await.unwrap();
    assert_eq!(get(&snapshot.snapshot_id).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_is_refused() {
    let driver = driver("a");
    let [v, w] = ["v", "w"].map(|name| request(name, GIB));
    let v = create(&driver, v).await.unwrap().volume_id;
    let w = create(&driver, w).await.unwrap().volume_id;
    take(&driver, "s", &v).await.unwrap();
    let refused = async |driver: &Driver, name, volume| take(driver, name, volume).await.unwrap_err().code();
    assert_eq!(refused(&driver, "s", &w).await, Code::AlreadyExists);
    assert_eq!(refused(&driver, "", &v).await, Code::InvalidArgument);
    assert_eq!(refused(&driver, "t", "").await, Code::InvalidArgument);
    assert_eq!(refused(&driver, "t", "../v").await, Code::NotFound);
    assert_eq!(refused(&super::driver("b"), "t", &v).await, Code::FailedPrecondition);
    let mut request = CreateSnapshotRequest { name: "t".into(), source_volume_id: v.clone(), ..Default::default() };
    request.parameters = text(&[("retain", "1d")]);
    let status = driver.create_snapshot(Request::new(request)).await.unwrap_err();
    assert!(status.message().contains("`retain`"), "{status}");
}

#[tokio::test]
async fn snapshots_are_listed_page_by_page_by_volume_and_by_id() {
    let driver = driver("a");
    let [v, w] = ["v", "w"].map(|name| request(name, GIB));
    let v = create(&driver, v).await.unwrap().volume_id;
    let w = create(&driver, w).await.unwrap().volume_id;
    let mut all = Vec::new();
    for (name, volume) in [("a", &v), ("b", &v), ("c", &w)] {
        all.push(take(&driver, name, volume).await.unwrap());
    }
    let of = |volume: &str| ListSnapshotsRequest { source_volume_id: volume.into(), ..Default::default() };
    let only = |id: &str| ListSnapshotsRequest { snapshot_id: id.into(), ..Default::default() };
    assert_eq!(listed(&driver, of(&v)).await.len(), 2);
    assert_eq!(listed(&driver, of(&w)).await, [all[2].snapshot_id.clone()]);
    assert!(listed(&driver, of("not-an-id")).await.is_empty());
    assert_eq!(listed(&driver, only(&all[0].snapshot_id)).await, [all[0].snapshot_id.clone()]);
    assert!(listed(&driver, only("not-an-id")).await.is_empty());
    let both = ListSnapshotsRequest { source_volume_id: w.clone(), ..only(&all[0].snapshot_id) };
    assert!(listed(&driver, both).await.is_empty());

    let first = list(&driver, ListSnapshotsRequest { max_entries: 2, ..Default::default() }).await;
    assert_eq!(first.entries.len(), 2);
    let rest = ListSnapshotsRequest { starting_token: first.next_token, ..Default::default() };
    let rest = list(&driver, rest).await;
    assert_eq!((rest.entries.len(), rest.next_token.as_str()), (1, ""));
}

#[tokio::test]
async fn a_volume_starts_with_what_its_source_holds_and_is_at_least_as_large() {
    let driver = driver("a");
    let ext4 = CreateVolumeRequest { volume_capabilities: vec![filesystem("ext4")], ..request("v", 2 * GIB) };
    let volume = create(&driver, ext4).await.unwrap().volume_id;
    let snapshot = take(&driver, "s", &volume).await.unwrap().snapshot_id;
    let from =
        |name: &str, source| CreateVolumeRequest { volume_content_source: Some(source), ..request(name, 2 * GIB) };
    for (name, source) in [("w", snapshot_source(&snapshot)), ("x", volume_source(&volume))] {
        let unsized_one = CreateVolumeRequest { capacity_range: None, ..from(name, source.clone()) };
        let made = create(&driver, unsized_one).await.unwrap();
        assert_eq!((made.capacity_bytes, made.content_source), (2 * GIB, Some(source.clone())));
        let content = driver.volumes.get(&made.volume_id.parse().unwrap()).unwrap().content;
        assert_eq!(content, Content::Filesystem(Filesystem::Ext4), "the class names none");
        // A larger one is another one: sizes of a name do not change by asking again.
        let larger = CreateVolumeRequest { capacity_range: request("", 3 * GIB).capacity_range, ..from(name, source) };
        assert_eq!(create(&driver, larger).await.unwrap_err().code(), Code::AlreadyExists);
    }
    let refused = async |request| create(&driver, request).await.unwrap_err();
    let small = CreateVolumeRequest {
        capacity_range: request("", GIB).capacity_range,
        ..from("y", snapshot_source(&snapshot))
    };
    assert_eq!(refused(small).await.code(), Code::OutOfRange);
    let other = CreateVolumeRequest { volume_capabilities: vec![block()], ..from("y", snapshot_source(&snapshot)) };
    assert_eq!(refused(other).await.code(), Code::InvalidArgument);
    assert_eq!(refused(from("y", snapshot_source("not-an-id"))).await.code(), Code::NotFound);
    assert_eq!(refused(from("y", volume_source("../v"))).await.code(), Code::NotFound);
    assert_eq!(refused(from("y", volume_source(""))).await.code(), Code::InvalidArgument);
    let nothing = VolumeContentSource { r#type: None };
    assert_eq!(refused(from("y", nothing)).await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_restore_on_the_wrong_node_lets_the_scheduler_try_another_one() {
    let here = driver("a");
    let volume = create(&here, request("v", GIB)).await.unwrap().volume_id;
    let snapshot = take(&here, "s", &volume).await.unwrap().snapshot_id;
    for source in [snapshot_source(&snapshot), volume_source(&volume)] {
        let request = CreateVolumeRequest { volume_content_source: Some(source), ..request("w", GIB) };
        let status = create(&driver("b"), request).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("on another node than this one, `b`"), "{status}");
    }
}
