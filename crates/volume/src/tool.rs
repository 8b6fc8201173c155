//! Filesystem tools, run by argument vector: nothing here passes a shell.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Output},
};

use crate::{Error, Result};

/// Runs a tool on `object`, its last argument. An exit code beyond `worst` is a failure: e2fsck, for one, exits with 1
/// when it has repaired something.
pub(crate) fn run<A: AsRef<OsStr>>(tool: &'static str, arguments: &[A], object: &Path, worst: i32) -> Result<()> {
    let failure = |detail| Error::Tool { tool, object: object.display().to_string(), detail };
    let output = Command::new(tool)
        .args(arguments)
        .arg(object)
        // The tools' messages end up in errors, which are in English.
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| failure(format!("cannot start it: {error}")))?;
    match output.status.code() {
        Some(code) if code <= worst => Ok(()),
        _ => Err(failure(said(&output))),
    }
}

/// The last lines of what a tool printed, in one line, and how it ended.
fn said(output: &Output) -> String {
    const LINES: usize = 4;
    let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("{} ({})", lines[lines.len().saturating_sub(LINES)..].join("; "), output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_tool_is_quoted() {
        let error = run("ls", &["--"], Path::new("/nonexistent-for-a-test"), 0).unwrap_err().to_string();
        assert!(error.contains("No such file") && error.contains("exit status: 2"), "{error}");
        assert!(run("ls", &["--"], Path::new("/nonexistent-for-a-test"), 2).is_ok());
        assert!(run("no-such-tool", &["--"], Path::new("/"), 0).unwrap_err().to_string().contains("cannot start"));
    }
}
