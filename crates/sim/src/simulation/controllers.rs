//! What the cluster does by itself: workloads write, the drivers' controllers expand, the kubelets sync pods, users make
//! and delete claims.

use std::time::Duration;

use orlop_api::{Bytes, Expansion as Expands, names::SYNC_ANNOTATION};
use serde_json::json;

use super::{Event, Simulation, driver_name, sets};
use crate::{
    fact::Fact,
    scenario::Trouble,
    server::{self, Kind, NAMESPACE},
    volume::{Expansion, Volume},
};

/// The resizer's pauses between two tries double from a second to this.
pub(super) const RETRY_MAX: Duration = Duration::from_mins(5);

/// How often a kubelet syncs a pod of which it hears nothing, at most.
const SYNC_WITHIN_MS: u64 = 90_000;

impl Simulation {
    /// Makes a claim with its volume and its pod.
    pub(super) fn provision(&mut self, claim: &str) {
        let now = self.time();
        let spec = self.scenario.claims.get(claim).cloned().or_else(|| self.claim_of_replica(claim));
        let Some(spec) = spec else { return };
        let before = self.volumes.remove(claim);
        let (size, node, lives) = (spec.size, spec.node, before.as_ref().map_or(0, |volume| volume.lives + 1));
        let driver = driver_name(&spec.class);
        let mut object = json!({
            "metadata": { "labels": spec.labels },
            "spec": {
                "storageClassName": spec.class,
                "volumeName": claim,
                "resources": { "requests": { "storage": size } },
            },
            "status": { "phase": "Bound", "capacity": { "storage": size } },
        });
        if let Some(class) = &spec.attributes_class {
            object["spec"]["volumeAttributesClassName"] = json!(class);
            object["status"]["currentVolumeAttributesClassName"] = json!(class);
        }
        self.server.create(Kind::Claim, claim, object, now);
        let uid = self.server.get(Kind::Claim, claim).map(|object| object["metadata"]["uid"].clone());
        let object = json!({
            "spec": {
                "capacity": { "storage": size },
                "csi": { "driver": driver, "volumeHandle": claim },
                "claimRef": { "namespace": NAMESPACE, "name": claim, "uid": uid },
            },
        });
        self.server.create(Kind::Volume, claim, object, now);
        let mut volume = Volume::new(claim, spec, self.now);
        volume.lives = lives;
        volume.pods = before.as_ref().map_or(0, |volume| volume.pods);
        volume.seen_on = before.map_or_else(Default::default, |volume| volume.seen_on);
        self.volumes.insert(claim.to_owned(), volume);
        self.start_pod(claim, node);
    }

    pub(super) fn unprovision(&mut self, claim: &str) {
        self.stop_pod(claim);
        self.server.delete(Kind::Claim, claim);
        self.server.delete(Kind::Volume, claim);
    }

