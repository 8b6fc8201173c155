//! VolumeAttributesClasses: what pods do of what they would, and the drivers' controllers that give volumes another class.

use std::time::Duration;

use orlop_planner::{ClaimId, ClassMove};
use serde_json::{Value, json};

use super::{Event, Simulation, controllers::RETRY_MAX};
use crate::{
    fact::{Entry, Fact},
    scenario::Trouble,
    server::Kind,
    volume::{Change, Expansion},
};

impl Simulation {
    /// The pod of a claim goes on with this stretch of what it would do.
    pub(super) fn demand(&mut self, claim: &str, stretch: u64) {
        let (now, rng) = (self.now, &mut self.rng);
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        volume.io.epoch += 1;
        volume.io.stretch = stretch;
        let epoch = volume.io.epoch;
        let demand = volume.spec.demand.as_ref().filter(|_| volume.node.is_some());
        let (wanted, lasting) = demand.map_or((0, None), |demand| demand.stretch(stretch, now, rng));
        volume.io.want(wanted, now);
        if let Some(lasting) = lasting {
            self.schedule(lasting.max(Duration::from_secs(1)), Event::Demand { claim: claim.to_owned(), epoch });
        }
        self.limit(claim);
    }

    pub(super) fn demand_changes(&mut self, claim: &str, epoch: u64) {
        if let Some(volume) = self.volumes.get(claim).filter(|volume| volume.io.epoch == epoch) {
            let next = volume.io.stretch + 1;
            self.demand(claim, next);
        }
    }

    /// The pod does what it would, as far as the volume's class allows it.
    fn limit(&mut self, claim: &str) {
        let now = self.now;
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        let Some(demand) = &volume.spec.demand else {
            return volume.io.does(0, now);
        };
        let limits = self.scenario.limits(&volume.spec.class, volume.attributes.current.as_deref());
        let (wanted, before) = (volume.io.wanted, volume.io.at_present());
        let done = wanted.min(demand.allowed_by(&limits));
        volume.io.does(done, now);
        let was_held_back = std::mem::replace(&mut volume.io.held_back, done < wanted);
        if done < wanted && !(was_held_back && before == done) {
            self.tell(Fact::HeldBack { claim: claim.to_owned(), wanted, done });
        } else if was_held_back && done == wanted && wanted > 0 {
            self.tell(Fact::Unhindered { claim: claim.to_owned(), wanted });
        }
        self.plan_report(claim);
    }

    /// What the agent of a node has counted is of no use any more: its clock was set.
    pub(super) fn counters_begin_anew(&mut self, node: usize) {
        let now = self.now;
        for volume in self.volumes.values_mut().filter(|volume| volume.node == Some(node)) {
            volume.agent.count_from(now);
        }
    }

    /// The driver's controller looks at the class of a claim.
    pub(super) fn modify(&mut self, claim: &str) {
        let now = self.now;
        let Some(object) = self.server.get(Kind::Claim, claim) else { return };
        let requested = object["spec"]["volumeAttributesClassName"].as_str().map(str::to_owned);
        let Some(volume) = self.volumes.get(claim) else { return };
        if volume.attributes.is_changing() {
            return;
        }
        let Some(to) = requested.filter(|to| Some(to) != volume.attributes.current.as_ref()) else {
            return self.leave_class(claim);
        };
        if matches!(&volume.attributes.change, Change::Refused { class, again } if *class == to && now < *again) {
            return;
        }
        if self.faults.is_on(|trouble| matches!(trouble, Trouble::ResizerDown {})) {
            return self.schedule(Duration::from_secs(15), Event::Modify { claim: claim.to_owned() });
        }
        let refuses = |trouble: &Trouble| match trouble {
            Trouble::ModificationRefused { class } => class.as_ref().is_none_or(|class| *class == to),
            _ => false,
        };
        if self.faults.is_on(refuses) {
            return self.refuse_class(claim, to);
        }
        if self.faults.is_on(|trouble| matches!(trouble, Trouble::ModificationFails {})) {
            return self.fail_class(claim, to, "the storage is in trouble");
        }
        let Some(class) = self.scenario.classes.get(&volume.spec.class) else { return };
        if let Some(rule) = &class.driver.modifications {
            if matches!(volume.expansion, Expansion::Running { .. }) {
                return self.fail_class(claim, to, "it is being expanded");
            }
            if volume.next_slot(rule).is_some_and(|at| at > now) {
                return self.fail_class(claim, to, "it has no modification slot left");
            }
        }
        let takes = Duration::from(class.takes) * self.driver_slowness();
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        volume.attributes.change = Change::Running { to: to.clone() };
        volume.modified.push(now);
        let life = volume.lives;
        self.modifying(claim, &to, "InProgress", &Value::Null);
        self.tell(Fact::Modifies { claim: claim.to_owned(), to });
        self.schedule(takes, Event::Modified { claim: claim.to_owned(), life });
    }

