//! Growths under way: what is recorded of them, and how a kubelet is made to notice them.

use orlop_api::Mode;

use super::low;
use crate::{
    Action, GrowthRecord, Outcome, PodUse, Usage, View,
    fixture::{at, claim, decide_at, growing, grown, id, mib, pod, record, the_claim, the_policy, the_usage},
};

#[test]
fn a_growth_that_a_measurement_shows_is_recorded_before_another_is_decided() {
    let mut view = grown();
    *the_usage(&mut view) = Usage { total: mib(600), available: mib(1), at: at(4), ..the_usage(&mut view).clone() };
    let (actions, _) = decide_at(&view, 5);
    let recorded = GrowthRecord { usable: Some(at(4)), ..record() };
    let expected =
        Action::RecordUsable { claim: id("data-0"), uid: claim().uid, previous: record(), record: recorded.clone() };
    assert_eq!(actions, [expected]);
    the_claim(&mut view).growth = Some(recorded.into());
    assert!(matches!(decide_at(&view, 5).1.outcome, Outcome::Grow(_)), "and then the next");
}

#[test]
fn a_record_that_the_claim_contradicts_holds_up_nothing() {
    for (from, to) in [(512, 512), (640, 512), (512, 9000)] {
        let mut view = low();
        the_claim(&mut view).growth = Some(Box::new(GrowthRecord { from: mib(from), to: mib(to), ..record() }));
        assert!(matches!(decide_at(&view, 5).1.outcome, Outcome::Grow(_)), "{from} to {to}");
    }
}

/// The value that the one pod is given at second `seconds`, if it is.
fn touched(view: &View, seconds: i64) -> Option<String> {
    decide_at(view, seconds).0.into_iter().find_map(|action| match action {
        Action::SyncPod { value, .. } => Some(value),
        _ => None,
    })
}

#[test]
fn a_pod_is_touched_when_the_volume_has_grown_and_again_only_after_a_while() {
    let mut view = growing();
    assert_eq!(touched(&view, 1), None, "the controller is still at it");
    the_claim(&mut view).volume_capacity = mib(640);
    let value = touched(&view, 2);
    assert_eq!(value.as_deref(), Some("data-0=640Mi@2026-01-01T00:00:02Z"));
    the_claim(&mut view).pods[0].synced = value;
    assert_eq!(touched(&view, 16), None);
    assert_eq!(decide_at(&view, 16).1.again_at, Some(at(17)));
    assert_eq!(touched(&view, 17).as_deref(), Some("data-0=640Mi@2026-01-01T00:00:17Z"));
    the_policy(&mut view).mode = Mode::Recommend;
    assert_eq!(touched(&view, 17), None, "only in mode Auto");
}

#[test]
fn claims_of_one_pod_that_grow_together_do_not_overwrite_each_other() {
    let mut view = growing();
    the_claim(&mut view).volume_capacity = mib(640);
    for (before, after) in [
        ("log-0=1Gi@2026-01-01T00:00:00Z", "log-0=1Gi,data-0=640Mi@2026-01-01T00:00:02Z"),
        ("data-0=512Mi,log-0=1Gi@2026-01-01T00:00:00Z", "log-0=1Gi,data-0=640Mi@2026-01-01T00:00:02Z"),
        ("log-0=1Gi@2025-01-01T00:00:00Z", "data-0=640Mi@2026-01-01T00:00:02Z"),
        ("data-0=640Mi@2027-01-01T00:00:00Z", "data-0=640Mi@2026-01-01T00:00:02Z"),
        ("data-0=640Mi", "data-0=640Mi@2026-01-01T00:00:02Z"),
        ("@,nonsense@2026-01-01T00:00:00Z", "data-0=640Mi@2026-01-01T00:00:02Z"),
    ] {
        the_claim(&mut view).pods = vec![PodUse { synced: Some(before.to_owned()), ..pod("data-0") }];
        assert_eq!(touched(&view, 2).as_deref(), Some(after), "{before}");
    }
    let both = Some("log-0=1Gi,data-0=640Mi@2026-01-01T00:00:00Z".to_owned());
    the_claim(&mut view).pods[0].synced = both;
    assert_eq!(touched(&view, 2), None);
}
