//! What to do about how full a claim is. This file has the order of the questions; each of its modules answers one:
//! [`group`] is another claim of its group larger, [`growth`] is an earlier growth still under way, [`owner`] is its size
//! written elsewhere, [`refusal`] has its driver refused it, [`measurement`] can the measurement be believed, [`target`] is
//! growth called for and to which size, [`horizon`] is it for the days ahead, [`offline`] may the pods be stopped for it,
//! [`slots`] may the driver be asked now. How much of that size the budgets allow is for [`budget`](crate::budget) to say.

mod group;
mod growth;
mod horizon;
mod measurement;
mod offline;
mod owner;
mod refusal;
pub(crate) mod slots;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use refusal::SMALLER_MAX;

pub use measurement::{is_current, silent_at, stale_at};
pub(crate) use owner::OwnerWrites;
pub use slots::{SlotUse, slot_use};

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{
    Abilities, Bytes, CapacitySpec, Count, Expansion, Mode,
    names::{PAUSED_ANNOTATION, Reason},
};

use self::{owner::Hand, slots::Slots};
use crate::{
    budget::{Bookings, OverBudget},
    plan::Action,
    report::{Decision, Outcome},
    resources::WriteBack,
    view::{Claim, ClaimId, Governance, GrowthRecord, Policy, PolicyId, Usage, View, Watch},
};

/// How much of the text is repeated that says why a claim is paused.
const PAUSED_CHARS_MAX: usize = 100;

/// Decides what to do about one claim, and why. `bookings` is what was decided before it in the same pass.
pub(crate) fn decide(
    view: &View,
    bookings: &Bookings,
    id: &ClaimId,
    claim: &Claim,
    now: Timestamp,
) -> (Vec<Action>, Decision) {
    let governance = view.governance(id, claim);
    let governing = match &governance {
        Governance::By(policy) => view.policies.get_key_value(policy),
        Governance::None | Governance::Conflict(_) => None,
    };
    let mode = governing.map_or(Mode::Off, |(_, policy)| policy.mode);
    let verdict = match (&governance, governing) {
        (_, Some((policy_id, policy))) => Case { view, bookings, id, claim, policy_id, policy, now }.judge(),
        (Governance::Conflict(policies), _) => conflict(policies),
        _ => Verdict::new(Outcome::Keep, Reason::Off, "no policy selects the claim"),
    };
    let Verdict { actions, outcome, reason, message, again_at, over_budget, by_owner } = verdict;
    let decision = Decision {
        uid: claim.uid.clone(),
        governance,
        mode,
        size: claim.requested,
        outcome,
        reason,
        message,
        again_at,
        over_budget,
        by_owner,
    };
    (actions, decision)
}

/// What a source of measurements should report at once for the claim's volume, so that a decision is made as soon as
/// it is called for. None where the fill of the volume decides nothing: no single policy governs it, that policy is Off
/// or says nothing about capacity, or there is no filesystem.
pub(crate) fn watch(view: &View, id: &ClaimId, claim: &Claim) -> Option<Watch> {
    let Governance::By(policy_id) = view.governance(id, claim) else { return None };
    let (policy_id, policy) = view.policies.get_key_value(&policy_id)?;
    let bookings = &Bookings::default();
    let case = Case { view, bookings, id, claim, policy_id, policy, now: Timestamp::UNIX_EPOCH };
    let spec = case.in_force().ok()?;
    case.has_filesystem().ok()?;
    // Until the first measurement the claim's size stands for the filesystem's, which is a little smaller: the watch
    // then fires a little early, and the measurement that it brings corrects it.
    let total = claim.usage.as_ref().map_or(claim.capacity, |usage| usage.total);
    let inodes = claim.usage.as_ref().and_then(Usage::counted_inodes);
    Some(Watch {
        available_below: Bytes(spec.min_free.of(total.0).max(horizon::rise(spec, claim))),
        free_inodes_below: Count(inodes.map_or(0, |inodes| spec.min_free_inodes.of(inodes.total.0))),
        seconds_to_full_below: spec.time_to_full.as_secs(),
        load: None,
    })
}

