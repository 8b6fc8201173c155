use std::sync::Arc;

use jiff::SignedDuration;
use orlop_api::{
    Bytes, DriverProfileSpec, Period,
    maintenance::{Maintenance, Window},
    names::Reason,
};
use proptest::prelude::*;

use super::*;
use crate::{
    Belonging, ClaimTemplate, Decision, Deployment, DeploymentId, GrowthRecord, KeepsClaims, Outcome, Owner, Plan,
    SetId, StatefulSet, Uid,
    fixture::{at, claim, id, mib, override_driver, pod, record, the_policy, view},
    invariants::{Rule, retain_sound},
    plan_claims,
};

mod again;
mod deployments;

/// The window is open for an hour from here, each day.
const OPENS: i64 = 3 * 3600;

fn set_id() -> SetId {
    SetId { namespace: id("x").namespace, name: "db".into() }
}

fn workload() -> WorkloadId {
    WorkloadId::StatefulSet(set_id())
}

fn the_claim(view: &mut View) -> &mut Claim {
    view.claims.get_mut(&id("data-db-0")).unwrap()
}

fn the_set(view: &mut View) -> &mut StatefulSet {
    view.sets.get_mut(&set_id()).unwrap()
}

/// A claim of a StatefulSet with two replicas, nearly full, with a driver that expands offline, under a policy with a window.
fn world() -> View {
    let mut view = view();
    let member = |number: u32| {
        let mut usage = crate::fixture::usage();
        usage.available = mib(if number == 0 { 40 } else { 240 });
        let pods = vec![pod(&format!("db-{number}"))];
        (id(&format!("data-db-{number}")), Claim { pods, usage: Some(usage), ..claim() })
    };
    view.claims = (0..2).map(member).collect();
    let template = ClaimTemplate { name: "data".into(), size: Some(mib(512)), class: None };
    let set = StatefulSet {
        uid: Uid("set".into()),
        belonging: Belonging::default(),
        replicas: 2,
        scaled: None,
        in_vain: None,
        settled: true,
        deleting: false,
        keeps_claims: KeepsClaims::default(),
        version: Some(1),
        templates: [template].into(),
    };
    view.sets = [(set_id(), set)].into();
    view.allowed.scaling = true;
    let offline =
        DriverProfileSpec { expansion: Expansion::Offline, size_increment: Bytes::MIB, ..DriverProfileSpec::default() };
    override_driver(&mut view, offline);
    the_policy(&mut view).maintenance = Some(opening("0 3 * * *", 3600));
    view
}

/// Windows that open by this schedule, for so many seconds.
fn opening(schedule: &str, for_s: u64) -> Arc<Windows> {
    let (schedule, time_zone) = (schedule.to_owned(), "UTC".to_owned());
    let window = Window { schedule, time_zone, duration: Period::from_secs(for_s) };
    Arc::new(Windows::parse(&Maintenance { windows: vec![window] }).unwrap())
}

/// What is decided about the first claim at that second, at which it is measured.
fn decide(view: &View, second: i64) -> (Vec<Action>, Decision) {
    let mut view = view.clone();
    view.claims.values_mut().filter_map(|claim| claim.usage.as_mut()).for_each(|usage| usage.at = at(second));
    let (plan, report) = plan_claims(&view, [&id("data-db-0")], at(second));
    let (sound, violations) = retain_sound(&view, plan.clone());
    assert_eq!((&sound, violations), (&plan, vec![]));
    (plan.actions, report.decisions[&id("data-db-0")].clone())
}

/// The claim has been asked to grow to 640Mi.
fn asked(view: &mut View, second: i64) {
    let claim = the_claim(view);
    claim.requested = mib(640);
    claim.growth = Some(Box::new(GrowthRecord { decided: at(second), crossed: at(second), ..record() }));
}

fn note(second: i64) -> ScaledFrom {
    ScaledFrom { replicas: 2, claim: "data-db-0".into(), at: at(second), until: at(OPENS + 3600 - 300) }
}

