//! What the budgets of a claim leave for its growth, and who gets it where it is not enough for all. `account` keeps what
//! the claims of each budget have, `queue` who waits, `status` tells of both; here it is decided.
//!
//! Of the claims that are decided together the most urgent is decided first, and takes what is left as far as it helps it.
//! Who is less urgent may take what is of no use to who is more so: room that nobody uses keeps no volume from filling.

mod account;
mod queue;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use orlop_api::{Bytes, budget::CURRENCY};

pub use self::account::{Account, Budget, BudgetName, Budgets};
use self::account::{Amount, Charge};
pub(crate) use self::{queue::Queue, status::status};
use crate::view::{Claim, ClaimId, Usage, View};

/// A claim that would be full within this at the present rate may use the emergency reserve. It is the time after which a
/// growth that is under way is called overdue: who has longer can be helped by somebody who reads of it.
const EMERGENCY_WITHIN_S: u64 = 600;

/// A claim of which less than this is free may use the emergency reserve, in millionths of its bytes or inodes: 5 %, what
/// ext4 keeps for root alone by default.
const EMERGENCY_BELOW_MILLIONTHS: u64 = 50_000;

/// How urgently a claim needs room, the most urgent first: by when it is full at the present rate, then by how much is
/// free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    seconds_to_full: u64,
    /// Of the bytes or the inodes, whichever are fewer.
    free_millionths: u64,
}

impl Precedence {
    /// That of a claim by its measurement; one that was never measured is the least urgent.
    fn of(usage: Option<&Usage>) -> Self {
        let Some(usage) = usage else { return Self { seconds_to_full: u64::MAX, free_millionths: u64::MAX } };
        let free = |free: u64, total: u64| {
            let millionths = u128::from(free) * 1_000_000 / u128::from(total).max(1);
            u64::try_from(millionths).unwrap_or(u64::MAX)
        };
        let bytes = free(usage.available.0, usage.total.0);
        let inodes = usage.counted_inodes().map_or(u64::MAX, |inodes| free(inodes.free.0, inodes.total.0));
        Self {
            seconds_to_full: usage.available.0.checked_div(usage.fill_bytes_per_second).unwrap_or(u64::MAX),
            free_millionths: bytes.min(inodes),
        }
    }

    /// May the claim use the emergency reserve?
    const fn is_emergency(self) -> bool {
        self.seconds_to_full < EMERGENCY_WITHIN_S || self.free_millionths < EMERGENCY_BELOW_MILLIONTHS
    }
}

/// The budgets that hold up a growth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverBudget {
    /// Their names, in their order.
    pub budgets: Vec<BudgetName>,
    /// How urgent the growth is.
    pub urgency: Precedence,
}

/// The claims that are to be decided in one pass, in the order in which they are: where there are budgets, the most urgent
/// first.
pub(crate) fn in_order<'v, 'c>(
    view: &'v View,
    claims: impl IntoIterator<Item = &'c ClaimId>,
) -> Vec<(&'c ClaimId, &'v Claim)> {
    let mut claims: Vec<_> = claims.into_iter().filter_map(|id| Some((id, view.claims.get(id)?))).collect();
    if !view.budgets.is_empty() {
        claims.sort_by_cached_key(|(id, claim)| (Precedence::of(claim.usage.as_ref()), *id));
    }
    claims
}

/// What the growths that were decided in this pass take of each budget.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bookings(BTreeMap<BudgetName, Amount>);

impl Bookings {
    /// Books the growth of a claim to this size.
    pub(crate) fn book(&mut self, view: &View, id: &ClaimId, claim: &Claim, to: Bytes) {
        let Some(charge) = view.budgets.charge(id) else { return };
        let whole = Amount::of(view.as_made(claim, to).max(charge.size), view.price(claim));
        for name in &charge.budgets {
            *self.0.entry(name.clone()).or_default() += whole - charge.amount();
        }
    }

