use super::*;

fn team() -> BudgetName {
    BudgetName("team".into())
}

fn budget(claims: Selector) -> BudgetFacts {
    let limits = BudgetLimits { bytes: Some(Bytes(10 << 30)), iops: None, monthly_cost: None };
    let budget = Budget { namespaces: selects("team", "red"), claims, limits, reserve: None };
    BudgetFacts { uid: Uid("budget-uid".into()), generation: Some(1), budget: Ok(budget), status: None }
}

/// How many claims the budget covers, and how many GiB they have.
fn account(observer: &Observer) -> (usize, u128) {
    let (_, account) = observer.view().budgets.get(&team()).unwrap();
    (account.claims, account.used.bytes >> 30)
}

#[test]
fn an_account_follows_claims_volumes_namespaces_and_the_budget_itself() {
    let mut observer = observer();
    let namespace =
        |team: &str| Observation::Namespace(Change::Is(NamespaceName("app".into()), Labels::from([("team", team)])));
    observer.observe(Observation::Budget(Change::Is(team(), budget(Selector::default()))));
    assert_eq!(account(&observer), (0, 0), "what labels the namespace has is not known");
    let news: Vec<(&str, Observation, (usize, u128))> = vec![
        ("the namespace", namespace("red"), (2, 2)),
        (
            "a larger request",
            Observation::Claim(Change::Is(claim_id("a"), ClaimFacts { requested: Bytes(3 << 30), ..claim("a", 11) })),
            (2, 4),
        ),
        (
            "a larger volume",
            Observation::Volume(Change::Is("pv-b".into(), VolumeFacts { capacity: Bytes(2 << 30), ..volume("b") })),
            (2, 5),
        ),
        (
            "a pending claim",
            Observation::Claim(Change::Is(claim_id("c"), ClaimFacts { volume: None, capacity: None, ..claim("c", 1) })),
            (3, 6),
        ),
        ("another selector", Observation::Budget(Change::Is(team(), budget(selects("app", "a")))), (1, 3)),
        ("and back", Observation::Budget(Change::Is(team(), budget(Selector::default()))), (3, 6)),
        ("a claim less", Observation::Claim(Change::Gone(claim_id("a"))), (2, 3)),
        ("another team", namespace("blue"), (0, 0)),
    ];
    for (what, news, expected) in news {
        observer.take_dirty(usize::MAX);
        observer.observe(news);
        assert_eq!(account(&observer), expected, "{what}");
        assert_eq!(observer.changed_accounts().iter().collect::<Vec<_>>(), [&team()], "{what}");
    }
    observer.observe(Observation::Budget(Change::Gone(team())));
    assert!(observer.view().budgets.is_empty());
}

#[test]
fn the_status_of_a_budget_changes_no_account() {
    let mut observer = observer();
    observer.observe(Observation::Budget(Change::Is(team(), budget(Selector::default()))));
    observer.take_dirty(usize::MAX);
    let written = BudgetFacts { status: Some(StorageBudgetStatus::default()), ..budget(Selector::default()) };
    observer.observe(Observation::Budget(Change::Is(team(), written)));
    assert_eq!(observer.take_dirty(usize::MAX), Dirty { budgets: [team()].into(), ..Dirty::default() });
}

#[test]
fn a_budget_that_cannot_be_read_limits_nothing_and_is_known_all_the_same() {
    let mut observer = observer();
    observer.observe(Observation::Budget(Change::Is(team(), budget(Selector::default()))));
    let invalid = BudgetFacts { budget: Err("no such operator".into()), ..budget(Selector::default()) };
    observer.observe(Observation::Budget(Change::Is(team(), invalid)));
    assert!(observer.view().budgets.is_empty());
    assert_eq!(observer.known_budget(&team()).unwrap().invalid.as_deref(), Some("no such operator"));
}

#[test]
fn what_was_asked_for_is_in_the_account_until_it_is_answered() {
    let mut observer = observer();
    observer.observe(Observation::Namespace(Change::Is(NamespaceName("app".into()), Labels::from([("team", "red")]))));
    observer.observe(Observation::Budget(Change::Is(team(), budget(Selector::default()))));
    observer.ask(&claim_id("a"), Some(Bytes(4 << 30)));
    assert_eq!(account(&observer), (2, 5));
    let unchanged = Observation::Claim(Change::Is(claim_id("a"), claim("a", 12)));
    observer.observe(unchanged);
    assert_eq!(account(&observer), (2, 5), "the claim as it was before says nothing of it");
    observer.ask(&claim_id("a"), None);
    assert_eq!(account(&observer), (2, 2));
}
