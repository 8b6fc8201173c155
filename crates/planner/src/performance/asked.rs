//! What is asked of whoever measures: where a policy says anything about performance, of which volumes, and at which bounds.

use orlop_api::{Mode, PerformanceSpec, Saturation};

use super::{LoadWatch, step::Ladder};
use crate::view::{Claim, ClaimId, Governance, Policy, View};

/// What of the volume's I/O decides anything; none where nothing does.
pub(crate) fn watch(view: &View, id: &ClaimId, claim: &Claim) -> Option<LoadWatch> {
    let (_, spec) = in_force(view, &view.governance(id, claim))?;
    // What no agent measures, the driver may count.
    if !claim.bound || (claim.raw_block && view.saturation(claim).is_none()) {
        return None;
    }
    let ladder = Ladder::of(view, claim, spec).ok()?;
    Some(LoadWatch {
        busy: ladder.present().share(spec.raise_above.number()),
        quiet: ladder.slower().map(|(_, limits)| limits.share(spec.lower_below.number())),
        gives: *ladder.present(),
    })
}

/// By which metrics the claim's driver counts for how long its volume's limits are exceeded, where that decides anything.
pub fn counted_by<'a>(view: &'a View, id: &ClaimId, claim: &'a Claim) -> Option<&'a Saturation> {
    // Few drivers count, and who governs takes longer to find out.
    let by = view.saturation(claim).filter(|_| claim.bound)?;
    in_force(view, &view.governance(id, claim)).map(|_| by)
}

impl View {
    fn saturation<'a>(&'a self, claim: &'a Claim) -> Option<&'a Saturation> {
        self.driver_profile(self.driver_of(claim)?).saturation.as_ref()
    }
}

/// The policy that governs, where it says anything about performance.
pub(super) fn in_force<'a>(view: &'a View, governance: &Governance) -> Option<(&'a Policy, &'a PerformanceSpec)> {
    let Governance::By(policy) = governance else { return None };
    let policy = view.policies.get(policy).filter(|policy| policy.mode != Mode::Off)?;
    Some((policy, policy.performance.as_ref()?))
}
