use orlop_api::{BudgetLimits, Bytes, Mode, names::Reason};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Budget, BudgetName, Manager, Objects, OwnerKind, Plan, Resize, Selector, View,
    fixture::{
        CLUSTERS, asking_for, at, cluster_db, id, mib, owned, served, the_claim, the_cluster, the_policy, the_usage,
        unreadable,
    },
    invariants, plan_claims,
};

/// What is decided about every claim, all of whose actions keep the rules.
fn decided(view: &View, second: i64) -> (Vec<Action>, Report) {
    let (plan, report) = plan_claims(view, view.claims.keys(), at(second));
    let (sound, violations) = invariants::retain_sound(view, plan.clone());
    assert_eq!((&sound, &violations[..]), (&plan, &[][..]));
    (plan.actions, report)
}

fn alone(view: &View, second: i64) -> (Vec<Action>, Decision) {
    let (actions, mut report) = decided(view, second);
    (actions, report.decisions.remove(&id("data-0")).unwrap())
}

fn record(actions: &[Action]) -> GrowthRecord {
    let [Action::RecordGrowth { record, .. }, ..] = actions else { panic!("{actions:?}") };
    record.clone()
}

/// The world after the growth was recorded.
fn recorded() -> View {
    let mut view = owned();
    let record = record(&alone(&view, 1).0);
    the_claim(&mut view).growth = Some(record.into());
    view
}

/// The world after the owner was written, and that was seen.
fn written() -> View {
    let mut view = recorded();
    the_cluster(&mut view).fields = asking_for("640Mi").fields;
    let record = record(&alone(&view, 2).0);
    the_claim(&mut view).growth = Some(record.into());
    view
}

#[test]
fn the_owner_is_written_and_never_the_claim_after_the_growth_is_on_record() {
    let (actions, decision) = alone(&owned(), 1);
    let [Action::RecordGrowth { record, previous: None, .. }, Action::WriteOwner { owner, field, to, .. }] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((owner, &*field.pointer, *to), (&cluster_db(), "/spec/storage/size", mib(640)));
    assert_eq!((record.from, record.to, record.reason), (mib(512), mib(640), Reason::BelowMinFree));
    assert_eq!((decision.outcome, decision.reason), (Outcome::Grow(mib(640)), Reason::BelowMinFree));
    assert!(decision.message.ends_with("; set spec.storage.size of Cluster db to 640Mi"), "{}", decision.message);
}

#[test]
fn an_operator_that_was_killed_between_the_two_requests_makes_the_second() {
    let (actions, decision) = alone(&recorded(), 5);
    assert!(matches!(&actions[..], [Action::WriteOwner { to, .. }] if *to == mib(640)), "{actions:?}");
    assert_eq!(decision.outcome, Outcome::Grow(mib(640)));
}

#[test]
fn what_was_written_is_waited_for_and_reported_when_the_operator_does_not_follow() {
    let mut view = recorded();
    the_cluster(&mut view).fields = asking_for("640Mi").fields;
    let (actions, decision) = alone(&view, 2);
    assert_eq!(record(&actions).owner.unwrap().written, Some(at(2)));
    assert_eq!((decision.outcome, decision.reason), (Outcome::Growing(mib(640)), Reason::Growing));
    let view = written();
    let (actions, decision) = alone(&view, 60);
    assert_eq!((actions, decision.reason, decision.again_at), (vec![], Reason::Growing, Some(at(602))));
    let (actions, decision) = alone(&view, 602);
    assert_eq!((actions, decision.reason), (vec![], Reason::OwnerNotFollowing));
    let mut view = view;
    the_claim(&mut view).requested = mib(640);
    let (_, decision) = alone(&view, 590);
    assert_eq!((decision.outcome, decision.reason), (Outcome::Growing(mib(640)), Reason::Growing), "it has followed");
}

#[test]
fn an_owner_that_was_set_back_is_left_to_whoever_did_that() {
    let mut view = written();
    the_cluster(&mut view).fields = asking_for("512Mi").fields;
    for second in [3, 60, 100_000] {
        let (actions, decision) = alone(&view, second);
        assert_eq!((actions, decision.reason), (vec![], Reason::OwnedElsewhere));
        assert!(decision.message.contains("somebody has set it back to 512Mi"), "{}", decision.message);
    }
    the_claim(&mut view).growth = None;
    assert_eq!(alone(&view, 1).0.len(), 2, "until somebody takes the record away");
}

