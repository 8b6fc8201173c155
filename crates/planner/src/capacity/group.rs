//! Is another claim of the group larger? Then this one follows it, exactly to what that one requests: a size rounded up
//! would have the others follow in their turn, and so on without end.

use orlop_api::{Abilities, Bytes, CapacitySpec};

use super::{Case, target};
use crate::view::ClaimId;

/// What a claim follows.
pub(super) struct Following<'a> {
    leader: &'a ClaimId,
    key: &'a str,
    requests: Bytes,
    /// The size that the claim is to have: what the leader requests, or as much of it as policy and driver allow.
    pub(super) size: Bytes,
}

/// The larger claim that this one is to follow; none where it leads, or cannot come nearer.
pub(super) fn following<'a>(
    case: &Case<'a>,
    spec: &'a CapacitySpec,
    abilities: &Abilities<'_>,
) -> Option<Following<'a>> {
    let key = spec.group_by.as_deref()?;
    let present = target::present(case.claim);
    let (leader, requests) = case.view.leader(case.id, present)?;
    let (least, most) = target::limits(spec, abilities);
    let size = requests.min(most);
    (size > present && size >= least).then_some(Following { leader, key, requests, size })
}

impl Following<'_> {
    /// Why growth is called for, in a sentence with the numbers.
    pub(super) fn sentence(&self) -> String {
        let Self { leader, key, requests, .. } = self;
        format!("claim {}, which has the same {key} and is to be of the same size, requests {requests}", leader.name)
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::{DriverProfileSpec, names::Reason};

    use crate::{
        Action, Outcome, View,
        fixture::{at, decide_at, led, mib, override_driver, the_claim, the_usage},
    };

    #[test]
    fn a_claim_follows_the_largest_of_its_group_to_exactly_what_that_requests() {
        let view = led(700, |_| ());
        let (actions, decision) = decide_at(&view, 5);
        assert_eq!((decision.reason, decision.outcome), (Reason::GroupGrowth, Outcome::Grow(mib(700))));
        let [Action::Grow { record, .. }] = &actions[..] else { panic!("it grows") };
        assert_eq!((record.crossed, record.decided), (at(5), at(5)), "nothing was crossed");
        let target = |view: View| decide_at(&view, 5).1.target();
        assert_eq!(target(led(512, |_| ())), None, "they are equal");
        assert_eq!(target(led(9000, |_| ())), Some(mib(4096)), "as far as the maximum");
        let coarse = |view: &mut View| override_driver(view, DriverProfileSpec::default());
        assert_eq!(target(led(700, coarse)), Some(mib(700)), "rounded by nobody but the driver");
        assert_eq!(
            target(led(700, |view| the_usage(view).available = mib(80))),
            Some(mib(700)),
            "the larger of its own need"
        );
        assert_eq!(
            target(led(600, |view| the_usage(view).available = mib(80))),
            Some(mib(640)),
            "and of what it follows"
        );
        assert_eq!(
            target(led(700, |view| the_claim(view).usage = None)),
            None,
            "what is not known is changed for nobody"
        );
    }
}
