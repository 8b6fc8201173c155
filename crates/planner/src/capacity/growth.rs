//! Is an earlier growth still under way? While one is, no other is asked for: a measurement from before it would lead
//! to growing twice. Whoever asked for it, the pods are touched so that the kubelet does its part at once.

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Mode, names::Reason};

use super::{Case, Verdict, later, measurement, offline, owner, refusal};
use crate::{
    plan::Action,
    report::Outcome,
    view::{Claim, ClaimId, GrowthRecord, PodUse},
};

/// Drivers and the kubelet do their parts in seconds, with a retry or two in minutes; the resizer's longest pause
/// between retries is five.
pub(super) const OVERDUE_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// A touched pod is synced at once; one that a busy kubelet missed is touched again after this, well before the
/// kubelet's own next sync a minute later.
const TOUCH_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(15);

/// Passes when no growth is under way.
pub(super) fn settled(case: &Case<'_>) -> Result<(), Verdict> {
    if case.claim.requested > case.claim.capacity {
        return Err(offline::stop(case, in_flight(case)));
    }
    owner::settled(case)?;
    match unseen(case.claim) {
        Some(record) => Err(await_measurement(case, record)),
        None => Ok(()),
    }
}

/// The record of the claim's last growth by us, where the claim still has that size or is to have it. One that the claim's
/// size contradicts was overtaken, by a user who has lowered the request again, and holds up nothing. That may have been
/// while the driver was growing it.
pub(super) fn own_record(claim: &Claim) -> Option<&GrowthRecord> {
    let size = claim.requested.max(claim.capacity);
    claim.growth.as_deref().filter(|record| record.from < record.to && record.to <= size)
}

/// The record of a growth that no measurement has shown yet.
fn unseen(claim: &Claim) -> Option<&GrowthRecord> {
    own_record(claim).filter(|record| record.usable.is_none())
}

/// The claim requests more than it has.
fn in_flight(case: &Case<'_>) -> Verdict {
    let claim = case.claim;
    let to = claim.requested;
    if let Some(verdict) = refusal::verdict(case) {
        return verdict;
    }
    let ours = claim.growth.as_ref().filter(|record| record.to == to);
    let overdue_at = ours.map(|record| later(record.decided, OVERDUE_AFTER));
    let (stage, remedy) = if claim.volume_capacity < to {
        let remedy = if ours.is_some_and(|record| awaits_completion(case, record)) {
            "the driver begins a modification only when the last one is completed, which can take hours; if it is, read \
             the claim's Events and the log of the driver's resizer"
        } else {
            "read the claim's Events and the log of the driver's resizer"
        };
        ("the driver's controller is to grow the volume", remedy)
    } else if claim.pods.is_empty() {
        // Nobody is kept waiting: the kubelet grows the filesystem when it next mounts the volume.
        let message = format!("the volume has grown to {to}, and its filesystem grows when a pod next uses it");
        return Verdict::new(Outcome::Growing(to), Reason::Growing, message);
    } else {
        (
            "the kubelet is to grow the filesystem",
            "read the Events of the claim's pods and the log of the driver's node plugin",
        )
    };
    let mut verdict = if overdue_at.is_some_and(|at| case.now >= at) {
        let message = format!("the growth to {to} is not done after {}m, {stage}: {remedy}", OVERDUE_AFTER.as_mins());
        Verdict::new(Outcome::Growing(to), Reason::GrowthOverdue, message)
    } else {
        let after =
            ours.map_or_else(String::new, |record| refusal::sizes(", after the driver refused ", &record.refused));
        let message = format!("growing from {} to {to}{after}: {stage}", claim.capacity);
        Verdict::new(Outcome::Growing(to), Reason::Growing, message).again_at(overdue_at)
    };
    if claim.volume_capacity >= to && case.policy.mode == Mode::Auto {
        touch_pods(case, &mut verdict);
    }
    verdict
}

/// May the driver be completing an earlier modification still?
fn awaits_completion(case: &Case<'_>, record: &GrowthRecord) -> bool {
    let modifications = case.view.abilities(case.claim).and_then(|abilities| abilities.modifications);
    !record.earlier.is_empty() && modifications.is_some_and(|rule| rule.next_when_completed)
}