#[test]
fn an_owner_that_others_apply_is_only_recommended() {
    let mut view = owned();
    the_cluster(&mut view).belonging.manager = Some(Manager::Helm("shop".into()));
    let (actions, decision) = alone(&view, 1);
    assert_eq!((actions, decision.reason), (vec![], Reason::OwnedElsewhere));
    assert_eq!(decision.outcome, Outcome::Recommend(mib(640)));
    assert!(decision.is_problem());
    let said = "set spec.storage.size of Cluster db to 640Mi: Orlop does not, because Helm release shop applies its \
                manifest and would set it back: commit the size there";
    assert!(decision.message.ends_with(said), "{}", decision.message);
    // Somebody does: then it is waited for, and no more is asked for.
    the_cluster(&mut view).fields = asking_for("700Mi").fields;
    let (actions, decision) = alone(&view, 1);
    assert_eq!((record(&actions).to, decision.outcome), (mib(700), Outcome::Growing(mib(700))));
}

#[test]
fn an_owner_of_which_too_little_is_known_keeps_its_claims_as_they_are() {
    let mut view = owned();
    the_cluster(&mut view).fields = json!({ "spec": {} });
    let (actions, decision) = alone(&view, 1);
    assert_eq!((actions, decision.reason), (vec![], Reason::OwnedElsewhere));
    view.resources.kinds.values_mut().for_each(|kind| *kind = unreadable());
    view.resources.objects.clear();
    let (actions, decision) = alone(&view, 1);
    assert_eq!((actions, decision.reason), (vec![], Reason::OwnedElsewhere));
}

/// The world in which this is known of the kind of the claim's owner, and of its objects nothing.
fn with_kind(kind: Option<OwnerKind>) -> View {
    let mut view = owned();
    view.resources.objects.clear();
    view.resources.kinds.clear();
    view.resources.kinds.extend(kind.map(|kind| (CLUSTERS.to_owned(), kind)));
    view
}

#[test]
fn a_claim_waits_until_it_was_asked_whether_the_cluster_has_the_kind_of_its_owner() {
    for unasked in [None, Some(OwnerKind::Absent(at(-60)))] {
        let (actions, decision) = alone(&with_kind(unasked), 1);
        assert_eq!((actions, decision.outcome, decision.reason), (vec![], Outcome::Wait, Reason::AwaitingOwner));
        assert_eq!(
            decision.message,
            "the volume needs more room than 512Mi, the claim names Cluster db, and it is being asked whether the cluster \
             has clusters.postgresql.cnpg.io"
        );
        assert!(!decision.is_problem());
    }
    let (actions, decision) = alone(&with_kind(Some(OwnerKind::Absent(at(0)))), 1);
    assert!(matches!(&actions[..], [Action::Grow { .. }]), "there is no such kind: {actions:?}");
    assert_eq!(decision.by_owner, None);
}

#[test]
fn a_claim_waits_until_the_objects_of_its_owners_kind_are_listed_however_full_it_is() {
    let mut view = with_kind(Some(served(Objects::Listing)));
    the_usage(&mut view).available = Bytes(0);
    let (actions, decision) = alone(&view, 1);
    assert_eq!((actions, decision.reason), (vec![], Reason::AwaitingOwner));
    // What was kept of an object by an earlier profile is not gone by.
    view.resources.objects.insert(cluster_db(), asking_for("512Mi"));
    assert_eq!(alone(&view, 1).1.reason, Reason::AwaitingOwner);
}

