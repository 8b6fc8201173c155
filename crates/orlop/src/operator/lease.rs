//! Which of several operators acts: the one that holds the Lease.
//!
//! The library at hand (kube-lease-manager) takes an expired lease by a patch without precondition, so that a holder
//! that renews in that instant is deposed without knowing, and does not tell when renewing fails. Here every write
//! carries the resource version that it was decided from, so that of two candidates one fails; a lease counts as
//! expired by the candidate's own clock since it last saw it renewed, so that clocks need not agree; and who cannot
//! renew stops acting well before another may begin.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};
use orlop_api::names::FIELD_MANAGER;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

/// Another operator has become the leader.
#[derive(Debug, thiserror::Error)]
#[error("the lease {lease} was taken by {holder}")]
pub struct Deposed {
    lease: String,
    holder: String,
}

/// A candidate for the lease.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// The lease's name.
    pub(super) name: String,
    /// Who the candidate is; no other may have the same identity.
    pub(super) identity: String,
    /// For how long a lease holds that is not renewed. A leader stops acting after two thirds of it.
    pub(super) duration: Duration,
}

/// Does this operator lead?
#[derive(Debug, Clone)]
pub(super) struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// May it act now? Asked before each request, and true only while no other can think the same.
    pub(super) fn is_held(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it may act.
    pub(super) async fn begins(&mut self) {
        while !self.is_held() {
            self.changed().await;
        }
    }

    /// Waits for news: the lease was taken, renewed or lost.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
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
enum Move {
    /// Write this.
    Write(LeaseSpec),
    /// It is another's; nothing can be done now.
    Wait(String),
}

/// Announces whether the candidate leads, and the task that sees to it: it ends when another has taken the lease.
pub(super) fn stand(api: Api<Lease>, candidate: Candidate) -> (Leadership, impl Future<Output = Deposed>) {
    let (held_until, leadership) = watch::channel(None);
    (Leadership(leadership), campaign(api, candidate, held_until))
}

/// Gives the lease back if it is held, so that another need not wait for its end.
pub(super) async fn release(api: &Api<Lease>, candidate: &Candidate) -> Result<(), kube::Error> {
    let mut lease = api.get(&candidate.name).await?;
    if holder(&lease) != Some(&candidate.identity) {
        return Ok(());
    }
    lease.spec.get_or_insert_default().holder_identity = None;
    api.replace(&candidate.name, &parameters(), &lease).await.map(|_| ())
}

async fn campaign(api: Api<Lease>, candidate: Candidate, held_until: watch::Sender<Option<Instant>>) -> Deposed {
    let mut sighting = None;
    loop {
        let asked = Instant::now();
        let answer = timeout(candidate.duration / 3, attempt(&api, &candidate, &mut sighting)).await;
        match answer {
            Ok(Ok(None)) => {
                if held_until.borrow().is_none() {
                    info!(lease = candidate.name, identity = candidate.identity, "this operator leads now");
                }
                // From before it was asked for: the answer may have taken long.
                held_until.send_replace(Some(asked + candidate.duration * 2 / 3));
            }
            Ok(Ok(Some(holder))) => {
                if held_until.borrow().is_some() {
                    held_until.send_replace(None);
                    return Deposed { lease: candidate.name, holder };
                }
            }
            Ok(Err(error)) => {
                warn!(lease = candidate.name, error = &error as &dyn std::error::Error, "the lease cannot be renewed");
            }
            Err(_) => warn!(lease = candidate.name, "the API server does not answer about the lease"),
        }
        sleep(candidate.duration / 5).await;
    }
}

/// One round: none where the lease is now held, or who else holds it.
async fn attempt(
    api: &Api<Lease>,
    candidate: &Candidate,
    sighting: &mut Option<Sighting>,
) -> Result<Option<String>, kube::Error> {
    let Some(mut lease) = api.get_opt(&candidate.name).await? else {
        let Move::Write(spec) = decide(candidate, None, sighting, Instant::now(), Timestamp::now()) else {
            return Ok(Some(String::new()));
        };
        let metadata = ObjectMeta { name: Some(candidate.name.clone()), ..ObjectMeta::default() };
        api.create(&parameters(), &Lease { metadata, spec: Some(spec) }).await?;
        return Ok(None);
    };
    match decide(candidate, lease.spec.as_ref(), sighting, Instant::now(), Timestamp::now()) {
        Move::Wait(holder) => Ok(Some(holder)),
        Move::Write(spec) => {
            lease.spec = Some(spec);
            // The object still has its resource version: whoever has written since makes this fail.
            api.replace(&candidate.name, &parameters(), &lease).await.map(|_| None)
        }
    }
}

fn decide(
    candidate: &Candidate,
    found: Option<&LeaseSpec>,
    sighting: &mut Option<Sighting>,
    now: Instant,
    time: Timestamp,
) -> Move {
    let none = LeaseSpec::default();
    let found = found.unwrap_or(&none);
    let transitions = found.lease_transitions.unwrap_or(0);
    let holder = found.holder_identity.as_deref().unwrap_or_default();
    let held = LeaseSpec {
        holder_identity: Some(candidate.identity.clone()),
        lease_duration_seconds: i32::try_from(candidate.duration.as_secs()).ok(),
        renew_time: Some(MicroTime(time)),
        ..found.clone()
    };
    if holder == candidate.identity {
        return Move::Write(held);
    }
    if !holder.is_empty() {
        let same = sighting.as_ref().filter(|seen| {
            (seen.holder.as_str(), &seen.renewed, seen.transitions) == (holder, &found.renew_time, transitions)
        });
        let since = same.map_or(now, |seen| seen.since);
        *sighting = Some(Sighting { holder: holder.to_owned(), renewed: found.renew_time.clone(), transitions, since });
        // The holder's own duration counts, should it be another than the candidate's.
        let duration = found.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        if now.duration_since(since) <= duration.map_or(candidate.duration, Duration::from_secs) {
            return Move::Wait(holder.to_owned());
        }
    }
    Move::Write(LeaseSpec { acquire_time: Some(MicroTime(time)), lease_transitions: Some(transitions + 1), ..held })
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
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
        decide(&candidate("me"), found, sighting, now, Timestamp::from_second(1_000).unwrap())
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