    /// Books the growth of a claim to this size, and of all whose size is in the same field of its owner.
    pub(crate) fn book_all(&mut self, view: &View, id: &ClaimId, claim: &Claim, to: Bytes) {
        match view.write_back(id, claim).filter(|owner| !view.budgets.is_empty() && owner.field.is_some()) {
            Some(owner) => view.siblings(&owner).for_each(|(id, claim)| self.book(view, id, claim, to)),
            None => self.book(view, id, claim, to),
        }
    }

    /// Books what another VolumeAttributesClass gives a claim beyond what it has.
    pub(crate) fn book_class(&mut self, view: &View, id: &ClaimId, claim: &Claim, class: Option<&str>) {
        let Some(charge) = view.budgets.charge(id) else { return };
        let iops = class.map_or(0, |class| view.iops_of(claim, class)).saturating_sub(charge.iops);
        for name in &charge.budgets {
            *self.0.entry(name.clone()).or_default() += Amount { iops: iops.into(), ..Amount::default() };
        }
    }

    /// Do the budgets of a claim let it have another VolumeAttributesClass, after what was booked?
    pub(crate) fn iops_room(&self, view: &View, id: &ClaimId, claim: &Claim, class: &str) -> Result<(), Short> {
        let Some(charge) = view.budgets.charge(id) else { return Ok(()) };
        let more = u128::from(view.iops_of(claim, class).saturating_sub(charge.iops));
        let short = |name: &BudgetName| {
            let (budget, account) = view.budgets.get(name)?;
            let (cap, limit) = budget.caps().iops.zip(budget.limits.iops)?;
            let used = account.used + self.0.get(name).copied().unwrap_or_default();
            let left = cap.saturating_sub(used.iops);
            let words = format!("StorageBudget {name} has {left} left of {limit} IOPS");
            (more > left).then(|| (name.clone(), words))
        };
        let (budgets, words): (Vec<_>, Vec<_>) = charge.budgets.iter().filter_map(short).unzip();
        if budgets.is_empty() {
            return Ok(());
        }
        Err(Short {
            sentence: format!(
                "VolumeAttributesClass {class} needs {more} IOPS more, while {}: raise limits.iops, or give other claims \
                 slower classes",
                words.join(" and ")
            ),
            over: OverBudget { budgets, urgency: Precedence::of(claim.usage.as_ref()) },
        })
    }

    /// How far the budgets of a claim let it grow, after what was booked.
    pub(crate) fn room<'a>(&self, view: &'a View, id: &ClaimId, claim: &Claim) -> Room<'a> {
        let urgency = Precedence::of(claim.usage.as_ref());
        let charge = view.budgets.charge(id);
        let price = view.price(claim);
        let left_by = |name: &'a BudgetName, charge: &Charge| {
            let (budget, account) = view.budgets.get(name)?;
            let booked = self.0.get(name).copied().unwrap_or_default();
            let used = account.used + booked;
            let whole = budget.caps();
            let caps = if urgency.is_emergency() { whole } else { budget.ordinary_caps() };
            let bytes = caps.bytes.map(|cap| {
                let left = cap.saturating_sub(used.bytes);
                let most = u64::try_from(left.saturating_add(charge.size.0.into())).unwrap_or(u64::MAX);
                Left { amount: left, most: Bytes(most), beside_reserve: caps.bytes < whole.bytes }
            });
            let cost = caps.cost.zip(price).map(|(cap, price)| {
                let left = cap.saturating_sub(used.cost);
                // What the claim has costs it nothing more.
                let most = price.affordable(charge.amount().cost.saturating_add(left)).max(charge.size);
                Left { amount: left, most, beside_reserve: caps.cost < whole.cost }
            });
            Some(LeftBy { name, budget, bytes, cost })
        };
        let budgets = charge
            .map_or_else(Vec::new, |charge| charge.budgets.iter().filter_map(|name| left_by(name, charge)).collect());
        Room { budgets, urgency }
    }
}

/// How far the budgets of a claim let it grow.
pub(crate) struct Room<'a> {
    budgets: Vec<LeftBy<'a>>,
    urgency: Precedence,
}

/// What one budget leaves.
struct LeftBy<'a> {
    name: &'a BudgetName,
    budget: &'a Budget,
    bytes: Option<Left>,
    /// None, too, where the price of the claim is not known.
    cost: Option<Left>,
}

