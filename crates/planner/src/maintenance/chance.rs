//! When the pods of a workload may be stopped: in a window, and not again at once where the last time was in vain. Windows may
//! overlap, and may never close; a driver that hangs would otherwise have the pods stopped in each of them.

use jiff::{SignedDuration, Timestamp};
use orlop_api::names::IN_VAIN_ANNOTATION;

use super::{InVain, NEEDS, Open, ScaledFrom, Stoppable, Windows};
use crate::{capacity::later, view::View};

/// After pods were stopped in vain they are not stopped again for so long, counted from when they were, and then only in a
/// window that was not open yet at that time. It is less than a day, so that a window of each night is not missed because pods
/// were stopped late in the last one, or a clock was set forward between.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(20);

/// When the pods may be stopped.
pub(crate) enum Chance<'a> {
    /// They are stopped, or are being.
    Stopped,
    /// Now, in this window.
    Now(Open),
    /// Not now.
    Later(Later<'a>),
}

/// What is waited for.
pub(crate) struct Later<'a> {
    /// Until when; none where there is no such time.
    pub(crate) at: Option<Timestamp>,
    pub(crate) why: Why<'a>,
}

/// Why they are not stopped now.
pub(crate) enum Why<'a> {
    /// No window is open for long enough.
    NoWindow,
    /// Somebody has scaled the workload since it was stopped.
    Scaled(&'a ScaledFrom, u32),
    /// They were stopped in vain.
    InVain(&'a InVain),
}

/// When the pods of the workload may be stopped, as of now.
pub(crate) fn chance<'a>(view: &View, it: &Stoppable<'a>, now: Timestamp) -> Chance<'a> {
    match it.workload.scaled {
        Some(_) if it.workload.replicas == 0 => return Chance::Stopped,
        Some(scaled) => {
            let why = Why::Scaled(scaled, it.workload.replicas);
            return Chance::Later(Later { at: Some(scaled.until), why });
        }
        None => {}
    }
    let held = held_by(view, it, now);
    let since = held.map_or(Timestamp::MIN, |before| before.at);
    let earliest = held.map_or(Timestamp::MIN, |before| later(before.at, AGAIN_AFTER));
    let at = match long_enough(it.windows, since, now.max(earliest)) {
        Some(open) if now >= earliest => return Chance::Now(open),
        Some(_) => Some(earliest),
        None => it.windows.next_after(now.max(earliest)),
    };
    Chance::Later(Later { at, why: held.map_or(Why::NoWindow, Why::InVain) })
}

/// The time before that was in vain, while a claim for which it was still waits. A note of the future says nothing.
fn held_by<'a>(view: &View, it: &Stoppable<'a>, now: Timestamp) -> Option<&'a InVain> {
    let waits = |name: &str| {
        let claim = view.claims.get(&it.id.claim(name));
        claim.is_some_and(|claim| claim.bound && claim.volume_capacity < claim.requested)
    };
    it.workload.in_vain.filter(|it| it.at <= now && it.claims.iter().any(|name| waits(name)))
}

/// The window that is open for long enough still and has opened since; of several the one that is open for longest.
fn long_enough(windows: &Windows, since: Timestamp, now: Timestamp) -> Option<Open> {
    let open = windows.open_at(now).filter(|open| open.from > since && open.until.duration_since(now) >= NEEDS);
    open.max_by_key(|open| open.until)
}

impl Later<'_> {
    /// Why, and until when, as the end of a sentence about what is to be done to the volume.
    pub(crate) fn sentence(&self, it: &Stoppable<'_>) -> String {
        let workload = &it.id;
        match self.why {
            Why::NoWindow => format!(
                "its pods are stopped in a maintenance window of which {} minutes are left at least, {}",
                NEEDS.as_mins(),
                self.at.map_or_else(|| "none of which comes".to_owned(), |at| format!("the next one opens at {at}"))
            ),
            Why::Scaled(ScaledFrom { at, until, .. }, replicas) => format!(
                "{workload} was scaled to zero at {at}, and somebody has scaled it to {replicas} since, so it is not stopped \
                 again before {until}"
            ),
            Why::InVain(in_vain) => format!(
                "{workload} was scaled to zero at {}, and scaled back before the driver had expanded {}, so it is not stopped \
                 again {}: read the claim's Events and the log of the driver's resizer; to have it tried in the next window \
                 already, take the annotation {IN_VAIN_ANNOTATION} off the {}",
                in_vain.at,
                in_vain.in_words(),
                self.at.map_or_else(|| "in any window to come".to_owned(), |at| format!("before {at}")),
                workload.kind(),
            ),
        }
    }

    /// Is it because they were stopped in vain for this claim, too?
    pub(crate) fn is_after(&self, claim: &str) -> bool {
        matches!(self.why, Why::InVain(in_vain) if in_vain.claims.iter().any(|name| **name == *claim))
    }
}
