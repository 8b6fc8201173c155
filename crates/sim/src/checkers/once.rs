//! No growth is asked for twice: not while another is under way, not for a need that a growth has met, not by two
//! operators.

use std::{collections::BTreeMap, time::Duration};

use orlop_api::{Bytes, CapacitySpec, names::Reason};
use orlop_planner::Action;

use super::Checker;
use crate::{
    fact::{Entry, Fact},
    scenario::{Deed, Fault, Trouble},
    server::{self, Kind},
    simulation::Simulation,
    volume::Volume,
};

/// A request may be under way for so long, and be decided from a measurement of that age before that: 30 s until a
/// measurement is stale, 30 s and a little for a request that is late, and the clock of a node that is corrected with a
/// little delay.
const LAG: Duration = Duration::from_secs(90);

/// The same where kubelets measure: what one said may be three minutes old, and is asked for at most every half minute.
const LAG_WITH_KUBELETS: Duration = Duration::from_mins(4);

/// A window over the latest reports of an agent shows what was written in this time…
const RATE_SEEN_FOR: Duration = Duration::from_mins(2);

/// …and one over what a kubelet said, which may be asked again after ten minutes only, in this.
const RATE_SEEN_FOR_WITH_KUBELETS: Duration = Duration::from_mins(15);

#[derive(Default)]
pub(super) struct Once {
    /// When each volume last needed growth by any of the policies that there are.
    needed: BTreeMap<String, Duration>,
}

impl Checker for Once {
    fn name(&self) -> &'static str {
        "nothing is done twice"
    }

    fn see(&mut self, entry: &Entry, world: &Simulation) -> Option<String> {
        match &entry.fact {
            Fact::Applied { action: Some(Action::Grow { claim, record, .. }), before, .. } => {
                let name = &*claim.name;
                if server::requested(before) > server::capacity(before) {
                    return Some(format!("{name} is asked to grow to {} while it is growing", record.to));
                }
                let volume = world.volumes().get(name)?;
                if record.filesystem < volume.filesystem {
                    let (then, now) = (record.filesystem, volume.filesystem);
                    return Some(format!("{name} is asked to grow by a measurement of {then}, and has {now}"));
                }
                if record.reason == Reason::GroupGrowth {
                    let led = is_led(world, volume, record.to);
                    return (!led).then(|| format!("{name} follows nobody to {}", record.to));
                }
                let lag = if world.scenario.kubelet_interval.is_some() { LAG_WITH_KUBELETS } else { LAG };
                let needed = a_kubelets_clock_was_set(world)
                    || needs(world, volume)
                    || self.needed.get(name).is_some_and(|at| entry.at.saturating_sub(*at) <= lag);
                (!needed).then(|| format!("{name} is asked to grow to {} and has room enough", record.to))
            }
            _ => None,
        }
    }

    fn look(&mut self, world: &Simulation) -> Option<String> {
        for (name, volume) in world.volumes() {
            if needs(world, volume) {
                match self.needed.get_mut(name) {
                    Some(at) => *at = world.now(),
                    None => {
                        self.needed.insert(name.clone(), world.now());
                    }
                }
            }
        }
        None
    }
}

/// Does another claim of the group request as much?
fn is_led(world: &Simulation, volume: &Volume, to: Bytes) -> bool {
    specs(world).filter_map(|spec| spec.group_by.as_ref()).any(|key| {
        let value = volume.spec.labels.get(key);
        let alike = |other: &&Volume| other.claim != volume.claim && other.spec.labels.get(key) == value;
        value.is_some()
            && world.volumes().values().filter(alike).any(|other| {
                world.server.get(Kind::Claim, &other.claim).is_some_and(|claim| server::requested(claim) >= to.0)
            })
    })
}

/// Was the clock of a node set while a kubelet's measurements may have been compared that were made before and after? The rate
/// that comes of it is too high or too low, and nobody can know.
fn a_kubelets_clock_was_set(world: &Simulation) -> bool {
    let is_recent = |fault: &Fault| {
        let (from, to) = (Duration::from(fault.at), Duration::from(fault.at) + Duration::from(fault.lasting));
        from <= world.now() && world.now() <= to + RATE_SEEN_FOR_WITH_KUBELETS
    };
    let is_clock = |fault: &&Fault| matches!(fault.what, Trouble::NodeClock { .. });
    world.scenario.kubelet_interval.is_some() && world.scenario.faults.iter().filter(is_clock).any(is_recent)
}

/// Does the volume need growth, by the truth and any policy that is or was there?
fn needs(world: &Simulation, volume: &Volume) -> bool {
    let (total, available, inodes) = (volume.filesystem, volume.available(world.now()), volume.inodes(world.now()));
    let kubelets_serve = world.scenario.kubelet_interval.is_some();
    // What one burst shows as a rate for a minute is a need too, though it is over.
    let peak = volume.peak(if kubelets_serve { RATE_SEEN_FOR_WITH_KUBELETS } else { RATE_SEEN_FOR }, world.now());
    specs(world).any(|spec| {
        available.0 < spec.min_free.of(total.0)
            || inodes.is_some_and(|it| it.free.0 < spec.min_free_inodes.of(it.total.0))
            || u128::from(available.0) < u128::from(peak.0) * u128::from(spec.time_to_full.as_secs())
            // What is forecast is not known here; nothing that is half empty is to grow for it.
            || spec.horizon.is_some() && available.0 < total.0 / 2
    })
}

/// The capacity sections of all policies, also of those that a user puts in their place.
pub(super) fn specs(world: &Simulation) -> impl Iterator<Item = &CapacitySpec> {
    let changed = world.scenario.changes.iter().filter_map(|change| match &change.what {
        Deed::Policy { spec, .. } => Some(&spec.capacity),
        _ => None,
    });
    world.scenario.policies.values().map(|policy| &policy.capacity).chain(changed)
}

/// The largest size that any policy allows.
pub(super) fn maximum(world: &Simulation) -> Bytes {
    specs(world).map(|spec| spec.maximum).max().unwrap_or_default()
}
