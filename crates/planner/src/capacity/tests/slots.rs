//! Modification slots: which are taken, and what the last of them is used for.

use orlop_api::{DriverProfileSpec, names::Reason};

use super::low_after;
use crate::{
    Action, Outcome,
    fixture::{at, decide_at, mib, record, the_claim, the_spec, the_usage, with_slots},
};

#[test]
fn a_growth_is_recorded_with_the_slots_that_are_taken_still() {
    let earlier = |profile: DriverProfileSpec, seconds: &[i64]| {
        let (actions, _) = decide_at(&low_after(profile, seconds), 5);
        let [Action::Grow { record, .. }] = &actions[..] else { panic!("it grows") };
        record.earlier.clone()
    };
    assert_eq!(earlier(with_slots(4), &[-9000, -3000, -2000]), [at(-3000), at(-2000)]);
    assert_eq!(earlier(with_slots(4), &[-9000]), []);
    assert_eq!(earlier(DriverProfileSpec::default(), &[-3000]), [], "nothing is kept that limits nothing");
    assert_eq!(earlier(with_slots(4), &[9000]), [], "no clock is wrong by hours");
}

#[test]
fn a_slot_is_free_again_a_window_after_it_was_taken_and_not_before() {
    let view = low_after(with_slots(2), &[-3597, -2000]);
    let (actions, decision) = decide_at(&view, 2);
    assert_eq!((actions, decision.reason, decision.again_at), (vec![], Reason::NoModificationSlot, Some(at(3))));
    assert!(matches!(decide_at(&view, 3).1.outcome, Outcome::Grow(_)));
}

#[test]
fn the_last_slot_is_taken_by_a_step_that_lasts_until_the_next_one_is_free() {
    // 512 KiB/s until the oldest slot is free again in 595 s, and for timeToFull after that: 327.5 MiB are filled, of which
    // 80 MiB are free: 247.5 MiB of the filesystem, 264 MiB of the claim.
    let mut view = low_after(with_slots(3), &[-3000, -2000]);
    the_usage(&mut view).fill_bytes_per_second = 1 << 19;
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(512 + 264)));
    the_spec(&mut view).maximum = mib(700);
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(700)), "as far as the maximum");
    let mut view = low_after(with_slots(4), &[-3000, -2000]);
    the_usage(&mut view).fill_bytes_per_second = 1 << 19;
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(640)), "one of two is a step as any other");
}

#[test]
fn slots_are_taken_also_by_a_growth_of_which_a_user_has_made_less() {
    let mut view = low_after(with_slots(1), &[-10]);
    assert_eq!(decide_at(&view, 5).1.reason, Reason::NoModificationSlot);
    let growth = the_claim(&mut view).growth.as_mut().unwrap();
    (growth.to, growth.usable) = (mib(9000), None);
    assert_eq!(decide_at(&view, 5).1.reason, Reason::NoModificationSlot);
    the_claim(&mut view).growth.as_mut().unwrap().to = mib(1);
    assert!(matches!(decide_at(&view, 5).1.outcome, Outcome::Grow(_)), "what made nothing larger was no growth");
}

/// Two growths have taken slots, and then the request was lowered to less than the driver had made of it already.
#[test]
fn slots_are_taken_also_where_the_request_was_lowered_after_the_driver_had_begun() {
    let mut view = low_after(with_slots(4), &[-3000, -2000]);
    let claim = the_claim(&mut view);
    claim.requested = mib(500);
    let (plan, _) = crate::plan(&view, at(5));
    let (sound, violations) = crate::invariants::retain_sound(&view, plan);
    assert_eq!(violations, []);
    let [Action::Grow { record, .. }] = &sound.actions[..] else { panic!("it grows: {sound:?}") };
    assert_eq!(record.earlier, [at(-3000), at(-2000)]);
}

#[test]
fn an_annotation_of_before_there_were_slots_is_a_growth_that_took_one() {
    let text = r#"{"from":"400Mi","to":"512Mi","filesystem":"380Mi","crossed":"2025-12-31T23:59:00Z",
        "decided":"2025-12-31T23:59:01Z","reason":"BelowMinFree","usable":"2025-12-31T23:59:03Z"}"#;
    let mut view = low_after(with_slots(1), &[0]);
    the_claim(&mut view).growth = Some(serde_json::from_str(text).unwrap());
    assert_eq!(decide_at(&view, 5).1.reason, Reason::NoModificationSlot);
    let without_slots = serde_json::to_string(&record()).unwrap();
    assert!(!without_slots.contains("earlier"), "nor is one written that an earlier operator could not read");
}