    pub(super) fn start_pod(&mut self, claim: &str, node: usize) {
        let now = self.time();
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        if volume.node.is_some() {
            return;
        }
        volume.node = Some(node);
        volume.agent.count_from(self.now);
        volume.pods += 1;
        self.confirming.remove(&node);
        let name = pod_name(claim);
        let object =
            json!({ "spec": { "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }] } });
        self.server.create(Kind::Pod, &name, object, now);
        let size = volume.size;
        if size > self.server_capacity(claim) {
            self.finish_growth(claim);
        }
        self.begin_work(claim);
    }

    /// The claim's pod does what it does from its beginning.
    pub(super) fn begin_work(&mut self, claim: &str) {
        self.write(claim, 0);
        self.demand(claim, 0);
    }

    pub(super) fn stop_pod(&mut self, claim: &str) {
        let now = self.now;
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        let Some(node) = volume.node.take() else { return };
        volume.write(Bytes(0), Bytes(0), now);
        volume.epoch += 1;
        volume.io.end(now);
        volume.summary = None;
        self.server.delete(Kind::Pod, &pod_name(claim));
        self.unmounted(claim, node);
    }

    /// The claim's workload writes nothing until it is begun anew.
    pub(super) fn suspend(&mut self, claim: &str) {
        let now = self.now;
        self.sample(claim);
        if let Some(volume) = self.volumes.get_mut(claim) {
            volume.write(Bytes(0), Bytes(0), now);
            volume.epoch += 1;
            volume.io.end(now);
        }
    }

    /// The claim's workload goes on with this stretch.
    pub(super) fn write(&mut self, claim: &str, stretch: u64) {
        let (now, rng) = (self.now, &mut self.rng);
        let Some(volume) = self.volumes.get_mut(claim).filter(|volume| volume.node.is_some()) else { return };
        volume.epoch += 1;
        volume.stretch = stretch;
        let epoch = volume.epoch;
        let next = volume.spec.workload.stretch(stretch, now, rng);
        self.sample(claim);
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        volume.write(next.rate, next.freed, now);
        if let Some(lasting) = next.lasting {
            self.schedule(lasting.max(Duration::from_secs(1)), Event::Stretch { claim: claim.to_owned(), epoch });
        }
        self.watch_fill(claim);
        self.plan_report(claim);
    }

    pub(super) fn stretch(&mut self, claim: &str, epoch: u64) {
        if let Some(volume) = self.volumes.get(claim).filter(|volume| volume.epoch == epoch) {
            let next = volume.stretch + 1;
            self.write(claim, next);
        }
    }

    /// Says when the volume will be full, or that it no longer is.
    fn watch_fill(&mut self, claim: &str) {
        let now = self.now;
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        if volume.full && volume.lacks(now).is_none() {
            volume.full = false;
            self.tell(Fact::Room { claim: claim.to_owned() });
        }
        let Some(volume) = self.volumes.get(claim) else { return };
        if let Some(wait) = volume.until_full(now).filter(|_| !volume.full && volume.rate() > Bytes(0)) {
            let epoch = volume.epoch;
            self.schedule(wait, Event::Fills { claim: claim.to_owned(), epoch });
        }
    }

    pub(super) fn fills(&mut self, claim: &str, epoch: u64) {
        let now = self.now;
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        if volume.epoch != epoch || volume.full {
            return;
        }
        if let Some(lacks) = volume.lacks(now) {
            volume.full = true;
            self.tell(Fact::Full { claim: claim.to_owned(), lacks });
        }
    }

    fn server_capacity(&self, claim: &str) -> Bytes {
        Bytes(self.server.get(Kind::Claim, claim).map_or(0, server::capacity))
    }

    fn server_requested(&self, claim: &str) -> Bytes {
        Bytes(self.server.get(Kind::Claim, claim).map_or(0, server::requested))
    }

    /// An operator has changed an object: whoever is concerned sees it soon.
    pub(super) fn requested(&mut self, kind: Kind, name: &str) {
        let after = Duration::from_millis(self.rng.u64(50..1_000));
        match kind {
            Kind::Claim => {
                self.schedule(after, Event::Resize { claim: name.to_owned() });
                if !self.scenario.attributes_classes.is_empty() {
                    self.schedule(after, Event::Modify { claim: name.to_owned() });
                }
            }
            Kind::Pod => {
                let touched = self.server.get(Kind::Pod, name);
                let told = touched.is_some_and(|pod| !pod["metadata"]["annotations"][SYNC_ANNOTATION].is_null());
                if let Some(claim) = claim_of_pod(name).filter(|claim| told && self.volumes.contains_key(claim)) {
                    let life = self.volumes.get(&claim).map_or(0, |it| it.lives);
                    self.schedule(after, Event::Sync { claim, life });
                }
            }
            Kind::Set => self.look_at_set(name, after),
            _ => {}
        }
    }

    /// The driver's controller looks at a claim.
    pub(super) fn resize(&mut self, claim: &str) {
        let now = self.now;
        let requested = self.server_requested(claim);
        let Some(volume) = self.volumes.get(claim) else { return };
        if matches!(volume.expansion, Expansion::Running { .. }) || requested <= volume.size {
            return;
        }
        if matches!(volume.expansion, Expansion::Refused { to, again } if to == requested && now < again) {
            return;
        }
        if self.faults.is_on(|trouble| matches!(trouble, Trouble::ResizerDown {})) {
            return self.schedule(Duration::from_secs(15), Event::Resize { claim: claim.to_owned() });
        }
        let Some(class) = self.scenario.classes.get(&volume.spec.class).cloned() else { return };
        let to = requested.round_up(class.driver.size_increment);
        let refuses_it = |trouble: &Trouble| match trouble {
            Trouble::DriverRefuses { above } => above.is_none_or(|above| to > above),
            _ => false,
        };
        let refuses = self.faults.is_on(refuses_it)
            || class.driver.expansion == Expands::None
            || class.driver.maximum_size.is_some_and(|maximum| to > maximum);
        if !class.expandable || refuses {
            return self.refuse(claim, requested);
        }
        let in_use = class.driver.expansion == Expands::Offline && volume.node.is_some();
        if in_use || self.faults.is_on(|trouble| matches!(trouble, Trouble::DriverFails {})) {
            return self.fail(claim, if in_use { "a pod uses it" } else { "the storage is in trouble" });
        }
        if class.driver.modifications.is_some() && volume.attributes.is_changing() {
            return self.fail(claim, "it is being modified");
        }
        let next_slot = class.driver.modifications.as_ref().and_then(|rule| volume.next_slot(rule));
        if next_slot.is_some_and(|at| at > now) {
            return self.fail(claim, "it has no modification slot left");
        }
        let takes = Duration::from(class.takes) * self.driver_slowness();
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        volume.expansion = Expansion::Running { to };
        volume.modified.push(now);
        let life = volume.lives;
        self.resizing(claim, "ControllerResizeInProgress");
        self.tell(Fact::Expands { claim: claim.to_owned(), to });
        self.schedule(takes, Event::Expanded { claim: claim.to_owned(), life });
    }

    /// How many times as long a driver takes for what it does.
    pub(super) fn driver_slowness(&self) -> u32 {
        let slowness = self.faults.sum(|trouble| match trouble {
            Trouble::DriverSlow { times } => Some(i64::from(*times) - 1),
            _ => None,
        });
        u32::try_from(slowness + 1).unwrap_or(1)
    }

    fn fail(&mut self, claim: &str, why: &'static str) {
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        let times = if let Expansion::Failed { times } = volume.expansion { times + 1 } else { 0 };
        volume.expansion = Expansion::Failed { times };
        self.resizing(claim, "ControllerResizeInProgress");
        if times == 0 {
            self.tell(Fact::ExpansionFails { claim: claim.to_owned(), why });
        }
        let pause = Duration::from_secs(1_u64 << times.min(9)).min(RETRY_MAX);
        self.schedule(pause, Event::Resize { claim: claim.to_owned() });
    }

    fn refuse(&mut self, claim: &str, to: Bytes) {
        let again = self.now + RETRY_MAX;
        if let Some(volume) = self.volumes.get_mut(claim) {
            volume.expansion = Expansion::Refused { to, again };
        }
        self.schedule_at(again, Event::Resize { claim: claim.to_owned() });
        self.server.update(Kind::Claim, claim, |object| {
            object["status"]["allocatedResourceStatuses"] = json!({ "storage": "ControllerResizeInfeasible" });
            object["status"]["allocatedResources"] = json!({ "storage": to });
            object["status"]["conditions"] =
                json!([{ "type": "ControllerResizeError", "status": "True", "message": "there is no room" }]);
        });
        self.tell(Fact::ExpansionFails { claim: claim.to_owned(), why: "it refuses" });
    }

    fn resizing(&mut self, claim: &str, status: &str) {
        self.server.update(Kind::Claim, claim, |object| {
            object["status"]["allocatedResourceStatuses"] = json!({ "storage": status });
            object["status"]["allocatedResources"] = object["spec"]["resources"]["requests"].clone();
            object["status"]["conditions"] = json!([]);
        });
    }

    pub(super) fn expanded(&mut self, claim: &str, life: u64) {
        let Some(volume) = self.volumes.get_mut(claim).filter(|volume| volume.lives == life) else { return };
        let Expansion::Running { to } = volume.expansion else { return };
        let from = volume.size;
        volume.expansion = Expansion::Idle;
        volume.size = to;
        let node = volume.node;
        self.tell(Fact::Expanded { claim: claim.to_owned(), from, to });
        self.server.update(Kind::Volume, claim, |object| object["spec"]["capacity"]["storage"] = json!(to));
        self.resizing(claim, "NodeResizePending");
        if node.is_some() {
            let wait = Duration::from_millis(self.rng.u64(1_000..SYNC_WITHIN_MS));
            self.schedule(wait, Event::Sync { claim: claim.to_owned(), life });
        }
        // It may have been asked for more meanwhile.
        self.schedule(Duration::from_secs(1), Event::Resize { claim: claim.to_owned() });
    }

    /// The kubelet syncs the pod of a claim.
    pub(super) fn sync(&mut self, claim: &str, life: u64) {
        let Some(volume) = self.volumes.get(claim).filter(|volume| volume.lives == life) else { return };
        let Some(node) = volume.node else { return };
        if volume.size <= self.server_capacity(claim) {
            return;
        }
        if self.faults.is_on(|trouble| matches!(trouble, Trouble::KubeletDown { node: of } if *of == node)) {
            let wait = Duration::from_millis(self.rng.u64(1_000..SYNC_WITHIN_MS));
            return self.schedule(wait, Event::Sync { claim: claim.to_owned(), life });
        }
        self.finish_growth(claim);
    }

    /// The filesystem takes the volume's size, and the claim says so.
    fn finish_growth(&mut self, claim: &str) {
        let now = self.now;
        self.sample(claim);
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        volume.grow_filesystem(now);
        let size = volume.size;
        self.server.update(Kind::Claim, claim, |object| {
            object["status"]["capacity"]["storage"] = json!(size);
            if let Some(status) = object["status"].as_object_mut() {
                status.remove("allocatedResourceStatuses");
                status.remove("allocatedResources");
                status.remove("conditions");
            }
        });
        self.tell(Fact::Usable { claim: claim.to_owned(), size });
        self.watch_fill(claim);
        self.plan_report(claim);
    }
}

/// The pod of a claim: that of a replica is called as its StatefulSet calls it.
fn pod_name(claim: &str) -> String {
    match sets::replica(claim) {
        Some((set, ordinal)) => format!("{set}-{ordinal}"),
        None => format!("{claim}-pod"),
    }
}

/// Of a name that [`pod_name`] has made.
fn claim_of_pod(pod: &str) -> Option<String> {
    if let Some(claim) = pod.strip_suffix("-pod") {
        return Some(claim.to_owned());
    }
    let (set, ordinal) = pod.rsplit_once('-')?;
    Some(sets::claim_name(set, ordinal.parse().ok()?))
}
