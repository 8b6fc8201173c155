//! Every kind of volume: each filesystem and the raw device, thin and thick, through writing, a restart of its driver,
//! growth, and being mounted again.

use std::os::unix::fs::MetadataExt as _;

use anyhow::ensure;
use orlop_e2e::{
    namespace::{Namespace, block_claim, claim, on_node, pod},
    site::Site,
};
use serde_json::Value;

use super::{image, mib, unstaged};

const SIZE: &str = "320Mi";
const GROWN: &str = "448Mi";

/// Name, class, and is it thick?
const FILESYSTEMS: [(&str, &str, bool); 6] = [
    ("xfs", "orlop-local", false),
    ("xfs-thick", "e2e-xfs-thick", true),
    ("ext4", "e2e-ext4", false),
    ("ext4-thick", "e2e-ext4-thick", true),
    ("btrfs", "e2e-btrfs", false),
    ("btrfs-thick", "e2e-btrfs-thick", true),
];
const DEVICES: [(&str, &str, bool); 2] = [("raw", "orlop-local", false), ("raw-thick", "e2e-xfs-thick", true)];

fn claims() -> Vec<Value> {
    let filesystems = FILESYSTEMS.iter().map(|(name, class, _)| claim(name, class, SIZE));
    filesystems.chain(DEVICES.iter().map(|(name, class, _)| block_claim(name, class, SIZE))).collect()
}

/// Writes 24 MiB of chance into every volume and remembers it elsewhere: what is on the volumes is compared with that.
fn write() -> String {
    let files = FILESYSTEMS.iter().map(|(name, ..)| format!("cp /tmp/data /{name}/data; sync -f /{name}; "));
    let devices =
        DEVICES.iter().map(|(name, ..)| format!("dd if=/tmp/data of=/dev/{name} bs=1M oflag=direct status=none; "));
    let all: String = files.chain(devices).collect();
    format!("head -c {} /dev/urandom > /tmp/data; {all} sha256sum < /tmp/data", mib(24).0)
}

/// Reads every volume past the page cache, and prints the checksum of each.
fn read() -> String {
    let files = FILESYSTEMS
        .iter()
        .map(|(name, ..)| format!("dd if=/{name}/data iflag=nocache count=0 status=none; sha256sum < /{name}/data; "));
    let devices = DEVICES
        .iter()
        .map(|(name, ..)| format!("dd if=/dev/{name} bs=1M count=24 iflag=direct status=none | sha256sum; "));
    files.chain(devices).collect()
}

/// Prints the size of every volume, in bytes.
fn sizes() -> String {
    let files = FILESYSTEMS.iter().map(|(name, ..)| format!("df -B1 --output=size /{name} | tail -n1; "));
    let devices = DEVICES.iter().map(|(name, ..)| format!("blockdev --getsize64 /dev/{name}; "));
    files.chain(devices).collect()
}

async fn holds(namespace: &Namespace<'_>, checksum: &str, when: &str) -> anyhow::Result<()> {
    let read = namespace.run("all", &read()).await?;
    let names = FILESYSTEMS.iter().chain(&DEVICES).map(|(name, ..)| name);
    ensure!(read.lines().count() == FILESYSTEMS.len() + DEVICES.len(), "odd output: {read}");
    for (name, found) in names.zip(read.lines()) {
        ensure!(found == checksum, "{name} does not read as it was written, {when}");
    }
    Ok(())
}

async fn measured(namespace: &Namespace<'_>) -> anyhow::Result<Vec<u64>> {
    let printed = namespace.run("all", &sizes()).await?;
    printed.lines().map(|line| Ok(line.trim().parse()?)).collect()
}

pub(crate) async fn every_kind_of_volume_holds_its_data_through_a_restart_of_its_driver_and_growth(
    site: &Site,
) -> anyhow::Result<()> {
    let namespace = Namespace::create(site, "local-kinds").await?;
    let claims = claims();
    let pod = on_node(pod("all", &claims.iter().collect::<Vec<_>>()), "node-1");
    namespace.apply(claims.iter().cloned().chain([pod.clone()])).await?;
    namespace.ready("all").await?;
    let checksum = namespace.run("all", &write()).await?;
    holds(&namespace, &checksum, "after it was written").await?;
    for (name, _, thick) in FILESYSTEMS.iter().chain(&DEVICES) {
        let allocated = image(site, "node-1", &namespace.volume_id(name).await?)?.metadata()?.blocks() * 512;
        ensure!((allocated >= mib(320).0) == *thick, "{allocated} bytes are allocated to {name}");
    }

    site.kill_pods("csi").await?;
    holds(&namespace, &checksum, "after a restart of its driver").await?;
    let before = measured(&namespace).await?;
    for claim in &claims {
        namespace.resize(name_of(claim), GROWN).await?;
    }
    for (name, class, _) in FILESYSTEMS.iter().chain(&DEVICES) {
        // Where the kernel does not let ext4 grow online, it does when it is mounted again.
        if !class.contains("ext4") {
            namespace.has_size("all", name, mib(448)).await?;
        }
    }
    holds(&namespace, &checksum, "after growth").await?;

    namespace.delete_pod("all").await?;
    unstaged(site, "node-1").await?;
    namespace.apply([pod]).await?;
    namespace.ready("all").await?;
    // The new container has no data of its own to compare with: the checksum does.
    holds(&namespace, &checksum, "after it was mounted again").await?;
    for claim in &claims {
        namespace.has_size("all", name_of(claim), mib(448)).await?;
    }
    let after = measured(&namespace).await?;
    for ((claim, before), after) in claims.iter().zip(before).zip(after) {
        ensure!(after >= before + mib(100).0, "{} has grown from {before} to {after}", name_of(claim));
    }
    for (name, _, thick) in FILESYSTEMS.iter().chain(&DEVICES) {
        let allocated = image(site, "node-1", &namespace.volume_id(name).await?)?.metadata()?.blocks() * 512;
        ensure!((allocated >= mib(448).0) == *thick, "{allocated} bytes are allocated to {name}, grown");
    }
    namespace.remove().await
}

fn name_of(claim: &Value) -> &str {
    claim["metadata"]["name"].as_str().unwrap_or_default()
}