/// Is the claim to grow for the days ahead, however much is free now, because less was at the fullest time of the last day?
pub fn is_foreseen(view: &View, id: &ClaimId, claim: &Claim) -> bool {
    let Governance::By(policy) = view.governance(id, claim) else { return false };
    let spec = view.policies.get(&policy).and_then(|policy| policy.capacity.as_ref());
    let empty = claim.usage.as_ref().map(|usage| Usage { available: usage.total, ..usage.clone() });
    spec.zip(empty).is_some_and(|(spec, usage)| horizon::lacking(spec, claim, &usage) > 0)
}

/// Does a measurement lead to the decision that the one before it has led to, which was that there is enough room under this
/// watch? It does if it is of the same filesystem, and none to be reported at once. Whether it is recent is not asked.
pub fn still_enough(watch: &Watch, before: &Usage, after: &Usage) -> bool {
    let of = |usage: &Usage| (usage.source, usage.total, usage.inodes.map(|inodes| inodes.total));
    let is_sound = after.available <= after.total && after.inodes.is_none_or(|inodes| inodes.free <= inodes.total);
    of(before) == of(after) && is_sound && !watch.is_crossed_by(after)
}

/// A claim with the one policy that governs it.
struct Case<'a> {
    view: &'a View,
    bookings: &'a Bookings,
    id: &'a ClaimId,
    claim: &'a Claim,
    policy_id: &'a PolicyId,
    policy: &'a Policy,
    now: Timestamp,
}

/// What a question leads to when it ends the decision.
struct Verdict {
    actions: Vec<Action>,
    outcome: Outcome,
    reason: Reason,
    message: String,
    again_at: Option<Timestamp>,
    over_budget: Option<Box<OverBudget>>,
    /// The owner by whose field the claim is to become larger.
    by_owner: Option<Box<str>>,
}

impl Verdict {
    fn new(outcome: Outcome, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            actions: Vec::new(),
            outcome,
            reason,
            message: message.into(),
            again_at: None,
            over_budget: None,
            by_owner: None,
        }
    }

    fn wait(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Outcome::Wait, reason, message)
    }

    fn again_at(mut self, again_at: Option<Timestamp>) -> Self {
        self.again_at = again_at;
        self
    }

    /// Then, or when it was to be decided again anyway, if that is earlier.
    fn again_by(mut self, at: Timestamp) -> Self {
        self.again_at = Some(self.again_at.map_or(at, |known| known.min(at)));
        self
    }

    fn by(mut self, owner: &WriteBack) -> Self {
        self.by_owner = Some(owner.to_string().into());
        self
    }

    /// The same without doing anything, because the claim's annotation says so.
    fn paused(self, why: &str) -> Self {
        let Self { outcome, reason, message, again_at, by_owner, .. } = self;
        let outcome = if let Outcome::Grow(to) = outcome { Outcome::Recommend(to) } else { outcome };
        let message = paused(why, format_args!("{reason}: {message}"));
        Self { by_owner, ..Self::new(outcome, Reason::Paused, message).again_at(again_at) }
    }
}

fn conflict(policies: &[PolicyId]) -> Verdict {
    let names: Vec<_> = policies.iter().map(ToString::to_string).collect();
    let message = format!(
        "{} select this claim, so none of them is applied: change their selectors so that one does",
        names.join(" and ")
    );
    Verdict::wait(Reason::PolicyConflict, message)
}

