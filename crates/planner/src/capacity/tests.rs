mod growth;
mod measurement;
mod situations;
mod slots;
mod target;

use std::fmt::Write as _;

use orlop_api::{Bytes, Count, DriverProfileSpec, Mode, names::Reason};

use self::situations::situations;
use crate::{
    Action, Outcome, Selector, View, Watch,
    fixture::{
        at, claim, cluster, decide_at, growing, grown_at, id, mib, override_driver, policy, record, the_claim,
        the_policy, the_usage, view,
    },
};

fn with(change: impl FnOnce(&mut View)) -> View {
    let mut view = view();
    change(&mut view);
    view
}

fn low() -> View {
    with(|view| the_usage(view).available = mib(80))
}

fn growing_with(change: impl FnOnce(&mut View)) -> View {
    let mut view = growing();
    change(&mut view);
    view
}

fn low_with(change: impl FnOnce(&mut View)) -> View {
    let mut view = low();
    change(&mut view);
    view
}

/// Low, with this driver, after growths that were decided at these seconds.
fn low_after(profile: DriverProfileSpec, seconds: &[i64]) -> View {
    low_with(|view| {
        the_claim(view).growth = Some(grown_at(seconds).into());
        override_driver(view, profile);
    })
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Grow(to) => format!("Grow to {to}"),
        Outcome::Recommend(to) => format!("Recommend {to}"),
        Outcome::Growing(to) => format!("Growing to {to}"),
        Outcome::Keep | Outcome::Wait => format!("{outcome:?}"),
    }
}

#[test]
fn every_decision_says_why() {
    let mut text = String::new();
    for (name, view, seconds) in situations() {
        let (actions, decision) = decide_at(&view, seconds);
        let again = decision
            .again_at
            .map_or(String::new(), |again| format!(", again at {}s", again.duration_since(at(0)).as_secs()));
        let problem = if decision.is_problem() { " (problem)" } else { "" };
        writeln!(text, "{name}\n  {}, {}{problem}{again}", outcome(decision.outcome), decision.reason).unwrap();
        writeln!(text, "  {}", decision.message).unwrap();
        for action in actions {
            let name = match action {
                Action::Grow { .. } => "Grow",
                Action::RecordGrowth { .. } => "RecordGrowth",
                Action::WriteOwner { .. } => "WriteOwner",
                Action::TakeBack { .. } => "TakeBack",
                Action::RecordUsable { .. } => "RecordUsable",
                Action::SetClass { .. } => "SetClass",
                Action::SyncPod { .. } => "SyncPod",
                Action::ScaleToZero { .. } => "stop",
                Action::ScaleBack { .. } => "start",
            };
            writeln!(text, "  -> {name}").unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_growth_is_recorded_with_what_was_observed() {
    let mut view = low();
    the_usage(&mut view).crossed = Some(at(-1));
    let (actions, decision) = decide_at(&view, 5);
    let expected = crate::GrowthRecord { crossed: at(-1), decided: at(5), ..record() };
    assert_eq!(actions, [Action::Grow { claim: id("data-0"), uid: claim().uid, previous: None, record: expected }]);
    assert_eq!(decision.outcome, Outcome::Grow(mib(640)));
}

#[test]
fn a_paused_claim_is_told_what_would_be_done_and_nothing_is() {
    let mut view = low();
    the_claim(&mut view).paused = Some(("x".repeat(200) + "\nsecond line").into());
    let (actions, decision) = decide_at(&view, 5);
    assert_eq!((actions, decision.reason, decision.outcome), (vec![], Reason::Paused, Outcome::Recommend(mib(640))));
    assert!(!decision.is_problem(), "it is what somebody wants");
    assert!(decision.message.contains(&format!("({})", "x".repeat(100))), "{}", decision.message);
    assert!(decision.message.ends_with("below minFree 20%; grow from 512Mi to 640Mi"), "{}", decision.message);
    assert_eq!(decision.again_at, Some(at(30)), "it is looked at again as any other");
}

#[test]
fn a_message_about_waiting_has_no_number_that_changes_with_each_measurement() {
    for (name, mut view, seconds) in situations() {
        let (_, before) = decide_at(&view, seconds);
        if let Some(usage) = &mut the_claim(&mut view).usage {
            usage.available = Bytes(usage.available.0.saturating_sub(4096));
        }
        let (_, after) = decide_at(&view, seconds);
        if !matches!(before.outcome, Outcome::Grow(_) | Outcome::Recommend(_)) {
            assert_eq!(before, after, "{name}");
        }
    }
}

#[test]
fn a_watch_is_what_the_policy_would_act_on() {
    let mut view = view();
    let watch = |view: &View| crate::watch(view, &id("data-0"), &view.claims[&id("data-0")]);
    let expected =
        Watch { available_below: mib(96), free_inodes_below: Count(500), seconds_to_full_below: 60, load: None };
    assert_eq!(watch(&view), Some(expected.clone()));
    the_claim(&mut view).usage = None;
    let unmeasured = Watch { available_below: Bytes(mib(512).0.div_ceil(5)), free_inodes_below: Count(0), ..expected };
    assert_eq!(watch(&view), Some(unmeasured));
    the_policy(&mut view).mode = Mode::Off;
    assert_eq!(watch(&view), None);
    view.policies.clear();
    assert_eq!(watch(&view), None);
}

#[test]
fn a_cluster_policy_governs_where_no_namespaced_one_does() {
    let mut view = low();
    let mut smaller = policy();
    smaller.capacity.as_mut().unwrap().maximum = mib(600);
    view.policies.insert(cluster("all"), smaller);
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(640)));
    the_policy(&mut view).claims = Selector(vec![crate::Requirement::Exists("other".to_owned())]);
    assert_eq!(decide_at(&view, 5).1.target(), Some(mib(600)));
}
