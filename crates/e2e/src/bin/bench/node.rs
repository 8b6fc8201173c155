//! A driver with a pool in a file and a watchdog, in a temporary directory of which nothing is left.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use orlop::rpc::csi_v1::{
    CapacityRange, CreateSnapshotRequest, CreateVolumeRequest, DeleteSnapshotRequest, DeleteVolumeRequest,
    NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest,
    VolumeCapability,
    controller_client::ControllerClient,
    node_client::NodeClient,
    volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
};
use orlop_api::Bytes;
use orlop_e2e::metrics;
use rustix::{
    fs::statvfs,
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// How long the driver may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node, as far as the driver is concerned.
pub struct Node {
    folder: TempDir,
    channel: Channel,
    metrics: SocketAddr,
    driver: Child,
    watchdog: Child,
}

/// A volume that is mounted.
pub struct Mounted {
    pub id: String,
    /// Its name, and that of the directories at which it is mounted.
    name: String,
}

impl Node {
    /// Starts a driver with a pool of that size, of which the machine's disk holds what is written. Refuses to where the
    /// disk has less than `needs` for that.
    pub async fn start(pool: Bytes, needs: Bytes) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("orlop-bench-")?;
        let disk = statvfs(folder.path())?;
        let free = Bytes(disk.f_bavail * disk.f_frsize);
        ensure!(
            free >= needs,
            "{} has {} free, and this needs {}: make room, or set TMPDIR to a directory on another disk",
            folder.path().display(),
            free.human(),
            needs.human()
        );
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("kubelet/pods"))?;
        let program = env::current_exe()?.with_file_name("orlop");
        let log = File::create(path("log"))?;
        let run = |command: &mut Command| {
            command.stderr(log.try_clone()?).spawn().with_context(|| format!("cannot start {}", program.display()))
        };
        let watchdog = run(Command::new(&program).arg("csi-watchdog").arg("--socket").arg(path("watchdog.sock")))?;
        // Somebody else may take the port before the driver does, which then says so and ends.
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let driver = run(Command::new(&program)
            .args(["csi", "--node-name=bench"])
            .arg(format!("--pool-size={}", pool.0))
            .arg(format!("--http-address={metrics}"))
            .arg("--kubelet-dir")
            .arg(path("kubelet"))
            .arg("--pool")
            .arg(path("pool"))
            .arg("--pool-file")
            .arg(path("pool.img"))
            .arg("--watchdog")
            .arg(path("watchdog.sock")))?;
        let socket = path("kubelet/plugins/local.orlop.dev/csi.sock");
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?.connect_lazy();
        let mut node = Self { folder, channel, metrics, driver, watchdog };
        node.wait_until_it_serves().await?;
        Ok(node)
    }

    async fn wait_until_it_serves(&mut self) -> anyhow::Result<()> {
        let registration = self.path("kubelet/plugins_registry/local.orlop.dev-reg.sock");
        let start = Instant::now();
        while !registration.exists() {
            if self.driver.try_wait()?.is_some() || start.elapsed() > PATIENCE {
                bail!("the driver does not serve:\n{}", fs::read_to_string(self.path("log"))?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The directory that is the pool.
    pub fn pool(&self) -> PathBuf {
        self.path("pool")
    }

    /// The image of a volume.
    pub fn image(&self, volume: &Mounted) -> PathBuf {
        self.pool().join("volumes").join(&volume.id).join("image")
    }

    /// Where a volume is mounted.
    pub fn mount_point(&self, volume: &Mounted) -> PathBuf {
        self.path(&volume.name)
    }

    fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    /// Makes an XFS volume, and returns its id.
    pub async fn create(&self, name: &str, size: Bytes, provisioning: &str) -> anyhow::Result<String> {
        let request = CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(CapacityRange { required_bytes: i64::try_from(size.0)?, limit_bytes: 0 }),
            volume_capabilities: vec![filesystem()],
            parameters: BTreeMap::from([("provisioning".to_owned(), provisioning.to_owned())]),
            ..Default::default()
        };
        let created = self.controller().create_volume(request).await?.into_inner();
        Ok(created.volume.context("the driver has made no volume")?.volume_id)
    }

    /// Stages and publishes a volume, as the kubelet does before a pod that uses it starts.
    pub async fn mount(&self, id: String, name: &str) -> anyhow::Result<Mounted> {
        let volume = Mounted { id, name: name.to_owned() };
        let (staging_target_path, target_path) = self.places(&volume);
        fs::create_dir_all(&staging_target_path)?;
        let stage = NodeStageVolumeRequest {
            volume_id: volume.id.clone(),
            staging_target_path: staging_target_path.clone(),
            volume_capability: Some(filesystem()),
            ..Default::default()
        };
        self.node().node_stage_volume(stage).await?;
        let publish = NodePublishVolumeRequest {
            volume_id: volume.id.clone(),
            staging_target_path,
            target_path,
            volume_capability: Some(filesystem()),
            ..Default::default()
        };
        self.node().node_publish_volume(publish).await?;
        Ok(volume)
    }

    /// Makes a volume and mounts it.
    pub async fn provide(&self, name: &str, size: Bytes, provisioning: &str) -> anyhow::Result<Mounted> {
        self.mount(self.create(name, size, provisioning).await?, name).await
    }

    pub async fn unmount(&self, volume: Mounted) -> anyhow::Result<String> {
        let (staging_target_path, target_path) = self.places(&volume);
        let unpublish = NodeUnpublishVolumeRequest { volume_id: volume.id.clone(), target_path };
        self.node().node_unpublish_volume(unpublish).await?;
        let unstage = NodeUnstageVolumeRequest { volume_id: volume.id.clone(), staging_target_path };
        self.node().node_unstage_volume(unstage).await?;
        Ok(volume.id)
    }

    pub async fn delete(&self, volume_id: String) -> anyhow::Result<()> {
        let request = DeleteVolumeRequest { volume_id, ..Default::default() };
        self.controller().delete_volume(request).await?;
        Ok(())
    }

    /// Takes a snapshot, and returns its id.
    pub async fn snapshot(&self, volume: &Mounted, name: &str) -> anyhow::Result<String> {
        let request =
            CreateSnapshotRequest { name: name.to_owned(), source_volume_id: volume.id.clone(), ..Default::default() };
        let taken = self.controller().create_snapshot(request).await?.into_inner();
        Ok(taken.snapshot.context("the driver has taken no snapshot")?.snapshot_id)
    }

    pub async fn delete_snapshot(&self, snapshot_id: String) -> anyhow::Result<()> {
        let request = DeleteSnapshotRequest { snapshot_id, ..Default::default() };
        self.controller().delete_snapshot(request).await?;
        Ok(())
    }

    fn places(&self, volume: &Mounted) -> (String, String) {
        let path = |name: &str| self.path(name).display().to_string();
        (path(&format!("{}-staged", volume.name)), path(&volume.name))
    }

    /// One of the driver's metrics that has no labels, by the name that it is shown with.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        metrics::read(self.metrics, name)?.with_context(|| format!("the driver has no metric {name}"))
    }

    /// What the driver and the watchdog hold of the machine's memory.
    pub fn memory(&self) -> anyhow::Result<(Bytes, Bytes)> {
        Ok((resident(&self.driver)?, resident(&self.watchdog)?))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        stop(&mut self.driver);
        // Only now: it thaws what a driver has left frozen that had to be killed.
        stop(&mut self.watchdog);
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let paths = table.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
        for path in paths.filter(|path| path.starts_with(self.folder.path())) {
            if let Err(error) = unmount(path, UnmountFlags::DETACH) {
                eprintln!("{} stays mounted until this process ends: {error}", path.display());
            }
        }
    }
}

/// Asks a process to end, and kills it if it does not.
fn stop(process: &mut Child) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_child(process), Signal::TERM);
    let start = Instant::now();
    while let Ok(None) = process.try_wait() {
        if start.elapsed() > PATIENCE {
            let _ = process.kill();
            let _ = process.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process's resident memory: `VmRSS` of proc(5), in units of 1,024 bytes.
fn resident(process: &Child) -> anyhow::Result<Bytes> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process has ended")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is not understood")?;
    Ok(Bytes(kib << 10))
}

/// An XFS for one node.
fn filesystem() -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume { fs_type: "xfs".into(), ..Default::default() })),
    }
}