/// The StatefulSet has been scaled to zero for it, and its pods are gone.
fn stopped(view: &mut View, second: i64) {
    (the_set(view).replicas, the_set(view).scaled) = (0, Some(Box::new(note(second))));
    view.scaled = [(id("data-db-0"), [workload()].into())].into();
    view.claims.values_mut().for_each(|claim| claim.pods.clear());
}

fn restored(view: &View, second: i64) -> Option<Action> {
    let mut actions: Vec<_> = restore(view, &id("data-db-0"), at(second)).collect();
    assert!(actions.len() <= 1, "{actions:?}");
    actions.pop()
}

#[test]
fn a_growth_waits_for_the_next_window_that_is_long_enough() {
    let view = world();
    let waits = |second: i64| {
        let (actions, decision) = decide(&view, second);
        assert_eq!((actions, decision.outcome), (vec![], Outcome::Wait));
        assert_eq!(decision.reason, Reason::AwaitingMaintenance);
        decision.message
    };
    insta::assert_snapshot!(waits(5), @"the volume needs more room, and its driver expands only volumes that no pod uses: its pods are stopped in a maintenance window of which 15 minutes are left at least, the next one opens at 2026-01-01T03:00:00Z");
    assert!(waits(OPENS + 45 * 60 + 1).ends_with("the next one opens at 2026-01-02T03:00:00Z"), "it is too late");
    let (actions, decision) = decide(&view, OPENS + 45 * 60);
    assert!(matches!(&actions[..], [Action::Grow { .. }]), "{actions:?}");
    assert_eq!(decision.reason, Reason::BelowMinFree);
}

#[test]
fn when_the_larger_size_is_requested_the_statefulset_is_scaled_to_zero_once() {
    let mut view = world();
    asked(&mut view, OPENS);
    let (actions, decision) = decide(&view, OPENS + 1);
    let scaled = ScaledFrom { at: at(OPENS + 1), ..note(OPENS) };
    let expected = Action::ScaleToZero {
        claim: id("data-db-0"),
        workload: workload(),
        uid: Uid("set".into()),
        scaled: scaled.clone(),
    };
    assert_eq!((&actions[..], decision.reason), (&[expected][..], Reason::Growing));
    assert_eq!(
        actions[0].to_string(),
        "scale StatefulSet shop/db from 2 to 0, so that the volume of claim shop/data-db-0 can be expanded"
    );
    the_set(&mut view).scaled = Some(Box::new(scaled));
    the_set(&mut view).replicas = 0;
    assert_eq!(decide(&view, OPENS + 2).0, vec![], "its pods are ending");
    let mut late = world();
    asked(&mut late, OPENS);
    let (actions, decision) = decide(&late, OPENS + 3600 - 60);
    assert_eq!((actions, decision.reason), (vec![], Reason::AwaitingMaintenance), "the window is nearly over");
}

#[test]
fn it_is_scaled_back_when_its_volumes_have_their_sizes_also_where_a_pod_never_ends() {
    let mut view = world();
    asked(&mut view, OPENS);
    stopped(&mut view, OPENS);
    assert_eq!(restored(&view, OPENS + 60), None, "the driver is at it");
    the_claim(&mut view).volume_capacity = mib(640);
    let back = restored(&view, OPENS + 61).unwrap();
    assert_eq!(back.to_string(), "scale StatefulSet shop/db back to 2");
    let (sound, violations) = retain_sound(&view, Plan { actions: vec![back] });
    assert_eq!((sound.actions.len(), violations), (1, vec![]));
    // Its node may be gone, and it would be waited for in vain.
    view.claims.get_mut(&id("data-db-1")).unwrap().pods = vec![pod("db-1")];
    assert!(restored(&view, OPENS + 62).is_some());
}

