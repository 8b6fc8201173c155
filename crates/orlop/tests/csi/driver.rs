//! A driver process on a pool of its own, in a temporary directory that is left without a mount, however a test ends.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use orlop::rpc::csi_v1::{
    controller_client::ControllerClient, group_controller_client::GroupControllerClient, node_client::NodeClient,
    snapshot_metadata_client::SnapshotMetadataClient,
};
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// How long the driver may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node: the directories of its kubelet and of its pool, and the watchdog, which outlives drivers.
pub struct Node {
    folder: TempDir,
    pool_file: PathBuf,
    _watchdog: Driver,
}

impl Node {
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("orlop-csi-").unwrap();
        fs::create_dir_all(folder.path().join("kubelet/pods")).unwrap();
        let watchdog = watchdog(folder.path(), &folder.path().join("watchdog.sock"));
        Self { pool_file: folder.path().join("pool.img"), folder, _watchdog: watchdog }
    }

    /// Has drivers that are started from now on use another file as the pool.
    pub fn set_pool_file(&mut self, file: PathBuf) {
        self.pool_file = file;
    }

    /// Starts one more watchdog. One that cannot serve has ended when this returns.
    pub fn start_watchdog(&self, socket: &Path) -> Driver {
        watchdog(self.folder.path(), socket)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("kubelet/plugins/local.orlop.dev/csi.sock")
    }

    pub fn registration_socket(&self) -> PathBuf {
        self.path("kubelet/plugins_registry/local.orlop.dev-reg.sock")
    }

    /// Starts a driver, and waits until it serves.
    pub fn start(&self) -> Driver {
        self.start_with(&[])
    }

    /// Starts a driver that kills itself at a step.
    pub fn start_to_crash_at(&self, step: &str) -> Driver {
        self.start_with(&[("ORLOP_CRASH_AT", step)])
    }

    /// Starts a driver that serves its metrics at that address.
    pub fn start_with_metrics(&self, address: SocketAddr) -> Driver {
        self.start_as(&[], &[&format!("--http-address={address}")])
    }

    fn start_with(&self, environment: &[(&str, &str)]) -> Driver {
        self.start_as(environment, &[])
    }

    fn start_as(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Driver {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        // The socket of one that was killed is still there.
        let _ = fs::remove_file(self.registration_socket());
        let child = Command::new(env!("CARGO_BIN_EXE_orlop"))
            .args(["csi", "--node-name=a-node", "--pool-size=8Gi"])
            .arg("--kubelet-dir")
            .arg(self.path("kubelet"))
            .arg("--pool")
            .arg(self.path("pool"))
            .arg("--pool-file")
            .arg(&self.pool_file)
            .arg("--watchdog")
            .arg(self.path("watchdog.sock"))
            .args(arguments)
            .envs(environment.iter().copied())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut driver = Driver(child);
        let start = Instant::now();
        while !self.registration_socket().exists() {
            if let Some(status) = driver.0.try_wait().unwrap() {
                panic!("the driver has ended with {status}:\n{}", self.log());
            }
            assert!(start.elapsed() < PATIENCE, "the driver does not serve:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        driver
    }

    /// What drivers of this node have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub async fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(connect(&self.socket()).await)
    }

    pub async fn groups(&self) -> GroupControllerClient<Channel> {
        GroupControllerClient::new(connect(&self.socket()).await)
    }

    pub async fn metadata(&self) -> SnapshotMetadataClient<Channel> {
        SnapshotMetadataClient::new(connect(&self.socket()).await)
    }

    pub async fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(connect(&self.socket()).await)
    }

    /// What is mounted in this node's directory, oldest first.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let paths = table.lines().filter_map(|line| line.split(' ').nth(4));
        paths.map(PathBuf::from).filter(|path| path.starts_with(self.folder.path())).collect()
    }

    /// How many loop devices have a file of this node attached.
    pub fn attached(&self) -> usize {
        let devices = fs::read_dir("/sys/block").unwrap().filter_map(Result::ok);
        let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
        files.filter(|file| file.contains(&*self.folder.path().file_name().unwrap().to_string_lossy())).count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for mount in self.mounts().iter().rev() {
            // Lazily, because a driver that was just killed may not be gone altogether.
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
    }
}

/// Starts a watchdog, and waits until it serves or has ended.
fn watchdog(folder: &Path, socket: &Path) -> Driver {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let program = env!("CARGO_BIN_EXE_orlop");
    let child = Command::new(program).arg("csi-watchdog").arg("--socket").arg(socket).stderr(log).spawn().unwrap();
    let mut watchdog = Driver(child);
    let start = Instant::now();
    while !socket.exists() && watchdog.0.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "nobody serves on {}", socket.display());
        thread::sleep(Duration::from_millis(20));
    }
    watchdog
}

pub async fn connect(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

/// A driver, or a watchdog, that runs, and is killed when this goes.
pub struct Driver(Child);

impl Driver {
    /// Asks the driver to stop, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.ended()
    }

    /// Waits until the driver has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the driver does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
