//! `orlop writer`: a workload that can tell whether its data is as it wrote it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use orlop_api::Bytes;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{Failure, Outcome};
use crate::writer::{Options, Progress, Verified, WriterError, write_and_verify};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write; what an earlier run wrote there counts
    #[arg(long)]
    directory: PathBuf,
    /// How much to write in all
    #[arg(long, value_name = "SIZE")]
    total: Bytes,
    /// How much to write in a second; 0 for as fast as it goes
    #[arg(long, value_name = "SIZE", default_value = "25Mi")]
    rate: Bytes,
    /// How large each file is
    #[arg(long, value_name = "SIZE", default_value = "64Mi")]
    file_size: Bytes,
    /// What the data is made from; an earlier run's must be given again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit when everything is written and verified, instead of waiting for SIGTERM as a pod's container should
    #[arg(long)]
    exit: bool,
}

/// Prints one line of JSON a second: bytes written, seconds elapsed, writes refused because the filesystem was full,
/// and the filesystem's free and total bytes; and one with what the verification found.
pub(super) async fn run(args: Args) -> Outcome {
    // As the first process of a container it would not be ended by a signal that it does not handle.
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| Failure::because("cannot handle the signal SIGTERM", error))?;
    let options = Options {
        directory: args.directory,
        total: args.total,
        rate: args.rate,
        file_size: args.file_size,
        seed: args.seed,
    };
    let progress = Arc::new(Progress::default());
    let mut result = start(&options, &progress)?;
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let verified = loop {
        tokio::select! {
            result = &mut result => {
                break result.map_err(|_| Failure::new("the writer's thread ended without a result"))?;
            }
            _ = tick.tick() => report(&options.directory, &progress, began)?,
            _ = terminate.recv() => {
                progress.stop();
                return Ok(());
            }
        }
    };
    report(&options.directory, &progress, began)?;
    match verified.map_err(|error| explain(&options.directory, error))? {
        None => return Ok(()),
        Some(verified) => conclude(&options.directory, &verified)?,
    }
    if !args.exit {
        terminate.recv().await;
    }
    Ok(())
}

type Written = Result<Option<Verified>, WriterError>;

/// Writes in a thread of its own, which the process does not wait for when it is told to end: a write may hang for as
/// long as the disk does.
fn start(options: &Options, progress: &Arc<Progress>) -> Outcome<oneshot::Receiver<Written>> {
    let (send, receive) = oneshot::channel();
    let (options, progress) = (options.clone(), Arc::clone(progress));
    thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            let result = write_and_verify(&options, &progress);
            // Nobody receives it only when the process is ending.
            let _ = send.send(result);
        })
        .map_err(|error| Failure::because("cannot start the writer's thread", error))?;
    Ok(receive)
}

fn report(directory: &Path, progress: &Progress, began: Instant) -> Outcome {
    let filesystem = rustix::fs::statvfs(directory)
        .map_err(|error| Failure::because(format!("cannot ask how full {} is", directory.display()), error))?;
    println!(
        "{}",
        json!({
            "written": progress.written().0,
            "elapsed": (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "enospc": progress.enospc(),
            "free": filesystem.f_bavail * filesystem.f_frsize,
            "total": filesystem.f_blocks * filesystem.f_frsize,
        })
    );
    Ok(())
}

fn conclude(directory: &Path, verified: &Verified) -> Outcome {
    println!("{}", json!(verified));
    if verified.verified {
        return Ok(());
    }
    let damaged: Vec<&str> = verified.damaged.iter().map(|damage| damage.file.as_str()).collect();
    Err(Failure::new(format!("data in {} is not what was written: {}", directory.display(), damaged.join(", "))))
}

fn explain(directory: &Path, error: WriterError) -> Failure {
    let remedy = match &error {
        WriterError::OtherSeed { found, .. } => format!("give --seed {found}, or another directory"),
        WriterError::Manifest { .. } => "give an empty directory".to_owned(),
        WriterError::Io { .. } => {
            format!("see whether {} can be written to, and the kernel's log", directory.display())
        }
    };
    Failure::because(format!("cannot write all data into {}", directory.display()), error).remedy(remedy)
}