#[test]
fn it_is_scaled_back_whatever_has_become_of_the_growth() {
    type Change = fn(&mut View);
    let cases: [(&str, Change); 7] = [
        ("the driver refuses", |view| {
            the_claim(view).growth.as_mut().unwrap().refused = [960, 800, 720, 680].map(mib).into();
            the_claim(view).resize = Resize::Infeasible("no".to_owned());
        }),
        ("the policy is gone", |view| view.policies.clear()),
        ("it only recommends", |view| the_policy(view).mode = Mode::Recommend),
        ("it has no windows any more", |view| the_policy(view).maintenance = None),
        ("the claim is paused", |view| the_claim(view).paused = Some("true".into())),
        ("the claim is gone", |view| drop(view.claims.remove(&id("data-db-0")))),
        ("a user requests less", |view| the_claim(view).requested = mib(512)),
    ];
    for (what, change) in cases {
        let mut view = world();
        asked(&mut view, OPENS);
        stopped(&mut view, OPENS);
        assert_eq!(restored(&view, OPENS + 60), None);
        change(&mut view);
        let (plan, _) = plan_claims(&view, [&id("data-db-0")], at(OPENS + 60));
        let is_back = |action: &Action| matches!(action, Action::ScaleBack { .. });
        assert!(plan.actions.iter().any(is_back), "{what}: {:?}", plan.actions);
        assert_eq!(retain_sound(&view, plan).1, [], "{what}");
    }
    let mut view = world();
    asked(&mut view, OPENS);
    stopped(&mut view, OPENS);
    assert_eq!(restored(&view, OPENS + 3600 - 301), None);
    assert!(restored(&view, OPENS + 3600 - 300).is_some(), "the window is about to be over");
}

#[test]
fn what_somebody_has_scaled_meanwhile_stays_so() {
    let mut view = world();
    asked(&mut view, OPENS);
    stopped(&mut view, OPENS);
    the_set(&mut view).replicas = 3;
    assert_eq!(restored(&view, OPENS + 10), None);
    assert_eq!(decide(&view, OPENS + 10).0, vec![], "nor is it stopped again in this window");
    let action = restored(&view, OPENS + 3600 - 300).unwrap();
    assert_eq!(
        action.to_string(),
        "leave StatefulSet shop/db at 3, to which somebody has scaled it; the driver has not expanded claim data-db-0"
    );
}

#[test]
fn what_the_driver_has_refused_for_good_stops_nothing_and_while_less_is_asked_for_nothing_is_started() {
    let mut view = world();
    asked(&mut view, OPENS);
    the_claim(&mut view).resize = Resize::Infeasible("no".to_owned());
    assert!(!decide(&view, OPENS + 1).0.iter().any(|action| matches!(action, Action::ScaleToZero { .. })));
    stopped(&mut view, OPENS);
    assert_eq!(restored(&view, OPENS + 60), None, "a smaller size is asked for");
    the_claim(&mut view).resize = Resize::NodeInfeasible("no".to_owned());
    assert!(restored(&view, OPENS + 60).is_some());
}

