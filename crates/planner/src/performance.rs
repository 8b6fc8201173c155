//! Which VolumeAttributesClass a claim is to have: a faster one soon when its volume does all that its class gives, a
//! slower one late when it does little. This file has the order of the questions; [`asked`] says what is measured, [`load`]
//! is what the volume does, [`pressure`] how much its pod waits for it, [`excess`] what its driver says of its limits,
//! [`saturation`] by what it is seen to be held back, [`classes`] what each class gives, [`step`] which class comes next.
//! Whether the driver may be asked now is for [`slots`](crate::capacity::slots) to say, whether the budgets allow it for
//! [`budget`](crate::budget).

mod asked;
mod classes;
mod excess;
mod load;
mod pressure;
mod saturation;
mod seen;
mod step;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Limits, Mode, PerformanceSpec, names::PerformanceReason as Reason};

pub use self::{
    asked::counted_by,
    classes::{AttributesClass, ClassChange, ClassUse, Modification, RefusedClass},
    excess::{Exceeded, Excess},
    load::{Load, LoadReading, LoadSample, LoadWatch, Quiet, Rates},
    pressure::Pressure,
};
use self::{
    asked::in_force,
    seen::Seen,
    step::{Ladder, Step},
};
pub(crate) use self::{asked::watch, classes::named};
use crate::{
    budget::{Bookings, OverBudget},
    capacity::{
        self, later,
        slots::{Slots, to_the_second},
    },
    plan::Action,
    report,
    view::{Claim, ClaimId, Policy, Resize, Uid, View},
};

/// Drivers take seconds to minutes for a change of class; the resizer's longest pause between retries is five minutes.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// An agent has a rate when it has measured for ten seconds; one that has just been asked, by an operator that has just been
/// started, has an answer long before this.
const FIRST_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// How long after a pod was created its volume may take to be attached and mounted.
const MOUNTED_WITHIN: SignedDuration = SignedDuration::from_mins(4);

/// A decision that rests on a measurement is made again after so long, in case that nothing is measured any more.
const LOOK_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// After so long a class that the driver has refused is tried again.
const REFUSED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What was decided about a claim's VolumeAttributesClass.
#[derive(Debug, Clone, PartialEq)]
pub struct PerformanceDecision {
    /// The claim's UID.
    pub uid: Uid,
    /// The mode of the governing policy.
    pub mode: Mode,
    /// The class that is requested for the claim now.
    pub class: Option<String>,
    /// What is done.
    pub outcome: ClassMove,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with the numbers that led to it. Numbers that change all the time are only in it where something
    /// is to be done.
    pub message: String,
    /// When the decision may change without anything being observed.
    pub again_at: Option<Timestamp>,
    /// The budgets that hold up a faster class, where the reason is `OverIopsBudget`.
    pub over_budget: Option<Box<OverBudget>>,
}

/// What is done about a claim's class. A class is none only where what the driver refused is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassMove {
    /// Nothing is to be done.
    Keep,
    /// Another class is requested now.
    Set(Option<String>),
    /// Another class would be requested, were the mode Auto and the claim not paused.
    Recommend(Option<String>),
    /// A change that was requested is under way.
    Modifying(Option<String>),
    /// Nothing can be done or decided; the reason says what stands in the way.
    Wait,
}

impl PerformanceDecision {
    /// Must somebody look at it? A recommended change, too, happens only if somebody does; that a claim could do with less
    /// harms nobody.
    pub const fn is_problem(&self) -> bool {
        let recommended = matches!((&self.outcome, self.reason), (ClassMove::Recommend(_), Reason::Saturated));
        self.reason.is_problem() || recommended
    }

    /// The class that the policy calls for, where it is not the present one.
    pub fn target(&self) -> Option<&str> {
        match &self.outcome {
            ClassMove::Set(to) | ClassMove::Recommend(to) | ClassMove::Modifying(to) => to.as_deref(),
            ClassMove::Keep | ClassMove::Wait => None,
        }
    }
}

