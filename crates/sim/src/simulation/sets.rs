//! What the cluster does by itself about StatefulSets: their controller makes claims of their templates and starts and stops
//! their pods, one after the other; the garbage collector lets go of them when a StatefulSet is deleted and its pods are not.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Event, Simulation};
use crate::{
    fact::Fact,
    scenario::{Claim, Trouble},
    server::Kind,
};

/// The name of the one template of each StatefulSet.
pub(crate) const TEMPLATE: &str = "data";

impl Simulation {
    /// Makes the StatefulSets of the scenario. Their pods and claims their controller makes.
    pub(super) fn furnish_sets(&mut self) {
        let now = self.time();
        for (name, set) in self.scenario.sets.clone() {
            let labels = json!({ "app": name });
            let object = json!({
                "metadata": { "labels": labels },
                "spec": {
                    "replicas": set.replicas,
                    "selector": { "matchLabels": labels },
                    "volumeClaimTemplates": [{
                        "metadata": { "name": TEMPLATE, "labels": set.template.labels },
                        "spec": {
                            "storageClassName": set.template.class,
                            "resources": { "requests": { "storage": set.template.size } },
                        },
                    }],
                },
                "status": { "replicas": 0, "readyReplicas": 0, "currentRevision": "1", "updateRevision": "1" },
            });
            self.server.create(Kind::Set, &name, object, now);
            // They are there when the scenario begins.
            for ordinal in 0..set.replicas {
                self.provide_replica(&name, ordinal);
            }
            self.report_set(&name);
        }
    }

    /// The claim of a replica as the scenario has it; none where it is of no StatefulSet.
    pub(super) fn claim_of_replica(&self, claim: &str) -> Option<Claim> {
        let (set, ordinal) = replica(claim)?;
        let template = &self.scenario.sets.get(set)?.template;
        // The volume is as large as the template asks for now.
        let size = self.server.get(Kind::Set, set).and_then(template_size)?.parse().ok()?;
        let node = usize::try_from(ordinal).unwrap_or(0) % self.scenario.nodes.max(1);
        Some(Claim { size, node, ..template.clone() })
    }

    /// The controller looks at a StatefulSet soon.
    pub(super) fn look_at_set(&mut self, set: &str, after: Duration) {
        self.schedule(after, Event::SetReconciles { set: set.to_owned() });
    }

    /// The controller starts or stops the next pod of a StatefulSet, if one is to be.
    pub(super) fn reconcile_set(&mut self, set: &str) {
        let Some(object) = self.server.get(Kind::Set, set) else { return };
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        if self.faults.is_on(|trouble| matches!(trouble, Trouble::ControllersDown {})) {
            return self.look_at_set(set, Duration::from_secs(10));
        }
        let replicas = object["spec"]["replicas"].as_u64().and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
        let surplus = self.running_replicas(set).into_iter().rev().find(|ordinal| *ordinal >= replicas);
        let missing = (0..replicas).find(|ordinal| !self.is_running(set, *ordinal));
        if let Some(ordinal) = surplus {
            let claim = claim_name(set, ordinal);
            self.stop_pod(&claim);
            self.tell(Fact::ReplicaStops { claim });
        } else if let Some(ordinal) = missing {
            self.provide_replica(set, ordinal);
        } else {
            return self.report_set(set);
        }
        self.report_set(set);
        let pause = Duration::from_millis(self.rng.u64(500..8_000));
        self.look_at_set(set, pause);
    }

    /// The pod of a replica runs, on the claim that it has or on a new one of the template.
    fn provide_replica(&mut self, set: &str, ordinal: u32) {
        let claim = claim_name(set, ordinal);
        let is_new = self.server.get(Kind::Claim, &claim).is_none();
        if is_new {
            self.provision(&claim);
        } else {
            let node = self.volumes.get(&claim).map_or(0, |volume| volume.spec.node);
            self.start_pod(&claim, node);
        }
        let size = self.volumes.get(&claim).map(|volume| volume.size).unwrap_or_default();
        if self.now > Duration::ZERO {
            self.tell(Fact::ReplicaStarts { claim, made: is_new.then_some(size) });
        }
    }

    fn is_running(&self, set: &str, ordinal: u32) -> bool {
        self.volumes.get(&claim_name(set, ordinal)).is_some_and(|volume| volume.node.is_some())
    }

    fn running_replicas(&self, set: &str) -> Vec<u32> {
        let running = self.volumes.iter().filter(|(_, volume)| volume.node.is_some());
        let mut ordinals: Vec<u32> =
            running.filter_map(|(claim, _)| replica(claim)).filter(|(of, _)| *of == set).map(|(_, it)| it).collect();
        ordinals.sort_unstable();
        ordinals
    }

    fn report_set(&mut self, set: &str) {
        let running = self.running_replicas(set).len();
        self.server.update(Kind::Set, set, |object| {
            let generation = object["metadata"]["generation"].clone();
            object["status"] = json!({
                "observedGeneration": generation, "replicas": running, "readyReplicas": running,
                "currentRevision": "1", "updateRevision": "1",
            });
        });
    }

    /// The garbage collector has let go of the pods and claims of a StatefulSet that is being deleted.
    pub(super) fn release_set(&mut self, set: &str, uid: &str) {
        if self.server.get(Kind::Set, set).is_none_or(|object| object["metadata"]["uid"] != *uid) {
            return;
        }
        if self.faults.is_on(|trouble| matches!(trouble, Trouble::ControllersDown {})) {
            let again = Event::SetReleased { set: set.to_owned(), uid: uid.to_owned() };
            return self.schedule(Duration::from_secs(10), again);
        }
        self.server.delete(Kind::Set, set);
        self.tell(Fact::SetGone { set: set.to_owned() });
    }

    /// A user scales a StatefulSet, where it is there.
    pub(super) fn scale_set(&mut self, set: &str, replicas: u32) {
        self.server.update(Kind::Set, set, |object| {
            object["spec"]["replicas"] = json!(replicas);
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        });
        self.look_at_set(set, Duration::from_millis(200));
    }
}

/// How much the template of a StatefulSet asks for.
pub(crate) fn template_size(object: &Value) -> Option<&str> {
    object["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"].as_str()
}

/// The claim of a replica.
pub(crate) fn claim_name(set: &str, ordinal: u32) -> String {
    format!("{TEMPLATE}-{set}-{ordinal}")
}

/// The StatefulSet that a claim with such a name is of, and its number there.
pub(crate) fn replica(claim: &str) -> Option<(&str, u32)> {
    let (set, ordinal) = claim.strip_prefix(TEMPLATE)?.strip_prefix('-')?.rsplit_once('-')?;
    Some((set, ordinal.parse().ok()?))
}
