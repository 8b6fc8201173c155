//! No StatefulSet is lost while it is made anew, whatever happens in between: in the end it is there as it was but for larger
//! templates, and none of its pods has been stopped that nobody has scaled down. And that it is made anew is of use: a new
//! replica is as large as the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use orlop_api::{Bytes, Mode, TemplateSync, names::SCALED_ANNOTATION};
use serde_json::Value;

use super::{Checker, foreign, fullness};
use crate::{
    fact::{Entry, Fact},
    scenario::{Deed, Policy},
    server::{self, Kind},
    simulation::{Simulation, sets},
};

/// To be made anew takes five requests, and the longest pause after one that was refused is five minutes.
const PATIENCE: Duration = Duration::from_mins(6);

#[derive(Default)]
pub(super) struct Lost {
    /// What each StatefulSet was at first, but for its sizes and replicas.
    specs: BTreeMap<String, Value>,
    /// How many replicas each may have: what its users last said, and before that where they said so while it was being deleted.
    replicas: BTreeMap<String, BTreeSet<u64>>,
    sizes: BTreeMap<String, Bytes>,
    gone_since: BTreeMap<String, Duration>,
}

impl Checker for Lost {
    fn name(&self) -> &'static str {
        "no StatefulSet is lost"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        match &entry.fact {
            Fact::Changed(change) => {
                let Deed::Scale { set, replicas } = &change.what else { return None };
                let object = world.server.get(Kind::Set, set)?;
                let is_deleting = !object["metadata"]["deletionTimestamp"].is_null();
                let mut allowed = if is_deleting { self.wanted(world, set) } else { BTreeSet::new() };
                allowed.insert((*replicas).into());
                self.replicas.insert(set.clone(), allowed);
                None
            }
            Fact::ReplicaStops { claim } => {
                let (set, ordinal) = sets::replica(claim)?;
                let wanted = self.wanted(world, set).into_iter().min()?;
                let scaled = !world.server.get(Kind::Set, set)?["metadata"]["annotations"][SCALED_ANNOTATION].is_null();
                (u64::from(ordinal) < wanted && !scaled)
                    .then(|| format!("the pod of {claim} is stopped, and nobody has scaled {set} down to that"))
            }
            _ => None,
        }
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        for set in world.scenario.sets.keys() {
            let object = world.server.get(Kind::Set, set);
            let Some(object) = object.filter(|it| it["metadata"]["deletionTimestamp"].is_null()) else {
                let since = *self.gone_since.entry(set.clone()).or_insert_with(|| world.now());
                let gone_for = world.now().saturating_sub(since);
                if gone_for > PATIENCE && fullness::undisturbed_for(world, fullness::recovery(world) + PATIENCE) {
                    self.gone_since.insert(set.clone(), world.now());
                    return Some(format!("StatefulSet {set} has been gone for {gone_for:?}"));
                }
                continue;
            };
            self.gone_since.remove(set);
            if let Some(wrong) = self.differs(set, object) {
                return Some(wrong);
            }
        }
        None
    }

    fn conclude(&mut self, world: &Simulation) -> Option<String> {
        if !fullness::undisturbed_for(world, fullness::recovery(world) + PATIENCE) {
            return None;
        }
        world.scenario.sets.keys().find_map(|set| {
            let object = world.server.get(Kind::Set, set)?;
            let (replicas, wanted) = (object["spec"]["replicas"].as_u64()?, self.wanted(world, set));
            let scaled = !object["metadata"]["annotations"][SCALED_ANNOTATION].is_null();
            (!scaled && !wanted.contains(&replicas))
                .then(|| format!("StatefulSet {set} has {replicas} replicas, and is to have {wanted:?}"))
        })
    }
}

impl Lost {
    fn wanted(&self, world: &Simulation, set: &str) -> BTreeSet<u64> {
        let at_first = || world.scenario.sets.get(set).map(|set| u64::from(set.replicas)).into_iter().collect();
        self.replicas.get(set).cloned().unwrap_or_else(at_first)
    }

    /// What of a StatefulSet is not as it was.
    fn differs(&mut self, set: &str, object: &Value) -> Option<String> {
        let size = sets::template_size(object).and_then(|size| size.parse().ok()).unwrap_or_default();
        let mut spec = object["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            fields.remove("replicas");
        }
        spec["volumeClaimTemplates"][0]["spec"]["resources"] = Value::Null;
        let spec = serde_json::json!({ "labels": object["metadata"]["labels"], "spec": spec });
        let before = self.sizes.insert(set.to_owned(), size).unwrap_or_default();
        if size < before {
            return Some(format!("the template of StatefulSet {set} asked for {before}, and asks for {size}"));
        }
        let first = self.specs.entry(set.to_owned()).or_insert_with(|| spec.clone());
        (*first != spec).then(|| format!("StatefulSet {set} is another: {first} became {spec}"))
    }
}

#[derive(Default)]
pub(super) struct Replicas {
    /// Since when the template of each StatefulSet is to ask for more, and nothing stands in the way.
    since: BTreeMap<String, Duration>,
}

impl Checker for Replicas {
    fn name(&self) -> &'static str {
        "a new replica is as large as the others"
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        for set in world.scenario.sets.keys() {
            let Some((asks, wants)) = drift(world, set) else {
                self.since.remove(set);
                continue;
            };
            let since = *self.since.entry(set.clone()).or_insert_with(|| world.now());
            let passed = world.now().saturating_sub(since);
            if passed > PATIENCE {
                self.since.insert(set.clone(), world.now());
                return Some(format!(
                    "a new replica of {set} would be of {asks}, while the others have had {wants} for {passed:?}"
                ));
            }
        }
        None
    }
}

/// How much the template of a StatefulSet asks for and how much it should, where it is for Orlop to change it now.
fn drift(world: &Simulation, set: &str) -> Option<(Bytes, Bytes)> {
    let object = world.server.get(Kind::Set, set)?;
    let asks: Bytes = sets::template_size(object)?.parse().ok()?;
    let replicas = object["spec"]["replicas"].as_u64()?;
    // It was stopped in a window that is not over, and somebody has scaled it since.
    let is_noted = !object["metadata"]["annotations"][SCALED_ANNOTATION].is_null();
    let claims: Vec<_> = world
        .volumes()
        .iter()
        .filter(|(claim, _)| sets::replica(claim).is_some_and(|(of, _)| of == set))
        .filter_map(|(claim, volume)| Some((volume, world.server.get(Kind::Claim, claim)?)))
        .collect();
    let policies: Vec<&Policy> = fullness::governing(world, claims.first()?.0).collect();
    let [policy] = &policies[..] else { return None };
    let at_rest = claims
        .iter()
        .all(|(_, claim)| server::requested(claim) <= server::capacity(claim) && !foreign::is_paused(claim));
    let running = claims.iter().filter(|(volume, _)| volume.node.is_some()).count();
    let changes = world.scenario.changes.iter().any(|change| matches!(change.what, Deed::Policy { .. }));
    let ours = policy.mode == Mode::Auto
        && policy.capacity.template_sync == TemplateSync::Recreate
        && world.scenario.policies.len() == 1
        && !changes
        && at_rest
        && !is_noted
        && u64::try_from(running) == Ok(replicas)
        && fullness::undisturbed_for(world, fullness::recovery(world));
    let largest = claims.iter().map(|(_, claim)| server::capacity(claim).min(server::requested(claim))).max()?;
    let wants = Bytes(largest).min(policy.capacity.maximum);
    (ours && wants > asks).then_some((asks, wants))
}