#[test]
fn a_claim_that_is_about_to_be_full_while_its_owner_cannot_be_known_is_grown_itself_after_a_minute_and_once() {
    let mut view = with_kind(Some(unreadable()));
    let (actions, decision) = alone(&view, 25);
    assert_eq!((actions, decision.reason), (vec![], Reason::OwnedElsewhere), "a tenth is free");
    the_usage(&mut view).available = mib(20);
    let (actions, decision) = alone(&view, 25);
    assert_eq!((actions, decision.reason), (vec![], Reason::AwaitingOwner));
    assert_eq!(decision.again_at, Some(at(30)), "or when the measurement is stale");
    the_usage(&mut view).at = at(50);
    let (actions, decision) = alone(&view, 60);
    let [Action::Grow { record, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((decision.outcome, decision.by_owner.as_deref()), (Outcome::Grow(mib(640)), None));
    assert!(
        decision.message.ends_with(
            "grow from 512Mi to 640Mi; the claim itself, because the volume is about to be full and Orlop does not know \
             Cluster db: it may not be read"
        ),
        "{}",
        decision.message
    );
    // Its operator has set the claim back.
    the_claim(&mut view).growth = Some(record.clone().into());
    let (actions, decision) = alone(&view, 70);
    assert_eq!((actions, decision.reason), (vec![], Reason::OwnedElsewhere));
    the_claim(&mut view).growth = None;
    the_claim(&mut view).paused = Some("true".into());
    assert_eq!(alone(&view, 70).0, vec![]);
}

#[test]
fn nothing_is_written_for_a_paused_claim_or_in_mode_recommend() {
    for mut view in [owned(), recorded()] {
        the_claim(&mut view).paused = Some("true".into());
        let (actions, decision) = alone(&view, 2);
        assert_eq!((actions, decision.reason), (vec![], Reason::Paused));
        the_claim(&mut view).paused = None;
        the_policy(&mut view).mode = Mode::Recommend;
        let (actions, decision) = alone(&view, 2);
        assert_eq!((actions, decision.outcome), (vec![], Outcome::Recommend(mib(640))));
        assert!(decision.message.ends_with("in mode Auto it would set spec.storage.size of Cluster db to 640Mi"));
    }
}

/// The world with a second claim of the same field, which is to become larger than the first.
fn two() -> View {
    let mut view = owned();
    let mut other = view.claims[&id("data-0")].clone();
    other.uid = Uid("claim-data-1".into());
    other.usage.as_mut().unwrap().available = Bytes(0);
    other.usage.as_mut().unwrap().fill_bytes_per_second = 10 << 20;
    view.claims.insert(id("data-1"), other);
    view
}

#[test]
fn of_the_claims_of_one_field_the_largest_has_it_written_and_the_others_wait() {
    let view = two();
    let (actions, report) = decided(&view, 1);
    let written: Vec<_> = actions.iter().filter_map(|it| it.requests().map(|to| (&*it.claim().name, to))).collect();
    let to = written[0].1;
    assert!(to > mib(640), "{to}");
    assert_eq!(written, [("data-1", to), ("data-1", to)]);
    let waits = &report.decisions[&id("data-0")];
    assert_eq!((waits.outcome, waits.reason), (Outcome::Growing(to), Reason::Growing));
    let said =
        format!("spec.storage.size of its owner is being set to {to} for claim data-1, and this claim grows with it");
    assert_eq!(waits.message, said);
    assert_eq!(waits.again_at, Some(at(11)));
}

#[test]
fn a_claim_waits_for_another_of_its_field_that_is_on_record_already() {
    let mut view = two();
    let leader = record(&decided(&view, 1).0);
    view.claims.get_mut(&id("data-1")).unwrap().growth = Some(leader.clone().into());
    let (plan, report) = plan_claims(&view, [&id("data-0")], at(2));
    assert_eq!(plan, Plan::default());
    assert_eq!(report.decisions[&id("data-0")].outcome, Outcome::Growing(leader.to));
}

#[test]
fn the_budgets_must_have_room_for_all_claims_of_the_field() {
    let with = |limit: u64| {
        let mut view = two();
        view.claims.get_mut(&id("data-1")).unwrap().usage = Some(crate::fixture::usage());
        let limits = BudgetLimits { bytes: Some(mib(limit)), monthly_cost: None, iops: None };
        let budget = Budget { namespaces: Selector::default(), claims: Selector::default(), limits, reserve: None };
        view.set_budget(&BudgetName("all".into()), Some(budget));
        alone(&view, 1)
    };
    assert_eq!(with(1280).0.len(), 2, "twice 640Mi");
    let (actions, decision) = with(1100);
    assert_eq!((actions, decision.reason), (vec![], Reason::OverBudget));
    assert_eq!(decision.over_budget.unwrap().budgets, [BudgetName("all".into())]);
}

#[test]
fn a_growth_that_the_driver_refuses_is_not_taken_back_from_below_the_owner() {
    let mut view = written();
    let claim = the_claim(&mut view);
    (claim.requested, claim.resize) = (mib(640), Resize::Infeasible("pool is full".to_owned()));
    let (actions, decision) = alone(&view, 10);
    assert_eq!((actions, decision.reason), (vec![], Reason::GrowthFailed));
    assert!(
        decision
            .message
            .ends_with("or set spec.storage.size of Cluster db to a size above 512Mi that the driver can make"),
        "{}",
        decision.message
    );
}

#[test]
fn a_plan_that_changes_a_claim_below_its_owner_or_makes_the_owner_ask_for_less_is_refused() {
    use invariants::Rule;
    let broken = |view: &View, action: Action| {
        let (sound, violations) = invariants::retain_sound(view, Plan { actions: vec![action] });
        assert_eq!(sound, Plan::default());
        violations[0].rule.clone()
    };
    let (actions, _) = alone(&owned(), 1);
    let grow = Action::Grow {
        claim: id("data-0"),
        uid: the_claim(&mut owned()).uid.clone(),
        previous: None,
        record: GrowthRecord { owner: None, ..record(&actions) },
    };
    assert_eq!(broken(&owned(), grow.clone()), Rule::OwnedElsewhere);
    assert_eq!(broken(&with_kind(None), grow.clone()), Rule::OwnerNotAskedFor);
    let mut full = with_kind(Some(served(Objects::Listing)));
    the_usage(&mut full).available = Bytes(0);
    assert_eq!(broken(&full, grow.clone()), Rule::OwnedElsewhere, "it is about to be known");
    assert_eq!(broken(&with_kind(Some(unreadable())), grow), Rule::OwnedElsewhere, "it is not about to be full");
    let write = actions[1].clone();
    assert_eq!(broken(&owned(), write.clone()), Rule::NotItsOwner, "it is not on record");
    let mut managed = recorded();
    the_cluster(&mut managed).belonging.manager = Some(Manager::ArgoCd("shop".into()));
    assert_eq!(broken(&managed, write.clone()), Rule::NotItsOwner);
    assert_eq!(broken(&written(), write.clone()), Rule::NotItsOwner, "it was written before");
    let mut less = recorded();
    the_cluster(&mut less).fields = asking_for("700Mi").fields;
    let Action::WriteOwner { claim, uid, owner, owner_uid, mut field, to } = write else { panic!("it writes") };
    (field.size, field.written) = (mib(700), json!("700Mi"));
    let write = Action::WriteOwner { claim, uid, owner, owner_uid, field, to };
    assert_eq!(broken(&less, write), Rule::NotLarger { present: mib(700), to: mib(640) });
}

/// A claim in any state of a growth by way of its owner.
#[derive(Debug, Clone)]
struct State {
    asks: u64,
    requests: u64,
    capacity: u64,
    free: u64,
    record: Option<(u64, bool, bool)>,
    is_managed: bool,
    is_paused: bool,
    is_auto: bool,
    second: i64,
}

prop_compose! {
    fn states()(
        (asks, requests, capacity) in (1..12_u64, 1..12_u64, 1..12_u64),
        free in 0..480_u64,
        record in proptest::option::of((1..12_u64, any::<bool>(), any::<bool>())),
        (is_managed, is_paused, is_auto) in (any::<bool>(), any::<bool>(), any::<bool>()),
        second in 1..20_i64,
    ) -> State {
        State { asks, requests, capacity, free, record, is_managed, is_paused, is_auto, second }
    }
}

impl State {
    fn view(&self) -> View {
        let mut view = owned();
        let steps = |number: u64| mib(512 + 64 * number);
        the_cluster(&mut view).fields = asking_for(&steps(self.asks).to_string()).fields;
        the_cluster(&mut view).belonging.manager = self.is_managed.then(|| Manager::Other("somebody".into()));
        if !self.is_auto {
            the_policy(&mut view).mode = Mode::Recommend;
        }
        let claim = the_claim(&mut view);
        claim.requested = steps(self.requests);
        claim.capacity = steps(self.capacity.min(self.requests));
        claim.volume_capacity = claim.capacity;
        claim.usage.as_mut().unwrap().available = mib(self.free);
        claim.paused = self.is_paused.then(|| "true".into());
        claim.growth = self.record.map(|(to, written, usable)| {
            Box::new(GrowthRecord {
                from: steps(0),
                to: steps(to),
                usable: usable.then(|| at(1)),
                owner: Some(OwnerGrowth {
                    uid: "cluster".to_owned(),
                    field: "spec.storage.size".to_owned(),
                    written: written.then(|| at(0)),
                }),
                ..crate::fixture::record()
            })
        });
        view
    }
}

proptest! {
    #[test]
    fn whatever_the_state_a_claim_with_an_owner_is_not_changed_and_the_owner_asks_for_more_or_the_same(state in states()) {
        let view = state.view();
        // Checks each plan by the invariants.
        let (actions, decision) = alone(&view, state.second * 60);
        let may = state.is_auto && !state.is_paused;
        for action in &actions {
            match action {
                Action::WriteOwner { field, to, .. } => {
                    prop_assert!(may && !state.is_managed && *to > field.size, "{:?}", action);
                }
                Action::RecordGrowth { record, .. } => prop_assert!(may && record.owner.is_some(), "{:?}", action),
                Action::RecordUsable { .. } | Action::SyncPod { .. } => {}
                Action::Grow { .. }
                | Action::TakeBack { .. }
                | Action::SetClass { .. }
                | Action::ScaleToZero { .. }
                | Action::ScaleBack { .. } => prop_assert!(false, "{:?}", action),
            }
        }
        if matches!(decision.outcome, Outcome::Grow(_)) {
            let writes = actions.iter().any(|action| matches!(action, Action::WriteOwner { .. }));
            prop_assert!(writes);
        }
    }
}
