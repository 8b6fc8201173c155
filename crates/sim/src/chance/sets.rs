//! A StatefulSet, what its users do to it, and what goes wrong with it: in one world of four.

use fastrand::Rng;
use orlop_api::{
    Expansion, Period, TemplateSync,
    maintenance::{Maintenance, Window},
};

use super::{choose, claim};
use crate::{
    scenario::{Change, Deed, Fault, Scenario, StatefulSet, Trouble},
    simulation::sets::claim_name,
};

/// The driver of this class may expand volumes only while no pod uses them.
const OFFLINE: &str = "slow";

const NAME: &str = "db";

/// More replicas than this there never are.
const REPLICAS_MAX: u32 = 4;

pub(super) fn chance(scenario: &mut Scenario, busy: u64, rng: &mut Rng) {
    if rng.u8(0..4) > 0 {
        return;
    }
    let template = claim(scenario.nodes, busy, rng);
    let set = StatefulSet { replicas: rng.u32(1..=3), template };
    let maintenance = rng.bool().then(|| Maintenance {
        windows: vec![Window {
            schedule: (*choose(&["0 * * * *", "30 1 * * *", "15 */2 * * *"], rng)).to_owned(),
            time_zone: "UTC".to_owned(),
            duration: Period::from_secs(60 * choose(&[20, 30, 45], rng)),
        }],
    });
    if maintenance.is_some()
        && let Some(class) = scenario.classes.get_mut(OFFLINE)
    {
        class.driver.expansion = Expansion::Offline;
    }
    let changed = scenario.changes.iter_mut().filter_map(|change| match &mut change.what {
        Deed::Policy { spec, .. } => Some(spec),
        _ => None,
    });
    for policy in scenario.policies.values_mut().chain(changed) {
        policy.capacity.template_sync = TemplateSync::Recreate;
        policy.capacity.maintenance.clone_from(&maintenance);
    }
    scenario.sets.insert(NAME.to_owned(), set);
    for _ in 0..rng.usize(0..3) {
        let (at, replicas) = (rng.u64(600..busy - 600), rng.u32(1..=REPLICAS_MAX));
        let what = Deed::Scale { set: NAME.to_owned(), replicas };
        scenario.changes.push(Change { at: Period::from_secs(at), what });
    }
    for ordinal in 0..REPLICAS_MAX {
        let what = Deed::Quiet { claim: claim_name(NAME, ordinal) };
        scenario.changes.push(Change { at: Period::from_secs(busy), what });
    }
    trouble(scenario, busy, rng);
}

fn trouble(scenario: &mut Scenario, busy: u64, rng: &mut Rng) {
    for _ in 0..rng.usize(0..4) {
        let at = rng.u64(60..busy);
        let what = match rng.u8(0..4) {
            0 => Trouble::ControllersDown {},
            1 => Trouble::SetsRefused {},
            _ => Trouble::KillAtRequest { operator: rng.usize(0..scenario.operators), after: rng.bool() },
        };
        let lasting = Period::from_secs(*choose(&[60, 300, 1800], rng));
        scenario.faults.push(Fault { at: Period::from_secs(at), lasting, what });
    }
}
