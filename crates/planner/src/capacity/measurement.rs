//! Can the latest measurement of a claim's volume be believed? One that is missing, old or contradictory never leads
//! to a change: what is not known is not zero.

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, names::Reason};

use super::{Case, Verdict, growth, later};
use crate::view::{Claim, Source, Usage};

/// An agent confirms its measurements every few seconds; after this long it, its node or the way to it is gone.
const AGENT_STALE_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// The kubelet measures once a minute by default, and its summary is fetched about as often: three in a row missing.
const KUBELET_STALE_AFTER: SignedDuration = SignedDuration::from_secs(180);

/// Prometheus reads a kubelet once a minute by default: three in a row missing.
const PROMETHEUS_STALE_AFTER: SignedDuration = SignedDuration::from_secs(180);

/// How much older than its date a measurement may be that Prometheus has read from a kubelet, which measures once a minute.
const PROMETHEUS_LAG: SignedDuration = SignedDuration::from_secs(60);

/// How far a node's clock may be ahead of ours. Clocks that are kept agree far better; beyond this the age of a
/// measurement says nothing.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_secs(60);

/// How long after a pod was created its volume may take to be attached, mounted and first measured: a cloud's volumes
/// take a minute or two.
const FIRST_WITHIN: SignedDuration = SignedDuration::from_secs(180);

/// When the measurement becomes too old to decide by.
pub fn stale_at(usage: &Usage) -> Timestamp {
    later(usage.at, stale_after(usage.source))
}

/// When an agent that has last said at this time that what it has measured still holds is silent, if it says nothing more:
/// all of that is too old to decide by then.
pub fn silent_at(confirmed: Timestamp) -> Timestamp {
    later(confirmed, AGENT_STALE_AFTER)
}

/// Is the measurement neither too old to decide by nor dated too far in the future?
pub fn is_current(usage: &Usage, now: Timestamp) -> bool {
    !is_ahead(usage, now) && now < stale_at(usage)
}

fn is_ahead(usage: &Usage, now: Timestamp) -> bool {
    usage.at.duration_since(now) > CLOCK_SKEW_MAX
}

const fn stale_after(source: Source) -> SignedDuration {
    match source {
        Source::Agent => AGENT_STALE_AFTER,
        Source::Kubelet => KUBELET_STALE_AFTER,
        Source::Prometheus => PROMETHEUS_STALE_AFTER,
    }
}

const fn lag(source: Source) -> SignedDuration {
    match source {
        Source::Agent | Source::Kubelet => SignedDuration::ZERO,
        Source::Prometheus => PROMETHEUS_LAG,
    }
}

/// The latest measurement, if it can be decided by.
pub(super) fn current<'a>(case: &Case<'a>) -> Result<&'a Usage, Verdict> {
    let claim = case.claim;
    let Some(usage) = &claim.usage else { return Err(missing(case)) };
    if is_ahead(usage, case.now) {
        let message = format!(
            "the measurement is dated more than {}s in the future: set the clock of the node that measures",
            CLOCK_SKEW_MAX.as_secs()
        );
        let no_longer = usage.at.checked_sub(CLOCK_SKEW_MAX).ok();
        return Err(Verdict::wait(Reason::StaleMeasurement, message).again_at(no_longer));
    }
    if case.now >= stale_at(usage) {
        return Err(stale(case, usage));
    }
    // Of a growth of ours its record says what a measurement must show.
    let shows_ours =
        growth::own_record(claim).is_some_and(|it| it.to == claim.requested && usage.total > it.filesystem);
    let outgrown = claim.outgrown.as_ref().filter(|it| usage.total == it.total && !shows_ours);
    if let Some(until) = outgrown.map(|it| later(it.until, lag(usage.source))).filter(|until| usage.at < *until) {
        let message = "the volume has just grown, and the next measurement is to show it";
        let again_at = until.max(later(case.now, SignedDuration::from_secs(1)));
        return Err(Verdict::wait(Reason::AwaitingMeasurement, message).again_at(Some(again_at)));
    }
    // Whoever has decided before knows of it what others measured; who has just been started has the record. One from the
    // future was dated by a clock that has been set since, and says nothing by its time.
    let is_older = growth::own_record(claim).is_some_and(|it| {
        let is_before =
            it.usable.is_some_and(|usable| usage.at < later(usable, lag(usage.source)) && usable <= case.now);
        is_before && usage.total <= it.filesystem
    });
    if is_older {
        let message = "the volume has grown, and a measurement from before says nothing about it";
        return Err(Verdict::wait(Reason::AwaitingMeasurement, message).again_at(Some(stale_at(usage))));
    }
    contradiction(claim, usage).map_or(Ok(usage), |message| {
        Err(Verdict::wait(Reason::ContradictoryMeasurement, message).again_at(Some(stale_at(usage))))
    })
}

fn missing(case: &Case<'_>) -> Verdict {
    due(case, None).unwrap_or_else(|| {
        let message = "no measurement of the volume has been received: is the agent running on the node of its pod?";
        Verdict::wait(Reason::NoMeasurement, message)
    })
}

fn stale(case: &Case<'_>, usage: &Usage) -> Verdict {
    due(case, Some(usage.at)).unwrap_or_else(|| {
        let question = match usage.source {
            Source::Agent => "is the agent on the node of its pod running?",
            Source::Kubelet => "is the kubelet on the node of its pod running?",
            Source::Prometheus => "does Prometheus read the kubelet on the node of its pod?",
        };
        let message =
            format!("the latest measurement is more than {}s old: {question}", stale_after(usage.source).as_secs());
        Verdict::wait(Reason::StaleMeasurement, message)
    })
}

/// Why it is no problem that no measurement is newer than `latest`: nothing mounts the volume, or only since now.
fn due(case: &Case<'_>, latest: Option<Timestamp>) -> Option<Verdict> {
    let Some(since) = case.claim.pods.iter().filter_map(|pod| pod.since).min() else {
        let message = "no running pod uses the claim, so nothing fills it and nothing measures it";
        return Some(Verdict::wait(Reason::NotInUse, message));
    };
    let first_by = later(since, FIRST_WITHIN);
    (case.now < first_by && latest.is_none_or(|latest| latest < since)).then(|| {
        let message = "a pod has just been given the claim, and the first measurement is due";
        Verdict::wait(Reason::AwaitingMeasurement, message).again_at(Some(first_by))
    })
}

/// What is wrong with a measurement in itself, or against the claim.
pub(super) fn contradiction(claim: &Claim, usage: &Usage) -> Option<String> {
    if usage.total == Bytes(0) {
        return Some("the measurement says that the filesystem has no bytes at all".to_owned());
    }
    if usage.available > usage.total {
        return Some("the measurement says that more bytes are free than there are".to_owned());
    }
    if usage.inodes.is_some_and(|inodes| inodes.free > inodes.total) {
        return Some("the measurement says that more inodes are free than there are".to_owned());
    }
    // A driver may round a size up without saying so, and a tenth is more than any does. A filesystem that is larger
    // still is not the volume's alone: a directory of a shared one, as some drivers hand out.
    let volume = claim.capacity.max(claim.volume_capacity);
    if u128::from(usage.total.0) * 10 > u128::from(volume.0) * 11 {
        return Some(format!(
            "the filesystem is larger than the volume of {volume}: it is shared, and what is free in it says nothing \
             about this claim"
        ));
    }
    None
}