impl<'a> Case<'a> {
    fn judge(&self) -> Verdict {
        match self.questions() {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }

    /// Each question that fails ends the decision with its verdict. What is wrong with the set-up comes before what
    /// is measured: a policy that can never act on a claim should be seen before growth is urgent.
    fn questions(&self) -> Result<Verdict, Verdict> {
        let spec = self.in_force()?;
        self.has_filesystem()?;
        growth::settled(self)?;
        let verdict = self.growth(spec).unwrap_or_else(|verdict| verdict);
        Ok(match &self.claim.paused {
            Some(why) => verdict.paused(why),
            None => verdict,
        })
    }

    /// No growth is under way: is one called for, and can it be?
    fn growth(&self, spec: &CapacitySpec) -> Result<Verdict, Verdict> {
        let abilities = self.expandable()?;
        let usage = measurement::current(self)?;
        Ok(self.size(spec, &abilities, usage).again_by(measurement::stale_at(usage)))
    }

    fn in_force(&self) -> Result<&'a CapacitySpec, Verdict> {
        if self.policy.mode == Mode::Off {
            return Err(Verdict::new(Outcome::Keep, Reason::Off, format!("the mode of {} is Off", self.policy_id)));
        }
        self.policy.capacity.as_ref().ok_or_else(|| {
            Verdict::new(Outcome::Keep, Reason::Off, format!("{} has no capacity section", self.policy_id))
        })
    }

    fn has_filesystem(&self) -> Result<(), Verdict> {
        if !self.claim.bound {
            return Err(Verdict::wait(Reason::NotBound, "the claim is not bound to a volume, or is being deleted"));
        }
        if self.claim.raw_block {
            let message = "a raw block volume: how full it is only its user knows, so it is left as it is";
            return Err(Verdict::wait(Reason::RawBlock, message));
        }
        Ok(())
    }

