//! What is done about a growth that its driver has refused for good. Kubernetes lets a request be lowered again, though not
//! to what the claim has: `RecoverVolumeExpansionFailure`, on by default since 1.34, takes any size above
//! `status.capacity` (`ValidatePersistentVolumeClaimUpdate` in `pkg/apis/core/validation`). Which size the driver would
//! make nobody says, so half of the step is asked for, and half of that.

use orlop_api::{Bytes, Mode, names::Reason};

use super::{Case, Verdict, growth, owner};
use crate::{
    plan::Action,
    report::Outcome,
    view::{GrowthRecord, Resize},
};

/// How many smaller sizes are asked for. The last is a sixteenth of the step that was called for, and less than that is not
/// worth a modification.
pub(crate) const SMALLER_MAX: usize = 4;

/// How much of a driver's error text is repeated.
const DRIVER_TEXT_CHARS_MAX: usize = 300;

/// What is done if the driver has refused; none if it has not.
pub(super) fn verdict(case: &Case<'_>) -> Option<Verdict> {
    let (to, capacity) = (case.claim.requested, case.claim.capacity);
    let text = match &case.claim.resize {
        Resize::Infeasible(text) => repeated(text),
        Resize::NodeInfeasible(text) => {
            let message = format!(
                "the volume has grown to {to}, and the driver refused to grow its filesystem: {}; read the log of the \
                 driver's node plugin",
                repeated(text)
            );
            return Some(Verdict::wait(Reason::GrowthFailed, message));
        }
        Resize::Idle | Resize::Controller | Resize::Node => return None,
    };
    let record = growth::own_record(case.claim).filter(|record| record.to == to && record.usable.is_none());
    let before = record.map_or_else(String::new, |record| sizes(", as before to ", &record.refused));
    let refused = format!("the driver refused to grow the volume to {to}{before}: {text}");
    let Some((previous, smaller)) = record.and_then(|record| Some((record, smaller(case, record)?))) else {
        let remedy = owner::remedy(case).unwrap_or_else(|| {
            format!("make room for it, or set the claim's request to a size above {capacity} that the driver can make")
        });
        let message = format!("{refused}; {remedy}");
        return Some(Verdict::wait(Reason::GrowthFailed, message));
    };
    let message = format!("{refused}; {} is asked for in its place", smaller.to);
    let mut verdict = Verdict::new(Outcome::Growing(smaller.to), Reason::GrowthReduced, message);
    verdict.actions.push(Action::TakeBack {
        claim: case.id.clone(),
        uid: case.claim.uid.clone(),
        previous: previous.clone(),
        record: smaller,
    });
    Some(verdict)
}

fn repeated(text: &str) -> String {
    text.chars().take(DRIVER_TEXT_CHARS_MAX).collect()
}

/// Sizes in words after `before`; nothing where there are none.
pub(super) fn sizes(before: &str, sizes: &[Bytes]) -> String {
    let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
    if sizes.is_empty() { String::new() } else { format!("{before}{}", sizes.join(", ")) }
}

/// The record of the growth with half of its step; none where it is not for us to change, or no size is left to ask for.
fn smaller(case: &Case<'_>, record: &GrowthRecord) -> Option<GrowthRecord> {
    let claim = case.claim;
    let is_its_own = record.owner.is_none() && case.view.write_back(case.id, claim).is_none();
    let may = case.policy.mode == Mode::Auto && claim.paused.is_none() && is_its_own;
    // A volume that is as large already is only waiting for somebody to say so.
    if !may || claim.volume_capacity >= record.to || record.refused.len() >= SMALLER_MAX {
        return None;
    }
    let abilities = case.view.abilities(claim)?;
    // A volume can be larger already than its claim says, and is never asked to be smaller than it is.
    let present = claim.capacity.max(claim.volume_capacity);
    let to = Bytes(present.0 + (record.to.0 - present.0) / 2).round_down(abilities.size_increment);
    let least = abilities.minimum_size.unwrap_or(Bytes(0));
    (to > present && to > record.from && to >= least).then(|| GrowthRecord {
        to,
        decided: case.now,
        refused: [&record.refused[..], &[record.to]].concat(),
        ..record.clone()
    })
}

#[cfg(test)]
mod tests {
    use orlop_api::{Bytes, names::Reason};

    use crate::{
        Action, Outcome, Resize, View,
        fixture::{at, decide_at, mib, reduced, the_claim},
    };

    #[test]
    fn a_growth_that_was_refused_is_halved_until_it_is_not_worth_a_modification() {
        let mut view = reduced(&[], 640);
        let mut asked = vec![];
        for second in 1..20 {
            the_claim(&mut view).resize = Resize::Infeasible("pool is full".to_owned());
            let (actions, decision) = decide_at(&view, second);
            let [Action::TakeBack { previous, record, .. }] = &actions[..] else {
                assert_eq!((actions, decision.reason), (vec![], Reason::GrowthFailed));
                break;
            };
            assert_eq!((decision.reason, decision.outcome), (Reason::GrowthReduced, Outcome::Growing(record.to)));
            assert_eq!((record.decided, record.crossed), (at(second), previous.crossed));
            asked.push(record.to);
            let claim = the_claim(&mut view);
            (claim.requested, claim.growth) = (record.to, Some(record.clone().into()));
            // Until the driver has looked at the new size, nothing else is asked for.
            the_claim(&mut view).resize = Resize::Controller;
            assert_eq!(decide_at(&view, second).0, vec![]);
        }
        assert_eq!(asked, [576, 544, 528, 520].map(mib));
        assert_eq!(the_claim(&mut view).growth.as_ref().unwrap().refused, [640, 576, 544, 528].map(mib));
    }

    #[test]
    fn what_is_asked_for_in_place_of_a_growth_is_above_what_the_volume_has() {
        let refused = |change: fn(&mut View)| {
            let mut view = reduced(&[], 640);
            the_claim(&mut view).resize = Resize::Infeasible("pool is full".to_owned());
            change(&mut view);
            decide_at(&view, 5).0.iter().find_map(Action::requests)
        };
        assert_eq!(refused(|_| ()), Some(mib(576)));
        assert_eq!(
            refused(|view| the_claim(view).volume_capacity = mib(600)),
            Some(mib(620)),
            "as its driver rounded it"
        );
        assert_eq!(refused(|view| the_claim(view).volume_capacity = mib(640)), None, "it is there already");
        assert_eq!(refused(|view| view.drivers.values_mut().for_each(|it| it.size_increment = Bytes(100 << 20))), None);
        assert_eq!(refused(|view| view.drivers.values_mut().for_each(|it| it.minimum_size = Some(mib(600)))), None);
        assert_eq!(refused(|view| view.classes.clear()), None);
    }
}