/// The claim has its new size: does the measurement show it?
fn await_measurement(case: &Case<'_>, record: &GrowthRecord) -> Verdict {
    let claim = case.claim;
    let to = claim.requested;
    let outcome = Outcome::Growing(to);
    let shown_by = claim.usage.as_ref().filter(|usage| {
        usage.total > record.filesystem
            // A record from the future was dated by a clock that has been set since, and its time says nothing.
            && (usage.at > record.crossed || record.crossed > case.now)
            && measurement::contradiction(claim, usage).is_none()
    });
    if let Some(usage) = shown_by {
        let message = format!("the volume has grown to {to}, and a measurement shows it");
        let mut verdict = Verdict::new(outcome, Reason::AwaitingMeasurement, message);
        verdict.actions.push(Action::RecordUsable {
            claim: case.id.clone(),
            uid: claim.uid.clone(),
            previous: record.clone(),
            record: GrowthRecord { usable: Some(usage.at.max(record.crossed)), ..record.clone() },
        });
        return verdict;
    }
    // Somebody else may have made it larger still, long after our record of it.
    let grown = claim.outgrown.as_ref().map_or(record.decided, |it| it.until.max(record.decided));
    let overdue_at = later(grown, OVERDUE_AFTER);
    if case.now < overdue_at || claim.pods.is_empty() {
        let message = format!("the volume has grown to {to}, and the next measurement is to show it");
        let again_at = (case.now < overdue_at).then_some(overdue_at);
        return Verdict::new(outcome, Reason::AwaitingMeasurement, message).again_at(again_at);
    }
    let message = format!(
        "the claim has grown to {to}, and after {}m no measurement shows a larger filesystem than the {} of before: is \
         the agent running on the node of its pod, and has the driver grown the filesystem?",
        OVERDUE_AFTER.as_mins(),
        record.filesystem.human()
    );
    Verdict::new(outcome, Reason::GrowthOverdue, message)
}

/// Touches each pod that was not touched for this size, or too long ago, and says when to look again.
fn touch_pods(case: &Case<'_>, verdict: &mut Verdict) {
    let told = format!("{}={}", case.id.name, case.claim.requested);
    let now = Timestamp::from_second(case.now.as_second()).unwrap_or(case.now);
    let mut again_at = later(now, TOUCH_AGAIN_AFTER);
    for pod in &case.claim.pods {
        let touch = Touch::of(pod, case.now);
        match &touch {
            Some(touch) if touch.told.contains(&told.as_str()) => {
                again_at = again_at.min(later(touch.at, TOUCH_AGAIN_AFTER));
            }
            _ => verdict.actions.push(Action::SyncPod {
                claim: case.id.clone(),
                pod: pod.id.clone(),
                uid: pod.uid.clone(),
                value: Touch::value(touch, &told, case.id, now),
            }),
        }
    }
    verdict.again_at = Some(verdict.again_at.map_or(again_at, |at| at.min(again_at)));
}

/// What a pod was told lately, as its annotation has it: `data-0=640Mi@2026-01-01T00:00:00Z`, the sizes of several
/// claims separated by commas. All that were told within the interval stay, so that the claims of one pod that grow
/// together do not overwrite each other without end.
struct Touch<'a> {
    told: Vec<&'a str>,
    at: Timestamp,
}

impl<'a> Touch<'a> {
    /// None where the pod was not touched within the interval, or what stands there is not ours.
    fn of(pod: &'a PodUse, now: Timestamp) -> Option<Self> {
        let (told, at) = pod.synced.as_deref()?.rsplit_once('@')?;
        let at: Timestamp = at.parse().ok()?;
        // A time in the future is as little a reason to wait as one long past.
        (now.duration_since(at).abs() < TOUCH_AGAIN_AFTER).then(|| Self { told: told.split(',').collect(), at })
    }

    fn value(before: Option<Self>, told: &str, id: &ClaimId, now: Timestamp) -> String {
        let of_others = |other: &&str| other.split_once('=').is_some_and(|(claim, _)| *claim != *id.name);
        let mut all: Vec<&str> =
            before.map_or_else(Vec::new, |touch| touch.told).into_iter().filter(of_others).collect();
        all.push(told);
        format!("{}@{now}", all.join(","))
    }
}
