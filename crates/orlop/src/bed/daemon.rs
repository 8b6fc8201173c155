//! The components of a bed: processes that outlive the command that starts them, and are found again by the next one.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Component, Error,
    cgroup::Cgroups,
    error::OnPath as _,
    files::{self, Readers},
    layout::Layout,
    process::Process,
};

/// What daemons get to search programs in: not the caller's, or the bed would depend on who repaired it last.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What stands between containerd and a container, by the kernel's name of it: it must outlive containerd.
const SHIM: &str = "containerd-shim";

/// How long a process may take to end after a signal.
const END_DEADLINE: Duration = Duration::from_secs(8);

/// How often is looked whether something is ready.
const POLL: Duration = Duration::from_millis(100);

/// What a component is started with.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) component: Component,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// The files whose change calls for a restart, beside the program and its arguments.
    pub(super) configs: Vec<PathBuf>,
}

/// What is remembered of a started daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    process: Process,
    /// A hash of all that it was started with.
    fingerprint: Vec<u8>,
}

/// What [`Daemon::ensure`] found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ensured {
    /// It ran, started with the same.
    Kept,
    /// It was started now.
    Started,
}

impl Daemon {
    /// Starts the component unless it runs; one that was started with other arguments, configuration or another
    /// program is ended first.
    pub(super) async fn ensure(&self, layout: &Layout, cgroups: &Cgroups) -> Result<Ensured, Error> {
        let fingerprint = self.fingerprint()?;
        if let Some(record) = remembered(layout, self.component) {
            if record.fingerprint == fingerprint && record.process.running() {
                return Ok(Ensured::Kept);
            }
            stop(layout, self.component).await?;
        }
        // What is not remembered: whoever started it was killed before writing it down.
        let cgroup = layout.cgroup_of(self.component);
        cgroups.create(&cgroup)?;
        cgroups.kill(&cgroup, Some(SHIM)).await?;
        self.start(layout, cgroups, fingerprint)?;
        Ok(Ensured::Started)
    }

    fn start(&self, layout: &Layout, cgroups: &Cgroups, fingerprint: Vec<u8>) -> Result<(), Error> {
        let log_path = layout.log(self.component);
        if let Some(directory) = log_path.parent() {
            files::directory(directory)?;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(&log_path).on("open log", &log_path)?;
        let log_again = log.try_clone().on("open log", &log_path)?;
        // setsid(1) replaces itself by the program in a session of its own, so a Ctrl-C meant for us does not reach
        // it; making the session ourselves would take unsafe code. Its process id stays the same. tokio's Command
        // collects the process when it ends while we still run, so that it does not stay a zombie.
        let child = tokio::process::Command::new("setsid")
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("HOME", &layout.dir)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_again)
            .spawn()
            .on("start", &self.program)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let process = pid.and_then(Process::now).ok_or_else(|| ended(layout, self.component))?;
        let record = Record { process, fingerprint };
        let path = layout.record(self.component);
        let text = serde_json::to_string(&record).on("write", &path)?;
        files::write(&path, &text, Readers::Everyone)?;
        cgroups.join(&layout.cgroup_of(self.component), process.pid)
    }

    fn fingerprint(&self) -> Result<Vec<u8>, Error> {
        let mut hash = Sha256::new();
        let program = fs::metadata(&self.program).on("find", &self.program)?;
        // Its size and time stand for its content: hashing 180 MB for each component would cost more than it tells.
        hash.update(format!("{} {} {:?}", self.program.display(), program.len(), program.modified().ok()));
        hash.update(format!("{:?}", self.args));
        for config in &self.configs {
            hash.update(fs::read(config).on("read", config)?);
        }
        Ok(hash.finalize().to_vec())
    }
}

/// Ends a component, gently first, for it is to start again on the same files. One that does not run is fine.
async fn stop(layout: &Layout, component: Component) -> Result<(), Error> {
    end(layout, component, &[Signal::TERM, Signal::KILL]).await
}

/// Ends a component at once, for its files will go too. One that does not run is fine.
pub(super) async fn kill(layout: &Layout, component: Component) -> Result<(), Error> {
    end(layout, component, &[Signal::KILL]).await
}

async fn end(layout: &Layout, component: Component, signals: &[Signal]) -> Result<(), Error> {
    let Some(record) = remembered(layout, component) else { return Ok(()) };
    let mut ended = record.process.ended();
    for &signal in signals {
        ended = ended || record.process.signal(signal, END_DEADLINE).await;
    }
    if !ended {
        let tail = format!(": process {} survives SIGKILL", record.process.pid);
        return Err(Error::Late { what: format!("the end of {component}"), after: END_DEADLINE, tail });
    }
    let path = layout.record(component);
    fs::remove_file(&path).on("remove", path)
}

/// The process id of a component that runs.
pub(super) fn pid(layout: &Layout, component: Component) -> Option<i32> {
    remembered(layout, component).filter(|record| record.process.running()).map(|record| record.process.pid)
}

fn remembered(layout: &Layout, component: Component) -> Option<Record> {
    // A record that cannot be read is as good as none: what it stood for is still found by its cgroup.
    serde_json::from_str(&fs::read_to_string(layout.record(component)).ok()?).ok()
}

/// Waits until `ready` says so. Fails with the end of the component's log when the process ends before, or when
/// `deadline` passes.
pub(super) async fn wait_until(
    layout: &Layout,
    component: Component,
    deadline: Duration,
    mut ready: impl AsyncFnMut() -> bool,
) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        if ready().await {
            return Ok(());
        }
        if pid(layout, component).is_none() {
            return Err(ended(layout, component));
        }
        if begun.elapsed() > deadline {
            let log = layout.log(component);
            let tail = format!("; the end of {}:\n{}", log.display(), files::tail(&log, 15));
            return Err(Error::Late { what: component.to_string(), after: deadline, tail });
        }
        tokio::time::sleep(POLL).await;
    }
}

fn ended(layout: &Layout, component: Component) -> Error {
    let log = layout.log(component);
    let tail = files::tail(&log, 15);
    Error::Ended { component: component.to_string(), log, tail }
}
