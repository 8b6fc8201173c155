//! What was decided about a claim's VolumeAttributesClass, and the numbers that led to it.

use jiff::Timestamp;
use orlop_api::Dimension;
use orlop_planner::{Claim, ClaimId, Excess, Governance, LoadSample, PerformanceDecision, Pressure};

use super::document::{
    ClassLimits, ExceededAccount, ExceededLimit, LoadAccount, PerformanceAccount, PerformanceThresholds,
    PressureAccount,
};
use crate::Core;

/// The account of it; none where no policy says anything about the claim's class. `decision` is what was decided, and since
/// when its reason has been this one.
pub(super) fn account(
    core: &Core,
    (id, claim): (&ClaimId, &Claim),
    governance: &Governance,
    (decision, since): (&PerformanceDecision, Option<Timestamp>),
) -> Option<PerformanceAccount> {
    let view = core.observer().view();
    let Governance::By(policy) = governance else { return None };
    let spec = view.policies.get(policy)?.performance.as_ref()?;
    let attributes = claim.attributes.as_deref();
    let class = decision.class.clone();
    Some(PerformanceAccount {
        act: (&decision.outcome).into(),
        current: attributes.and_then(|it| it.current.clone()).filter(|current| Some(current) != class.as_ref()),
        target: decision.target().filter(|target| Some(*target) != class.as_deref()).map(str::to_owned),
        class,
        reason: decision.reason,
        message: decision.message.clone(),
        problem: decision.is_problem(),
        since,
        classes: spec
            .attributes_classes
            .iter()
            .map(|name| ClassLimits { name: name.clone(), gives: view.class_in_words(claim, name) })
            .collect(),
        thresholds: PerformanceThresholds {
            raise_above: spec.raise_above,
            raise_after: spec.raise_after,
            lower_below: spec.lower_below,
            lower_after: spec.lower_after,
        },
        load: core.observer().load_of(id).map(|sample| load(&sample)),
        exceeded: core.observer().excess_of(id).map(exceeded),
        change: attributes.and_then(|it| it.change.clone()),
    })
}

fn exceeded(excess: &Excess) -> ExceededAccount {
    let limit = |(dimension, percent): (Dimension, u8)| ExceededLimit { limit: dimension.name().to_owned(), percent };
    ExceededAccount { at: excess.at, limits: excess.shares.iter().map(limit).collect(), since: excess.since }
}

fn load(sample: &LoadSample) -> LoadAccount {
    let rate = |dimension| sample.rates.get(dimension);
    LoadAccount {
        at: sample.at,
        reads: rate(Dimension::ReadIops),
        writes: rate(Dimension::WriteIops),
        read_bytes: rate(Dimension::ReadThroughput),
        written_bytes: rate(Dimension::WriteThroughput),
        pressure: sample.pressure.map(|Pressure { some, full }| PressureAccount { some, full }),
        busy_since: sample.busy,
        strained_since: sample.strained,
        quiet_since: sample.quiet.as_ref().map(|quiet| quiet.since),
    }
}
