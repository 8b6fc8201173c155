//! The conditions of a policy's status: `Ready`, is the policy in force, and `Healthy`, is its promise kept.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use orlop_api::names::{Reason, condition};

use super::{Entry, Urgency};
use crate::view::{ClaimId, Governance, PolicyId, PolicyKind};

/// How many claims a message names.
const NAMED_MAX: usize = 3;

/// A condition without its times.
pub(super) struct Draft {
    kind: &'static str,
    status: Status,
    reason: String,
    message: String,
}

#[derive(Debug, Clone, Copy)]
enum Status {
    True,
    False,
    Unknown,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

type Claim<'a> = (&'a ClaimId, &'a Entry);

impl Draft {
    /// Both conditions of a policy that governs `claims` claims, of which `worst` are the most urgent.
    pub(super) fn all(policy: &PolicyId, worst: &[Claim<'_>], claims: usize, problems: usize) -> [Self; 2] {
        let Some(first) = worst.first() else {
            let message = match policy.kind {
                PolicyKind::Namespaced(_) => {
                    "it selects no claim: compare its selector with the labels of the claims in its namespace"
                }
                PolicyKind::Cluster => {
                    "it governs no claim: compare its selectors with the labels of namespaces and claims; a \
                     StoragePolicy that selects the same claim takes precedence"
                }
            };
            return [
                Self::new(condition::READY, Status::True, "NoClaims", message),
                Self::new(condition::HEALTHY, Status::Unknown, "NoClaims", message),
            ];
        };
        [Self::ready(*first, claims), Self::healthy(worst, *first, claims, problems)]
    }

    fn new(kind: &'static str, status: Status, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.into(), message: message.into() }
    }

    /// A conflict is the most urgent of all: where the first claim has none, none has.
    fn ready((id, entry): Claim<'_>, claims: usize) -> Self {
        match &entry.decision.governance {
            Governance::Conflict(_) => {
                let message = format!("not applied to claim {id}: {}", entry.decision.message);
                Self::new(condition::READY, Status::False, Reason::PolicyConflict.to_string(), message)
            }
            _ if entry.decision.reason == Reason::Off && entry.performance.is_none() => {
                Self::new(condition::READY, Status::True, Reason::Off.to_string(), entry.decision.message.clone())
            }
            _ => {
                let message = format!("governs {} in mode {:?}", claims_of(claims), entry.decision.mode);
                Self::new(condition::READY, Status::True, "InForce", message)
            }
        }
    }

    fn healthy(worst: &[Claim<'_>], (id, first): Claim<'_>, claims: usize, problems: usize) -> Self {
        let (reason, first_message) = first.headline();
        if problems > 0 {
            let of = claims_of(claims);
            let message = if problems == 1 {
                format!("1 of {of}, {id}: {first_message}")
            } else {
                let named: Vec<_> = worst
                    .iter()
                    .take(problems.min(NAMED_MAX))
                    .map(|(id, entry)| format!("{id} ({})", entry.headline().0))
                    .collect();
                let more = if problems > NAMED_MAX { " and more" } else { "" };
                format!("{problems} of {of}: {}{more}. The first: {first_message}", named.join(", "))
            };
            return Self::new(condition::HEALTHY, Status::False, reason, message);
        }
        match first.urgency() {
            // With these first, nothing is known of any claim.
            Urgency::Off | Urgency::Paused | Urgency::Idle => {
                let message = format!("{id}: {first_message}");
                Self::new(condition::HEALTHY, Status::Unknown, reason, message)
            }
            _ => Self::new(condition::HEALTHY, Status::True, "Kept", "no claim needs attention"),
        }
    }

    /// The condition with its times: a transition is a change of the status alone.
    pub(super) fn complete(self, generation: Option<i64>, previous: &[Condition], now: Timestamp) -> Condition {
        let unchanged = previous.iter().find(|it| it.type_ == self.kind && it.status == self.status.as_str());
        Condition {
            type_: self.kind.to_owned(),
            status: self.status.as_str().to_owned(),
            reason: self.reason,
            message: self.message,
            observed_generation: generation,
            last_transition_time: unchanged.map_or(Time(now), |it| it.last_transition_time.clone()),
        }
    }
}

fn claims_of(number: usize) -> String {
    if number == 1 { "1 claim".to_owned() } else { format!("{number} claims") }
}
