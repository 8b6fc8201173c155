//! Hands snapshots to the snapshotter of the node that has the volumes: by a label that a cluster's snapshot controller
//! sets on some of them and not on others, namely not on groups, on their members, and on those that were not made
//! from a claim of this cluster; and on none at all, unless it runs with distributed snapshotting.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
    runtime::watcher::{self, watcher},
};
use orlop_planner::{NamespaceName, Uid};
use serde_json::json;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    Means, Nodes, World,
    groups::{self, Group},
    kept::{Kept, Kind, News},
    objects::{GroupContent, MANAGED_BY, SnapshotContent, group_classes, group_contents, snapshot_contents},
};
use orlop_operator::{Failure, notice};

use crate::operator::act::failure;

/// For how long a node has a class that others wait for too. A group takes less than a second.
const TURN_SECONDS: i64 = 5;

/// How soon to try again what failed.
const AGAIN: Duration = Duration::from_secs(1);

/// With nothing to wait for, everything is looked at as often.
const AT_LEAST: Duration = Duration::from_hours(1);

/// Labels what is not labelled, without end.
pub(super) async fn hand_out(means: Means, world: Arc<World>, news: News) {
    let mut changes = news.subscribe();
    let kind = Kind::<SnapshotContent> {
        name: "volumesnapshotcontents",
        wanted: |content| content.spec.tag().is_some(),
        optional: true,
    };
    // Those that have the label are another's business, and never come here.
    let config = watcher::Config::default().labels(&format!("!{MANAGED_BY}"));
    let resource = snapshot_contents();
    let events = watcher(Api::all_with(means.client.clone(), &resource), config);
    let singles = Kept::start(kind, resource, events, news.clone(), means.metrics.clone());

    let kind = Kind::<GroupContent> {
        name: "volumegroupsnapshotcontents",
        wanted: |content| !content.spec.tags().is_empty(),
        optional: true,
    };
    let resource = group_contents();
    let events = watcher(Api::all_with(means.client.clone(), &resource), watcher::Config::default());
    let groups = Kept::start(kind, resource, events, news, means.metrics.clone());

    let mut labeller = Labeller { means, world, singles, groups, lent: BTreeMap::new() };
    loop {
        let wait = labeller.pass().await;
        tokio::select! {
            // The other end of the channel is kept for as long as the watches are.
            _ = changes.changed() => {}
            () = sleep(wait) => {}
        }
    }
}

struct Labeller {
    means: Means,
    world: Arc<World>,
    singles: Kept<SnapshotContent>,
    groups: Kept<GroupContent>,
    /// Which node has which class, as this operator has labelled it.
    lent: BTreeMap<String, String>,
}

impl Labeller {
    /// Labels what is to be labelled now, and says how long nothing is to be done if nothing changes.
    async fn pass(&mut self) -> Duration {
        let nodes = self.world.nodes();
        let mut all_done = true;
        for content in self.singles.all() {
            // The snapshotter of a node that is gone is gone too; if the node comes back, that is news.
            let Some(node) = content.spec.tag().and_then(|tag| nodes.get(&tag)) else { continue };
            all_done &= self.label(&snapshot_contents(), &content.name_any(), node).await;
        }
        let contents = self.groups.all();
        for content in &contents {
            self.warn_of_several_nodes(content, &nodes);
        }
        let groups: Vec<_> = contents.iter().filter_map(|content| group(content, &nodes)).collect();
        let now = Timestamp::now().as_second();
        let labels = groups::label(&groups, u64::try_from(now / TURN_SECONDS).unwrap_or(0));
        // Should somebody else change a class's label, it is set again when the next group is taken.
        self.lent.retain(|class, _| labels.classes.contains_key(class));
        for (class, node) in labels.classes {
            if self.lent.get(&class) != Some(&node) {
                if self.label(&group_classes(), &class, &node).await {
                    self.lent.insert(class, node);
                } else {
                    all_done = false;
                }
            }
        }
        for (content, node) in labels.contents {
            all_done &= self.label(&group_contents(), &content, &node).await;
        }
        match (all_done, labels.contended) {
            (false, _) => AGAIN,
            (true, true) => Duration::from_secs(u64::try_from(TURN_SECONDS - now % TURN_SECONDS).unwrap_or(1)),
            (true, false) => AT_LEAST,
        }
    }

    /// Labels an object; false where that is to be tried again.
    async fn label(&self, kind: &ApiResource, name: &str, node: &str) -> bool {
        if !self.means.leadership.is_held() {
            return false;
        }
        let api: Api<DynamicObject> = Api::all_with(self.means.client.clone(), kind);
        let patch = Patch::Merge(json!({ "metadata": { "labels": { MANAGED_BY: node } } }));
        let labelled = api.patch_metadata(name, &PatchParams::default(), &patch).await;
        match labelled.map_err(|error| failure(&error)) {
            Ok(_) => {
                info!(kind = kind.kind, object = name, node, "handed to the node's snapshotter");
                true
            }
            // It is gone.
            Err(Failure::Overtaken) => true,
            Err(failure) => {
                warn!(kind = kind.kind, object = name, node, ?failure, "cannot be handed to the node's snapshotter");
                false
            }
        }
    }

