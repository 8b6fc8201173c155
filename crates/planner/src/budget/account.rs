//! What the claims of each budget have: kept as claims, their namespaces and prices, and the budgets themselves change, so
//! that a decision costs the claims that it is about and not all that a budget covers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::{Add, AddAssign, Sub, SubAssign},
    sync::Arc,
};

use orlop_api::{BudgetLimits, Bytes, Price, Threshold, budget::CURRENCY};

use crate::view::{Claim, ClaimId, Selector, View};

/// The name of a StorageBudget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetName(pub Arc<str>);

impl fmt::Display for BudgetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A StorageBudget.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The namespaces whose claims count.
    pub namespaces: Selector,
    /// The claims that count.
    pub claims: Selector,
    /// How much they may have.
    pub limits: BudgetLimits,
    /// The part of it that is for claims which are about to be full.
    pub reserve: Option<Threshold<Bytes>>,
}

/// Bytes and I/O operations a second, and what the bytes cost a month in millionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// The bytes.
    pub bytes: u128,
    /// The operations a second that VolumeAttributesClasses give.
    pub iops: u128,
    /// The cost; zero for what has no price that is known.
    pub cost: u128,
}

impl Amount {
    /// That of a claim of this size, without what its class gives.
    pub(super) fn of(size: Bytes, price: Option<&Price>) -> Self {
        Self { bytes: size.0.into(), iops: 0, cost: price.map_or(0, |price| price.monthly_millionths(size)) }
    }
}

// A claim costs at most 2^63 bytes times 10^18 a GiB: many times 10^9 of them fit, and what does not saturates.
impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            iops: self.iops.saturating_add(other.iops),
            cost: self.cost.saturating_add(other.cost),
        }
    }
}

impl Sub for Amount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            iops: self.iops.saturating_sub(other.iops),
            cost: self.cost.saturating_sub(other.cost),
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// The limits of a budget, or what is left of them beside its reserve, as an [`Amount`] has them; none where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caps {
    pub(crate) bytes: Option<u128>,
    pub(crate) iops: Option<u128>,
    pub(crate) cost: Option<u128>,
}

impl Budget {
    /// What all claims may have together.
    pub(crate) fn caps(&self) -> Caps {
        let BudgetLimits { bytes, iops, monthly_cost } = self.limits;
        Caps {
            bytes: bytes.map(|bytes| bytes.0.into()),
            iops: iops.map(u128::from),
            cost: monthly_cost.map(|cost| cost.millionths().into()),
        }
    }

    /// What they may have that are not about to be full: the limits without the reserve.
    pub(crate) fn ordinary_caps(&self) -> Caps {
        let whole = self.caps();
        match self.reserve {
            None => whole,
            Some(Threshold::Absolute(size)) => {
                Caps { bytes: whole.bytes.map(|bytes| bytes.saturating_sub(size.0.into())), ..whole }
            }
            Some(Threshold::Percent(percent)) => {
                let without = |cap: u128| cap - (cap * u128::from(percent.min(100))).div_ceil(100);
                // No claim is ever about to be out of operations: a reserve of them would be used by nobody.
                Caps { bytes: whole.bytes.map(without), cost: whole.cost.map(without), ..whole }
            }
        }
    }

    fn covers(&self, view: &View, id: &ClaimId, claim: &Claim) -> bool {
        self.claims.matches(&claim.labels) && view.picks(&self.namespaces, &id.namespace)
    }
}

/// What the claims of a budget have together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Their sizes, and what those of them cost whose price is known.
    pub used: Amount,
    /// How many they are.
    pub claims: usize,
    /// How many of them have no price that is known.
    pub unpriced: usize,
}

/// What one claim counts in its budgets.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Charge {
    pub(super) size: Bytes,
    /// The operations a second that its class gives.
    pub(super) iops: u64,
    /// In millionths of a US dollar a month; none where its price is not known.
    cost: Option<u128>,
    /// The budgets that cover it, in the order of their names.
    pub(super) budgets: Vec<BudgetName>,
}

