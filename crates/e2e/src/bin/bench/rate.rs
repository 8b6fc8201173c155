//! How many volumes a second the driver makes and mounts, and how many it deletes.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use orlop_api::Bytes;

use crate::{
    median,
    node::{Mounted, Node},
};

/// How many volumes there are in each measurement.
const VOLUMES: u16 = 120;
const SIZE: Bytes = Bytes::GIB;

pub async fn run() -> anyhow::Result<()> {
    let node = Arc::new(Node::start(Bytes(200 << 30), Bytes(4 << 30)).await?);
    println!("\n{VOLUMES} thin XFS volumes of {}, by so many callers at once", SIZE.human());
    println!("| callers | created and mounted | median of creating | median of mounting | unmounted | deleted |");
    println!("|---|---|---|---|---|---|");
    for callers in [1, 4] {
        let start = Instant::now();
        let made = each_caller(callers, |caller| provide(Arc::clone(&node), caller, callers)).await?;
        let provided = per_second(start);
        let (times, mounted): (Vec<_>, Vec<_>) = made.into_iter().flatten().unzip();
        let (creating, mounting): (Vec<_>, Vec<_>) = times.into_iter().unzip();

        let start = Instant::now();
        let mut shares = dealt(mounted, callers);
        let unmounted = each_caller(callers, |_| unmount(Arc::clone(&node), shares.pop().unwrap_or_default())).await?;
        let unmounting = per_second(start);

        let start = Instant::now();
        let mut shares = dealt(unmounted.into_iter().flatten().collect(), callers);
        each_caller(callers, |_| delete(Arc::clone(&node), shares.pop().unwrap_or_default())).await?;
        let deleting = per_second(start);
        println!(
            "| {callers} | {provided:.0}/s | {:.0} ms | {:.0} ms | {unmounting:.0}/s | {deleting:.0}/s |",
            median(creating),
            median(mounting)
        );
    }
    Ok(())
}

/// Has callers work at the same time, each on a thread where there is one.
async fn each_caller<T: Send + 'static, F: Future<Output = anyhow::Result<T>> + Send + 'static>(
    callers: usize,
    work: impl FnMut(usize) -> F,
) -> anyhow::Result<Vec<T>> {
    let tasks = (0..callers).map(work).map(tokio::spawn);
    try_join_all(tasks).await.context("a caller panicked")?.into_iter().collect()
}

/// Makes and mounts one caller's share, and returns how many milliseconds each took to be made and to be mounted.
async fn provide(node: Arc<Node>, caller: usize, callers: usize) -> anyhow::Result<Vec<((f64, f64), Mounted)>> {
    let mut made = Vec::new();
    for number in (caller..usize::from(VOLUMES)).step_by(callers) {
        let name = format!("rate-{callers}-{number}");
        let start = Instant::now();
        let id = node.create(&name, SIZE, "thin").await?;
        let created = start.elapsed().as_secs_f64();
        let mounted = node.mount(id, &name).await?;
        made.push(((created * 1e3, (start.elapsed().as_secs_f64() - created) * 1e3), mounted));
    }
    Ok(made)
}

async fn unmount(node: Arc<Node>, volumes: Vec<Mounted>) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for volume in volumes {
        ids.push(node.unmount(volume).await?);
    }
    Ok(ids)
}

async fn delete(node: Arc<Node>, ids: Vec<String>) -> anyhow::Result<()> {
    for id in ids {
        node.delete(id).await?;
    }
    Ok(())
}

/// Deals things out to callers.
fn dealt<T>(things: Vec<T>, callers: usize) -> Vec<Vec<T>> {
    let mut shares: Vec<_> = (0..callers).map(|_| Vec::new()).collect();
    for (number, thing) in things.into_iter().enumerate() {
        shares[number % callers].push(thing);
    }
    shares
}

fn per_second(start: Instant) -> f64 {
    f64::from(VOLUMES) / start.elapsed().as_secs_f64()
}
