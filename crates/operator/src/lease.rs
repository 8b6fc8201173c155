//! Which of several operators acts: the one that holds the Lease.
//!
//! The library at hand (kube-lease-manager) takes an expired lease by a patch without precondition, so that a holder
//! that renews in that instant is deposed without knowing, and does not tell when renewing fails. Here every write
//! carries the resource version that it was decided from, so that of two candidates one fails; a lease counts as
//! expired by the candidate's own clock since it last saw it renewed, so that clocks need not agree; and who cannot
//! renew stops acting well before another may begin.

use std::time::{Duration, Instant};

use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

use crate::moment::Moment;

/// Another operator has become the leader.
#[derive(Debug, thiserror::Error)]
#[error("the lease {lease} was taken by {holder}")]
pub struct Deposed {
    lease: String,
    holder: String,
}

/// A candidate for the lease.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The lease's name.
    pub name: String,
    /// Who the candidate is; no other may have the same identity.
    pub identity: String,
    /// For how long a lease holds that is not renewed. A leader stops acting after two thirds of it.
    pub duration: Duration,
}

impl Candidate {
    /// How long an attempt at the lease may take.
    pub fn deadline(&self) -> Duration {
        self.duration / 3
    }

    /// How long to wait between two attempts.
    pub fn pause(&self) -> Duration {
        self.duration / 5
    }
}

/// Whom a candidate last saw holding the lease, and since when that has not changed.
#[derive(Debug, Clone, PartialEq)]
struct Sighting {
    holder: String,
    renewed: Option<MicroTime>,
    transitions: i32,
    since: Instant,
}

/// What a candidate does about the lease as it finds it.
#[derive(Debug, PartialEq)]
pub enum Move {
    /// Write this, only where the lease still is as it was found.
    Write(LeaseSpec),
    /// It is another's; nothing can be done now.
    Wait(String),
}

/// A candidate's efforts. Each attempt reads the lease, asks what to [do](Campaign::found) about it, and says what
/// came of that.
#[derive(Debug)]
pub struct Campaign {
    candidate: Candidate,
    sighting: Option<Sighting>,
    held_until: Option<Instant>,
}

impl Campaign {
    /// A candidate that knows nothing yet.
    pub fn new(candidate: Candidate) -> Self {
        Self { candidate, sighting: None, held_until: None }
    }

    /// Whose efforts these are.
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Until when the candidate may act; none while it has never led.
    pub fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// The lease was read; none where there is none.
    pub fn found(&mut self, found: Option<&LeaseSpec>, now: Moment) -> Move {
        decide(&self.candidate, found, &mut self.sighting, now)
    }

    /// The lease was written as it was decided, in the attempt that began at `asked`. Returns whether that is news.
    pub fn holds(&mut self, asked: Instant) -> bool {
        // From before it was asked for: the answer may have taken long.
        self.held_until.replace(asked + self.candidate.duration * 2 / 3).is_none()
    }

    /// The lease is another's. A candidate that had it has been deposed.
    pub fn is_held_by(&mut self, holder: String) -> Result<(), Deposed> {
        match self.held_until.take() {
            None => Ok(()),
            Some(_) => Err(Deposed { lease: self.candidate.name.clone(), holder }),
        }
    }
}

fn decide(candidate: &Candidate, found: Option<&LeaseSpec>, sighting: &mut Option<Sighting>, now: Moment) -> Move {
    let none = LeaseSpec::default();
    let found = found.unwrap_or(&none);
    let transitions = found.lease_transitions.unwrap_or(0);
    let holder = found.holder_identity.as_deref().unwrap_or_default();
    let held = LeaseSpec {
        holder_identity: Some(candidate.identity.clone()),
        lease_duration_seconds: i32::try_from(candidate.duration.as_secs()).ok(),
        renew_time: Some(MicroTime(now.time)),
        ..found.clone()
    };
    if holder == candidate.identity {
        return Move::Write(held);
    }
    if !holder.is_empty() {
        let same = sighting.as_ref().filter(|seen| {
            (seen.holder.as_str(), &seen.renewed, seen.transitions) == (holder, &found.renew_time, transitions)
        });
        let since = same.map_or(now.instant, |seen| seen.since);
        *sighting = Some(Sighting { holder: holder.to_owned(), renewed: found.renew_time.clone(), transitions, since });
        // The holder's own duration counts, should it be another than the candidate's.
        let duration = found.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        if now.instant.duration_since(since) <= duration.map_or(candidate.duration, Duration::from_secs) {
            return Move::Wait(holder.to_owned());
        }
    }
    Move::Write(LeaseSpec { acquire_time: Some(MicroTime(now.time)), lease_transitions: Some(transitions + 1), ..held })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn candidate(identity: &str) -> Candidate {
        Candidate { name: "lease".into(), identity: identity.into(), duration: Duration::from_secs(15) }
    }

    fn held_by(identity: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(identity.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(1),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    fn decide_at(found: Option<&LeaseSpec>, sighting: &mut Option<Sighting>, now: Instant) -> Move {
        decide(&candidate("me"), found, sighting, Moment { instant: now, time: Timestamp::from_second(1_000).unwrap() })
    }

    fn takes(found: Option<&LeaseSpec>, sighting: &mut Option<Sighting>, now: Instant) -> bool {
        matches!(decide_at(found, sighting, now), Move::Write(_))
    }

    #[test]
    fn a_lease_that_nobody_holds_is_taken() {
        let Move::Write(spec) = decide_at(None, &mut None, Instant::now()) else { panic!("it waits") };
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(1));
        let released = LeaseSpec { holder_identity: None, ..held_by("", 0) };
        assert!(takes(Some(&released), &mut None, Instant::now()));
    }

    #[test]
    fn the_holder_renews_without_a_transition() {
        let Move::Write(spec) = decide_at(Some(&held_by("me", 0)), &mut None, Instant::now()) else { panic!("waits") };
        assert_eq!(spec.lease_transitions, Some(1));
        assert_eq!(spec.renew_time.unwrap().0, Timestamp::from_second(1_000).unwrap());
    }

    #[test]
    fn a_lease_expires_by_the_time_since_it_was_last_seen_renewed_whatever_its_times_say() {
        let start = Instant::now();
        let mut sighting = None;
        // By its own times this lease has been expired for long, and still it has to be watched first.
        assert!(!takes(Some(&held_by("other", 0)), &mut sighting, start));
        assert!(!takes(Some(&held_by("other", 0)), &mut sighting, start + Duration::from_secs(15)));
        assert!(!takes(Some(&held_by("other", 1)), &mut sighting, start + Duration::from_secs(16)), "it was renewed");
        assert!(!takes(Some(&held_by("other", 1)), &mut sighting, start + Duration::from_secs(31)));
        assert!(takes(Some(&held_by("other", 1)), &mut sighting, start + Duration::from_secs(32)));
    }
}