impl Charge {
    pub(super) fn amount(&self) -> Amount {
        Amount { bytes: self.size.0.into(), iops: self.iops.into(), cost: self.cost.unwrap_or(0) }
    }
}

/// The budgets with their accounts. Whoever changes anything in a view that these depend on says so by
/// [`View::charge`], [`View::set_budget`] or [`View::charge_all`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Budgets {
    accounts: BTreeMap<BudgetName, (Budget, Account)>,
    /// The claims that a budget covers.
    charges: BTreeMap<ClaimId, Charge>,
    /// The sizes that were asked for and do not show in the view yet.
    asked: BTreeMap<ClaimId, Bytes>,
    /// The operations a second of classes that were asked for and do not show in the view yet.
    asked_iops: BTreeMap<ClaimId, u64>,
}

impl Budgets {
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Each budget, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&BudgetName, &Budget, &Account)> {
        self.accounts.iter().map(|(name, (budget, account))| (name, budget, account))
    }

    /// A budget and what its claims have.
    pub fn get(&self, name: &BudgetName) -> Option<(&Budget, &Account)> {
        self.accounts.get(name).map(|(budget, account)| (budget, account))
    }

    /// The size that was asked for a claim and does not show in the view yet.
    pub fn asked(&self, claim: &ClaimId) -> Option<Bytes> {
        self.asked.get(claim).copied()
    }

    /// The operations a second of a class that was asked for a claim and does not show in the view yet; zero for none.
    pub(crate) fn asked_iops(&self, claim: &ClaimId) -> u64 {
        self.asked_iops.get(claim).copied().unwrap_or(0)
    }

    /// The budgets that cover a claim, in the order of their names.
    pub fn covering(&self, claim: &ClaimId) -> &[BudgetName] {
        self.charges.get(claim).map_or(&[], |charge| &charge.budgets)
    }

    pub(super) fn charge(&self, claim: &ClaimId) -> Option<&Charge> {
        self.charges.get(claim)
    }

    /// Puts a charge in the place of another. The result is the budgets whose account that changes.
    fn replace(&mut self, id: &ClaimId, charge: Option<Charge>) -> BTreeSet<BudgetName> {
        if self.charges.get(id) == charge.as_ref() {
            return BTreeSet::new();
        }
        let mut changed = BTreeSet::new();
        let before = self.charges.remove(id);
        for name in before.iter().flat_map(|charge| &charge.budgets) {
            changed.insert(name.clone());
        }
        if let Some(charge) = before {
            self.count(&charge, |account, amount, unpriced| {
                account.used -= amount;
                account.claims -= 1;
                account.unpriced -= unpriced;
            });
        }
        if let Some(charge) = charge {
            self.count(&charge, |account, amount, unpriced| {
                account.used += amount;
                account.claims += 1;
                account.unpriced += unpriced;
            });
            changed.extend(charge.budgets.iter().cloned());
            self.charges.insert(id.clone(), charge);
        }
        changed
    }

    fn count(&mut self, charge: &Charge, change: impl Fn(&mut Account, Amount, usize)) {
        for name in &charge.budgets {
            if let Some((_, account)) = self.accounts.get_mut(name) {
                change(account, charge.amount(), charge.cost.is_none().into());
            }
        }
    }
}

impl View {
    /// The price of the claim's volume where it is known, and in the currency of budgets.
    pub(crate) fn price(&self, claim: &Claim) -> Option<&Price> {
        self.abilities(claim)?.price.filter(|price| price.currency == CURRENCY)
    }

    /// What the driver makes of a size that is asked for a claim.
    pub(super) fn as_made(&self, claim: &Claim, size: Bytes) -> Bytes {
        self.abilities(claim).map_or(size, |abilities| size.round_up(abilities.size_increment))
    }

