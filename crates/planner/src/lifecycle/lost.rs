//! Volumes of the local driver whose node is gone: its Node object was deleted, and with the node went the disk that
//! the volume is on. A node that is only unreachable still has its object, and nothing is decided about its volumes.

use jiff::{SignedDuration, Timestamp};

/// A PersistentVolume of the local driver, as far as it matters for whether it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalVolume {
    /// Is there a Node object of the node that the volume is on?
    pub has_node: bool,
    /// Since when there has been none, as it was noted on the volume.
    pub lost_since: Option<Timestamp>,
    /// Is it no claim's any more?
    pub released: bool,
    /// Does its reclaim policy say that it goes when its claim has gone?
    pub reclaimed: bool,
}

/// What is to be done about a volume. Each may be done twice, and none harms a volume whose node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Leave,
    /// Note on it that its node has been gone since this moment.
    NoteLost(Timestamp),
    /// Take that note away, because its node is there again.
    NoteFound,
    /// Delete the PersistentVolume, which nothing else will do: the driver that would is gone with its node.
    CleanUp,
}

/// What was decided about a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// What is to be done.
    pub step: Step,
    /// When to decide again though nothing has changed.
    pub again_at: Option<Timestamp>,
}

/// Decides about a volume. Without `clean_up_after` it is never deleted; with it, a volume that no claim has and whose
/// reclaim policy is Delete is deleted once its node has been gone for that long.
pub fn decide(volume: LocalVolume, clean_up_after: Option<SignedDuration>, now: Timestamp) -> Verdict {
    let verdict = |step| Verdict { step, again_at: None };
    match (volume.has_node, volume.lost_since) {
        (true, None) => verdict(Step::Leave),
        (true, Some(_)) => verdict(Step::NoteFound),
        (false, None) => verdict(Step::NoteLost(now)),
        (false, Some(since)) => {
            let Some(grace) = clean_up_after.filter(|_| volume.released && volume.reclaimed) else {
                return verdict(Step::Leave);
            };
            // A sum beyond the end of time is never reached.
            match since.checked_add(grace) {
                Ok(end) if now >= end => verdict(Step::CleanUp),
                Ok(end) => Verdict { step: Step::Leave, again_at: Some(end) },
                Err(_) => verdict(Step::Leave),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lost(since: i64) -> LocalVolume {
        LocalVolume { has_node: false, lost_since: Some(at(since)), released: true, reclaimed: true }
    }

    fn step(volume: LocalVolume, clean_up_after: Option<SignedDuration>, now: i64) -> Step {
        decide(volume, clean_up_after, at(now)).step
    }

    #[test]
    fn a_node_that_goes_is_noted_with_the_time_and_one_that_comes_back_is_too() {
        let new = LocalVolume { lost_since: None, ..lost(0) };
        assert_eq!(step(new, Some(HOUR), 100), Step::NoteLost(at(100)));
        assert_eq!(step(lost(100), Some(HOUR), 101), Step::Leave);
        assert_eq!(step(LocalVolume { has_node: true, ..lost(100) }, Some(HOUR), 9_000), Step::NoteFound);
        assert_eq!(step(LocalVolume { has_node: true, ..new }, Some(HOUR), 9_000), Step::Leave);
    }

    #[test]
    fn a_released_volume_is_cleaned_up_when_the_grace_is_over_and_not_before() {
        let waiting = decide(lost(100), Some(HOUR), at(100 + 3599));
        assert_eq!(waiting, Verdict { step: Step::Leave, again_at: Some(at(100 + 3600)) });
        assert_eq!(step(lost(100), Some(HOUR), 100 + 3600), Step::CleanUp);
    }

    #[test]
    fn a_clock_that_was_set_back_and_a_grace_without_end_only_make_it_wait() {
        assert_eq!(step(lost(1_000_000), Some(HOUR), 100), Step::Leave);
        assert_eq!(step(lost(100), Some(SignedDuration::MAX), 1_000_000), Step::Leave);
    }

    proptest! {
        #[test]
        fn nothing_is_ever_deleted_that_has_a_node_or_a_claim_or_is_to_be_kept_or_was_not_noted_before(
            has_node: bool,
            noted: bool,
            released: bool,
            reclaimed: bool,
            grace in prop::option::of(0_i64..10_000),
            since in 0_i64..10_000,
            now in 0_i64..30_000,
        ) {
            let volume = LocalVolume { has_node, lost_since: noted.then(|| at(since)), released, reclaimed };
            let deleted = step(volume, grace.map(SignedDuration::from_secs), now) == Step::CleanUp;
            let over = grace.is_some_and(|grace| now >= since + grace);
            prop_assert_eq!(deleted, !has_node && noted && released && reclaimed && over);
        }
    }
}
