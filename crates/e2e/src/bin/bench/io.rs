//! A volume's I/O against that of a file in the pool itself, which is the raw filesystem below it.

use std::path::PathBuf;

use orlop_api::Bytes;

use crate::{
    fio::{self, How, Job},
    median,
    node::Node,
};

/// How often each job runs on each file. The files take turns, so that what else happens on the machine befalls all.
const ROUNDS: usize = 7;
/// For how long a job runs at a time.
const SECONDS: u32 = 4;
/// How large each file is.
const FILE: Bytes = Bytes(1 << 30);

const JOBS: [Job; 6] = [
    Job { name: "4k random read, direct", pattern: "randread", block: Bytes(4096), how: How::Direct },
    Job { name: "4k random write, direct", pattern: "randwrite", block: Bytes(4096), how: How::Direct },
    Job { name: "1M sequential read, direct", pattern: "read", block: Bytes::MIB, how: How::Direct },
    Job { name: "1M sequential write, direct", pattern: "write", block: Bytes::MIB, how: How::Direct },
    Job { name: "4k write, fdatasync after each", pattern: "write", block: Bytes(4096), how: How::Synced("fdatasync") },
    Job { name: "4k write, fsync after each", pattern: "write", block: Bytes(4096), how: How::Synced("fsync") },
];

pub async fn run() -> anyhow::Result<()> {
    fio::require()?;
    let node = Node::start(Bytes(16 << 30), Bytes(5 << 30)).await?;
    let mut files = vec![node.pool().join("raw")];
    for provisioning in ["thick", "thin"] {
        let volume = node.provide(provisioning, Bytes(FILE.0 * 2), provisioning).await?;
        files.push(node.mount_point(&volume).join("file"));
    }
    for file in &files {
        fio::lay_out(file, FILE)?;
    }
    println!(
        "\na file of {} in a volume against one in the pool, {ROUNDS} runs of {SECONDS} s each, alternating",
        FILE.human()
    );
    println!("| | pool | thick volume | ratio, median (least–most) | thin volume | ratio, median (least–most) |");
    println!("|---|---|---|---|---|---|");
    for job in JOBS {
        let rates = alternate(&job, &files)?;
        let ratios = |volume: usize| -> Vec<f64> {
            rates[volume].iter().zip(&rates[0]).map(|(volume, pool)| volume / pool).collect()
        };
        let shown: Vec<_> = rates.iter().map(|rates| shown(&job, median(rates.clone()))).collect();
        let [thick, thin] = [1, 2].map(|volume| spread(ratios(volume)));
        println!("| {} | {} | {} | {thick} | {} | {thin} |", job.name, shown[0], shown[1], shown[2]);
    }
    Ok(())
}

/// Runs a job on each file in turn, each round beginning with another one. Returns what each file did in each round.
fn alternate(job: &Job, files: &[PathBuf]) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut rates = vec![Vec::new(); files.len()];
    for round in 0..ROUNDS {
        for turn in 0..files.len() {
            let which = (round + turn) % files.len();
            rates[which].push(fio::measure(job, &files[which], FILE, SECONDS)?);
        }
    }
    Ok(rates)
}

/// Operations a second; those of a MiB as MiB a second.
fn shown(job: &Job, rate: f64) -> String {
    format!("{rate:.0}{}", if job.block == Bytes::MIB { " MiB/s" } else { "/s" })
}

fn spread(ratios: Vec<f64>) -> String {
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    format!("**{:.2}** ({least:.2}–{most:.2})", median(ratios))
}
