//! What needs a cluster: how soon bytes are usable after a threshold is crossed, and how fast a writer may be that never
//! runs out of space.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use orlop_api::Bytes;
use orlop_e2e::{
    site::Site,
    volume::{Volume, Wanted},
};
use serde_json::json;

use crate::Part;

const BED: &str = "bench";
const NAMESPACE: &str = "bench";
/// How many growths the latency is measured over.
const GROWTHS: usize = 50;
/// How often the filesystem is asked whether it has grown: the error of each figure.
const POLL: Duration = Duration::from_millis(5);
/// How much a racing writer writes into its small volume.
const RACE_BYTES: u64 = 3 << 30;
/// The writers' rates, MiB a second.
const RATES_MIB: [u64; 8] = [25, 50, 100, 200, 400, 600, 900, 1200];

/// Starts a cluster, and does what is asked for in it.
pub async fn run(parts: &[Part]) -> anyhow::Result<()> {
    let started = Instant::now();
    Site::remove(BED).await?;
    let site = Site::start(BED, 1).await?;
    println!("cluster and Orlop ready in {:.1} s", started.elapsed().as_secs_f32());
    let again = Instant::now();
    site.repair().await?;
    println!("a second `orlop up` took {:.1} s", again.elapsed().as_secs_f32());
    site.namespace(NAMESPACE).await?;
    if parts.contains(&Part::Growths) {
        growths(&site).await?;
    }
    if parts.contains(&Part::Race) {
        race(&site).await?;
    }
    Site::remove(BED).await
}

fn policy(app: &str, capacity: &serde_json::Value) -> String {
    json!({
        "apiVersion": "orlop.dev/v1alpha1", "kind": "StoragePolicy",
        "metadata": {"name": app, "namespace": NAMESPACE},
        "spec": {"mode": "Auto", "selector": {"matchLabels": {"app": app}}, "capacity": capacity},
    })
    .to_string()
}

/// The time from the moment at which a writer has crossed `minFree` to the moment at which the filesystem is larger.
async fn growths(site: &Site) -> anyhow::Result<()> {
    let wanted = Wanted { namespace: NAMESPACE, name: "growths", size: "320Mi", class: "orlop-local" };
    let volume = Volume::create(site, &wanted).await?;
    let capacity = json!({"minFree": "40Mi", "increase": "32Mi", "timeToFull": "1s", "maximum": "16Gi"});
    site.apply(&policy("growths", &capacity)).await?;
    let mut seen = Vec::new();
    for number in 0..GROWTHS {
        // A pause of another length each time, so that the crossings fall anywhere between two measurements.
        tokio::time::sleep(Duration::from_millis(1500 + (number as u64 * 137) % 1000)).await;
        let (before, requested) = (volume.total()?, volume.standing().await?.requested);
        let crossed = Instant::now();
        volume.allocate(Bytes(volume.free()?.0.saturating_sub(24 << 20)))?;
        while volume.total()? == before {
            if crossed.elapsed() > Duration::from_mins(2) {
                bail!("growth {number} did not come within 120 s");
            }
            tokio::time::sleep(POLL).await;
        }
        seen.push(crossed.elapsed());
        volume.grown_beyond(requested, Duration::from_mins(1)).await?;
    }
    seen.sort();
    let at = |percent: usize| seen[(seen.len() * percent).div_ceil(100) - 1].as_secs_f32();
    println!("\nthreshold crossed → bytes usable, {GROWTHS} growths, polled every {} ms", POLL.as_millis());
    println!("| p50 | p99 | longest |\n|---|---|---|\n| {:.2} s | {:.2} s | {:.2} s |", at(50), at(99), at(100));
    Ok(())
}

/// Writers of growing speed into a 512 MiB volume under the quickstart's policy, until one runs out of space.
async fn race(site: &Site) -> anyhow::Result<()> {
    println!("\na writer of {} into a volume of 512 MiB under the quickstart's policy", Bytes(RACE_BYTES).human());
    println!("| MiB/s asked for | MiB/s reached | out-of-space errors | growths |\n|---|---|---|---|");
    let capacity = json!({"minFree": "25%", "increase": "50%", "timeToFull": "20s", "maximum": "12Gi"});
    for rate in RATES_MIB {
        let name = format!("race-{rate}");
        let volume =
            Volume::create(site, &Wanted { namespace: NAMESPACE, name: &name, size: "512Mi", class: "orlop-local" })
                .await?;
        site.apply(&policy(&name, &capacity)).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let path = volume.mount.join("race");
        let (reached, enospc) = tokio::task::spawn_blocking(move || write_at(&path, rate << 20)).await??;
        let events = site.events(NAMESPACE, &name, "Grown").await?;
        let growths: i32 = events.iter().map(|event| event.count.unwrap_or(1)).sum();
        println!("| {rate} | {reached} | {enospc} | {growths} |");
        site.kubectl(&["-n", NAMESPACE, "delete", "--wait", "pod", &name], "").await?;
        site.kubectl(&["-n", NAMESPACE, "delete", "--wait", "pvc", &name], "").await?;
        if enospc > 0 {
            break;
        }
    }
    Ok(())
}

/// Writes at `rate` bytes a second, and returns the MiB a second that were reached and how often the volume was full.
fn write_at(path: &std::path::Path, rate: u64) -> anyhow::Result<(u64, u64)> {
    const CHUNK: usize = 1 << 20;
    let chunk = vec![0x5a_u8; CHUNK];
    let mut file = File::create(path)?;
    let start = Instant::now();
    let (mut written, mut enospc, mut unsynced) = (0_u64, 0, 0_usize);
    while written < RACE_BYTES {
        match file.write_all(&chunk) {
            Ok(()) => written += CHUNK as u64,
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                enospc += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error).context("the writer failed"),
        }
        unsynced += CHUNK;
        if unsynced >= 64 << 20 {
            file.sync_data()
                .or_else(|error| if error.kind() == ErrorKind::StorageFull { Ok(()) } else { Err(error) })?;
            unsynced = 0;
        }
        let due = Duration::from_micros(written * 1_000_000 / rate);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    let reached = (u128::from(written) * 1000 / start.elapsed().as_millis().max(1)) >> 20;
    Ok((u64::try_from(reached)?, enospc))
}