    /// The claim asks for what its volume has.
    fn leave_class(&mut self, claim: &str) {
        if let Some(volume) = self.volumes.get_mut(claim) {
            volume.attributes.change = Change::Idle;
        }
        self.server.update(Kind::Claim, claim, forget_modification);
    }

    fn fail_class(&mut self, claim: &str, to: String, why: &'static str) {
        let Some(volume) = self.volumes.get_mut(claim) else { return };
        let times = if let Change::Failed { times } = volume.attributes.change { times + 1 } else { 0 };
        volume.attributes.change = Change::Failed { times };
        self.modifying(claim, &to, "InProgress", &json!(why));
        if times == 0 {
            self.tell(Fact::ModificationFails { claim: claim.to_owned(), to, why });
        }
        let pause = Duration::from_secs(1_u64 << times.min(9)).min(RETRY_MAX);
        self.schedule(pause, Event::Modify { claim: claim.to_owned() });
    }

    fn refuse_class(&mut self, claim: &str, to: String) {
        let again = self.now + RETRY_MAX;
        if let Some(volume) = self.volumes.get_mut(claim) {
            volume.attributes.change = Change::Refused { class: to.clone(), again };
        }
        self.schedule_at(again, Event::Modify { claim: claim.to_owned() });
        self.modifying(claim, &to, "Infeasible", &json!("it has no such storage"));
        self.tell(Fact::ModificationFails { claim: claim.to_owned(), to, why: "it refuses" });
    }

    fn modifying(&mut self, claim: &str, to: &str, status: &str, error: &Value) {
        self.server.update(Kind::Claim, claim, |object| {
            object["status"]["modifyVolumeStatus"] = json!({ "targetVolumeAttributesClassName": to, "status": status });
            drop_modification_error(object);
            if error.is_null() {
                return;
            }
            let condition = json!({ "type": "ModifyVolumeError", "status": "True", "message": error });
            match object["status"]["conditions"].as_array_mut() {
                Some(conditions) => conditions.push(condition),
                None => object["status"]["conditions"] = json!([condition]),
            }
        });
    }

    pub(super) fn modified(&mut self, claim: &str, life: u64) {
        let Some(volume) = self.volumes.get_mut(claim).filter(|volume| volume.lives == life) else { return };
        let Change::Running { to } = std::mem::take(&mut volume.attributes.change) else { return };
        let from = volume.attributes.current.replace(to.clone());
        self.tell(Fact::Modified { claim: claim.to_owned(), from, to: to.clone() });
        self.server.update(Kind::Claim, claim, |object| {
            object["status"]["currentVolumeAttributesClassName"] = json!(to);
            forget_modification(object);
        });
        self.limit(claim);
        // It may have been asked for another class meanwhile.
        self.schedule(Duration::from_secs(1), Event::Modify { claim: claim.to_owned() });
    }

    /// Tells why the class of a claim is what it is, where that is news.
    pub(super) fn tell_of_class(&mut self, operator: usize, claim: &ClaimId) {
        let process = &mut self.processes[operator];
        let Some((decision, _)) = process.core.ledger().performance(claim) else { return };
        // That another is asked for the request tells.
        if matches!(decision.outcome, ClassMove::Set(_)) {
            return;
        }
        let (reason, message) = (decision.reason, decision.message.clone());
        let name = claim.name.to_string();
        if process.class_reasons.insert(name.clone(), reason) != Some(reason) {
            let fact = Fact::DecidedClass { operator, claim: name, reason, message };
            self.facts.push(Entry { at: self.now, fact });
        }
    }
}

fn forget_modification(object: &mut Value) {
    if let Some(status) = object["status"].as_object_mut() {
        status.remove("modifyVolumeStatus");
    }
    drop_modification_error(object);
}

fn drop_modification_error(object: &mut Value) {
    if let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| condition["type"] != "ModifyVolumeError");
    }
}
