//! The processes of a bed: started as daemons, remembered by process id and start time, so that an id that the kernel
//! gave to somebody else since is never signalled.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Component, Error,
    cgroup::Cgroups,
    error::OnPath as _,
    files::{self, Readers},
    layout::Layout,
};

/// What daemons get to search programs in: not the caller's, or the bed would depend on who repaired it last.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
    pid: i32,
    /// When it started, in clock ticks since boot, as proc(5) has it in field 22 of `/proc/pid/stat`.
    start_ticks: u64,
    /// A hash of all that it was started with.
    fingerprint: String,
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
            if record.fingerprint == fingerprint && record.alive() {
                return Ok(Ensured::Kept);
            }
            stop(layout, self.component).await?;
        }
        self.start(layout, cgroups, fingerprint)?;
        Ok(Ensured::Started)
    }

    fn start(&self, layout: &Layout, cgroups: &Cgroups, fingerprint: String) -> Result<(), Error> {
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
        let started = pid.and_then(|pid| Some((pid, Stat::of(pid)?.start_ticks)));
        let (pid, start_ticks) = started.ok_or_else(|| ended(layout, self.component))?;
        let record = Record { pid, start_ticks, fingerprint };
        let text = serde_json::to_string(&record).map_err(std::io::Error::from).on("write", &self.program)?;
        files::write(&layout.record(self.component), &text, Readers::Everyone)?;
        cgroups.join(&layout.system_cgroup(), pid.unsigned_abs())
    }

    fn fingerprint(&self) -> Result<String, Error> {
        let mut hash = Sha256::new();
        let program = fs::metadata(&self.program).on("find", &self.program)?;
        // Its size and time stand for its content: hashing 180 MB for each component would cost more than it tells.
        hash.update(format!("{:?} {} {:?}", self.program, program.len(), program.modified().ok()));
        hash.update(format!("{:?}", self.args));
        for config in &self.configs {
            hash.update(fs::read(config).on("read", config)?);
        }
        Ok(hex(&hash.finalize()))
    }
}

impl Record {
    fn alive(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.zombie)
    }

    /// A handle on exactly the process that was remembered, or nothing when it is gone.
    fn open(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Only now: the handle pins the process, so what holds after opening it holds for the signal too.
        self.alive().then_some(handle)
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
    if let Some(handle) = record.open() {
        for &signal in signals {
            // An error means that it ended in between, which the loop below sees.
            let _ = pidfd_send_signal(&handle, signal);
            let begun = Instant::now();
            while record.alive() && begun.elapsed() < END_DEADLINE {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if record.alive() {
            return Err(Error::Late {
                what: format!("the end of {component}"),
                after: END_DEADLINE,
                tail: format!(": process {} survives SIGKILL", record.pid),
            });
        }
    }
    let path = layout.record(component);
    fs::remove_file(&path).on("remove", path)
}

/// The process id of a component that runs.
pub(super) fn pid(layout: &Layout, component: Component) -> Option<i32> {
    remembered(layout, component).filter(Record::alive).map(|record| record.pid)
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

/// What is needed of `/proc/pid/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    zombie: bool,
    start_ticks: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let mut fields = after_name.split_whitespace();
        let state = fields.next()?;
        // Field 22 of the line; the state is field 3.
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { zombie: matches!(state, "Z" | "X"), start_ticks })
    }
}

/// Runs a program to its end. Fails with what it wrote to its error output.
pub(super) async fn run(program: &Path, args: &[&str]) -> Result<String, Error> {
    let output = tokio::process::Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .on("run", program)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let program = format!("{} {}", program.display(), args.join(" "));
    Err(Error::Tool { program, output: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1";
        assert_eq!(Stat::parse(stat), Some(Stat { zombie: false, start_ticks: 987_654 }));
    }

    #[test]
    fn a_process_that_only_waits_to_be_collected_counts_as_ended() {
        let stat = "4711 (etcd) Z 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1";
        assert_eq!(Stat::parse(stat).map(|stat| stat.zombie), Some(true));
    }

    #[test]
    fn a_reused_process_id_is_not_taken_for_the_remembered_process() {
        let pid = i32::try_from(std::process::id()).expect("fits");
        let start_ticks = Stat::of(pid).expect("we run").start_ticks;
        let ours = Record { pid, start_ticks, fingerprint: String::new() };
        assert!(ours.alive());
        let before = Record { start_ticks: start_ticks - 1, ..ours };
        assert!(!before.alive());
        assert!(before.open().is_none());
    }
}
