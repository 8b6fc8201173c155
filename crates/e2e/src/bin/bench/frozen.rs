//! For how long a snapshot holds up the writers of a volume, by the number of extents that its image has.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use orlop_api::Bytes;

use crate::{
    fio::{self, How, Job},
    node::{Mounted, Node},
};

/// The sizes of the volumes, in GiB.
const SIZES_GIB: [u64; 3] = [1, 10, 50];
/// How many extents an image is made to have before snapshots are taken. A volume of 1 GiB can hardly have the last.
const EXTENTS: [u64; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];
/// For how long the writer writes that the snapshots hold up.
const SECONDS: u32 = 10;
/// How many snapshots are taken meanwhile at most.
const SNAPSHOTS: usize = 12;
/// The driver gathers the times of its snapshots within this.
const GATHERED: Duration = Duration::from_secs(5);
/// The size of the file that the writer overwrites.
const WRITTEN: Bytes = Bytes(64 << 20);

const SCATTER: Job = Job { name: "scatter", pattern: "randwrite", block: Bytes(4096), how: How::Direct };

pub async fn run() -> anyhow::Result<()> {
    fio::require()?;
    let node = Node::start(Bytes(160 << 30), Bytes(8 << 30)).await?;
    println!("\nsnapshots of a thin XFS volume in which fio writes 4k at random places, {} at once", fio::DEPTH);
    println!("| volume | extents of the image | snapshots | frozen, median | longest | the writer's longest write |");
    println!("|---|---|---|---|---|---|");
    for gib in SIZES_GIB {
        let name = format!("frozen-{gib}");
        let volume = node.provide(&name, Bytes(gib << 30), "thin").await?;
        let written = node.mount_point(&volume).join("written");
        fio::lay_out(&written, WRITTEN)?;
        for extents in EXTENTS {
            if !scatter(&node, &volume, Bytes(gib << 30), extents)? {
                break;
            }
            row(&node, &volume, &written, &format!("{name}-{extents}"), gib).await?;
        }
        node.delete(node.unmount(volume).await?).await?;
    }
    Ok(())
}

/// Writes blocks at random places of a file in the volume, until the volume's image has that many extents. Returns whether
/// it has: more and more of what is written falls between two extents and makes them one.
fn scatter(node: &Node, volume: &Mounted, size: Bytes, wanted: u64) -> anyhow::Result<bool> {
    const PASSES: usize = 4;
    let file = node.mount_point(volume).join("scattered");
    let image = node.image(volume);
    for _ in 0..PASSES {
        let present = extents(&image)?;
        if present >= wanted {
            return Ok(true);
        }
        // The file's blocks are reserved at first, without being written.
        let count = format!("--number_ios={}", (wanted - present).max(1_000));
        let writer = fio::start(&SCATTER, &file, Bytes(size.0 / 10 * 7), &["--fallocate=native", &count])?;
        fio::finish(writer)?;
    }
    Ok(extents(&image)? >= wanted)
}

/// Takes snapshots while a writer writes, and prints what came of it.
async fn row(node: &Node, volume: &Mounted, written: &Path, prefix: &str, gib: u64) -> anyhow::Result<()> {
    let image = node.image(volume);
    let before = extents(&image)?;
    let seconds = format!("--runtime={SECONDS}");
    let mut writer = fio::start(&SCATTER, written, WRITTEN, &["--time_based", &seconds])?;
    let (mut times, mut snapshots) = (Vec::new(), Vec::new());
    tokio::time::sleep(Duration::from_secs(1)).await;
    while snapshots.len() < SNAPSHOTS {
        let counted = node.metric(COUNT)?;
        let summed = node.metric(SUM)?;
        snapshots.push(node.snapshot(volume, &format!("{prefix}-{}", snapshots.len())).await?);
        if writer.try_wait()?.is_some() {
            // Nobody may have written while this one was taken.
            break;
        }
        wait_until_gathered(node, counted).await?;
        times.push(Duration::from_secs_f64(node.metric(SUM)? - summed));
    }
    ensure!(!times.is_empty(), "no snapshot was complete within {SECONDS} s");
    let report = fio::finish(writer)?;
    let longest = report["jobs"][0]["write"]["clat_ns"]["max"].as_u64().context("fio has not timed its writes")?;
    times.sort();
    println!(
        "| {gib} GiB | {before}–{} | {} | {} | {} | {} |",
        extents(&image)?,
        times.len(),
        shown(times[times.len() / 2]),
        shown(times[times.len() - 1]),
        shown(Duration::from_nanos(longest))
    );
    for snapshot in snapshots {
        node.delete_snapshot(snapshot).await?;
    }
    Ok(())
}

const COUNT: &str = "orlop_local_frozen_seconds_count";
const SUM: &str = "orlop_local_frozen_seconds_sum";

/// Waits until the driver has told of one more time for which a volume was frozen.
async fn wait_until_gathered(node: &Node, counted: f64) -> anyhow::Result<()> {
    let start = Instant::now();
    while node.metric(COUNT)? <= counted {
        ensure!(start.elapsed() < GATHERED, "the driver does not say for how long the volume was frozen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// How many extents an image has, as its XFS counts them. filefrag(8) counts fewer: to it, two that happen to lie side by
/// side on the disk are one, whatever is between them in the file.
fn extents(image: &Path) -> anyhow::Result<u64> {
    let output = Command::new("xfs_io").args(["-r", "-c", "stat"]).arg(image).output();
    let output = output.context("cannot run xfs_io, of xfsprogs")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let count = text.lines().find_map(|line| line.strip_prefix("fsxattr.nextents = ")?.parse().ok());
    count.with_context(|| format!("xfs_io does not count extents: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn shown(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
