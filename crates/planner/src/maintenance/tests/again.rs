//! Pods that were stopped in vain are not stopped again at once.

use super::*;

/// A policy that lets pods be stopped whenever it is: windows that overlap and never close.
fn never_closing() -> Arc<Windows> {
    opening("*/10 * * * *", 3600)
}

/// The claim asks for more, and its StatefulSet was stopped for it at that second, in vain.
fn tried(second: i64) -> View {
    let mut view = world();
    the_policy(&mut view).maintenance = Some(never_closing());
    asked(&mut view, second);
    the_set(&mut view).in_vain = Some(Box::new(InVain { at: at(second), claims: ["data-db-0".into()].into() }));
    view
}

fn is_stopped(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::ScaleToZero { .. }))
}

#[test]
fn what_came_of_it_is_written_by_the_request_that_scales_back() {
    let in_vain = |view: &View, second: i64| match restored(view, second) {
        Some(Action::ScaleBack { in_vain, .. }) => in_vain,
        other => panic!("{other:?}"),
    };
    let mut view = world();
    asked(&mut view, OPENS);
    stopped(&mut view, OPENS);
    let is_over = OPENS + 3600 - 300;
    let expected = InVain { at: at(OPENS), claims: ["data-db-0".into()].into() };
    assert_eq!(in_vain(&view, is_over), Some(expected.clone()));
    let text = serde_json::to_string(&expected).unwrap();
    insta::assert_snapshot!(text, @r#"{"at":"2026-01-01T03:00:00Z","claims":["data-db-0"]}"#);
    assert_eq!(serde_json::from_str::<InVain>(&text).unwrap(), expected);

    // Whatever it was that ended it: who has paused the claim and lets go of it again waits, too.
    the_claim(&mut view).paused = Some("true".into());
    assert_eq!(in_vain(&view, OPENS + 60), Some(expected));
    the_claim(&mut view).paused = None;
    the_claim(&mut view).volume_capacity = mib(640);
    assert_eq!(in_vain(&view, OPENS + 60), None, "it was of use");
}

#[test]
fn what_was_in_vain_is_not_forgotten_by_whoever_scales_back() {
    let mut view = world();
    asked(&mut view, OPENS);
    stopped(&mut view, OPENS);
    let mut action = restored(&view, OPENS + 3600).unwrap();
    let Action::ScaleBack { in_vain, .. } = &mut action else { panic!("it is scaled back") };
    *in_vain = None;
    let (sound, violations) = retain_sound(&view, Plan { actions: vec![action] });
    assert_eq!((sound.actions.len(), violations.len()), (0, 1), "{violations:?}");
}

#[test]
fn the_pods_stay_until_the_better_part_of_a_day_has_passed_and_another_window_opens() {
    let view = tried(OPENS);
    let (actions, decision) = decide(&view, OPENS + 3600);
    assert!(!is_stopped(&actions));
    assert_eq!((decision.reason, decision.outcome), (Reason::GrowthOverdue, Outcome::Growing(mib(640))));
    assert_eq!(decision.again_at, Some(at(OPENS + 20 * 3600)));
    insta::assert_snapshot!(decision.message, @"the volume is to be expanded to 640Mi, and its driver expands only volumes that no pod uses: StatefulSet shop/db was scaled to zero at 2026-01-01T03:00:00Z, and scaled back before the driver had expanded claim data-db-0, so it is not stopped again before 2026-01-01T23:00:00Z: read the claim's Events and the log of the driver's resizer; to have it tried in the next window already, take the annotation orlop.dev/stopped-in-vain off the StatefulSet");
    assert!(!is_stopped(&decide(&view, OPENS + 20 * 3600 - 1).0));
    assert!(is_stopped(&decide(&view, OPENS + 20 * 3600).0));

    // A window that is a day long is still the same one.
    let mut long = tried(OPENS);
    the_policy(&mut long).maintenance = Some(opening("0 3 * * *", 86_400));
    let (actions, decision) = decide(&long, OPENS + 21 * 3600);
    assert_eq!((is_stopped(&actions), decision.again_at), (false, Some(at(OPENS + 86_400))));
    assert!(is_stopped(&decide(&long, OPENS + 86_400).0));
}

#[test]
fn the_other_claims_of_the_workload_wait_as_well_and_are_told_why() {
    let mut view = tried(OPENS);
    let other = view.claims.get_mut(&id("data-db-1")).unwrap();
    other.usage.as_mut().unwrap().available = mib(40);
    other.usage.as_mut().unwrap().at = at(OPENS + 3600);
    let (plan, report) = plan_claims(&view, [&id("data-db-1")], at(OPENS + 3600));
    let decision = &report.decisions[&id("data-db-1")];
    assert_eq!((plan.actions.len(), decision.reason), (0, Reason::AwaitingMaintenance));
    assert!(decision.message.contains("before the driver had expanded claim data-db-0"), "{}", decision.message);
}

#[test]
fn it_is_tried_at_once_where_what_was_in_vain_is_no_longer_wanted_or_somebody_says_so() {
    type Change = fn(&mut View);
    let changes: [(&str, Change); 4] = [
        ("somebody has taken the annotation off", |view| the_set(view).in_vain = None),
        ("the claim that it was for is gone", |view| {
            the_set(view).in_vain.as_mut().unwrap().claims = ["data-db-7".into()].into();
        }),
        ("another claim has been expanded since", |view| {
            the_set(view).in_vain.as_mut().unwrap().claims = ["data-db-1".into()].into();
        }),
        ("it is dated in the future", |view| the_set(view).in_vain.as_mut().unwrap().at = at(OPENS + 86_400)),
    ];
    for (what, change) in changes {
        let mut view = tried(OPENS);
        change(&mut view);
        assert!(is_stopped(&decide(&view, OPENS + 3600).0), "{what}");
    }
}

#[test]
fn pods_are_stopped_for_an_hour_at_most_however_long_the_window_is() {
    let mut view = world();
    the_policy(&mut view).maintenance = Some(opening("0 3 * * *", 86_400));
    asked(&mut view, OPENS);
    let (actions, _) = decide(&view, OPENS + 10);
    let [Action::ScaleToZero { scaled, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(scaled.until, at(OPENS + 10 + 3600));
}

#[test]
fn what_somebody_has_started_meanwhile_is_told_with_until_when_it_runs() {
    let mut view = world();
    asked(&mut view, OPENS);
    stopped(&mut view, OPENS);
    the_set(&mut view).replicas = 3;
    the_claim(&mut view).pods = vec![pod("db-0")];
    let (actions, decision) = decide(&view, OPENS + 60);
    assert_eq!((actions, decision.reason), (vec![], Reason::AwaitingMaintenance));
    assert!(decision.message.contains("somebody has scaled it to 3 since"), "{}", decision.message);
    assert_eq!(decision.again_at, Some(at(OPENS + 3600 - 300)));
}

proptest! {
    /// Windows that never close and a driver that does nothing: however often an operator looks, whichever of its requests are
    /// lost, and whatever somebody does to policy and claim meanwhile, pods are stopped once in twenty hours, and for an hour.
    #[test]
    fn a_driver_that_hangs_has_the_pods_stopped_at_most_once_in_twenty_hours(
        steps in prop::collection::vec((1_i64..3000, any::<bool>(), 0_u8..30), 40..160),
    ) {
        let mut view = world();
        the_policy(&mut view).maintenance = Some(never_closing());
        let (mut now, mut stops, mut stopped_at) = (OPENS, Vec::new(), None);
        for (pause, is_lost, event) in steps {
            now += pause;
            meddle(&mut view, event);
            match event {
                4 => the_claim(&mut view).resize = Resize::Infeasible("no".to_owned()),
                5 => the_claim(&mut view).resize = Resize::Idle,
                6 if the_set(&mut view).scaled.is_some() => the_set(&mut view).replicas = 2,
                _ => {}
            }
            let was = the_set(&mut view).replicas;
            let until = the_set(&mut view).scaled.as_ref().map(|scaled| scaled.until);
            play(&mut view, now, is_lost, None, &mut stopped_at)?;
            match (was, the_set(&mut view).replicas) {
                (2, 0) => stops.push(now),
                (0, 0) if !is_lost => prop_assert!(until.is_some_and(|until| at(now) < until)),
                _ => {}
            }
        }
        let pauses: Vec<_> = stops.windows(2).map(|pair| pair[1] - pair[0]).collect();
        prop_assert!(pauses.iter().all(|pause| *pause >= 20 * 3600), "{:?}", pauses);
    }
}