/// What is left of one limit.
#[derive(Clone, Copy)]
struct Left {
    /// Bytes, or millionths of a US dollar a month.
    amount: u128,
    /// The largest size of the claim that it allows.
    most: Bytes,
    /// Is there an emergency reserve beside it, which this claim may not use?
    beside_reserve: bool,
}

impl LeftBy<'_> {
    fn most(&self) -> Bytes {
        [self.bytes, self.cost].into_iter().flatten().map(|left| left.most).min().unwrap_or(Bytes(u64::MAX))
    }

    /// What is left of each limit that does not allow `least`, in words, and the fields in which these limits are.
    fn short_of(&self, least: Bytes) -> Vec<(String, &'static str)> {
        let Self { name, budget, .. } = self;
        let short = |left: Option<Left>| left.filter(|left| left.most < least);
        let words = |left: Left, amount: String, limit: String| {
            let beside = if left.beside_reserve { " beside its emergency reserve" } else { "" };
            format!("StorageBudget {name} has {amount} left of {limit}{beside}")
        };
        let bytes = short(self.bytes).zip(budget.limits.bytes).map(|(left, limit)| {
            let amount = Bytes(u64::try_from(left.amount).unwrap_or(u64::MAX)).human();
            (words(left, amount, limit.to_string()), "limits.bytes")
        });
        let cost = short(self.cost).zip(budget.limits.monthly_cost).map(|(left, limit)| {
            (words(left, in_hundredths(left.amount), format!("{limit} {CURRENCY} a month")), "limits.monthlyCost")
        });
        [bytes, cost].into_iter().flatten().collect()
    }
}

impl Room<'_> {
    /// Is the claim about to be full? Then all that is left helps it, however little that is.
    pub(crate) const fn is_emergency(&self) -> bool {
        self.urgency.is_emergency()
    }

    /// The size to grow to: `wanted`, or as much of it as the budgets allow, in whole multiples of `increment`, where that
    /// is at least `least`. With it the budget that allows no more, or why the growth has to wait.
    pub(crate) fn fit(&self, least: Bytes, wanted: Bytes, increment: Bytes) -> Result<Fit<'_>, Short> {
        let most = self.budgets.iter().map(LeftBy::most).min().unwrap_or(Bytes(u64::MAX));
        // Who follows another claim asks for just what that has, and leaves it to the driver to round it up.
        if most >= wanted.round_up(increment) {
            return Ok(Fit { to: wanted, ends_with: None });
        }
        let to = most.round_down(increment);
        if to >= least {
            let first = self.budgets.iter().find(|left| left.most() == most);
            return Ok(Fit { to, ends_with: first.map(|left| left.name) });
        }
        Err(self.short_of(least.round_up(increment)))
    }

    fn short_of(&self, least: Bytes) -> Short {
        let short: Vec<_> = self.budgets.iter().filter(|left| left.most() < least).collect();
        let limits: Vec<_> = short.iter().flat_map(|left| left.short_of(least)).collect();
        let words: Vec<_> = limits.iter().map(|(words, _)| words.as_str()).collect();
        let remedy = match &limits[..] {
            [(_, field)] => format!("raise its {field}"),
            _ => "raise these limits".to_owned(),
        };
        let budgets = short.into_iter().map(|left| left.name.clone()).collect();
        Short {
            sentence: format!("{}: {remedy}, or delete data", words.join(" and ")),
            over: OverBudget { budgets, urgency: self.urgency },
        }
    }
}

/// A growth that the budgets allow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fit<'a> {
    /// The size to grow to.
    pub(crate) to: Bytes,
    /// The budget that allows no more, where more is wanted.
    pub(crate) ends_with: Option<&'a BudgetName>,
}

/// Why a growth has to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Short {
    /// What is left, and what to do. None of its numbers changes with each measurement.
    pub(crate) sentence: String,
    pub(crate) over: OverBudget,
}

/// An amount of money as people write it, rounded down: `3.20`.
fn in_hundredths(millionths: u128) -> String {
    let hundredths = millionths / 10_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
