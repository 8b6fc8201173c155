//! Every wait has a true reason: when the world has been at rest, what the operator says of each claim is so.

use std::{collections::BTreeMap, time::Duration};

use orlop_api::{Expansion, Mode, names::Reason};
use orlop_planner::Source;

use super::{Checker, budgets, foreign, fullness, slots};
use crate::{
    fact::{Entry, Fact},
    server,
    server::Kind,
    simulation::Simulation,
    volume::Volume,
};

#[derive(Default)]
pub(super) struct Reasons {
    /// When each volume last became larger.
    usable: BTreeMap<String, Duration>,
}

/// So long after a volume became larger its agent or its kubelet has said so: a kubelet measures once a minute, and is asked as
/// often.
const SEEN_WITHIN: Duration = Duration::from_mins(3);

/// So long after the last trouble and the last change every report is right again: a growth is overdue after ten minutes.
const REST: Duration = Duration::from_mins(15);

impl Checker for Reasons {
    fn name(&self) -> &'static str {
        "every reason is true"
    }

    fn see(&mut self, entry: &Entry, _: &Simulation) -> Option<String> {
        if let Fact::Usable { claim, .. } = &entry.fact {
            self.usable.insert(claim.clone(), entry.at);
        }
        None
    }

    fn conclude(&mut self, world: &Simulation) -> Option<String> {
        let last = world.scenario.changes.iter().map(|change| Duration::from(change.at)).max();
        let at_rest =
            fullness::undisturbed_for(world, REST) && last.is_none_or(|last| world.now().saturating_sub(last) > REST);
        if !at_rest {
            return None;
        }
        let leader = world.processes.iter().find(|process| world.leads(process.number));
        let Some(leader) = leader else { return Some("nobody leads, and nothing is wrong".to_owned()) };
        world.volumes().iter().find_map(|(name, volume)| {
            let decision = leader.core.ledger().decision(&server::claim_id(name));
            let Some(decision) = decision else { return Some(format!("nothing is said of {name}")) };
            if self.usable.get(name).is_some_and(|at| world.now().saturating_sub(*at) < SEEN_WITHIN) {
                return None;
            }
            is_false(world, name, volume, decision.reason)
                .map(|why| format!("{name}: {} is not true, {why}", decision.reason))
        })
    }
}

/// Why a reason is not true, where it is not.
fn is_false(world: &Simulation, name: &str, volume: &Volume, reason: Reason) -> Option<&'static str> {
    let claim = world.server.get(Kind::Claim, name)?;
    let in_use = volume.node.is_some();
    let grows = server::requested(claim) > server::capacity(claim);
    let class = world.scenario.classes.get(&volume.spec.class)?;
    let policies = || {
        let selects = |policy: &&crate::scenario::Policy| {
            policy.labels.iter().all(|(key, value)| volume.spec.labels.get(key) == Some(value))
        };
        world.current_policies().filter(selects)
    };
    let wrong = match reason {
        Reason::EnoughRoom => (fullness::is_low(world, volume) && !world.scenario.has_deeds())
            .then_some("less is free than its policy wants"),
        Reason::Off => policies().any(|policy| policy.mode != Mode::Off).then_some("a policy selects it"),
        Reason::Paused => (!foreign::is_paused(claim)).then_some("its annotation does not say so"),
        Reason::PolicyConflict => (policies().count() < 2).then_some("at most one policy selects it"),
        Reason::NotInUse => in_use.then_some("a pod uses it"),
        Reason::NoMeasurement | Reason::StaleMeasurement | Reason::ContradictoryMeasurement => {
            fullness::measured_by(world, volume).map(|source| match source {
                Source::Agent => "its agent runs and reports what is so",
                Source::Kubelet => "its kubelet runs and is asked, and says what is so",
                Source::Prometheus => "a Prometheus server has read what is so",
            })
        }
        Reason::Growing | Reason::GrowthReduced | Reason::AwaitingMeasurement => {
            (!grows).then_some("it is not growing")
        }
        // Where nobody measures, nobody knows that the growth is done.
        Reason::GrowthOverdue => {
            (!grows && fullness::measured_by(world, volume).is_some()).then_some("nothing is overdue")
        }
        Reason::NotExpandable => class.expandable.then_some("its class allows expansion"),
        Reason::DriverCannotExpand => {
            (class.driver.expansion != Expansion::None).then_some("its driver can expand volumes")
        }
        Reason::OfflineOnly => {
            (class.driver.expansion != Expansion::Offline || !in_use).then_some("its driver could expand it now")
        }
        Reason::AtMaximum => {
            let maximum = policies().map(|policy| policy.capacity.maximum).max().unwrap_or_default();
            let most = class.driver.maximum_size.map_or(maximum, |size| size.min(maximum));
            (volume.size() < most.round_down(class.driver.size_increment)).then_some("a larger size is allowed")
        }
        Reason::NoModificationSlot => {
            slots::has_free(world, volume, class.driver.modifications.as_ref()).then_some("a slot is free")
        }
        Reason::OverBudget => budgets::leave_room(world, volume).then_some("its budgets have room"),
        _ => None,
    };
    // A growth may just have been asked for, or have ended.
    wrong.filter(|_| !(grows && matches!(reason, Reason::EnoughRoom)))
}
