//! Snapshots, clones, groups and changed ranges, asked for over the driver's socket, with what they hold.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt as _, FileTypeExt as _},
    path::Path,
};

use orlop::rpc::csi_v1::{
    BlockMetadata, CreateVolumeGroupSnapshotRequest, CreateVolumeRequest, DeleteVolumeGroupSnapshotRequest,
    GetMetadataAllocatedRequest, GetMetadataDeltaRequest, ListSnapshotsRequest, VolumeGroupSnapshot,
};
use tonic::Code;

use crate::{
    calls::{
        GIB, at_least, block, create, delete, delete_snapshot, filesystem, from_snapshot, from_volume, make, mount,
        publish, request, run, take_snapshot, unmount,
    },
    driver::Node,
};

pub const TESTS: &[(&str, fn())] = &[
    ("a snapshot of a volume in use starts a larger volume beside it", a_snapshot_starts_a_larger_volume),
    ("a clone has what its source had, and goes its own way", a_clone_goes_its_own_way),
    ("a group of volumes in use is taken and removed as a whole", a_group_is_taken_as_a_whole),
    ("what changed between two snapshots is in the ranges that are told", what_changed_is_told),
    ("a snapshot outlives the driver and its volume", a_snapshot_outlives_the_driver_and_its_volume),
];

const MIB: u64 = 1 << 20;

fn write_synced(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    File::open(path).unwrap().sync_all().unwrap();
}

fn a_snapshot_starts_a_larger_volume() {
    let node = Node::new();
    let _driver = node.start();
    run(async {
        for fs_type in ["xfs", "ext4", "btrfs"] {
            let id = make(&node, request(fs_type, filesystem(fs_type))).await.unwrap();
            mount(&node, &id, fs_type).await.unwrap();
            write_synced(&node.path(fs_type).join("data"), "before");
            let snapshot = take_snapshot(&node, &format!("{fs_type}-s"), &id).await.unwrap();
            assert_eq!(snapshot.size_bytes, GIB);
            write_synced(&node.path(fs_type).join("data"), "after");

            let restored = format!("{fs_type}-restored");
            let restore = CreateVolumeRequest {
                capacity_range: Some(at_least(2 * GIB)),
                volume_content_source: Some(from_snapshot(&snapshot.snapshot_id)),
                ..request(&restored, filesystem(""))
            };
            let copy = make(&node, restore).await.unwrap();
            mount(&node, &copy, &restored).await.unwrap();
            let read = |place: &str| fs::read_to_string(node.path(place).join("data")).unwrap();
            assert_eq!((read(fs_type).as_str(), read(&restored).as_str()), ("after", "before"));
            let stat = rustix::fs::statvfs(node.path(&restored)).unwrap();
            let size = stat.f_blocks * stat.f_frsize;
            assert!(size > 1500 * MIB, "{fs_type} has {size} bytes");
            unmount(&node, &copy, &restored).await.unwrap();
            unmount(&node, &id, fs_type).await.unwrap();
            for id in [copy, id] {
                delete(&node, &id).await.unwrap();
            }
            delete_snapshot(&node, &snapshot.snapshot_id).await.unwrap();
        }
    });
    assert_eq!(node.mounts(), [node.path("pool")]);
}

fn a_clone_goes_its_own_way() {
    let node = Node::new();
    let _driver = node.start();
    run(async {
        let id = make(&node, request("v", block())).await.unwrap();
        publish(&node, &id, "device", block()).await.unwrap();
        let device = node.path("device");
        assert!(fs::metadata(&device).unwrap().file_type().is_block_device());
        let write = |place: &str, text: &[u8]| {
            let file = OpenOptions::new().write(true).open(node.path(place)).unwrap();
            file.write_all_at(text, 8 * MIB).unwrap();
            file.sync_all().unwrap();
        };
        let read = |place: &str| {
            let mut text = [0; 3];
            File::open(node.path(place)).unwrap().read_exact_at(&mut text, 8 * MIB).unwrap();
            text
        };
        write("device", b"one");
        let clone = CreateVolumeRequest { volume_content_source: Some(from_volume(&id)), ..request("w", block()) };
        let copy = make(&node, clone).await.unwrap();
        publish(&node, &copy, "copy", block()).await.unwrap();
        write("device", b"two");
        assert_eq!((&read("device"), &read("copy")), (b"two", b"one"));
        for (id, place) in [(&id, "device"), (&copy, "copy")] {
            unmount(&node, id, place).await.unwrap();
            delete(&node, id).await.unwrap();
        }
    });
    assert_eq!(node.mounts(), [node.path("pool")]);
}

