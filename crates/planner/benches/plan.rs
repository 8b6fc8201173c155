//! What a planning pass costs, on one core: over 100,000 claims that are all new, and when ten of them have changed.
//! Prints a table: `cargo bench -p orlop-planner`.

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, CapacitySpec, Count, Mode};
use orlop_planner::{
    Capacity, Claim, ClaimId, Class, Labels, Ledger, NamespaceName, Plan, PodId, PodUse, Policy, PolicyId, PolicyKind,
    Requirement, Resize, Selector, Source, Uid, Usage, View, invariants, plan_claims, watch,
};

const CLAIMS: usize = 100_000;
const NAMESPACES: usize = 500;
const CHANGED: usize = 10;
const RUNS: usize = 15;

fn main() {
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000);
    let view = world(now);
    let all: Vec<ClaimId> = view.claims.keys().cloned().collect();
    println!("{CLAIMS} claims in {NAMESPACES} namespaces, a policy in each and one for the cluster; one in 20 is low.");
    println!("Median and worst of {RUNS} runs on one core.\n");
    println!("| pass | median | worst | actions | target |");
    println!("|---|---|---|---|---|");

    let mut plan = Plan::default();
    let times = timed(RUNS, |_| {
        let mut ledger = Ledger::default();
        let (time, actions) = pass(&view, &all, &mut ledger, now);
        plan = actions;
        time
    });
    row("all new", &times, plan.actions.len(), "1 s");

    let mut ledger = Ledger::default();
    pass(&view, &all, &mut ledger, now);
    let again = timed(RUNS, |_| pass(&view, &all, &mut ledger, now).0);
    row("all again, as they were", &again, plan.actions.len(), "-");

    // Each time ten others, all over the namespaces, have become low.
    let mut view = view;
    let mut actions = 0;
    let times = timed(RUNS, |run| {
        let changed: Vec<ClaimId> = all.iter().skip(run * 7 + 1).step_by(CLAIMS / CHANGED).cloned().collect();
        for id in &changed {
            if let Some(usage) = view.claims.get_mut(id).and_then(|claim| claim.usage.as_mut()) {
                usage.available = Bytes::GIB;
            }
        }
        let (time, plan) = pass(&view, &changed, &mut ledger, now);
        actions = plan.actions.len();
        time
    });
    row(&format!("{CHANGED} changed"), &times, actions, "1 ms");
}

/// What the operator does in a pass: plan, check, take into the ledger, say what to watch, and write the statuses of
/// the policies concerned.
fn pass(view: &View, claims: &[ClaimId], ledger: &mut Ledger, now: Timestamp) -> (Duration, Plan) {
    let start = clock();
    let (plan, report) = plan_claims(view, claims, now);
    let (plan, violations) = invariants::retain_sound(view, plan);
    assert!(violations.is_empty(), "{violations:?}");
    let changes = ledger.record(report, now);
    for policy in &changes.policies {
        black_box(ledger.status(policy, Some(1), None, now));
    }
    for id in claims {
        if let Some(claim) = view.claims.get(id) {
            black_box(watch(view, id, claim));
        }
    }
    (start.elapsed(), plan)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; what it measures is given one")]
fn clock() -> Instant {
    Instant::now()
}

fn timed(runs: usize, mut run: impl FnMut(usize) -> Duration) -> Vec<Duration> {
    let mut times: Vec<_> = (0..runs).map(&mut run).collect();
    times.sort_unstable();
    times
}

fn row(name: &str, times: &[Duration], actions: usize, target: &str) {
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("| {name} | {median:.1?} | {worst:.1?} | {actions} | {target} |");
}

fn world(now: Timestamp) -> View {
    let mut view = View::default();
    let class = Class { provisioner: "local.orlop.dev".to_owned(), expandable: true, parameters: BTreeMap::new() };
    view.classes.insert("standard".to_owned(), class);
    view.policies.insert(PolicyId { kind: PolicyKind::Cluster, name: "all".into() }, policy(&[]));
    for number in 0..NAMESPACES {
        let namespace = NamespaceName(format!("team-{number:03}").into());
        let labels = Labels::from([("kubernetes.io/metadata.name", &*namespace.0)]);
        view.namespaces.insert(namespace.clone(), labels);
        // It selects half of the claims of its namespace; the others are left to that of the cluster.
        let databases = PolicyId { kind: PolicyKind::Namespaced(namespace), name: "databases".into() };
        view.policies.insert(databases, policy(&[Requirement::In("tier".to_owned(), vec!["database".to_owned()])]));
    }
    view.claims = (0..CLAIMS).map(|number| claim(number, now)).collect();
    view
}

fn policy(claims: &[Requirement]) -> Policy {
    let capacity = CapacitySpec::up_to(Bytes(1 << 40));
    let (namespaces, claims) = (Selector::default(), Selector(claims.to_vec()));
    Policy { mode: Mode::Auto, namespaces, claims, capacity: Some(capacity), performance: None, maintenance: None }
}

fn claim(number: usize, now: Timestamp) -> (ClaimId, Claim) {
    let namespace = NamespaceName(format!("team-{:03}", number % NAMESPACES).into());
    let name = format!("data-postgres-{}", number / NAMESPACES);
    let size = Bytes(100 << 30);
    let tier = if number.is_multiple_of(2) { "database" } else { "cache" };
    let usage = Usage {
        at: now,
        source: Source::Agent,
        total: Bytes(99 << 30),
        available: if number.is_multiple_of(20) { Bytes::GIB } else { Bytes(60 << 30) },
        inodes: Some(Capacity { total: Count(6_553_600), free: Count(6_000_000) }),
        fill_bytes_per_second: 1 << 20,
        crossed: None,
    };
    let pod = PodUse {
        id: PodId { namespace: namespace.clone(), name: format!("postgres-{number}").into() },
        uid: Uid(format!("00000000-0000-4000-9000-{number:012}").into()),
        since: Some(now),
        synced: None,
        controller: None,
    };
    let claim = Claim {
        uid: Uid(format!("00000000-0000-4000-8000-{number:012}").into()),
        labels: Labels::from([("app.kubernetes.io/name", "postgres"), ("tier", tier)]),
        belonging: None,
        class: Some("standard".into()),
        driver: Some("local.orlop.dev".into()),
        bound: true,
        raw_block: false,
        requested: size,
        capacity: size,
        volume_capacity: size,
        resize: Resize::Idle,
        paused: None,
        growth: None,
        pods: vec![pod],
        usage: Some(usage),
        outgrown: None,
        attributes: None,
        load: None,
        outlook: None,
    };
    (ClaimId { namespace, name: name.into() }, claim)
}