/// Decides which class a claim is to have, and why; none where no policy says anything about it. `capacity` is what was
/// decided about its size just now, `bookings` what was decided before it in the same pass.
pub(crate) fn decide(
    view: &View,
    bookings: &Bookings,
    (id, claim): (&ClaimId, &Claim),
    (capacity, actions): (&report::Decision, &[Action]),
    now: Timestamp,
) -> Option<(Option<Action>, PerformanceDecision)> {
    let (policy, spec) = in_force(view, &capacity.governance)?;
    // An action that writes on the claim makes what was observed of it out of date.
    let writes = actions.iter().any(|action| !matches!(action, Action::SyncPod { .. }));
    let case = Case { view, bookings, id, claim, policy, spec, writes, now };
    let verdict = match case.questions() {
        Ok(verdict) | Err(verdict) => verdict,
    };
    let Verdict { action, outcome, reason, message, again_at, over_budget } = verdict;
    let decision = PerformanceDecision {
        uid: claim.uid.clone(),
        mode: policy.mode,
        class: case.requested().map(str::to_owned),
        outcome,
        reason,
        message,
        again_at,
        over_budget,
    };
    Some((action.map(|action| *action), decision))
}

/// A claim with the one policy that governs it.
struct Case<'a> {
    view: &'a View,
    bookings: &'a Bookings,
    id: &'a ClaimId,
    claim: &'a Claim,
    policy: &'a Policy,
    spec: &'a PerformanceSpec,
    /// Is the claim being written for its size's sake?
    writes: bool,
    now: Timestamp,
}

/// What a question leads to when it ends the decision.
struct Verdict {
    action: Option<Box<Action>>,
    outcome: ClassMove,
    reason: Reason,
    message: String,
    again_at: Option<Timestamp>,
    over_budget: Option<Box<OverBudget>>,
}

impl Verdict {
    fn new(outcome: ClassMove, reason: Reason, message: impl Into<String>) -> Self {
        Self { action: None, outcome, reason, message: message.into(), again_at: None, over_budget: None }
    }

    fn keep(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(ClassMove::Keep, reason, message)
    }

    fn wait(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(ClassMove::Wait, reason, message)
    }

    fn again_at(mut self, at: impl Into<Option<Timestamp>>) -> Self {
        self.again_at = at.into();
        self
    }
}

