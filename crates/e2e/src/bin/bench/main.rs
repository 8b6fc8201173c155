//! The benchmarks of what runs: Orlop in a cluster, and the local driver by itself, as a process that is spoken to over its
//! socket. Prints tables for `docs/performance.md`; asserts nothing, because the time a machine takes is not a matter of
//! right and wrong.
//!
//! Without arguments it measures everything, and otherwise the parts that are named.

mod cluster;
mod fio;
mod frozen;
mod io;
mod memory;
mod node;
mod rate;
mod scale;

use std::{
    env,
    process::{Command, ExitStatus},
    str::FromStr,
};

use anyhow::{Context as _, bail, ensure};

/// Something that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// From a threshold that is crossed to bytes that are usable.
    Growths,
    /// The fastest writer that never runs out of space.
    Race,
    /// What the operator takes in a large cluster.
    Scale,
    /// A volume's I/O against that of the pool.
    Io,
    /// For how long a snapshot holds up writers.
    Frozen,
    /// Volumes a second.
    Rate,
    /// What the driver takes of the node's memory.
    Memory,
}

impl Part {
    const ALL: [(&str, Self); 7] = [
        ("io", Self::Io),
        ("frozen", Self::Frozen),
        ("rate", Self::Rate),
        ("memory", Self::Memory),
        ("growths", Self::Growths),
        ("race", Self::Race),
        ("scale", Self::Scale),
    ];

    fn needs_cluster(self) -> bool {
        matches!(self, Self::Growths | Self::Race | Self::Scale)
    }
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let part = Self::ALL.into_iter().find(|(name, _)| *name == text);
        part.map(|(_, part)| part).with_context(|| {
            format!(
                "`{text}` is nothing that is measured here: name any of {}",
                Self::ALL.map(|(name, _)| name).join(", ")
            )
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asked: Vec<String> = env::args().skip(1).collect();
    let mut parts = asked.iter().map(|text| text.parse()).collect::<anyhow::Result<Vec<Part>>>()?;
    if parts.is_empty() {
        parts = Part::ALL.map(|(_, part)| part).into();
    }
    let (in_cluster, alone): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.needs_cluster());
    if !alone.is_empty() {
        if env::var_os(ENTERED).is_some() {
            return measure(&alone).await;
        }
        let status = enter_own_namespace(&alone)?;
        ensure!(status.success(), "the benchmarks of the local driver ended with {status}");
    }
    let (large, small): (Vec<_>, Vec<_>) = in_cluster.into_iter().partition(|part| *part == Part::Scale);
    if !small.is_empty() {
        cluster::run(&small).await?;
    }
    if large.is_empty() { Ok(()) } else { scale::run().await }
}

/// Says that this process is in a mount namespace of its own.
const ENTERED: &str = "ORLOP_BENCH_NAMESPACE";

/// Measures the parts that need no cluster in a mount namespace of their own: what they mount is seen by nobody else, and
/// is gone with the last of their processes, however they end.
fn enter_own_namespace(parts: &[Part]) -> anyhow::Result<ExitStatus> {
    let names = Part::ALL.into_iter().filter(|(_, part)| parts.contains(part)).map(|(name, _)| name);
    Command::new("unshare")
        .args(["--mount", "--propagation", "slave", "--"])
        .arg(env::current_exe()?)
        .args(names)
        .env(ENTERED, "")
        .status()
        .context("cannot run unshare, of util-linux")
}

async fn measure(parts: &[Part]) -> anyhow::Result<()> {
    for part in parts {
        match part {
            Part::Io => io::run().await?,
            Part::Frozen => frozen::run().await?,
            Part::Rate => rate::run().await?,
            Part::Memory => memory::run().await?,
            Part::Growths | Part::Race | Part::Scale => bail!("{part:?} needs a cluster"),
        }
    }
    Ok(())
}

/// The middle one of some values, or the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(upper) if values.len().is_multiple_of(2) => f64::midpoint(values[middle - 1], *upper),
        Some(only) => *only,
    }
}
