//! A driver that expands only volumes that no pod uses: may the claim's pods be stopped for it, and when?

use jiff::Timestamp;
use orlop_api::{Mode, names::Reason};

use super::{Case, Verdict, growth};
use crate::{
    maintenance::{self, NEEDS, Windows},
    view::Resize,
};

/// Passes where the pods may be stopped now, so that it is of use to request a larger size.
pub(super) fn may_stop(case: &Case<'_>) -> Result<(), Verdict> {
    let (_, set, windows) = maintenance::stoppable(case.view, case.id, case.claim, case.policy).map_err(|why| {
        let message = format!(
            "the volume needs more room, and its driver expands only volumes that no pod uses; {why}: stop its pods, set the \
             claim's request to a size above {}, and start them again",
            case.claim.requested
        );
        Verdict::wait(Reason::OfflineOnly, message)
    })?;
    if set.scaled.is_some() || maintenance::long_enough(windows, case.now).is_some() {
        return Ok(());
    }
    Err(awaiting(windows, case.now, "the volume needs more room"))
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
    let Ok((set_id, set, windows)) = maintenance::stoppable(case.view, case.id, claim, case.policy) else {
        return verdict;
    };
    if set.scaled.is_some() || set.replicas == 0 {
        return verdict;
    }
    match maintenance::long_enough(windows, case.now) {
        Some(open) => {
            let mut verdict = verdict;
            verdict.message = format!("{}; {} is scaled to zero for it", verdict.message, set_id);
            verdict.actions.push(maintenance::stop(case.id, set_id, set, open, case.now));
            verdict
        }
        None => awaiting(windows, case.now, &format!("the volume is to be expanded to {}", claim.requested)),
    }
}

fn awaiting(windows: &Windows, now: Timestamp, what: &str) -> Verdict {
    let next = windows.next_after(now);
    let when = next.map_or_else(|| "none of which comes".to_owned(), |at| format!("the next one opens at {at}"));
    let message = format!(
        "{what}, and its driver expands only volumes that no pod uses: its pods are stopped in a maintenance window of which {} \
         minutes are left at least, {when}",
        NEEDS.as_mins()
    );
    Verdict::wait(Reason::AwaitingMaintenance, message).again_at(next)
}