    /// Brings the accounts up to date with a claim that has come, changed or gone, or whose namespace, class or driver
    /// profile has. The result is the budgets whose account that changes.
    pub fn charge(&mut self, id: &ClaimId) -> BTreeSet<BudgetName> {
        let charge = self.claims.get(id).and_then(|claim| self.charge_of(id, claim));
        self.budgets.replace(id, charge)
    }

    fn charge_of(&self, id: &ClaimId, claim: &Claim) -> Option<Charge> {
        let covering = self.budgets.iter().filter(|(_, budget, _)| budget.covers(self, id, claim));
        let budgets: Vec<_> = covering.map(|(name, ..)| name.clone()).collect();
        if budgets.is_empty() {
            return None;
        }
        let asked = self.budgets.asked(id).unwrap_or_default();
        let asked = asked.max(self.asked_by_owner(id, claim));
        let iops = self.provisioned_iops(claim).max(self.budgets.asked_iops(id));
        let is_growing = claim.bound && claim.requested > claim.capacity;
        let requested = if is_growing { self.as_made(claim, claim.requested) } else { claim.requested };
        let size = requested.max(claim.capacity).max(claim.volume_capacity).max(asked);
        let cost = self.price(claim).map(|price| price.monthly_millionths(size));
        Some(Charge { size, iops, cost, budgets })
    }

    /// Puts a budget in the place of the one of its name, or removes it. The result is the budgets whose account that
    /// changes, with this one where it is another than before.
    pub fn set_budget(&mut self, name: &BudgetName, budget: Option<Budget>) -> BTreeSet<BudgetName> {
        let before = self.budgets.get(name).map(|(before, _)| before);
        if before == budget.as_ref() {
            return BTreeSet::new();
        }
        let covered = |id: &ClaimId, claim: &Claim| {
            [before, budget.as_ref()].into_iter().flatten().any(|budget| budget.covers(self, id, claim))
        };
        let claims: Vec<_> =
            self.claims.iter().filter(|(id, claim)| covered(id, claim)).map(|(id, _)| id.clone()).collect();
        match budget {
            Some(budget) => {
                let account = self.budgets.get(name).map_or_else(Account::default, |(_, account)| *account);
                self.budgets.accounts.insert(name.clone(), (budget, account));
            }
            None => drop(self.budgets.accounts.remove(name)),
        }
        let mut changed: BTreeSet<_> = claims.iter().flat_map(|id| self.charge(id)).collect();
        changed.insert(name.clone());
        changed
    }

    /// Brings the accounts up to date with the whole view: for a view that was not made step by step.
    pub fn charge_all(&mut self) {
        let gone = self.budgets.charges.keys().filter(|id| !self.claims.contains_key(id));
        let all: Vec<_> = self.claims.keys().chain(gone).cloned().collect();
        for id in &all {
            self.charge(id);
        }
    }

    /// Counts a claim as if it had this size already, until it is said otherwise: a growth that was asked for counts
    /// before the view shows it. The result is the budgets whose account that changes.
    pub fn ask(&mut self, id: &ClaimId, size: Option<Bytes>) -> BTreeSet<BudgetName> {
        let size = size.zip(self.claims.get(id)).map(|(size, claim)| self.as_made(claim, size));
        match size {
            Some(size) => self.budgets.asked.insert(id.clone(), size),
            None => self.budgets.asked.remove(id),
        };
        self.charge(id)
    }

    /// Counts a claim as if it had this VolumeAttributesClass already, too, as for [`View::ask`].
    pub fn ask_class(&mut self, id: &ClaimId, class: Option<&str>) -> BTreeSet<BudgetName> {
        let iops = class.zip(self.claims.get(id)).map(|(class, claim)| self.iops_of(claim, class));
        match iops {
            Some(iops) => self.budgets.asked_iops.insert(id.clone(), iops),
            None => self.budgets.asked_iops.remove(id),
        };
        self.charge(id)
    }
}
