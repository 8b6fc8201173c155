//! Claims that start with a snapshot or with another claim, which only the node can serve that has it. The scheduler does
//! not know which node that is, and would try one after the other, for minutes. So the claim is given its node, in the
//! way that the scheduler itself does it: by an annotation, upon which the node's provisioner makes the volume.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::watcher::{self, watcher},
};
use orlop_volume::NodeTag;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{
    Means, World,
    kept::{Kept, Kind, News},
    objects::{ClaimObject, DataSource, Snapshot, SnapshotContent, snapshot_contents, snapshots},
};
use orlop_operator::{Backoff, Failure};

use crate::operator::act::failure;

/// By this annotation a claim's volume is made on the node of that name (`k8s.io/component-helpers/storage/volume`).
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// How long to wait before a claim is looked at again: its source may not be there yet, or its node may have had no room,
/// upon which its provisioner takes the annotation away.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(30) };

/// With nothing to wait for, everything is looked at as often.
const AT_LEAST: Duration = Duration::from_hours(1);

/// Leads claims to their nodes, without end.
pub(super) async fn lead(means: Means, world: Arc<World>, news: News) {
    let mut changes = news.subscribe();
    let kind = Kind::<ClaimObject> {
        name: "persistentvolumeclaims",
        wanted: |claim| claim.source().is_some(),
        optional: false,
    };
    let events = watcher(Api::all(means.client.clone()), watcher::Config::default());
    let claims = Kept::start(kind, (), events, news, means.metrics.clone());
    let mut leader = Leader { means, world, claims, attempts: BTreeMap::new() };
    loop {
        let again_at = leader.pass().await;
        tokio::select! {
            // The other end of the channel is kept for as long as the watches are.
            _ = changes.changed() => {}
            () = sleep_until(again_at) => {}
        }
    }
}

struct Leader {
    means: Means,
    world: Arc<World>,
    claims: Kept<ClaimObject>,
    /// The claims without a volume, by UID.
    attempts: BTreeMap<String, Attempt>,
}

/// How it stands with a claim.
#[derive(Debug, Default)]
struct Attempt {
    count: u32,
    not_before: Option<Instant>,
    /// Where it belongs, once that is known.
    place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The node that has the source.
    Node(NodeTag),
    /// It starts with nothing of the local driver's.
    Elsewhere,
}

impl Leader {
    /// Looks at every claim that is due, and says when to look again if nothing changes.
    async fn pass(&mut self) -> Instant {
        let claims = self.claims.all();
        let uids: Vec<_> = claims.iter().filter_map(|claim| claim.uid()).collect();
        self.attempts.retain(|uid, _| uids.contains(uid));
        let mut again_at = Instant::now() + AT_LEAST;
        for claim in claims {
            let (Some(uid), Some(source)) = (claim.uid(), claim.source()) else { continue };
            let mut attempt = self.attempts.remove(&uid).unwrap_or_default();
            if attempt.not_before.is_none_or(|at| at <= Instant::now()) {
                self.attempt(&claim, &source, &mut attempt).await;
            }
            if let Some(at) = attempt.not_before {
                again_at = again_at.min(at);
            }
            self.attempts.insert(uid, attempt);
        }
        again_at
    }

    async fn attempt(&self, claim: &ClaimObject, source: &DataSource, attempt: &mut Attempt) {
        let namespace = claim.namespace().unwrap_or_default();
        if attempt.place.is_none() {
            attempt.place = self.place(&namespace, source).await.unwrap_or_else(|error| {
                warn!(claim = claim.name_any(), namespace, %error, "it is not known which node a claim belongs to");
                None
            });
        }
        let node = match &attempt.place {
            Some(Place::Elsewhere) => return attempt.not_before = None,
            Some(Place::Node(tag)) => self.world.nodes().remove(tag),
            None => None,
        };
        if let Some(node) = node {
            if claim.annotations().get(SELECTED_NODE) == Some(&node) {
                // Should its provisioner give it back, the watch tells.
                return attempt.not_before = None;
            }
            self.send(claim, &namespace, &node).await;
        }
        attempt.not_before = Some(Instant::now() + BACKOFF.after(attempt.count));
        attempt.count += 1;
    }

