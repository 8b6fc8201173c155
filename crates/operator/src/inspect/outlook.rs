//! What would lead to another decision about a claim: for whoever asks why nothing happens, or what is to happen next.

use jiff::{SignedDuration, Timestamp};
use orlop_api::{
    Bytes, Count, Mode,
    names::{PAUSED_ANNOTATION, Reason},
};
use orlop_planner::{Decision, Governance, Usage};

use super::document::{ModificationAccount, ThresholdAccount};

/// What is known of the claim.
pub(super) struct Facts<'a> {
    pub(super) decision: &'a Decision,
    pub(super) usage: Option<&'a Usage>,
    pub(super) thresholds: Option<&'a ThresholdAccount>,
    pub(super) modifications: Option<&'a ModificationAccount>,
}

/// Each in a sentence.
pub(super) fn turning_points(facts: &Facts<'_>) -> Vec<String> {
    let decision = facts.decision;
    match decision.reason {
        Reason::EnoughRoom => room(facts),
        Reason::BelowMinFree
        | Reason::BelowMinFreeInodes
        | Reason::FillsTooSoon
        | Reason::FullWithinHorizon
        | Reason::GroupGrowth => called_for(facts),
        Reason::Paused => vec![format!("the annotation {PAUSED_ANNOTATION} is taken off the claim")],
        Reason::GrowthReduced => vec!["the driver makes the smaller size, or refuses it too".to_owned()],
        Reason::Off => vec![off(&decision.governance)],
        Reason::NotBound => vec!["the claim is bound to a volume".to_owned()],
        Reason::RawBlock => Vec::new(),
        Reason::NotInUse => vec!["a pod uses the claim, and its volume is measured".to_owned()],
        Reason::Growing => {
            overdue(decision, "the driver and the kubelet do their parts, and a measurement shows the growth")
        }
        Reason::AwaitingMeasurement => overdue(decision, "the next measurement arrives"),
        Reason::AwaitingOwner => vec!["it is known whose field has the claim's size, or that it has none".to_owned()],
        Reason::GrowthOverdue => vec!["the growth is done, and a measurement shows it".to_owned()],
        Reason::GrowthFailed => vec!["the growth is possible, and is asked for again".to_owned()],
        Reason::AtMaximum => vec![at_maximum(facts)],
        Reason::NotExpandable => vec!["its StorageClass has allowVolumeExpansion: true".to_owned()],
        Reason::DriverCannotExpand => vec!["a DriverProfile says that the driver can expand such volumes".to_owned()],
        Reason::OfflineOnly => vec!["no pod uses the claim while its size is changed".to_owned()],
        Reason::AwaitingMaintenance => {
            vec!["a maintenance window of its policy opens".to_owned(), "no pod uses the claim".to_owned()]
        }
        Reason::NoModificationSlot => vec![slot(facts)],
        Reason::OverBudget => over_budget(facts),
        Reason::OwnedElsewhere => vec!["the owner's field has the size, whoever writes it".to_owned()],
        Reason::OwnerNotFollowing => vec!["the owner's operator passes the size on to the claim".to_owned()],
        Reason::PolicyConflict => vec!["only one policy of the kind selects the claim".to_owned()],
        Reason::NoMeasurement | Reason::StaleMeasurement => vec!["a recent measurement arrives".to_owned()],
        Reason::ContradictoryMeasurement => {
            vec!["a measurement agrees with itself and with the volume's size".to_owned()]
        }
    }
}

/// All that the policy promises holds: until when?
fn room(facts: &Facts<'_>) -> Vec<String> {
    let Some((usage, thresholds)) = facts.usage.zip(facts.thresholds) else { return Vec::new() };
    let mut points = Vec::new();
    let left = Bytes(usage.available.0.saturating_sub(thresholds.available_below.0));
    let soon = left
        .0
        .checked_div(usage.fill_bytes_per_second)
        .map_or_else(String::new, |seconds| format!(", at the present rate in {}", lasting(seconds)));
    points.push(format!(
        "fewer than {} are free ({}): after {} more are written{soon}",
        thresholds.available_below.human(),
        thresholds.which(usage.total),
        left.human()
    ));
    if let Some(inodes) = usage.counted_inodes() {
        points.push(format!(
            "fewer than {} inodes are free (minFreeInodes {}): after {} more files",
            thresholds.free_inodes_below,
            thresholds.min_free_inodes,
            Count(inodes.free.0.saturating_sub(thresholds.free_inodes_below.0))
        ));
    }
    let rate = usage.available.0 / thresholds.time_to_full.as_secs().max(1);
    points.push(format!(
        "it fills by more than {}/s, and would be full within timeToFull {}",
        Bytes(rate).human(),
        thresholds.time_to_full
    ));
    points
}

fn called_for(facts: &Facts<'_>) -> Vec<String> {
    if facts.decision.mode == Mode::Auto {
        return vec!["the request is carried out, or refused".to_owned()];
    }
    let policy = match &facts.decision.governance {
        Governance::By(policy) => policy.to_string(),
        Governance::None | Governance::Conflict(_) => "the policy".to_owned(),
    };
    vec![format!("{policy} has the mode Auto: then it is grown"), "data is deleted".to_owned()]
}

fn off(governance: &Governance) -> String {
    match governance {
        Governance::By(policy) => format!("{policy} has the mode Recommend or Auto, and a capacity section"),
        Governance::None | Governance::Conflict(_) => "a policy selects the claim".to_owned(),
    }
}

fn overdue(decision: &Decision, awaited: &str) -> Vec<String> {
    let overdue =
        decision.again_at.map(|at| format!("nothing is seen of it: then it is looked at again at {}", seconds(at)));
    [Some(awaited.to_owned()), overdue].into_iter().flatten().collect()
}

fn at_maximum(facts: &Facts<'_>) -> String {
    facts.thresholds.map_or_else(
        || "the policy's maximum is raised, or data is deleted".to_owned(),
        |thresholds| format!("the maximum {} is raised, or data is deleted", thresholds.maximum),
    )
}

fn slot(facts: &Facts<'_>) -> String {
    let next = facts.modifications.and_then(|modifications| modifications.next);
    next.map_or_else(
        || "a modification slot is free".to_owned(),
        |at| format!("a modification slot is free, at {}", seconds(at)),
    )
}

fn over_budget(facts: &Facts<'_>) -> Vec<String> {
    let budgets = facts.decision.over_budget.as_ref().map_or(&[][..], |over| &over.budgets);
    let has_room = budgets.iter().map(|name| {
        format!("StorageBudget {name} has more room: its limits are raised, or claims that it covers are deleted")
    });
    let about_to_be_full = "the claim is about to be full, and there is an emergency reserve".to_owned();
    has_room.chain([about_to_be_full, "data is deleted".to_owned()]).collect()
}

fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// How long so many seconds are, in the two largest units: `1h5m`.
pub fn lasting(seconds: u64) -> String {
    let duration = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    let (days, hours, minutes) = (duration.as_hours() / 24, duration.as_hours() % 24, duration.as_mins() % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes}m"),
        (1..=999, ..) => format!("{days}d{hours}h"),
        _ => "more than 999 days".to_owned(),
    }
}
