//! When which status may be compared and written: at most once a second, later and later where it fails.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::{backoff::Backoff, request::StatusId};

/// How often one status is written at most.
const EVERY: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_mins(1) };

/// The statuses to look at, and when.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    due: BTreeMap<StatusId, Instant>,
    writing: BTreeSet<StatusId>,
    last: HashMap<StatusId, Last>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Last {
    failures: u32,
    not_before: Option<Instant>,
}

impl Pace {
    /// Has the status looked at as soon as may be.
    pub(crate) fn mark(&mut self, id: StatusId, now: Instant) {
        let not_before = self.last.get(&id).and_then(|last| last.not_before);
        self.due.entry(id).or_insert(not_before.map_or(now, |at| at.max(now)));
    }

    /// When the next status is due; one that is being written is not.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.iter().filter(|(id, _)| !self.writing.contains(id)).map(|(_, at)| *at).min()
    }

    /// The statuses that are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<StatusId> {
        let writing = &self.writing;
        self.due.extract_if(.., |id, at| *at <= now && !writing.contains(id)).map(|(id, _)| id).collect()
    }

    /// The status is being written.
    pub(crate) fn begin(&mut self, id: StatusId) {
        self.writing.insert(id);
    }

    /// The status has been written, or could not be: then it is looked at again by itself.
    pub(crate) fn end(&mut self, id: &StatusId, written: bool, now: Instant) {
        self.writing.remove(id);
        let last = self.last.entry(id.clone()).or_default();
        if written {
            *last = Last { failures: 0, not_before: Some(now + EVERY) };
        } else {
            let not_before = Some(now + BACKOFF.after(last.failures));
            *last = Last { failures: last.failures + 1, not_before };
        }
        match self.due.get_mut(id) {
            Some(at) => *at = (*at).max(last.not_before.unwrap_or(now)),
            None if !written => self.mark(id.clone(), now),
            None => {}
        }
    }

    /// Whose status it is, is no more.
    pub(crate) fn forget(&mut self, id: &StatusId) {
        self.due.remove(id);
        self.last.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use orlop_planner::BudgetName;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn status() -> StatusId {
        StatusId::Budget(BudgetName("all".into()))
    }

    #[test]
    fn a_status_is_written_at_once_and_then_at_most_once_a_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.mark(status(), start);
        assert_eq!(pace.take_due(start), [status()]);
        pace.begin(status());
        pace.mark(status(), start + MS);
        assert_eq!(pace.next(), None, "it is being written");
        assert_eq!(pace.take_due(start + 2 * MS), []);
        pace.end(&status(), true, start + 3 * MS);
        assert_eq!(pace.take_due(start + 1002 * MS), []);
        assert_eq!(pace.take_due(start + 1003 * MS), [status()]);
        assert_eq!(pace.take_due(start + 5000 * MS), [], "nothing has changed since");
    }

    #[test]
    fn a_status_that_cannot_be_written_is_tried_again_later_and_later() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.begin(status());
        pace.end(&status(), false, start);
        assert_eq!(pace.next(), Some(start + 2000 * MS));
        assert_eq!(pace.take_due(start + 2000 * MS), [status()]);
        pace.begin(status());
        pace.end(&status(), false, start + 2000 * MS);
        assert_eq!(pace.next(), Some(start + 6000 * MS));
        pace.mark(status(), start + 2001 * MS);
        assert_eq!(pace.next(), Some(start + 6000 * MS), "a change does not hurry it");
    }

    #[test]
    fn what_is_no_more_is_not_looked_at() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.mark(status(), start);
        pace.forget(&status());
        assert_eq!(pace.take_due(start), []);
    }
}