impl<'a> Case<'a> {
    fn requested(&self) -> Option<&'a str> {
        self.claim.attributes.as_ref()?.requested.as_deref()
    }

    fn change(&self) -> Option<&'a ClassChange> {
        self.claim.attributes.as_ref()?.change.as_ref()
    }

    /// Each question that fails ends the decision with its verdict. What is wrong with the set-up comes before what is
    /// measured.
    fn questions(&self) -> Result<Verdict, Verdict> {
        self.settled()?;
        let ladder = self.ladder()?;
        let seen = self.seen()?;
        let Some(step) = Step::called_for(&ladder, self.spec, seen, self.now) else {
            return Err(self.adequate(&ladder, seen));
        };
        let Step { to, reason, why } = step?;
        self.not_growing()?;
        Ok(self.change_to(&ladder, to, reason, &why))
    }

    /// Passes when the volume is bound, and no change of its class is under way.
    fn settled(&self) -> Result<(), Verdict> {
        if !self.claim.bound {
            return Err(Verdict::wait(Reason::Unused, "the claim is not bound to a volume, or is being deleted"));
        }
        let Some(attributes) = &self.claim.attributes else { return Ok(()) };
        if let Modification::Infeasible(why) = &attributes.modification
            && attributes.requested != attributes.current
        {
            return Err(self.refused(attributes, why));
        }
        if attributes.requested == attributes.current
            && matches!(attributes.modification, Modification::Idle | Modification::Infeasible(_))
        {
            return Ok(());
        }
        Err(self.modifying(attributes))
    }

    fn modifying(&self, attributes: &ClassUse) -> Verdict {
        let outcome = ClassMove::Modifying(attributes.requested.clone());
        let to = named(attributes.requested.as_deref());
        let waits = match &attributes.modification {
            Modification::Pending(Some(why)) => format!(": {why}"),
            _ => String::new(),
        };
        let ours = self.change().filter(|change| change.to == attributes.requested);
        let overdue_at = ours.map(|change| later(change.decided, OVERDUE_AFTER));
        if overdue_at.is_some_and(|at| self.now >= at) {
            let message = format!(
                "the change to {to} is not done after {}m{waits}: read the claim's Events and the log of the driver's resizer",
                OVERDUE_AFTER.as_mins()
            );
            return Verdict::new(outcome, Reason::ModificationOverdue, message);
        }
        let message = format!("the driver is to change the volume to {to}{waits}");
        Verdict::new(outcome, Reason::Modifying, message).again_at(overdue_at)
    }

    /// The driver refused the class for good: what the volume has is asked for again, or nothing else could ever be.
    fn refused(&self, attributes: &ClassUse, why: &str) -> Verdict {
        let (refused, current) = (attributes.requested.as_deref(), attributes.current.as_deref());
        let ours = self.change().filter(|change| change.to.as_deref() == refused);
        let Some(last) = ours.filter(|_| self.policy.mode == Mode::Auto && self.claim.paused.is_none()) else {
            let message = format!(
                "the driver refused {}: {why}; set the claim's volumeAttributesClassName back to {}",
                named(refused),
                current.unwrap_or("what it was")
            );
            return Verdict::wait(Reason::ClassRefused, message);
        };
        let mut refusals = self.refusals();
        refusals.extend(refused.map(|class| RefusedClass { class: class.to_owned(), at: self.now }));
        let record = ClassChange {
            from: attributes.requested.clone(),
            to: attributes.current.clone(),
            decided: self.now,
            reason: Reason::ClassTakenBack,
            earlier: last.slots().copied().collect(),
            refused: refusals,
        };
        let message = format!("the driver refused {}: {why}; {} is asked for again", named(refused), named(current));
        let verdict = Verdict::new(ClassMove::Set(record.to.clone()), Reason::ClassTakenBack, message);
        Verdict { action: Some(Box::new(self.action(record))), ..verdict }
    }

    /// The classes that the driver has refused within the last day.
    fn refusals(&self) -> Vec<RefusedClass> {
        let refused = self.change().map_or(&[][..], |change| &change.refused);
        let lately = |refused: &&RefusedClass| self.now.duration_since(refused.at).abs() < REFUSED_FOR;
        refused.iter().filter(lately).cloned().collect()
    }

    fn action(&self, record: ClassChange) -> Action {
        Action::SetClass {
            claim: self.id.clone(),
            uid: self.claim.uid.clone(),
            previous: self.change().cloned(),
            record,
        }
    }

    /// The classes with what they give, the claim's own among them.
    fn ladder(&self) -> Result<Ladder<'a>, Verdict> {
        if let Some(class) = self.requested().filter(|class| !self.spec.attributes_classes.iter().any(|it| it == class))
        {
            let message =
                format!("VolumeAttributesClass {class} is none of attributesClasses, so the claim is left with it");
            return Err(Verdict::keep(Reason::ClassNotListed, message));
        }
        let ladder = Ladder::of(self.view, self.claim, self.spec);
        let ladder = ladder.map_err(|why| Verdict::wait(Reason::ClassUnknown, why))?;
        Ok(ladder.without(&self.refusals()))
    }

    /// What the volume does, as far as that is known.
    fn seen(&self) -> Result<Seen<'a>, Verdict> {
        let load = self.claim.load.as_deref();
        let seen = load.and_then(|load| Seen::of(load, self.now));
        if self.claim.raw_block && seen.is_none() {
            let message = "a raw block volume: the agents measure mounted filesystems only, and what its driver may count is \
                           not known, so its class is left as it is";
            return Err(Verdict::keep(Reason::Unused, message));
        }
        let Some(since) = self.claim.pods.iter().filter_map(|pod| pod.since).min() else {
            return Err(Verdict::keep(Reason::Unused, "no running pod uses the claim, so there is no I/O to measure"));
        };
        if let Some(seen) = seen {
            return Ok(seen);
        }
        let asked = load.map_or(self.now, |load| load.asked);
        let first_by = later(asked, FIRST_WITHIN).max(later(since, MOUNTED_WITHIN));
        if self.now < first_by && load.is_none_or(|load| load.sample.is_none()) {
            let message = "the first measurement of the volume's I/O is due";
            return Err(Verdict::wait(Reason::AwaitingLoad, message).again_at(first_by));
        }
        let message = "no I/O of the volume has been measured lately: is the agent running on the node of its pod? Of volumes \
                       that are no block device, such as those on NFS, none can be measured";
        Err(Verdict::wait(Reason::NoLoad, message).again_at(later(self.now, LOOK_AGAIN_AFTER)))
    }

    /// Nothing is called for now: until when?
    fn adequate(&self, ladder: &Ladder<'_>, seen: Seen<'_>) -> Verdict {
        let Some(sample) = seen.sample else {
            let message = format!(
                "no more is asked of the volume than its limits allow, as its driver counts: {}; what I/O it does is not \
                 measured, so it gets no slower class",
                ladder.present()
            );
            return Verdict::keep(Reason::Adequate, message).again_at(later(self.now, LOOK_AGAIN_AFTER));
        };
        let by_busy = [sample.busy, sample.strained].into_iter().flatten().min();
        let by_busy = by_busy.map(|since| later(since, self.spec.raise_after.into()));
        let quiet = seen.quiet_since().filter(|_| ladder.slower().is_some());
        let by_quiet = quiet.map(|since| later(since, self.spec.lower_after.into()));
        let again_at = [by_busy, by_quiet].into_iter().flatten().filter(|at| *at > self.now).min();
        let again_at = again_at.unwrap_or(Timestamp::MAX).min(later(self.now, LOOK_AGAIN_AFTER));
        let class = self
            .requested()
            .map_or_else(|| "a volume without a class".to_owned(), |class| format!("VolumeAttributesClass {class}"));
        let message = format!("the volume's I/O suits what {class} gives: {}", ladder.present());
        Verdict::keep(Reason::Adequate, message).again_at(again_at)
    }

    /// One thing at a time is asked of the driver, and growth is the more urgent.
    fn not_growing(&self) -> Result<(), Verdict> {
        let resizing = self.claim.requested > self.claim.capacity
            && !matches!(self.claim.resize, Resize::Infeasible(_) | Resize::NodeInfeasible(_));
        if resizing || self.writes {
            let message = "the claim is growing, and another class is asked for when that is done";
            return Err(Verdict::wait(Reason::AwaitingGrowth, message).again_at(later(self.now, LOOK_AGAIN_AFTER)));
        }
        Ok(())
    }

    /// Another class is called for: may it be asked for now?
    fn change_to(&self, ladder: &Ladder<'_>, (to, limits): (&str, Limits), reason: Reason, why: &str) -> Verdict {
        let slots = match self.slots() {
            Ok(slots) => slots,
            Err(verdict) => return verdict,
        };
        if reason == Reason::Saturated
            && let Err(short) = self.bookings.iops_room(self.view, self.id, self.claim, to)
        {
            let message = format!("{why}, and {}", short.sentence);
            let verdict = Verdict::wait(Reason::OverIopsBudget, message);
            return Verdict { over_budget: Some(Box::new(short.over)), ..verdict };
        }
        let cost = self.view.cost_of_change(self.claim, ladder.present(), &limits);
        let step = format!("take {}, which gives {limits}{cost}", named(Some(to)));
        let to = Some(to.to_owned());
        if let Some(paused) = &self.claim.paused {
            let message = capacity::paused(paused, format_args!("{reason}: {why}; {step}"));
            return Verdict::new(ClassMove::Recommend(to), Reason::ClassPaused, message);
        }
        if self.policy.mode != Mode::Auto {
            let message = format!("{why}; in mode Auto it would {step}");
            let verdict = Verdict::new(ClassMove::Recommend(to), reason, message);
            return verdict.again_at(later(self.now, LOOK_AGAIN_AFTER));
        }
        let record = ClassChange {
            from: self.requested().map(str::to_owned),
            to: to.clone(),
            decided: self.now,
            reason,
            earlier: slots,
            refused: self.refusals(),
        };
        let verdict = Verdict::new(ClassMove::Set(to), reason, format!("{why}; {step}"));
        Verdict { action: Some(Box::new(self.action(record))), ..verdict }
    }

    /// When the modification slots were taken that are not free again; fails where none may be taken now. Where the policy
    /// lets the claim grow, the last one is kept for that: a slow volume is better than a full one.
    fn slots(&self) -> Result<Vec<Timestamp>, Verdict> {
        let rule = self.view.abilities(self.claim).and_then(|abilities| abilities.modifications);
        let Some(slots) = rule.map(|rule| Slots::of(rule, self.claim, self.now)) else { return Ok(Vec::new()) };
        let kept = usize::from(self.policy.capacity.is_some());
        let Some(next) = slots.next_keeping(kept) else { return Ok(slots.into_taken()) };
        let keeps = if kept > 0 { ", of which the last is kept for growth" } else { "" };
        let until = if next == Timestamp::MAX {
            "none is left for another class: allow more in its DriverProfile, or change the class yourself".to_owned()
        } else {
            format!("the next change can be asked for at {}", to_the_second(next))
        };
        let message = format!(
            "another class is called for, and the driver allows {}{keeps}, so that {until}",
            slots.rule_in_words()
        );
        Err(Verdict::wait(Reason::NoSlotForClass, message).again_at(next))
    }
}
