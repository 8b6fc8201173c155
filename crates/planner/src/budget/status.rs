//! What the status of a budget says: what is used, who waits, and whether somebody must look at it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use orlop_api::{
    Bytes, Decimal, StorageBudgetStatus,
    budget::{BudgetUse, CURRENCY, WaitingClaim},
    names::{BudgetReason, condition},
};

use super::{
    Account, Budget,
    account::{Amount, Caps},
    in_hundredths,
};

/// From this share on, in percent of what claims may use that are not about to be full, a budget is nearly used up: with
/// growths by the default quarter of a claim's size, a few more fit.
const NEARLY_USED_UP_PERCENT: u128 = 90;

/// What the status of a budget is to say. `waiting` are the claims that wait for it, the most urgent first, of which no
/// more are taken than are listed; `count` is how many there are. `previous` are the conditions as they are now: one keeps
/// the time of its last transition unless its status changes.
pub(crate) fn status(
    (budget, account): (&Budget, &Account),
    (waiting, count): (Vec<WaitingClaim>, usize),
    generation: Option<i64>,
    previous: &[Condition],
    now: Timestamp,
) -> StorageBudgetStatus {
    let Health { reason, message } = Health::of(budget, account, &waiting, count);
    let complete = |kind: &str, status: &str, reason: String, message: String| {
        let unchanged = previous.iter().find(|it| it.type_ == kind && it.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason,
            message,
            observed_generation: generation,
            last_transition_time: unchanged.map_or(Time(now), |it| it.last_transition_time.clone()),
        }
    };
    let (in_force, covers) = if account.claims == 0 {
        let message = "it covers no claim: compare its selectors with the labels of namespaces and claims";
        ("NoClaims", message.to_owned())
    } else {
        ("InForce", format!("covers {}", claims(account.claims)))
    };
    StorageBudgetStatus {
        observed_generation: generation,
        conditions: vec![
            complete(condition::READY, "True", in_force.to_owned(), covers),
            complete(condition::HEALTHY, health_status(reason), reason.to_string(), message),
        ],
        claim_count: count_u32(account.claims),
        used: used(budget, account),
        share: share(budget.caps(), account.used).map(|percent| format!("{percent}%")),
        unpriced_count: count_u32(account.unpriced),
        waiting_count: count_u32(count),
        waiting,
    }
}

const fn health_status(reason: BudgetReason) -> &'static str {
    match reason {
        BudgetReason::Exhausted | BudgetReason::Exceeded | BudgetReason::NearlyUsedUp => "False",
        BudgetReason::PriceUnknown => "Unknown",
        BudgetReason::WithinLimits => "True",
    }
}

struct Health {
    reason: BudgetReason,
    message: String,
}

impl Health {
    fn of(budget: &Budget, account: &Account, waiting: &[WaitingClaim], count: usize) -> Self {
        let uses = uses(budget, account);
        let (caps, ordinary) = (budget.caps(), budget.ordinary_caps());
        let (reason, message) = if let Some(first) = waiting.first() {
            let (namespace, name) = (&first.namespace, &first.name);
            let wait = if count == 1 { "waits" } else { "wait" };
            let message = format!(
                "{uses}, and {} {wait} for room, the most urgent {namespace}/{name}: {}",
                claims(count),
                first.message
            );
            (BudgetReason::Exhausted, message)
        } else if exceeds(account.used, caps) {
            let message = format!("{uses}: growth has to wait until a limit is raised or claims are deleted");
            (BudgetReason::Exceeded, message)
        } else if share(ordinary, account.used).is_some_and(|percent| percent >= NEARLY_USED_UP_PERCENT) {
            let reserve = budget.reserve.filter(|_| ordinary != caps);
            let beside = reserve.map_or_else(String::new, |it| format!(" beside an emergency reserve of {it}"));
            let message = format!("{uses}{beside}: raise a limit or delete claims before growth has to wait");
            (BudgetReason::NearlyUsedUp, message)
        } else if caps.cost.is_some() && account.unpriced > 0 {
            let message = format!(
                "{uses}; the price of {} is not known, and they are not in it: give the driver's DriverProfile a price in \
                 {CURRENCY}",
                claims(account.unpriced)
            );
            (BudgetReason::PriceUnknown, message)
        } else {
            (BudgetReason::WithinLimits, uses)
        };
        Self { reason, message }
    }
}

/// What is used, in words.
fn uses(budget: &Budget, account: &Account) -> String {
    let bytes = budget.limits.bytes.map(|limit| format!("{} of {limit} are used", size(account.used.bytes).human()));
    let cost = budget.limits.monthly_cost.map(|limit| {
        let used = in_hundredths(to_hundredths(account.used.cost));
        format!("{used} of {limit} {CURRENCY} a month are spent")
    });
    let iops = budget.limits.iops.map(|limit| format!("{} of {limit} IOPS are given", account.used.iops));
    [bytes, iops, cost].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

fn exceeds(used: Amount, caps: Caps) -> bool {
    let is_over = |cap: Option<u128>, used: u128| cap.is_some_and(|cap| used > cap);
    is_over(caps.bytes, used.bytes) || is_over(caps.iops, used.iops) || is_over(caps.cost, used.cost)
}

/// How much of the caps is used, in percent, rounded down: of the one of which it is more.
fn share(caps: Caps, used: Amount) -> Option<u128> {
    let percent = |used: u128, cap: u128| used.saturating_mul(100).checked_div(cap).unwrap_or(100);
    let bytes = caps.bytes.map(|cap| percent(used.bytes, cap));
    let cost = caps.cost.map(|cap| percent(used.cost, cap));
    let iops = caps.iops.map(|cap| percent(used.iops, cap));
    bytes.max(cost).max(iops)
}

fn used(budget: &Budget, account: &Account) -> BudgetUse {
    let is_priced = account.claims > account.unpriced;
    let cost = u64::try_from(to_hundredths(account.used.cost)).unwrap_or(u64::MAX);
    BudgetUse {
        bytes: size(account.used.bytes),
        iops: budget.limits.iops.map(|_| u64::try_from(account.used.iops).unwrap_or(u64::MAX)),
        monthly_cost: is_priced.then_some(Decimal::from_millionths(cost)),
    }
}

/// No more than the largest quantity of the API server.
fn size(bytes: u128) -> Bytes {
    Bytes(u64::try_from(bytes).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs()))
}

/// Millionths, rounded up to whole hundredths.
const fn to_hundredths(millionths: u128) -> u128 {
    millionths.next_multiple_of(10_000)
}

fn claims(number: usize) -> String {
    if number == 1 { "1 claim".to_owned() } else { format!("{number} claims") }
}

fn count_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
