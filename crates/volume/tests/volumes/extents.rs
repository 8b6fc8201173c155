//! Which ranges of snapshots hold data, and in which they differ, compared with their bytes.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use orlop_api::Bytes;
use orlop_volume::{Content, Error, Extent, Snapshot};

use crate::world::{self, World, holding};

pub const TESTS: &[(&str, fn())] = &[
    (
        "extents: what is not allocated in a snapshot is zeros, and what has not changed is the same",
        ranges_and_bytes_agree,
    ),
    ("extents: ranges come in pages that begin where they are asked to", ranges_come_in_pages),
    ("extents: snapshots of different volumes are not compared", snapshots_of_different_volumes_are_not_compared),
];

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn image(world: &World, snapshot: &Snapshot) -> PathBuf {
    world.folder.path().join("pool/snapshots").join(snapshot.id.as_str()).join("image")
}

fn bytes(world: &World, snapshot: &Snapshot) -> Vec<u8> {
    fs::read(image(world, snapshot)).unwrap()
}

/// The image of a volume that is not in use.
fn open(world: &World, id: &str) -> File {
    OpenOptions::new().write(true).open(world.folder.path().join("pool/volumes").join(id).join("image")).unwrap()
}

fn scribble(file: &File, numbers: &mut Numbers, size: u64) {
    for _ in 0..200 {
        let length = (1 + numbers.below(8)) * BLOCK;
        let offset = numbers.below((size - length) / BLOCK) * BLOCK;
        let byte = u8::try_from(1 + numbers.below(255)).unwrap();
        file.write_all_at(&vec![byte; usize::try_from(length).unwrap()], offset).unwrap();
    }
    file.sync_all().unwrap();
}

fn has(ranges: &[Extent], offset: u64) -> bool {
    ranges.iter().any(|range| (range.offset..range.offset + range.length).contains(&offset))
}

fn total(ranges: &[Extent]) -> u64 {
    ranges.iter().map(|range| range.length).sum()
}

fn ranges_and_bytes_agree() {
    let world = world::real();
    let size = 64 * MIB;
    let volume = world.volumes.create(&holding("v", Bytes(size), Content::Block)).unwrap();
    let mut numbers = Numbers(1);
    let file = open(&world, volume.id.as_str());
    scribble(&file, &mut numbers, size);
    let base = world.volumes.snapshot("base", &volume.id).unwrap();
    scribble(&file, &mut numbers, size);
    // Also what is taken away is a change, and what was never written and is allocated is none.
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 8 * MIB, MIB).unwrap();
    world.volumes.expand(&volume.id, Bytes(80 * MIB)).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 70 * MIB, 2 * MIB).unwrap();
    file.write_all_at(&[7; 4096], 75 * MIB).unwrap();
    let target = world.volumes.snapshot("target", &volume.id).unwrap();
    assert_eq!((base.size, target.size), (Bytes(size), Bytes(80 * MIB)));

    let (old, new) = (bytes(&world, &base), bytes(&world, &target));
    let allocated = world.volumes.allocated(&target.id, 0, usize::MAX).unwrap();
    let changed = world.volumes.changed(&base.id, &target.id, 0, usize::MAX).unwrap();
    for offset in (0..new.len()).step_by(4096) {
        let block = &new[offset..offset + 4096];
        let before = old.get(offset..offset + 4096).unwrap_or(&[0; 4096]);
        let at = u64::try_from(offset).unwrap();
        assert!(has(&allocated, at) || block.iter().all(|byte| *byte == 0), "data at {offset} is not told");
        assert!(has(&changed, at) || block == before, "the change at {offset} is not told");
    }
    assert!(!has(&allocated, 71 * MIB) && !has(&changed, 71 * MIB), "allocated, and never written");
    assert!(has(&changed, 75 * MIB), "in the part that was added");
    assert!(total(&changed) < total(&allocated), "{} of {}", total(&changed), total(&allocated));
    assert!(world.volumes.changed(&base.id, &base.id, 0, usize::MAX).unwrap().is_empty());
    // What has not changed is what a second snapshot at once shows.
    let again = world.volumes.snapshot("again", &volume.id).unwrap();
    assert!(world.volumes.changed(&target.id, &again.id, 0, usize::MAX).unwrap().is_empty());
}

fn ranges_come_in_pages() {
    let world = world::real();
    let size = 64 * MIB;
    let volume = world.volumes.create(&holding("v", Bytes(size), Content::Block)).unwrap();
    let file = open(&world, volume.id.as_str());
    // More extents than the kernel is asked for at a time.
    for block in 0..1500 {
        file.write_all_at(&[1; 4096], block * 3 * BLOCK).unwrap();
    }
    file.sync_all().unwrap();
    let snapshot = world.volumes.snapshot("s", &volume.id).unwrap();
    let all = world.volumes.allocated(&snapshot.id, 0, usize::MAX).unwrap();
    assert_eq!(all.len(), 1500);
    let mut paged: Vec<Extent> = Vec::new();
    while let Some(from) = Some(paged.last().map_or(0, |last| last.offset + last.length)) {
        let page = world.volumes.allocated(&snapshot.id, from, 7).unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let within = world.volumes.allocated(&snapshot.id, 3 * BLOCK + 1, 1).unwrap();
    assert!(within[0].offset + within[0].length == 4 * BLOCK, "{within:?}");
    assert!(world.volumes.allocated(&snapshot.id, 2 * size, 9).unwrap().is_empty());
}

fn snapshots_of_different_volumes_are_not_compared() {
    let world = world::real();
    let snapshots = ["a", "b"].map(|name| {
        let volume = world.volumes.create(&holding(name, Bytes(MIB), Content::Block)).unwrap();
        world.volumes.snapshot(name, &volume.id).unwrap().id
    });
    let error = world.volumes.changed(&snapshots[0], &snapshots[1], 0, 1).unwrap_err();
    assert!(matches!(error, Error::Unrelated(..)), "{error}");
}