    /// Where what a claim starts with is; nothing as long as it is not there.
    async fn place(&self, namespace: &str, source: &DataSource) -> Result<Option<Place>, kube::Error> {
        let place = |tag: Option<NodeTag>| Some(tag.map_or(Place::Elsewhere, Place::Node));
        match source {
            DataSource::Claim(name) => {
                let has = |claim: &k8s_openapi::api::core::v1::ObjectReference| {
                    claim.namespace.as_deref() == Some(namespace) && claim.name.as_deref() == Some(name)
                };
                let volumes = self.world.volumes.all();
                let volume = volumes.iter().find(|volume| volume.spec.claim_ref.as_ref().is_some_and(has));
                Ok(volume.and_then(|volume| place(volume.tag())))
            }
            DataSource::Snapshot(name) => {
                let client = &self.means.client;
                let api: Api<Snapshot> = Api::namespaced_with(client.clone(), namespace, &snapshots());
                let status = api.get_opt(name).await?.and_then(|snapshot| snapshot.status);
                let Some(content) = status.and_then(|status| status.bound_volume_snapshot_content_name) else {
                    return Ok(None);
                };
                let api: Api<SnapshotContent> = Api::all_with(client.clone(), &snapshot_contents());
                Ok(api.get_opt(&content).await?.and_then(|content| place(content.spec.tag())))
            }
        }
    }

    async fn send(&self, claim: &ClaimObject, namespace: &str, node: &str) {
        if !self.means.leadership.is_held() {
            return;
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.means.client.clone(), namespace);
        let metadata = json!({ "uid": claim.uid(), "annotations": { SELECTED_NODE: node } });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let name = claim.name_any();
        match api.patch_metadata(&name, &PatchParams::default(), &patch).await.map_err(|error| failure(&error)) {
            Ok(_) => info!(claim = name, namespace, node, "sent to the node that has what it starts with"),
            Err(Failure::Overtaken) => {}
            Err(failure) => warn!(claim = name, namespace, node, ?failure, "a claim cannot be sent to its node"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn source(spec: &Value) -> Option<DataSource> {
        let claim = json!({ "metadata": { "name": "c", "namespace": "n" }, "spec": spec });
        serde_json::from_value::<ClaimObject>(claim).unwrap().source()
    }

    #[test]
    fn of_a_snapshot_only_the_content_that_it_is_bound_to_is_read() {
        let object = json!({
            "metadata": {}, "spec": { "source": { "persistentVolumeClaimName": "c" } },
            "status": { "boundVolumeSnapshotContentName": "content", "readyToUse": true },
        });
        let status = serde_json::from_value::<Snapshot>(object).unwrap().status;
        assert_eq!(status.unwrap().bound_volume_snapshot_content_name.as_deref(), Some("content"));
    }

    #[test]
    fn a_claim_without_a_volume_starts_with_the_snapshot_or_claim_that_it_names() {
        let of = |group: Value, kind: &str| json!({ "apiGroup": group, "kind": kind, "name": "x" });
        let snapshot = of(json!("snapshot.storage.k8s.io"), "VolumeSnapshot");
        let name = || "x".to_owned();
        assert_eq!(source(&json!({ "dataSource": snapshot })), Some(DataSource::Snapshot(name())));
        let claim = of(json!(null), "PersistentVolumeClaim");
        assert_eq!(source(&json!({ "dataSource": claim })), Some(DataSource::Claim(name())));
        assert_eq!(source(&json!({ "dataSource": of(json!("example.com"), "Populator") })), None);
        assert_eq!(source(&json!({})), None);
        assert_eq!(source(&json!({ "dataSource": snapshot, "volumeName": "pv" })), None, "it has its volume");
    }
}
