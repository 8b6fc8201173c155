//! Budgets are kept: no growth that is asked for takes the claims of a budget beyond it, as far as an operator can know. What
//! users make of their claims it only learns of, and a request that another operator has left under way it does not see.

use std::time::Duration;

use orlop_api::{Bytes, Price, budget::CURRENCY, names::PerformanceReason};
use orlop_planner::Action;

use super::Checker;
use crate::{
    fact::{Entry, Fact},
    scenario::{Budget, Deed, Trouble},
    server::{self, Kind},
    simulation::Simulation,
    volume::Volume,
};

/// For so long an operator may not know what there is: a list from an old cache is a minute behind, and is put right by a new
/// one a little later; a late request arrives half a minute after it was sent.
const UNKNOWN_FOR: Duration = Duration::from_secs(90);

#[derive(Default)]
pub(super) struct Budgets {
    /// When an operator last began to lead, or a claim was made for a replica.
    new: Duration,
}

impl Checker for Budgets {
    fn name(&self) -> &'static str {
        "budgets are kept"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        match &entry.fact {
            Fact::Leads { .. } | Fact::ReplicaStarts { made: Some(_), .. } => {
                self.new = entry.at;
                None
            }
            Fact::Applied { action: Some(Action::SetClass { claim, record, .. }), .. }
                if record.reason == PerformanceReason::Saturated =>
            {
                let volume = world.volumes().get(&*claim.name)?;
                if self.could_not_know(entry.at, world) {
                    return None;
                }
                covering(world, volume).find_map(|(name, budget)| {
                    let (limit, iops) = (budget.limits.iops?, used(world, budget).iops);
                    (iops > limit.into()).then(|| {
                        format!(
                            "{} is given a faster class, and the claims of budget {name} have {iops} IOPS",
                            claim.name
                        )
                    })
                })
            }
            Fact::Applied { action: Some(Action::Grow { claim, .. }), .. } => {
                let volume = world.volumes().get(&*claim.name)?;
                if self.could_not_know(entry.at, world) {
                    return None;
                }
                covering(world, volume).find_map(|(name, budget)| {
                    let Amount { bytes, cost, .. } = used(world, budget);
                    let limits = &budget.limits;
                    let is_over = limits.bytes.is_some_and(|limit| bytes > limit.0.into())
                        || price(world, volume).is_some()
                            && limits.monthly_cost.is_some_and(|limit| cost > limit.millionths().into());
                    is_over
                        .then(|| format!("{} is grown, and the claims of budget {name} have {bytes} bytes", claim.name))
                })
            }
            _ => None,
        }
    }
}

impl Budgets {
    fn could_not_know(&self, now: Duration, world: &Simulation) -> bool {
        let lately = |at: Duration| at <= now && now.saturating_sub(at) < UNKNOWN_FOR;
        let by_users = world.scenario.changes.iter().any(|change| {
            let counts = matches!(change.what, Deed::Request { .. } | Deed::Recreate { .. } | Deed::Budget { .. });
            counts && lately(change.at.into())
        });
        let by_trouble = world.scenario.faults.iter().any(|fault| {
            let (begins, ends) = (Duration::from(fault.at), Duration::from(fault.at) + Duration::from(fault.lasting));
            matches!(fault.what, Trouble::Watches { .. }) && begins <= now && now < ends + UNKNOWN_FOR
        });
        by_users || by_trouble || lately(self.new)
    }
}

/// Bytes, millionths of a dollar a month, and operations a second.
#[derive(Default)]
struct Amount {
    bytes: u128,
    cost: u128,
    iops: u128,
}

fn covering<'a>(world: &'a Simulation, volume: &'a Volume) -> impl Iterator<Item = (&'a String, &'a Budget)> {
    world.current_budgets().filter(|(_, budget)| covers(budget, volume))
}

fn covers(budget: &Budget, volume: &Volume) -> bool {
    budget.labels.iter().all(|(key, value)| volume.spec.labels.get(key) == Some(value))
}

fn price<'a>(world: &'a Simulation, volume: &Volume) -> Option<&'a Price> {
    let price = world.scenario.classes.get(&volume.spec.class)?.driver.price.as_ref();
    price.filter(|price| price.currency == CURRENCY)
}

/// What the claims of a budget have, by the truth.
fn used(world: &Simulation, budget: &Budget) -> Amount {
    let mut used = Amount::default();
    for volume in world.volumes().values().filter(|volume| covers(budget, volume)) {
        let asked = world.server.get(Kind::Claim, &volume.claim).map_or(0, server::requested);
        let size = Bytes(asked.max(volume.size().0));
        used.bytes += u128::from(size.0);
        used.cost += price(world, volume).map_or(0, |price| price.monthly_millionths(size));
        used.iops += u128::from(iops(world, volume));
    }
    used
}

/// The operations a second that a volume's class gives, of the one that is asked for and the one that it has the faster.
fn iops(world: &Simulation, volume: &Volume) -> u64 {
    let claim = world.server.get(Kind::Claim, &volume.claim);
    let requested = claim.and_then(|claim| claim["spec"]["volumeAttributesClassName"].as_str());
    let classes = [requested, volume.attributes.current.as_deref()];
    classes.into_iter().flatten().map(|class| iops_of(world, volume, class)).max().unwrap_or(0)
}

fn iops_of(world: &Simulation, volume: &Volume, class: &str) -> u64 {
    world.scenario.limits(&volume.spec.class, Some(class)).operations().unwrap_or(0)
}

/// Is there room in every budget of the claim for this class?
pub(super) fn leave_iops(world: &Simulation, volume: &Volume, class: &str) -> bool {
    let more = u128::from(iops_of(world, volume, class).saturating_sub(iops(world, volume)));
    covering(world, volume)
        .all(|(_, budget)| budget.limits.iops.is_none_or(|limit| used(world, budget).iops + more <= limit.into()))
}

/// Is there room in every budget of the claim for as much again as it has, beside the reserve, and for becoming as large as any
/// claim that it may follow? No growth of the scenarios needs more at a time.
pub(super) fn leave_room(world: &Simulation, volume: &Volume) -> bool {
    let requested = |claim: &String| world.server.get(Kind::Claim, claim).map_or(0, server::requested);
    let largest = world.volumes().keys().map(requested).max().unwrap_or_default();
    let size = volume.size();
    let increment =
        world.scenario.classes.get(&volume.spec.class).map_or(Bytes(1), |class| class.driver.size_increment);
    let more = Bytes(size.0.max(Bytes(largest).round_up(increment).0.saturating_sub(size.0)));
    covering(world, volume).all(|(_, budget)| {
        let used = used(world, budget);
        let beside_reserve = |limit: u64| {
            let reserve = budget.emergency_reserve.map_or(0, |reserve| reserve.of(limit));
            u128::from(limit.saturating_sub(reserve))
        };
        let cost = price(world, volume).map_or(0, |price| price.monthly_millionths(more));
        budget.limits.bytes.is_none_or(|limit| used.bytes + u128::from(more.0) <= beside_reserve(limit.0))
            && budget.limits.monthly_cost.is_none_or(|limit| used.cost + cost <= beside_reserve(limit.millionths()))
    })
}