    /// The driver refuses such a group; but its users see only that it does not become ready.
    fn warn_of_several_nodes(&self, content: &GroupContent, nodes: &Nodes) {
        let mut tags = content.spec.tags();
        tags.sort();
        tags.dedup();
        let reference = &content.spec.volume_group_snapshot_ref;
        let (Some(namespace), Some(name), Some(uid)) = (&reference.namespace, &reference.name, &reference.uid) else {
            return;
        };
        if tags.len() < 2 || is_labelled(content) {
            return;
        }
        let names: Vec<_> = tags
            .iter()
            .map(|tag| nodes.get(tag).cloned().unwrap_or_else(|| "a node that is gone".to_owned()))
            .collect();
        let (namespace, uid) = (NamespaceName(namespace.as_str().into()), Uid(uid.as_str().into()));
        self.means.notices.send(notice::spans_nodes(namespace, name, uid, &names));
    }
}

fn is_labelled(content: &GroupContent) -> bool {
    content.labels().contains_key(MANAGED_BY)
}

/// A group, where the node of its first volume is there. One of several nodes goes there too: the driver refuses it with
/// the reason, and the snapshotter lets it be deleted.
fn group(content: &GroupContent, nodes: &Nodes) -> Option<Group> {
    let node = nodes.get(content.spec.tags().first()?)?;
    let ready = content.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true));
    let waits = content.spec.is_to_be_taken() && !ready && content.metadata.deletion_timestamp.is_none();
    Some(Group {
        name: content.name_any(),
        node: node.clone(),
        class: content.spec.volume_group_snapshot_class_name.clone().filter(|_| waits),
        label: content.labels().get(MANAGED_BY).cloned(),
    })
}

#[cfg(test)]
mod tests {
    use orlop_volume::{GroupId, NodeTag, SnapshotId, VolumeId};
    use serde_json::Value;

    use super::*;

    fn tag() -> NodeTag {
        NodeTag::of("node-1")
    }

    fn content(source: &Value, status: &Value) -> GroupContent {
        let object = json!({
            "metadata": { "name": "content", "uid": "u" },
            "spec": {
                "driver": "local.orlop.dev", "deletionPolicy": "Delete", "source": source,
                "volumeGroupSnapshotClassName": "class",
                "volumeGroupSnapshotRef": { "namespace": "app", "name": "snap", "uid": "s" },
            },
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn nodes() -> Nodes {
        [(tag(), "node-1".to_owned())].into()
    }

    #[test]
    fn a_single_snapshot_is_of_the_node_of_its_volume_or_of_its_own_handle() {
        for source in [
            json!({ "volumeHandle": VolumeId::derive(&tag(), "v") }),
            json!({ "snapshotHandle": SnapshotId::derive(&tag(), "s") }),
        ] {
            let spec = json!({ "driver": "local.orlop.dev", "source": source });
            let object = json!({ "metadata": {}, "spec": spec, "status": { "readyToUse": true } });
            let content: SnapshotContent = serde_json::from_value(object).unwrap();
            assert_eq!(content.spec.tag(), Some(tag()), "{source}");
        }
        let foreign = json!({ "metadata": {}, "spec": { "driver": "x", "source": { "volumeHandle": VolumeId::derive(&tag(), "v") } } });
        assert_eq!(serde_json::from_value::<SnapshotContent>(foreign).unwrap().spec.tag(), None);
    }

    #[test]
    fn a_group_needs_its_class_until_it_has_been_taken() {
        let source = json!({ "volumeHandles": [VolumeId::derive(&tag(), "v")] });
        let waits = |status| group(&content(&source, &status), &nodes()).unwrap().class.is_some();
        assert!(waits(json!(null)) && waits(json!({ "error": { "message": "no room" } })));
        assert!(!waits(json!({ "readyToUse": true })));
    }

    #[test]
    fn a_group_that_somebody_has_brought_is_of_the_node_of_its_handle_and_needs_no_class() {
        let handles = json!({ "volumeGroupSnapshotHandle": GroupId::derive(&tag(), "g"), "volumeSnapshotHandles": [] });
        let group = group(&content(&json!({ "groupSnapshotHandles": handles }), &json!(null)), &nodes()).unwrap();
        assert_eq!((group.node.as_str(), group.class), ("node-1", None));
    }

    #[test]
    fn a_group_of_a_node_that_is_gone_waits_for_the_node() {
        let source = json!({ "volumeHandles": [VolumeId::derive(&NodeTag::of("node-9"), "v")] });
        assert_eq!(group(&content(&source, &json!(null)), &nodes()), None);
    }
}
