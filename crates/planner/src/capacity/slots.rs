//! May the driver be asked for another modification of the volume now, and until when must this one last? A driver that
//! allows so many modifications in a rolling window has so many slots, each of which is free again a window after it was
//! taken. Which are taken the records on the claim say, of growths and of changes of its class, and nothing else: what others
//! asked for is not known.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use orlop_api::Modifications;

use super::later;
use crate::{
    performance::ClassChange,
    view::{Claim, View},
};

/// How the modification slots of a claim's volume stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotUse<'a> {
    /// The driver's rule.
    pub rule: &'a Modifications,
    /// When those were taken that are not free again, the oldest first.
    pub taken: Vec<Timestamp>,
    /// When the driver may be asked for the next modification; none if it may be now.
    pub next: Option<Timestamp>,
}

/// How the modification slots of a claim's volume stand; none where its driver does not limit modifications, or it is not
/// known what the driver does.
pub fn slot_use<'a>(view: &'a View, claim: &Claim, now: Timestamp) -> Option<SlotUse<'a>> {
    let rule = view.abilities(claim)?.modifications?;
    let slots = Slots::of(rule, claim, now);
    Some(SlotUse { rule, next: slots.next(), taken: slots.into_taken() })
}

/// The modification slots of a claim's volume.
pub(crate) struct Slots<'a> {
    rule: &'a Modifications,
    /// When those were taken that are not free again, the oldest first.
    taken: Vec<Timestamp>,
    now: Timestamp,
}

impl<'a> Slots<'a> {
    pub(crate) fn of(rule: &'a Modifications, claim: &Claim, now: Timestamp) -> Self {
        // Also what has come to nothing, because the driver refused it or a user lowered the request again, was asked for,
        // and the driver may have begun it.
        let last = claim.growth.iter().filter(|last| last.from < last.to);
        let growths = last.flat_map(|last| last.earlier.iter().chain([&last.decided]));
        let change = claim.attributes.as_ref().and_then(|attributes| attributes.change.as_ref());
        let changes = change.into_iter().flat_map(ClassChange::slots);
        let times = growths.chain(changes);
        // A time further ahead than clocks ever disagree is none that we wrote, and must not hold up a growth for long.
        let is_taken = |at: &Timestamp| now.duration_since(*at).abs() < SignedDuration::from(rule.window);
        let mut taken: Vec<_> = times.copied().filter(is_taken).collect();
        taken.sort_unstable();
        // Each record has the times of the other kind that were known when it was written.
        taken.dedup();
        Self { rule, taken, now }
    }

    /// When the driver may be asked for the next modification; none if it may be now.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.next_keeping(0)
    }

    /// When the driver may be asked for the next modification so that after it so many slots are left; none if it may be
    /// now, and the end of all time where it has no more slots than that.
    pub(crate) fn next_keeping(&self, kept: usize) -> Option<Timestamp> {
        next_after(self.rule, kept, &self.taken).filter(|at| *at > self.now)
    }

    /// When, if the driver is asked for one now, it may be asked for the next one after that; none if that is at once.
    pub(super) fn next_after_this(&self) -> Option<Timestamp> {
        let mut with_this = [&self.taken[..], &[self.now]].concat();
        // Whoever asked before may have had a clock that was ahead.
        with_this.sort_unstable();
        next_after(self.rule, 0, &with_this).filter(|at| *at > self.now)
    }

    /// When, at the earliest, a modification would leave another one for the time after it; none if one does now, or where
    /// there is one in a window and no more.
    pub(super) fn spare_at(&self) -> Option<Timestamp> {
        let slots = usize::try_from(self.rule.count).unwrap_or(usize::MAX);
        let still_taken = slots.checked_sub(2)?;
        let index = self.taken.len().checked_sub(still_taken + 1)?;
        Some(later(self.taken[index], self.rule.window.into()))
    }

    /// Why the last modification is not asked for before `spare`.
    pub(super) fn last_is_kept(&self, spare: Timestamp) -> String {
        format!(
            "the volume needs more room for horizon, and of the {} modifications that its driver allows in {} the last one is \
             kept for when room runs short, until {}",
            self.rule.count,
            self.rule.window,
            to_the_second(spare)
        )
    }

    /// Why nothing is asked for before `next`.
    pub(super) fn sentence(&self, next: Timestamp) -> String {
        format!(
            "the volume needs more room, and its driver allows {}, so that the next can be asked for at {}: delete \
             data, or wait",
            self.rule_in_words(),
            to_the_second(next)
        )
    }

    /// What the driver allows.
    pub(crate) fn rule_in_words(&self) -> String {
        let Modifications { count, window, cooldown, .. } = self.rule;
        let modifications = if *count == 1 { "modification" } else { "modifications" };
        let mut rule = format!("{count} {modifications} of a volume in {window}");
        if let Some(cooldown) = cooldown {
            let _ = write!(rule, " and one in {cooldown}");
        }
        rule
    }

    /// When the slots were taken that are not free again, the oldest first.
    pub(super) fn taken(&self) -> &[Timestamp] {
        &self.taken
    }

    /// The same, for whoever asks nothing else.
    pub(crate) fn into_taken(self) -> Vec<Timestamp> {
        self.taken
    }
}

/// When a slot is free beside those that are kept and the cooldown over, these times being those at which slots were taken,
/// the oldest first.
fn next_after(rule: &Modifications, kept: usize, taken: &[Timestamp]) -> Option<Timestamp> {
    let slots = usize::try_from(rule.count).unwrap_or(usize::MAX).max(1).saturating_sub(kept);
    if slots == 0 {
        return Some(Timestamp::MAX);
    }
    // So many of the oldest must be free again for one slot to be free.
    let by_slot = taken.len().checked_sub(slots).map(|index| later(taken[index], rule.window.into()));
    let by_cooldown = taken.last().zip(rule.cooldown).map(|(last, cooldown)| later(*last, cooldown.into()));
    by_slot.max(by_cooldown)
}

/// The time without a fraction, rounded up: before it, there is nothing to do.
pub(crate) fn to_the_second(at: Timestamp) -> Timestamp {
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(second).unwrap_or(at)
}
