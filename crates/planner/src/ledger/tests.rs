use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use orlop_api::{Bytes, Mode, names::condition};

use super::*;
use crate::{
    View,
    fixture::{
        at, claim, cluster, growing, grown, id, mib, namespaced, policy, the_claim, the_policy, the_spec, the_usage,
        view,
    },
    plan,
};

/// A ledger into which a world was recorded at second 0, and what that changed.
fn ledger(view: &View) -> (Ledger, Changes) {
    let mut ledger = Ledger::default();
    let changes = record(&mut ledger, view, 0);
    (ledger, changes)
}

fn record(ledger: &mut Ledger, view: &View, seconds: i64) -> Changes {
    ledger.record(plan(view, at(seconds)).1, at(seconds))
}

fn status(ledger: &Ledger) -> PolicyStatus {
    ledger.status(&namespaced("keep"), Some(1), None, at(0))
}

fn low() -> View {
    let mut view = view();
    the_usage(&mut view).available = mib(80);
    view
}

fn at_maximum() -> View {
    let mut view = low();
    the_spec(&mut view).maximum = mib(512);
    view
}

/// Worlds with what their policy's conditions say.
#[test]
fn conditions_say_what_is_wrong_and_where() {
    let with = |mut view: View, change: fn(&mut View)| {
        change(&mut view);
        view
    };
    let worlds = [
        ("enough room", view()),
        ("no claims", with(view(), |view| view.claims = crate::Claims::default())),
        ("mode Off", with(view(), |view| the_policy(view).mode = Mode::Off)),
        ("unbound", with(view(), |view| the_claim(view).bound = false)),
        ("growing", growing()),
        ("recommended", with(low(), |view| the_policy(view).mode = Mode::Recommend)),
        ("at the maximum", at_maximum()),
        ("conflict", with(view(), |view| drop(view.policies.insert(namespaced("also"), policy())))),
        (
            "two problems of three claims",
            with(at_maximum(), |view| {
                for name in ["data-1", "data-2"] {
                    let claim = the_claim(view).clone();
                    view.claims.insert(id(name), claim);
                }
                the_usage(view).available = mib(400);
            }),
        ),
        (
            "six problems of three kinds",
            with(at_maximum(), |view| {
                for number in 1..6 {
                    let claim = the_claim(view).clone();
                    view.claims.insert(id(&format!("data-{number}")), claim);
                }
                view.claims.get_mut(&id("data-3")).unwrap().class = None;
                view.claims.get_mut(&id("data-4")).unwrap().usage = None;
            }),
        ),
    ];
    let mut text = String::new();
    for (name, view) in worlds {
        let status = status(&ledger(&view).0);
        let counts = (status.claim_count, status.growing_count, status.problem_count);
        let _ = writeln!(text, "{name}: (claims, growing, problems) = {counts:?}");
        for Condition { type_, status, reason, message, .. } in status.conditions {
            let _ = writeln!(text, "  {type_}={status} {reason}: {message}");
        }
        for claim in status.claims {
            let _ =
                writeln!(text, "  {} {:?} {}", claim.name, claim.target.map(|target| target.to_string()), claim.reason);
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_as_before_changes_nothing() {
    let (mut ledger, changes) = ledger(&view());
    assert_eq!(changes.claims, [id("data-0")].into());
    assert_eq!(changes.policies, [namespaced("keep")].into());
    assert_eq!(record(&mut ledger, &view(), 1), Changes::default());
}

#[test]
fn a_new_reason_is_news_and_a_new_number_is_not() {
    let (mut ledger, _) = ledger(&view());
    let mut low = low();
    the_policy(&mut low).mode = Mode::Recommend;
    let changes = record(&mut ledger, &low, 1);
    assert_eq!((changes.claims, changes.policies), ([id("data-0")].into(), [namespaced("keep")].into()));
    the_usage(&mut low).available = mib(79);
    assert_eq!(record(&mut ledger, &low, 2), Changes::default(), "other numbers in the message");
    the_usage(&mut low).available = mib(1);
    the_usage(&mut low).fill_bytes_per_second = 32 << 20;
    let changes = record(&mut ledger, &low, 3);
    assert!(changes.claims.is_empty(), "a larger recommendation is no news");
    assert_eq!(changes.policies, [namespaced("keep")].into(), "but it belongs into the status");
}

#[test]
fn a_problem_is_news_once() {
    let mut view = at_maximum();
    let (mut ledger, changes) = ledger(&view);
    assert_eq!(changes.claims, [id("data-0")].into());
    for seconds in 1..20 {
        the_usage(&mut view).available = Bytes(mib(80).0 - seconds);
        let changes = record(&mut ledger, &view, seconds.try_into().unwrap());
        assert_eq!(changes, Changes::default());
    }
}

#[test]
fn since_is_when_the_reason_became_this_one() {
    let (mut ledger, _) = ledger(&view());
    let since = |ledger: &Ledger| status(ledger).claims[0].since.0;
    let _ = record(&mut ledger, &at_maximum(), 3);
    assert_eq!(since(&ledger), at(3));
    let mut lower = at_maximum();
    the_spec(&mut lower).maximum = mib(511);
    assert_eq!(record(&mut ledger, &lower, 5).policies, [namespaced("keep")].into());
    assert!(status(&ledger).claims[0].message.contains("maximum 511Mi"));
    assert_eq!(since(&ledger), at(3), "another message for the same reason");
    let _ = record(&mut ledger, &view(), 7);
    assert_eq!(since(&ledger), at(7));
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let (mut ledger, _) = ledger(&view());
    let time = |status: &PolicyStatus, kind| {
        status.conditions.iter().find(|it| it.type_ == kind).unwrap().last_transition_time.0
    };
    let first = ledger.status(&namespaced("keep"), Some(1), None, at(1));
    let same = ledger.status(&namespaced("keep"), Some(2), Some(&first), at(2));
    assert_eq!(time(&same, condition::HEALTHY), at(1));
    assert_eq!((same.observed_generation, same.conditions[0].observed_generation), (Some(2), Some(2)));
    let _ = record(&mut ledger, &at_maximum(), 3);
    let problem = ledger.status(&namespaced("keep"), Some(2), Some(&same), at(3));
    assert_eq!(time(&problem, condition::HEALTHY), at(3));
    assert_eq!(time(&problem, condition::READY), at(1));
    let _ = record(&mut ledger, &view(), 4);
    let well = ledger.status(&namespaced("keep"), Some(2), Some(&problem), at(4));
    assert_eq!(time(&well, condition::HEALTHY), at(4));
}

#[test]
fn a_claim_that_is_gone_or_governed_by_another_leaves_its_policy() {
    let (mut ledger, _) = ledger(&view());
    assert_eq!(ledger.remove(&id("data-0")).policies, [namespaced("keep")].into());
    assert_eq!(status(&ledger).claim_count, 0);
    assert_eq!(ledger.remove(&id("data-0")), Changes::default());

    let _ = record(&mut ledger, &view(), 1);
    let mut moved = view();
    moved.policies = [(cluster("all"), policy())].into();
    assert_eq!(record(&mut ledger, &moved, 2).policies, [namespaced("keep"), cluster("all")].into());
    moved.policies.clear();
    assert_eq!(record(&mut ledger, &moved, 3).policies, [cluster("all")].into());
    assert!(ledger.claims.is_empty() && ledger.policies.is_empty());
}

#[test]
fn each_policy_of_a_conflict_speaks_of_it() {
    let mut view = view();
    view.policies.insert(namespaced("also"), policy());
    let (ledger, changes) = ledger(&view);
    assert_eq!(changes.policies, [namespaced("also"), namespaced("keep")].into());
    for name in ["also", "keep"] {
        assert_eq!(ledger.status(&namespaced(name), None, None, at(0)).problem_count, 1);
    }
}

#[test]
fn a_status_lists_the_most_urgent_claims_and_not_all() {
    let mut view = view();
    view.claims = (0..100).map(|number| (id(&format!("data-{number:02}")), claim())).collect();
    view.claims.get_mut(&id("data-77")).unwrap().usage = None;
    let status = status(&ledger(&view).0);
    assert_eq!((status.claim_count, status.problem_count), (100, 1));
    let names: Vec<_> = status.claims.iter().map(|claim| claim.name.as_str()).collect();
    assert_eq!((names.len(), &names[..3]), (PolicyStatus::CLAIMS_MAX, &["data-77", "data-00", "data-01"][..]));
}

#[test]
fn what_is_recorded_step_by_step_is_what_is_recorded_at_once() {
    let worlds = [view(), low(), growing(), grown(), at_maximum(), view()];
    let mut by_steps = Ledger::default();
    for world in worlds {
        let mut world = world;
        let other = the_claim(&mut world).clone();
        world.claims.insert(id("data-1"), other);
        let _ = record(&mut by_steps, &world, 0);
        let (at_once, _) = ledger(&world);
        assert_eq!(by_steps.policies, at_once.policies);
    }
}

#[test]
fn when_to_look_again_is_as_in_the_latest_decision_also_where_it_reads_the_same() {
    let mut view = view();
    let (mut ledger, _) = ledger(&view);
    let again_at = |ledger: &Ledger| ledger.decision(&id("data-0")).unwrap().again_at.unwrap();
    let first = again_at(&ledger);
    the_usage(&mut view).at = at(20);
    assert_eq!(record(&mut ledger, &view, 20), Changes::default());
    assert_eq!(again_at(&ledger).duration_since(first).as_secs(), 20);
}

#[test]
fn a_status_says_anew_by_whom_a_claim_is_to_grow_and_what_stands_in_the_way_of_that() {
    let mut view = crate::fixture::owned();
    crate::fixture::the_policy(&mut view).mode = orlop_api::Mode::Recommend;
    let kinds = std::mem::take(&mut view.resources.kinds);
    let (mut ledger, _) = ledger(&view);
    view.resources.kinds = kinds;
    let is_news = |changes: &Changes| !changes.policies.is_empty();
    assert!(is_news(&record(&mut ledger, &view, 1)), "its owner has become known");
    the_usage(&mut view).available = crate::fixture::mib(49);
    assert!(!is_news(&record(&mut ledger, &view, 2)), "only a number has changed");
    let managed = |view: &mut crate::View, by: &str| {
        crate::fixture::the_cluster(view).belonging.manager = Some(crate::Manager::Helm(by.into()));
    };
    managed(&mut view, "a");
    assert!(is_news(&record(&mut ledger, &view, 3)));
    managed(&mut view, "b");
    assert!(is_news(&record(&mut ledger, &view, 4)), "somebody else stands in the way");
    the_usage(&mut view).available = crate::fixture::mib(48);
    assert!(!is_news(&record(&mut ledger, &view, 5)));
}
