//! What the black-box tests share: a real cluster with Orlop installed from its chart, volumes in it that can be
//! filled to the byte, and a proxy that ends a process at a chosen API call.

pub mod metrics;
pub mod namespace;
pub mod operator;
pub mod prometheus;
pub mod proxy;
pub mod site;
pub mod volume;

use std::{future::Future, time::Duration};

use anyhow::{Context as _, bail};
use rustix::process::Pid;
use tokio::time::{Instant, sleep};

/// Calls `probe` until it returns something, and returns that; an error or nothing is tried again until `limit` is
/// over, and then told with `what` was waited for.
pub async fn eventually<T, F, Fut>(what: &str, limit: Duration, mut probe: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        let last = probe().await;
        match last {
            Ok(Some(found)) => return Ok(found),
            Ok(None) | Err(_) if start.elapsed() < limit => {}
            Ok(None) => bail!("waited {} s in vain for {what}", limit.as_secs()),
            Err(error) => {
                return Err(error).with_context(|| format!("waited {} s in vain for {what}", limit.as_secs()));
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The processes whose command line satisfies `which`.
pub fn processes(which: impl Fn(&[String]) -> bool) -> anyhow::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // A process may end between the listing and the reading.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let arguments: Vec<String> =
            line.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        if which(&arguments) {
            found.push(pid);
        }
    }
    Ok(found)
}
