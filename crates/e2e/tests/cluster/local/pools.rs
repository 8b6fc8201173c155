//! A pool of another kind than the bed's own: a block device.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use orlop_e2e::{
    eventually,
    namespace::{LIMIT, Namespace, claim, from_source, on_node, pod, snapshot},
    site::Site,
};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use serde_json::json;

use super::{mib, pooled};

const NODE: &str = "node-2";

/// A blank disk, and the directory that its pool is mounted on.
struct Disk {
    device: PathBuf,
    directory: PathBuf,
}

impl Disk {
    /// Makes a loop device of a file beside the node's own pool.
    fn new(site: &Site) -> anyhow::Result<Self> {
        let pool = site.bed.pool_dir(site.node(NODE)?);
        let (file, directory) = (pool.with_file_name("e2e-disk.img"), pool.with_file_name("e2e-pool"));
        fs::File::create(&file)?.set_len(mib(4096).0)?;
        let found = Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&file).output()?;
        ensure!(found.status.success(), "losetup: {}", String::from_utf8_lossy(&found.stderr));
        // It stays for as long as it is attached.
        fs::remove_file(&file)?;
        fs::create_dir_all(&directory)?;
        // What a container mounts there is to be seen on the node.
        mount_bind(&directory, &directory)?;
        mount_change(&directory, MountPropagationFlags::SHARED)?;
        Ok(Self { device: String::from_utf8(found.stdout)?.trim().into(), directory })
    }

    async fn remove(self) -> anyhow::Result<()> {
        eventually("the device's pool to be unmounted", LIMIT, || async {
            let mounts = fs::read_to_string("/proc/self/mountinfo")?;
            if mounts.contains(&format!(" {} ", self.directory.display())) {
                unmount(&self.directory, UnmountFlags::NOFOLLOW)?;
                return Ok(None);
            }
            Ok(Some(()))
        })
        .await?;
        fs::remove_dir(&self.directory)?;
        ensure!(
            Command::new("losetup").arg("--detach").arg(&self.device).status()?.success(),
            "cannot detach the disk"
        );
        Ok(())
    }
}

pub(crate) async fn a_blank_device_becomes_a_nodes_pool(site: &Site) -> anyhow::Result<()> {
    // What is deleted later would be looked for in the other pool.
    eventually("the node's own pool to be empty", LIMIT, || async {
        Ok(pooled(site, NODE, "volumes")?.is_empty().then_some(()))
    })
    .await?;
    let disk = Disk::new(site)?;
    let result = used(site, &disk).await;
    site.roll_back().await?;
    disk.remove().await?;
    result
}

async fn used(site: &Site, disk: &Disk) -> anyhow::Result<()> {
    let mut groups = site.values().await?["nodeGroups"].take();
    let group = groups.as_array_mut().and_then(|groups| groups.iter_mut().find(|group| group["name"] == NODE));
    group.context("a node group of each node")?["pool"] = json!({"directory": disk.directory, "device": disk.device});
    site.upgrade(&json!({"nodeGroups": groups})).await?;
    let namespace = Namespace::create(site, "local-device").await?;
    let data = claim("data", "orlop-local", "320Mi");
    namespace.apply([data.clone(), on_node(pod("user", &[&data]), NODE)]).await?;
    namespace.ready("user").await?;
    let write = "head -c 4194304 /dev/urandom > /data/file; sync -f /data; sha256sum < /data/file";
    let checksum = namespace.run("user", write).await?;
    let volumes = || -> anyhow::Result<Vec<_>> { Ok(fs::read_dir(disk.directory.join("volumes"))?.collect()) };
    ensure!(volumes()?.len() == 1, "the volume is not on the device");
    namespace.apply([snapshot("then", "data")]).await?;
    let restored = from_source(claim("again", "orlop-local", "320Mi"), ("VolumeSnapshot", "then"));
    site.kubectl(
        &[
            "-n",
            namespace.name,
            "wait",
            "volumesnapshot/then",
            "--for=jsonpath={.status.readyToUse}=true",
            "--timeout=60s",
        ],
        "",
    )
    .await?;
    namespace.run("user", "echo other > /data/file; sync -f /data").await?;
    namespace.apply([restored.clone(), on_node(pod("reader", &[&restored]), NODE)]).await?;
    namespace.ready("reader").await?;
    ensure!(namespace.run("reader", "sha256sum < /again/file").await? == checksum, "the snapshot holds something else");
    namespace.remove().await?;
    eventually("the volumes to be gone from the device", LIMIT, || async { Ok(volumes()?.is_empty().then_some(())) })
        .await
}
