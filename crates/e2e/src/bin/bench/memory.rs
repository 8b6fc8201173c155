//! What the driver takes of the node's memory.

use std::time::Duration;

use orlop_api::Bytes;

use crate::node::Node;

/// How many volumes are mounted at most.
const VOLUMES: usize = 200;

pub async fn run() -> anyhow::Result<()> {
    let node = Node::start(Bytes(400 << 30), Bytes(5 << 30)).await?;
    println!("\nresident memory with thin XFS volumes of {} mounted", Bytes::GIB.human());
    println!("| volumes | driver | watchdog |\n|---|---|---|");
    show(&node, 0)?;
    for number in 0..VOLUMES {
        node.provide(&format!("memory-{number}"), Bytes::GIB, "thin").await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    show(&node, VOLUMES)?;
    Ok(())
}

/// Shows what is resident after the metrics were read, which looks at every volume.
fn show(node: &Node, volumes: usize) -> anyhow::Result<()> {
    node.metric("orlop_local_pool_paused")?;
    let (driver, watchdog) = node.memory()?;
    println!("| {volumes} | {} | {} |", driver.human(), watchdog.human());
    Ok(())
}
