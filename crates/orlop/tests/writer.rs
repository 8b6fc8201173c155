//! `orlop writer` as a process: what it prints, that it goes on after a kill, and that a full filesystem costs it time
//! and no data. The one test that needs a filesystem of its own is reported as ignored where it may not mount one.

use std::{
    fs,
    io::{BufRead as _, BufReader, Lines},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount},
    process::{Pid, Signal, geteuid, kill_process},
};
use serde_json::Value;
use tempfile::TempDir;

fn main() {
    let may_mount = geteuid().is_root();
    let trials = vec![
        Trial::test("the_writer_writes_all_it_was_asked_for_and_verifies_it", writes_all),
        Trial::test("the_writer_goes_on_where_it_was_killed", goes_on_after_a_kill),
        Trial::test("the_writer_finds_a_damaged_file", finds_damage),
        Trial::test("the_writer_ends_when_it_is_told_to", ends_when_told),
        Trial::test("the_writer_waits_while_the_filesystem_is_full_and_loses_nothing", waits_while_full)
            .with_ignored_flag(!may_mount),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A running writer and what it prints.
struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(directory: &Path, arguments: &[&str]) -> Result<Self, Failed> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_orlop"))
            .arg("writer")
            .arg("--directory")
            .arg(directory)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().ok_or("the writer has no output")?;
        Ok(Self { child, lines: BufReader::new(output).lines() })
    }

    /// The first line to come that satisfies `wanted`.
    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, Failed> {
        for line in &mut self.lines {
            let line: Value = serde_json::from_str(&line?)?;
            if wanted(&line) {
                return Ok(line);
            }
        }
        Err("the writer ended before it printed what was waited for".into())
    }

    fn result(&mut self) -> Result<Value, Failed> {
        self.wait_for(|line| line.get("verified").is_some())
    }

    /// How it ended, or a failure where it does not end by itself.
    fn end(mut self) -> Result<ExitStatus, Failed> {
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("the writer does not end".into())
    }
}

/// A test that fails leaves no process behind.
impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number under `key`; the last line has none of those that tell of progress.
fn number(line: &Value, key: &str) -> Option<u64> {
    line[key].as_u64()
}

fn writes_all() -> Result<(), Failed> {
    let directory = TempDir::new()?;
    let mut writer = Writer::start(directory.path(), &["--total=5Mi", "--file-size=2Mi", "--rate=0", "--exit"])?;
    let result = writer.result()?;
    assert_eq!(result["verified"], true);
    assert_eq!((number(&result, "files"), number(&result, "bytes")), (Some(3), Some(5 << 20)));
    assert!(writer.end()?.success());
    Ok(())
}

fn goes_on_after_a_kill() -> Result<(), Failed> {
    let directory = TempDir::new()?;
    let first = directory.path().join("data-000000");
    let mut writer = Writer::start(directory.path(), &["--total=16Mi", "--file-size=1Mi", "--rate=4Mi"])?;
    writer.wait_for(|line| number(line, "written") >= Some(2 << 20))?;
    writer.child.kill()?;
    writer.child.wait()?;
    let before = fs::metadata(&first)?;
    let mut writer = Writer::start(directory.path(), &["--total=16Mi", "--file-size=1Mi", "--rate=0", "--exit"])?;
    assert_eq!(writer.result()?["verified"], true);
    let after = fs::metadata(&first)?;
    assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()), "it began again");
    Ok(())
}

fn finds_damage() -> Result<(), Failed> {
    let directory = TempDir::new()?;
    let arguments = ["--total=4Mi", "--file-size=2Mi", "--rate=0", "--exit"];
    Writer::start(directory.path(), &arguments)?.result()?;
    let second = directory.path().join("data-000001");
    let mut data = fs::read(&second)?;
    data[1_500_000] ^= 1;
    fs::write(&second, data)?;
    let mut writer = Writer::start(directory.path(), &arguments)?;
    let result = writer.result()?;
    assert_eq!(result["verified"], false);
    assert_eq!(result["damaged"][0]["file"], "data-000001");
    assert_eq!(result["damaged"][0]["what"], "has other data from byte 1500000 on");
    assert!(!writer.end()?.success());
    Ok(())
}

fn ends_when_told() -> Result<(), Failed> {
    let directory = TempDir::new()?;
    let mut writer = Writer::start(directory.path(), &["--total=1Mi", "--rate=0"])?;
    writer.result()?;
    kill_process(Pid::from_child(&writer.child), Signal::TERM)?;
    assert!(writer.end()?.success());
    Ok(())
}

/// A small filesystem in memory, unmounted when it is dropped.
struct SmallFilesystem(TempDir);

impl SmallFilesystem {
    fn new(options: &str) -> Result<Self, Failed> {
        let directory = TempDir::new()?;
        let options = std::ffi::CString::new(options)?;
        mount("orlop-test", directory.path(), "tmpfs", MountFlags::empty(), options.as_c_str())?;
        Ok(Self(directory))
    }

    fn change(&self, options: &str) -> Result<(), Failed> {
        Ok(mount_remount(self.0.path(), MountFlags::empty(), options)?)
    }
}

impl Drop for SmallFilesystem {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

fn waits_while_full() -> Result<(), Failed> {
    let filesystem = SmallFilesystem::new("size=6m")?;
    let arguments = ["--total=16Mi", "--file-size=1Mi", "--rate=0", "--exit"];
    let mut writer = Writer::start(filesystem.0.path(), &arguments)?;
    writer.wait_for(|line| number(line, "enospc") > Some(0) && number(line, "free") == Some(0))?;
    filesystem.change("size=32m")?;
    let result = writer.result()?;
    assert_eq!(result["verified"], true);
    assert_eq!(number(&result, "bytes"), Some(16 << 20));
    Ok(())
}
