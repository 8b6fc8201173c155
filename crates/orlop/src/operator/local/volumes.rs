//! The local driver's volumes whose node is gone: noted on the PersistentVolume, told to its users, counted, and cleaned
//! up if that is asked for. What to do is decided in [`orlop_planner::lifecycle::lost`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use orlop_api::names::LOST_ANNOTATION;
use orlop_planner::{
    ClaimId, NamespaceName, Uid,
    lifecycle::lost::{self, LocalVolume, Step},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::{LocalConfig, Means, Nodes, World, objects::VolumeObject};
use orlop_operator::{Failure, notice};

use crate::operator::act::failure;

/// Nothing here is urgent, and a node that goes takes many volumes with it: changes are gathered for so long.
const SETTLE: Duration = Duration::from_secs(1);

/// How soon to try again what failed.
const AGAIN: Duration = Duration::from_secs(10);

/// With nothing to wait for, everything is looked at as often.
const AT_LEAST: Duration = Duration::from_hours(1);

/// The finalizer by which a provisioner holds on to a volume until it has deleted the data. That of a node that is gone
/// never will.
const PROVISIONER_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// Looks after the volumes, without end.
pub(super) async fn look_after(means: Means, config: LocalConfig, world: Arc<World>, mut news: watch::Receiver<()>) {
    let mut keeper = Keeper { means, config, world, told: BTreeSet::new() };
    loop {
        let wait = keeper.pass().await;
        tokio::select! {
            // The other end of the channel is kept for as long as the world is.
            _ = news.changed() => sleep(SETTLE).await,
            () = sleep(wait) => {}
        }
    }
}

struct Keeper {
    means: Means,
    config: LocalConfig,
    world: Arc<World>,
    /// The volumes whose loss this operator has told of, by UID.
    told: BTreeSet<String>,
}

impl Keeper {
    /// Looks at every volume, and says how long nothing is to be done if nothing changes.
    async fn pass(&mut self) -> Duration {
        let nodes = self.world.nodes();
        let now = Timestamp::now();
        let mut wait = AT_LEAST;
        let mut lost = 0;
        for volume in self.world.volumes.all() {
            let known = state(&volume, &nodes);
            let verdict = lost::decide(known, self.config.clean_up_after, now);
            lost += usize::from(!known.has_node);
            if let Some(again_at) = verdict.again_at {
                wait = wait.min(again_at.duration_since(now).try_into().unwrap_or_default());
            }
            if let Some(since) = since(known, verdict.step) {
                self.tell(&volume, since);
            }
            if let Err(failure) = self.carry_out(&volume, verdict.step).await {
                warn!(volume = volume.name_any(), step = ?verdict.step, ?failure, "a lost volume: a step failed");
                wait = wait.min(AGAIN);
            }
        }
        self.means.metrics.local_volumes_lost(lost);
        wait
    }

    fn tell(&mut self, volume: &VolumeObject, since: Timestamp) {
        let uid = volume.uid().unwrap_or_default();
        if !self.told.insert(uid.clone()) {
            return;
        }
        let claim = volume.spec.claim_ref.clone().and_then(|claim| {
            let id = ClaimId { namespace: NamespaceName(claim.namespace?.into()), name: claim.name?.into() };
            Some((id, Uid(claim.uid?.into())))
        });
        let node = volume.node().unwrap_or("of an unknown name");
        for notice in notice::lost((&volume.name_any(), &Uid(uid.into())), claim, node, since) {
            self.means.notices.send(notice);
        }
    }

    async fn carry_out(&mut self, volume: &VolumeObject, step: Step) -> Result<(), Failure> {
        if step == Step::Leave {
            return Ok(());
        }
        if !self.means.leadership.is_held() {
            return Err(Failure::not_leading());
        }
        let client = &self.means.client;
        let done = match step {
            Step::Leave => Ok(()),
            Step::NoteLost(since) => note(client, volume, Some(since)).await,
            Step::NoteFound => {
                self.told.remove(&volume.uid().unwrap_or_default());
                note(client, volume, None).await
            }
            Step::CleanUp => clean_up(client, volume).await,
        };
        match done.as_ref().map_err(failure) {
            // It is no longer what it was: the watch tells what it is.
            Ok(()) | Err(Failure::Overtaken) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// What matters of a volume.
fn state(volume: &VolumeObject, nodes: &Nodes) -> LocalVolume {
    LocalVolume {
        has_node: volume.tag().is_none_or(|tag| nodes.contains_key(&tag)),
        lost_since: volume.annotations().get(LOST_ANNOTATION).and_then(|text| text.parse().ok()),
        released: matches!(volume.status.phase.as_deref(), Some("Released" | "Failed")),
        reclaimed: volume.spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete"),
    }
}

/// Since when a lost volume has been lost.
fn since(volume: LocalVolume, step: Step) -> Option<Timestamp> {
    match step {
        Step::NoteLost(since) => Some(since),
        _ if volume.has_node => None,
        _ => volume.lost_since,
    }
}

/// Notes since when the volume's node has been gone, or that it is not.
async fn note(client: &Client, volume: &VolumeObject, since: Option<Timestamp>) -> Result<(), kube::Error> {
    let since = since.map(|since| since.to_string());
    // A UID cannot be changed, so a patch that names another than the volume's own is refused.
    let patch = json!({ "metadata": { "uid": volume.uid(), "annotations": { LOST_ANNOTATION: since } } });
    let api = Api::<PersistentVolume>::all(client.clone());
    api.patch_metadata(&volume.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
}

/// Deletes the volume's object, and takes away what would keep it: nobody is left to delete its data.
async fn clean_up(client: &Client, volume: &VolumeObject) -> Result<(), kube::Error> {
    let api = Api::<PersistentVolume>::all(client.clone());
    let name = volume.name_any();
    if volume.metadata.deletion_timestamp.is_none() {
        let preconditions = Preconditions { uid: volume.uid(), resource_version: volume.resource_version() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        api.delete(&name, &parameters).await?;
        info!(volume = name, "deleted a volume whose node is gone");
        // The watch tells of the rest that is to be done.
        return Ok(());
    }
    if !volume.finalizers().iter().any(|finalizer| finalizer == PROVISIONER_FINALIZER) {
        return Ok(());
    }
    let kept: Vec<_> = volume.finalizers().iter().filter(|finalizer| *finalizer != PROVISIONER_FINALIZER).collect();
    let metadata = json!({ "uid": volume.uid(), "resourceVersion": volume.resource_version(), "finalizers": kept });
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    api.patch_metadata(&name, &PatchParams::default(), &patch).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use orlop_volume::{NodeTag, VolumeId};

    use super::*;

    fn volume(node: &str, phase: &str, policy: &str) -> VolumeObject {
        let object = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": { "name": "pv", "uid": "u", "annotations": { LOST_ANNOTATION: "2026-01-01T00:00:00Z" } },
            "spec": {
                "csi": { "driver": "local.orlop.dev", "volumeHandle": VolumeId::derive(&NodeTag::of(node), "pvc-1") },
                "persistentVolumeReclaimPolicy": policy,
            },
            "status": { "phase": phase },
        });
        serde_json::from_value(object).unwrap()
    }

    fn nodes(names: &[&str]) -> Nodes {
        names.iter().map(|name| (NodeTag::of(name), (*name).to_owned())).collect()
    }

    #[test]
    fn a_volume_is_lost_when_no_node_has_the_name_that_its_handle_was_made_from() {
        let volume = volume("node-1", "Bound", "Delete");
        assert!(state(&volume, &nodes(&["node-1", "node-2"])).has_node);
        let lost = state(&volume, &nodes(&["node-2"]));
        assert!(!lost.has_node && !lost.released && lost.reclaimed);
        assert_eq!(lost.lost_since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn only_a_volume_that_no_claim_has_is_released() {
        for (phase, released) in [("Bound", false), ("Available", false), ("Released", true), ("Failed", true)] {
            assert_eq!(state(&volume("n", phase, "Retain"), &nodes(&[])).released, released, "{phase}");
        }
    }

    #[test]
    fn a_volume_of_another_driver_or_with_a_handle_of_another_kind_is_none_of_the_local_driver() {
        let mut other = volume("n", "Bound", "Delete");
        assert!(other.is_local());
        for (driver, handle) in [("ebs.csi.aws.com", "vol-1"), ("local.orlop.dev", "by-hand")] {
            let csi = json!({ "csi": { "driver": driver, "volumeHandle": handle } });
            other.spec = serde_json::from_value(csi).unwrap();
            assert!(!other.is_local(), "{driver} {handle}");
        }
    }
}
