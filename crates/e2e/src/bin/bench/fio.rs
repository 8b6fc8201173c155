//! Running fio, the customary generator of I/O.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};
use orlop_api::Bytes;
use serde_json::Value;

/// How many requests are under way at once, where it is more than one.
pub const DEPTH: u32 = 16;

/// What fio does to a file.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// What tables call it.
    pub name: &'static str,
    /// The value of fio's `--rw`.
    pub pattern: &'static str,
    pub block: Bytes,
    pub how: How,
}

/// How the requests get to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Past the page cache, [`DEPTH`] at once.
    Direct,
    /// Through the page cache, one at a time, with this call after each: `fsync` or `fdatasync`.
    Synced(&'static str),
}

/// Fails unless fio is installed.
pub fn require() -> anyhow::Result<()> {
    Command::new("fio")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .map(drop)
        .context("this needs fio, which is not installed: apt-get install fio")
}

/// Writes a file of that size, every byte of it, so that what is measured later allocates nothing.
pub fn lay_out(file: &Path, size: Bytes) -> anyhow::Result<()> {
    let write = Job { name: "lay out", pattern: "write", block: Bytes::MIB, how: How::Direct };
    finish(start(&write, file, size, &["--fallocate=none", "--end_fsync=1"])?).map(drop)
}

/// Does a job on a file that is laid out, for that many seconds, and returns how many operations a second it did.
pub fn measure(job: &Job, file: &Path, size: Bytes, seconds: u32) -> anyhow::Result<f64> {
    let child = start(job, file, size, &["--time_based", &format!("--runtime={seconds}")])?;
    let report = finish(child)?;
    let rate = |direction: &str| report["jobs"][0][direction]["iops"].as_f64().unwrap_or_default();
    let rate = rate("read") + rate("write");
    ensure!(rate > 0.0, "fio did nothing to {}", file.display());
    Ok(rate)
}

/// Starts a job with more of fio's options.
pub fn start(job: &Job, file: &Path, size: Bytes, options: &[&str]) -> anyhow::Result<Child> {
    let mut command = Command::new("fio");
    command
        .args(["--name=bench", "--output-format=json", "--thread", "--randrepeat=0", "--norandommap", "--disk_util=0"])
        .arg(format!("--filename={}", file.display()))
        .arg(format!("--rw={}", job.pattern))
        .arg(format!("--bs={}", job.block.0))
        .arg(format!("--size={}", size.0));
    match job.how {
        How::Direct => command.args(["--direct=1", "--ioengine=libaio"]).arg(format!("--iodepth={DEPTH}")),
        How::Synced(call) => command.arg("--ioengine=psync").arg(format!("--{call}=1")),
    };
    command.args(options).stdout(Stdio::piped()).spawn().context("cannot start fio")
}

/// Waits for a job to end, and returns fio's report.
pub fn finish(child: Child) -> anyhow::Result<Value> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "fio ended with {}: {}", output.status, String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).context("fio's report is not understood")
}