#[test]
fn pods_are_stopped_only_where_nothing_else_starts_them() {
    type Change<'a> = &'a dyn Fn(&mut View);
    let reason = |change: &dyn Fn(&mut View)| {
        let mut view = world();
        change(&mut view);
        let (actions, decision) = decide(&view, OPENS);
        assert_eq!(actions, vec![]);
        (decision.reason, decision.message)
    };
    let owner = Owner {
        api_version: "psmdb.percona.com/v1".into(),
        kind: "PerconaServerMongoDB".into(),
        name: "main".into(),
        uid: Uid("o".into()),
    };
    let map = Owner { api_version: "v1".into(), kind: "ConfigMap".into(), ..owner.clone() };
    let [owned, configured] = [owner, map].map(|owner| Belonging { owner: Some(owner), manager: None });
    let cases: [(Change<'_>, &str); 10] = [
        (&|view| view.allowed.scaling = false, "set operator.maintenance"),
        (&|view| the_policy(view).maintenance = None, "names no maintenance window"),
        (&|view| view.sets.clear(), "of no StatefulSet"),
        (&|view| the_set(view).keeps_claims.when_scaled = false, "deletes the claims of pods that are scaled away"),
        (&|view| the_set(view).deleting = true, "is being deleted"),
        (&|view| the_set(view).replicas = 0, "has no replicas"),
        (
            &|view| the_claim(view).pods.push(pod("nightly-backup")),
            "pod shop/nightly-backup uses it beside StatefulSet",
        ),
        (&|view| the_set(view).belonging = owned.clone(), "belongs to PerconaServerMongoDB main"),
        (&|view| the_claim(view).belonging = Some(Arc::new(configured.clone())), "belongs to ConfigMap main"),
        (&|view| view.autoscalers = [(workload(), "web".into())].into(), "HorizontalPodAutoscaler web"),
    ];
    for (change, words) in cases {
        let (reason, message) = reason(change);
        assert_eq!(reason, Reason::OfflineOnly, "{message}");
        assert!(message.contains(words), "{message}");
    }
    let (paused, message) = reason(&|view| the_claim(view).paused = Some("true".into()));
    assert_eq!(paused, Reason::Paused, "{message}");
    let mut recommends = world();
    the_policy(&mut recommends).mode = Mode::Recommend;
    let (actions, decision) = decide(&recommends, OPENS);
    assert_eq!((actions, decision.outcome), (vec![], Outcome::Recommend(mib(640))));
}

#[test]
fn no_action_of_that_kind_is_sound_where_it_may_not_be() {
    let mut view = world();
    asked(&mut view, OPENS);
    let (actions, _) = decide(&view, OPENS);
    let broken = |change: &dyn Fn(&mut View)| {
        let mut view = view.clone();
        change(&mut view);
        retain_sound(&view, Plan { actions: actions.clone() }).1.pop().map(|violation| violation.rule)
    };
    assert_eq!(broken(&|_| ()), None);
    assert_eq!(broken(&|view| view.allowed.scaling = false), Some(Rule::NoWindow));
    assert_eq!(broken(&|view| view.autoscalers = [(workload(), "web".into())].into()), Some(Rule::NoWindow));
    assert_eq!(broken(&|view| the_policy(view).mode = Mode::Recommend), Some(Rule::NoWindow));
    assert_eq!(broken(&|view| the_claim(view).paused = Some("true".into())), Some(Rule::Paused));
    assert_eq!(broken(&|view| the_claim(view).volume_capacity = mib(640)), Some(Rule::NoWindow));
    assert_eq!(broken(&|view| the_set(view).keeps_claims.when_scaled = false), Some(Rule::NoWindow));
    assert_eq!(broken(&|view| the_set(view).deleting = true), Some(Rule::NoWindow));
    assert_eq!(broken(&|view| the_claim(view).pods.push(pod("other"))), Some(Rule::NoWindow));
    let in_vain = |second: i64| InVain { at: at(second), claims: ["data-db-0".into()].into() };
    assert_eq!(broken(&|view| the_set(view).in_vain = Some(Box::new(in_vain(OPENS - 3600)))), Some(Rule::NoWindow));
    assert_eq!(broken(&|view| the_set(view).in_vain = Some(Box::new(in_vain(OPENS - 86_400)))), None);
    assert_eq!(broken(&|view| the_set(view).replicas = 5), Some(Rule::Precondition));
    assert_eq!(broken(&|view| the_set(view).uid = Uid("another".into())), Some(Rule::Uid(Uid("set".into()))));
}

proptest! {
    /// A StatefulSet with two replicas, whatever happens to it and to whoever looks after it: an operator decides at some
    /// moments only, each request of it may be lost, and the driver takes what it takes or refuses. It is never stopped outside
    /// of a window, and after the window it has its replicas.
    #[test]
    fn a_statefulset_is_stopped_within_a_window_alone_and_comes_back(
        steps in prop::collection::vec((1_i64..400, any::<bool>(), 0_u8..20), 10..80),
        begins in -1200_i64..3600,
        takes_s in prop::option::of(0_i64..4000),
    ) {
        let mut view = world();
        let mut now = OPENS + begins;
        let mut stopped_at = None;
        for (pause, is_lost, event) in steps {
            now += pause;
            meddle(&mut view, event);
            play(&mut view, now, is_lost, takes_s, &mut stopped_at)?;
            let open_since = (now - OPENS).rem_euclid(86_400);
            prop_assert!(stopped_at != Some(now) || open_since <= 3600 - 900, "{} s after it has opened", open_since);
        }
        // The operator is there again, and asks until it is answered.
        let window_ends = OPENS + 86_400 * ((now - OPENS).div_euclid(86_400)) + 3600;
        for second in [now.max(window_ends), now.max(window_ends) + 1, now.max(window_ends) + 2] {
            play(&mut view, second, false, takes_s, &mut stopped_at)?;
        }
        prop_assert_eq!((the_set(&mut view).replicas, &the_set(&mut view).scaled), (2, &None));
    }
}

/// Somebody changes the policy or the claim, or does nothing.
fn meddle(view: &mut View, event: u8) {
    match event {
        0 => view.policies.values_mut().for_each(|policy| policy.mode = Mode::Recommend),
        1 => view.policies.values_mut().for_each(|policy| policy.mode = Mode::Auto),
        2 => the_claim(view).paused = Some("true".into()),
        3 => the_claim(view).paused = None,
        _ => {}
    }
}

/// One pass of an operator, and what the world makes of it.
fn play(
    view: &mut View,
    second: i64,
    is_lost: bool,
    takes_s: Option<i64>,
    stopped_at: &mut Option<i64>,
) -> Result<(), TestCaseError> {
    let is_stopped = the_set(view).replicas == 0;
    for (number, claim) in view.claims.values_mut().enumerate() {
        claim.pods = if is_stopped { Vec::new() } else { vec![pod(&format!("db-{number}"))] };
        if let Some(usage) = claim.usage.as_mut() {
            usage.at = at(second);
        }
        let is_done = takes_s.zip(*stopped_at).is_some_and(|(takes, stopped)| is_stopped && second >= stopped + takes);
        if is_done && claim.requested > claim.volume_capacity {
            claim.volume_capacity = claim.requested;
        }
        if !is_stopped && claim.volume_capacity > claim.capacity {
            claim.capacity = claim.volume_capacity;
            let usage = claim.usage.as_mut().unwrap();
            (usage.total, usage.available) = (claim.capacity, mib(300));
        }
    }
    let ids: Vec<_> = view.claims.keys().cloned().collect();
    let (plan, _) = plan_claims(view, &ids, at(second));
    let (sound, violations) = retain_sound(view, plan);
    prop_assert_eq!(violations, vec![]);
    for action in sound.actions.into_iter().filter(|_| !is_lost) {
        let id = action.claim().clone();
        match action {
            Action::Grow { record, .. } | Action::TakeBack { record, .. } => {
                let claim = view.claims.get_mut(&id).unwrap();
                (claim.requested, claim.growth) = (record.to, Some(record.into()));
            }
            Action::RecordUsable { record, .. } => view.claims.get_mut(&id).unwrap().growth = Some(record.into()),
            Action::SyncPod { .. }
            | Action::RecordGrowth { .. }
            | Action::WriteOwner { .. }
            | Action::SetClass { .. } => {}
            Action::ScaleToZero { scaled, .. } => {
                prop_assert_eq!(the_set(view).replicas, 2);
                (the_set(view).replicas, the_set(view).scaled) = (0, Some(Box::new(scaled)));
                view.scaled = [(id, [workload()].into())].into();
                *stopped_at = Some(second);
            }
            Action::ScaleBack { scaled, replicas, in_vain, .. } => {
                the_set(view).replicas = if replicas == 0 { scaled.replicas } else { replicas };
                (the_set(view).scaled, the_set(view).in_vain) = (None, in_vain.map(Box::new));
                view.scaled.clear();
            }
        }
    }
    Ok(())
}

#[test]
fn the_note_on_a_statefulset_reads_back() {
    let text = serde_json::to_string(&note(0)).unwrap();
    insta::assert_snapshot!(text, @r#"{"replicas":2,"claim":"data-db-0","at":"2026-01-01T00:00:00Z","until":"2026-01-01T03:55:00Z"}"#);
    assert_eq!(serde_json::from_str::<ScaledFrom>(&text).unwrap(), note(0));
    assert_eq!(NEEDS, SignedDuration::from_mins(15));
}