    /// Do the claim's class and driver allow expansion at all?
    fn expandable(&self) -> Result<Abilities<'a>, Verdict> {
        let not = |message: String| Err(Verdict::wait(Reason::NotExpandable, message));
        let Some(name) = &self.claim.class else {
            return not("the claim has no StorageClass, and without one Kubernetes does not expand it".to_owned());
        };
        let Some((class, abilities)) = self.view.class_of(self.claim).zip(self.view.abilities(self.claim)) else {
            return not(format!(
                "the claim's StorageClass {name} does not exist, and without it Kubernetes does not expand the claim: \
                 create it with allowVolumeExpansion: true"
            ));
        };
        if !class.expandable {
            return not(format!("set allowVolumeExpansion: true on StorageClass {name}, or this claim cannot grow"));
        }
        if abilities.expansion == Expansion::None {
            let driver = self.claim.driver.as_deref().unwrap_or(&class.provisioner);
            let volumes = abilities.volume_type.map_or("volumes".to_owned(), |kind| format!("volumes of type {kind}"));
            let message = format!("by its DriverProfile the driver {driver} cannot expand {volumes}");
            return Err(Verdict::wait(Reason::DriverCannotExpand, message));
        }
        Ok(abilities)
    }

    /// To whom the claim belongs that is to grow, for the sentence that says so.
    fn owner(&self) -> String {
        let ownership = self.view.ownership(self.id, self.claim);
        if ownership.is_none() { String::new() } else { format!(", for {ownership}") }
    }

    /// The measurement is good and nothing stands in the way: is the claim large enough, and if not, how large is it
    /// to be?
    fn size(&self, spec: &CapacitySpec, abilities: &Abilities<'_>, usage: &Usage) -> Verdict {
        let claim = self.claim;
        let following = group::following(self, spec, abilities);
        let slots = abilities.modifications.map(|rule| Slots::of(rule, claim, self.now));
        // Room for the days ahead is not worth the modification that a volume may need today.
        let spare_at = slots.as_ref().and_then(Slots::spare_at);
        let can_wait = |need: &Reason| *need == Reason::FullWithinHorizon && spare_at.is_some() && following.is_some();
        let own = target::need(spec, claim, usage).filter(|need| !can_wait(need));
        let Some(need) = own.or(following.as_ref().map(|_| Reason::GroupGrowth)) else {
            let message = format!("at least minFree {} is free{}", spec.min_free, horizon::note(spec, claim));
            return Verdict::new(Outcome::Keep, Reason::EnoughRoom, message);
        };
        let record = |to: Bytes| GrowthRecord {
            from: claim.requested,
            to,
            filesystem: usage.total,
            // Nothing was crossed by a claim that follows another.
            crossed: own.map_or(self.now, |_| usage.crossed.unwrap_or(usage.at)),
            decided: self.now,
            reason: need,
            earlier: slots.as_ref().map_or_else(Vec::new, |slots| slots.taken().to_vec()),
            refused: Vec::new(),
            usable: None,
            owner: None,
        };
        let why = || match (own, &following) {
            (None, Some(leader)) => leader.sentence(),
            _ => target::sentence(need, spec, claim, usage),
        };
        let owner = self.view.write_back(self.id, claim);
        if let Some(verdict) = owner.as_ref().and_then(|owner| owner::join(self, owner, &why(), &record)) {
            return verdict;
        }
        let next_after_this = slots.as_ref().and_then(Slots::next_after_this);
        let lasting = next_after_this.map_or(SignedDuration::ZERO, |at| at.duration_since(self.now));
        let for_itself = own.map_or(Ok(Bytes(0)), |_| target::size(spec, abilities, claim, usage, lasting));
        let to = match for_itself {
            Ok(to) => to.max(following.as_ref().map_or(Bytes(0), |leader| leader.size)),
            Err(limit) => return Verdict::wait(Reason::AtMaximum, limit.to_string()),
        };
        if abilities.expansion == Expansion::Offline
            && !claim.pods.is_empty()
            && let Err(verdict) = offline::may_stop(self)
        {
            return verdict;
        }
        if let Some((slots, at)) = slots.as_ref().and_then(|slots| Some((slots, slots.next()?))) {
            return Verdict::wait(Reason::NoModificationSlot, slots.sentence(at)).again_at(Some(at));
        }
        if let Some((slots, at)) = slots.as_ref().zip(spare_at).filter(|_| need == Reason::FullWithinHorizon) {
            return Verdict::wait(Reason::NoModificationSlot, slots.last_is_kept(at)).again_at(Some(at));
        }
        let room = self.bookings.room(self.view, self.id, claim);
        let least = match own {
            // Half of the way to the claim that it follows would leave the group as unequal as it is.
            None => to,
            Some(_) if room.is_emergency() => target::smallest(abilities, claim, to),
            Some(need) => target::least(need, spec, abilities, claim, usage, to),
        };
        let fit = match room.fit(least, to, abilities.size_increment) {
            Ok(fit) => fit,
            Err(short) => {
                let message = format!("the volume needs more room than {}, and {}", claim.requested, short.sentence);
                let verdict = Verdict::wait(Reason::OverBudget, message);
                return Verdict { over_budget: Some(Box::new(short.over)), ..verdict };
            }
        };
        let to = fit.to;
        let itself = match owner::hand(self, owner.as_ref(), room.is_emergency()) {
            Hand::Owner(owner) => {
                return owner::grow(self, owner, owner::Wanted { need, why: why(), to, least, record: record(to) });
            }
            Hand::NotKnownYet(verdict) => return verdict,
            Hand::Claim(why_itself) => why_itself,
        };
        let why = why();
        let step = target::step(claim, &fit, next_after_this) + &self.owner() + &itself;
        if self.policy.mode != Mode::Auto {
            let cost = target::cost(abilities.price, claim, to);
            return Verdict::new(Outcome::Recommend(to), need, format!("{why}; in mode Auto it would {step}{cost}"));
        }
        let mut verdict = Verdict::new(Outcome::Grow(to), need, format!("{why}; {step}"));
        verdict.actions.push(Action::Grow {
            claim: self.id.clone(),
            uid: claim.uid.clone(),
            previous: claim.growth.as_deref().cloned(),
            record: record(to),
        });
        verdict
    }
}

/// Why nothing is done about a claim that is paused, and what would be without that: `why` is what its annotation says.
pub(crate) fn paused(why: &str, otherwise: impl fmt::Display) -> String {
    let why: String = why.lines().next().unwrap_or_default().trim().chars().take(PAUSED_CHARS_MAX).collect();
    let why = if matches!(&*why, "" | "true") { String::new() } else { format!(" ({why})") };
    format!("the claim's annotation {PAUSED_ANNOTATION}{why} keeps Orlop from changing it; without it, {otherwise}")
}

/// A time that much later, or the last there is.
pub(crate) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
