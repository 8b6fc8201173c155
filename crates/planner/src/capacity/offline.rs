//! A driver that expands only volumes that no pod uses: may the claim's pods be stopped for it, and when?

use orlop_api::{Mode, names::Reason};

use super::{Case, Verdict, growth};
use crate::{
    maintenance::{self, Chance},
    report::Outcome,
    view::Resize,
};

const HOW: &str = "and its driver expands only volumes that no pod uses";

/// Passes where the pods may be stopped now, so that it is of use to request a larger size.
pub(super) fn may_stop(case: &Case<'_>) -> Result<(), Verdict> {
    let what = "the volume needs more room";
    let it = maintenance::stoppable(case.view, case.id, case.claim, case.policy).map_err(|why| {
        let message = format!(
            "{what}, {HOW}; {why}: stop its pods, set the claim's request to a size above {}, and start them again",
            case.claim.requested
        );
        Verdict::wait(Reason::OfflineOnly, message)
    })?;
    match maintenance::chance(case.view, &it, case.now) {
        Chance::Stopped | Chance::Now(_) => Ok(()),
        Chance::Later(later) => {
            let message = format!("{what}, {HOW}: {}", later.sentence(&it));
            Err(Verdict::wait(Reason::AwaitingMaintenance, message).again_at(later.at))
        }
    }
}

/// The claim requests more than it has. In a window its pods are stopped, if they may be.
pub(super) fn stop(case: &Case<'_>, verdict: Verdict) -> Verdict {
    let claim = case.claim;
    let is_ours =
        growth::own_record(claim).is_some_and(|record| record.to == claim.requested && record.usable.is_none());
    // What the driver has refused it would refuse again.
    let is_refused = matches!(claim.resize, Resize::Infeasible(_) | Resize::NodeInfeasible(_));
    let may = is_ours
        && !is_refused
        && case.policy.mode == Mode::Auto
        && claim.paused.is_none()
        && claim.volume_capacity < claim.requested;
    if !may || claim.pods.is_empty() || !maintenance::is_offline(case.view, claim) {
        return verdict;
    }
    let what = format!("the volume is to be expanded to {}", claim.requested);
    let it = match maintenance::stoppable(case.view, case.id, claim, case.policy) {
        Ok(it) => it,
        Err(why) => {
            let message = format!("{what}, {HOW}; {why}: stop its pods, and start them again when it is expanded");
            return Verdict::wait(Reason::OfflineOnly, message);
        }
    };
    match maintenance::chance(case.view, &it, case.now) {
        Chance::Stopped => verdict,
        Chance::Now(open) => {
            let mut verdict = verdict;
            verdict.message = format!("{}; {} is scaled to zero for it", verdict.message, it.id);
            verdict.actions.push(maintenance::stop(case.id, &it, open, case.now));
            verdict
        }
        Chance::Later(later) => {
            let message = format!("{what}, {HOW}: {}", later.sentence(&it));
            // It was tried, and nothing came of it: that is for somebody to look at.
            let verdict = if later.is_after(&case.id.name) {
                Verdict::new(Outcome::Growing(claim.requested), Reason::GrowthOverdue, message)
            } else {
                Verdict::wait(Reason::AwaitingMaintenance, message)
            };
            verdict.again_at(later.at)
        }
    }
}