fn a_group_is_taken_as_a_whole() {
    let node = Node::new();
    let _driver = node.start();
    run(async {
        let mut ids = Vec::new();
        for name in ["v", "w"] {
            let id = create(&node, name).await.unwrap();
            mount(&node, &id, name).await.unwrap();
            write_synced(&node.path(name).join("data"), name);
            ids.push(id);
        }
        let request_group = |ids: &[String]| CreateVolumeGroupSnapshotRequest {
            name: "g".into(),
            source_volume_ids: ids.to_vec(),
            ..Default::default()
        };
        let answer = node.groups().await.create_volume_group_snapshot(request_group(&ids)).await.unwrap();
        let group: VolumeGroupSnapshot = answer.into_inner().group_snapshot.unwrap();
        assert_eq!(group.snapshots.len(), 2);
        for snapshot in &group.snapshots {
            let alone = delete_snapshot(&node, &snapshot.snapshot_id).await.unwrap_err();
            assert_eq!(alone.code(), Code::InvalidArgument, "{alone}");
        }
        let restore = CreateVolumeRequest {
            volume_content_source: Some(from_snapshot(&group.snapshots[0].snapshot_id)),
            ..request("restored", filesystem(""))
        };
        let restored = make(&node, restore).await.unwrap();
        mount(&node, &restored, "restored").await.unwrap();
        let of = ids.iter().position(|id| *id == group.snapshots[0].source_volume_id).unwrap();
        assert_eq!(fs::read_to_string(node.path("restored/data")).unwrap(), ["v", "w"][of]);
        unmount(&node, &restored, "restored").await.unwrap();

        let remove = DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: group.group_snapshot_id,
            snapshot_ids: group.snapshots.into_iter().map(|snapshot| snapshot.snapshot_id).collect(),
            ..Default::default()
        };
        for _ in 0..2 {
            node.groups().await.delete_volume_group_snapshot(remove.clone()).await.unwrap();
        }
        let left = node.controller().await.list_snapshots(ListSnapshotsRequest::default()).await.unwrap();
        assert!(left.into_inner().entries.is_empty());
        for (id, place) in ids.iter().zip(["v", "w"]) {
            unmount(&node, id, place).await.unwrap();
        }
    });
}

/// Is that whole range of the volume in the ranges that are told?
fn covers(told: &[BlockMetadata], offset: u64, length: u64) -> bool {
    let end = i64::try_from(offset + length).unwrap();
    let start = i64::try_from(offset).unwrap();
    told.iter().any(|range| range.byte_offset <= start && range.byte_offset + range.size_bytes >= end)
}

fn what_changed_is_told() {
    let node = Node::new();
    let _driver = node.start();
    run(async {
        let id = make(&node, request("v", block())).await.unwrap();
        publish(&node, &id, "device", block()).await.unwrap();
        let write = |offset: u64| {
            let file = OpenOptions::new().write(true).open(node.path("device")).unwrap();
            file.write_all_at(&vec![7; 1 << 20], offset).unwrap();
            file.sync_all().unwrap();
        };
        write(0);
        write(100 * MIB);
        let base = take_snapshot(&node, "base", &id).await.unwrap().snapshot_id;
        write(100 * MIB);
        write(500 * MIB);
        let target = take_snapshot(&node, "target", &id).await.unwrap().snapshot_id;

        let allocated = GetMetadataAllocatedRequest { snapshot_id: target.clone(), ..Default::default() };
        let mut messages = node.metadata().await.get_metadata_allocated(allocated).await.unwrap().into_inner();
        let mut told = Vec::new();
        while let Some(message) = messages.message().await.unwrap() {
            assert_eq!(message.volume_capacity_bytes, GIB);
            told.extend(message.block_metadata);
        }
        for offset in [0, 100, 500] {
            assert!(covers(&told, offset * MIB, MIB), "{offset} MiB is not in {told:?}");
        }
        assert!(told.iter().map(|range| range.size_bytes).sum::<i64>() < GIB / 4, "{told:?}");

        let delta = GetMetadataDeltaRequest {
            base_snapshot_id: base,
            target_snapshot_id: target,
            max_results: 1,
            ..Default::default()
        };
        let mut messages = node.metadata().await.get_metadata_delta(delta).await.unwrap().into_inner();
        let mut told = Vec::new();
        while let Some(message) = messages.message().await.unwrap() {
            assert!(message.block_metadata.len() <= 1);
            told.extend(message.block_metadata);
        }
        assert!(covers(&told, 100 * MIB, MIB) && covers(&told, 500 * MIB, MIB), "{told:?}");
        assert!(!covers(&told, 0, MIB), "{told:?}");
        unmount(&node, &id, "device").await.unwrap();
    });
}

fn a_snapshot_outlives_the_driver_and_its_volume() {
    let node = Node::new();
    let driver = node.start();
    let snapshot = run(async {
        let id = create(&node, "v").await.unwrap();
        mount(&node, &id, "v").await.unwrap();
        write_synced(&node.path("v/data"), "kept");
        let snapshot = take_snapshot(&node, "s", &id).await.unwrap();
        unmount(&node, &id, "v").await.unwrap();
        delete(&node, &id).await.unwrap();
        snapshot
    });
    // Killed, not stopped.
    drop(driver);
    let _driver = node.start();
    run(async {
        let list = ListSnapshotsRequest::default();
        let listed = node.controller().await.list_snapshots(list).await.unwrap().into_inner().entries;
        let [entry] = listed.as_slice() else { panic!("there is one: {listed:?}") };
        assert_eq!(entry.snapshot.as_ref(), Some(&snapshot));
        let restore = CreateVolumeRequest {
            volume_content_source: Some(from_snapshot(&snapshot.snapshot_id)),
            ..request("w", filesystem(""))
        };
        let id = make(&node, restore).await.unwrap();
        mount(&node, &id, "w").await.unwrap();
        assert_eq!(fs::read_to_string(node.path("w/data")).unwrap(), "kept");
        unmount(&node, &id, "w").await.unwrap();
    });
}
