//! Running programs, with a word of where they are when they take long.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How often a word is said.
const INTERVAL: Duration = Duration::from_secs(20);

/// Runs a program to its end and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::piped()).output().with_context(|| cannot_run(command))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a program that takes long: says what it does and about how long that takes, then every now and then how many
/// lines of `total` it has put out on its error output, and at last how long it took.
pub fn long(what: &str, about: &str, unit: &str, total: usize, command: &mut Command) -> Result<()> {
    eprintln!("{what} (about {about})");
    let begun = Instant::now();
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().with_context(|| cannot_run(command))?;
    let errors = child.stderr.take().context("the program's error output is not ours")?;
    let count = AtomicUsize::new(0);
    let mut last = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let reader = scope.spawn(|| {
            let mut last = Vec::new();
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                last.push(line);
                // Enough to tell a failure by.
                if last.len() > 40 {
                    last.remove(0);
                }
            }
            last
        });
        let mut said = Instant::now();
        while !reader.is_finished() {
            thread::sleep(Duration::from_millis(100));
            if said.elapsed() > INTERVAL {
                said = Instant::now();
                let done = count.load(Ordering::Relaxed).min(total);
                eprintln!("  {done} of {total} {unit}, {}", minutes(begun.elapsed()));
            }
        }
        last = reader.join().unwrap_or_default();
        Ok(())
    })?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?} failed:\n{}", last.join("\n"));
    }
    eprintln!("  done in {}", minutes(begun.elapsed()));
    Ok(())
}

fn cannot_run(command: &Command) -> String {
    let program = command.get_program().display();
    format!("cannot run {program}: is it installed? (Debian's packages are mmdebstrap, binutils; Go comes from go.dev)")
}

fn minutes(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}
