//! Processes, known by id and start time, so that an id that the kernel gave to somebody else since is never signalled.

use std::{
    fs,
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::{Error, error::OnPath as _};

/// A process that was started once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot, as proc(5) has it in field 22 of `/proc/PID/stat`.
    start_ticks: u64,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// It was killed, and may still hold its files and ports.
    Ending,
    /// It is gone, or only waits for its parent to ask how it ended.
    Ended,
}

impl Process {
    /// The process that has this id now.
    pub(super) fn now(pid: i32) -> Option<Self> {
        Some(Self { pid, start_ticks: Stat::of(pid)?.start_ticks })
    }

    /// Whether it runs and nobody killed it yet.
    pub(super) fn running(self) -> bool {
        self.life() == Life::Running
    }

    /// Whether it holds nothing any more.
    pub(super) fn ended(self) -> bool {
        self.life() == Life::Ended
    }

    fn life(self) -> Life {
        let stat = Stat::of(self.pid).filter(|stat| stat.start_ticks == self.start_ticks);
        stat.map_or(Life::Ended, |stat| stat.life())
    }

    /// Signals it and waits until it has ended. Returns whether it did.
    pub(super) async fn signal(self, signal: Signal, deadline: Duration) -> bool {
        let Some(handle) = self.open() else { return true };
        // An error means that it ended in between, which the loop sees.
        let _ = pidfd_send_signal(&handle, signal);
        let begun = Instant::now();
        while !self.ended() {
            if begun.elapsed() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }

    /// A handle on exactly this process, or nothing when it has ended.
    fn open(self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Only now: the handle pins the process, so what holds after opening it holds for the signal too.
        (!self.ended()).then_some(handle)
    }
}

/// What is needed of `/proc/PID/stat`, in the terms of proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    zombie: bool,
    flags: u64,
    threads: u64,
    start_ticks: u64,
    pending_signals: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // proc(5) counts fields from 1, and the first one here is its third.
        let number = |field: usize| fields.get(field - 3)?.parse().ok();
        Some(Self {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            flags: number(9)?,
            threads: number(20)?,
            start_ticks: number(22)?,
            pending_signals: number(31)?,
        })
    }

    fn life(&self) -> Life {
        /// `PF_EXITING` in the kernel's `include/linux/sched.h`.
        const EXITING: u64 = 0x4;
        /// SIGKILL, number 9, in a set of signals.
        const KILLED: u64 = 1 << 8;
        if self.zombie && self.threads <= 1 {
            Life::Ended
        } else if self.zombie || self.flags & EXITING != 0 || self.pending_signals & KILLED != 0 {
            Life::Ending
        } else {
            Life::Running
        }
    }
}

/// Runs a program to its end and returns what it printed. Fails with what it wrote to its error output.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(state: &str, flags: u64, threads: u64, pending: u64) -> Stat {
        let line = format!(
            "4711 (a) b (c)) {state} 1 4711 4711 0 -1 {flags} 1 0 0 0 0 0 0 0 20 0 {threads} 0 987654 1 1 1 1 1 1 1 1 {pending} 0"
        );
        Stat::parse(&line).expect("a line as proc(5) describes it")
    }

    #[test]
    fn the_start_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        assert_eq!(stat("S", 0x40_0000, 8, 0).start_ticks, 987_654);
    }

    #[test]
    fn a_killed_process_is_ending_until_its_last_thread_is_gone() {
        assert_eq!(stat("S", 0x40_0000, 8, 0).life(), Life::Running);
        assert_eq!(stat("R", 0x40_0000, 8, 256).life(), Life::Ending, "killed, and not yet aware of it");
        assert_eq!(stat("R", 0x40_0004, 8, 0).life(), Life::Ending, "giving back its memory");
        assert_eq!(stat("Z", 0x40_0004, 3, 0).life(), Life::Ending, "its other threads still run");
        assert_eq!(stat("Z", 0x40_0004, 0, 0).life(), Life::Ended);
    }

    #[test]
    fn a_reused_process_id_is_not_taken_for_the_remembered_process() {
        let ours = Process::now(i32::try_from(std::process::id()).expect("fits")).expect("we run");
        assert!(ours.running());
        let before = Process { start_ticks: ours.start_ticks - 1, ..ours };
        assert!(before.ended());
        assert!(before.open().is_none());
    }

    #[tokio::test]
    async fn a_signalled_process_is_waited_for() {
        let child = tokio::process::Command::new("sleep").arg("1000").spawn().expect("sleep starts");
        let process = Process::now(i32::try_from(child.id().expect("runs")).expect("fits")).expect("runs");
        assert!(process.signal(Signal::KILL, Duration::from_secs(10)).await);
        assert!(process.ended());
    }
}
