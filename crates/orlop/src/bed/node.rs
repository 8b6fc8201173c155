//! Starting one node: its files, its containerd with its images, its kubelet.

use std::time::Duration;

use kube::Client;

use super::{
    Error, NodeNumber, api, containerd,
    daemon::{self, Ensured},
    images, kubelet,
    layout::NodeLayout,
    mounts, network, ports,
    up::Context,
};
use crate::ui::progress::Step;

/// How long containerd may take to listen. It does so at once, unless its disk is being written to at full speed.
const CONTAINERD_DEADLINE: Duration = Duration::from_mins(1);

/// How long a node may take from its kubelet's start to being ready: ten seconds or so, and much more where several
/// nodes start on two cores.
const NODE_DEADLINE: Duration = Duration::from_mins(3);

/// Prepares the node's directories and starts containerd, with all images in it. Needs no API server.
pub(super) async fn start_runtime(context: &Context<'_>, number: NodeNumber) -> Result<(), Error> {
    let node = context.layout.node(number);
    prepare(context, &node).await?;
    let daemon = containerd::configure(&node)?;
    let step = context.progress.step(format!("containerd of {number}"));
    let ensured = daemon.ensure(context.layout, context.cgroups).await?;
    let socket = node.containerd_socket();
    daemon::wait_until(context.layout, daemon.component, CONTAINERD_DEADLINE, async || {
        tokio::net::UnixStream::connect(&socket).await.is_ok()
    })
    .await?;
    finish(step, ensured);

    let step = context.progress.step(format!("images of {number}"));
    match images::import(&node, context.bundle).await? {
        0 => step.done("there"),
        count => step.done(&format!("{count} imported")),
    }
    Ok(())
}

/// Starts the kubelet and waits until the node is ready. Needs the API server.
pub(super) async fn start_kubelet(context: &Context<'_>, client: &Client, number: NodeNumber) -> Result<(), Error> {
    let node = context.layout.node(number);
    let daemon = kubelet::configure(context.layout, &node, context.bundle, context.state)?;
    let step = context.progress.step(format!("kubelet of {number}"));
    let ensured = daemon.ensure(context.layout, context.cgroups).await?;
    let alive = daemon::wait_until(context.layout, daemon.component, NODE_DEADLINE, async || false);
    tokio::select! {
        ready = api::node(client, number, NODE_DEADLINE) => ready?,
        // Ends only when the kubelet does, and then says why.
        ended = alive => ended?,
    }
    finish(step, ensured);
    Ok(())
}

async fn prepare(context: &Context<'_>, node: &NodeLayout) -> Result<(), Error> {
    context.cgroups.create(&node.cgroup)?;
    network::add_address(ports::address(context.state.index, node.number)).await?;
    network::configure(node, &ports::subnet(context.state.index, node.number))?;
    for directory in [node.kubelet_dir(), node.pool_dir()] {
        super::files::directory(&directory)?;
        mounts::share(&directory)?;
    }
    Ok(())
}

/// Ends a step with what was found or done.
pub(super) fn finish(step: Step, ensured: Ensured) {
    step.done(match ensured {
        Ensured::Kept => "runs",
        Ensured::Started => "started",
    });
}
