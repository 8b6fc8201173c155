//! What happens in a simulated world, as the story tells it, the checkers see it and the plots show it.

use std::{fmt, time::Duration};

use orlop_api::{
    Bytes,
    names::{PerformanceReason, Reason, condition},
};
use orlop_planner::{Action, TemplateAction};
use serde_json::Value;

use crate::scenario::{Change, Trouble};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A trouble of the scenario begins.
    TroubleBegins(Trouble),
    /// A trouble of the scenario is over.
    TroubleEnds(Trouble),
    /// A user does something.
    Changed(Change),
    /// A volume is full, and what is written to it fails.
    Full {
        /// The claim.
        claim: String,
        /// What it has none of.
        lacks: Resource,
    },
    /// A volume that was full has room again.
    Room {
        /// The claim.
        claim: String,
    },
    /// A driver begins to expand a volume.
    Expands {
        /// The claim.
        claim: String,
        /// To which size.
        to: Bytes,
    },
    /// A driver did not expand a volume.
    ExpansionFails {
        /// The claim.
        claim: String,
        /// What the driver says.
        why: &'static str,
    },
    /// A driver has expanded a volume.
    Expanded {
        /// The claim.
        claim: String,
        /// The size before.
        from: Bytes,
        /// The size since.
        to: Bytes,
    },
    /// The new bytes of a volume can be written.
    Usable {
        /// The claim.
        claim: String,
        /// The claim's capacity since.
        size: Bytes,
    },
    /// A pod would do more than the class of its volume allows.
    HeldBack {
        /// The claim.
        claim: String,
        /// How many operations a second it would do.
        wanted: u64,
        /// How many are done.
        done: u64,
    },
    /// A pod that was held back by the class of its volume is no longer.
    Unhindered {
        /// The claim.
        claim: String,
        /// How many operations a second it does.
        wanted: u64,
    },
    /// A driver begins to give a volume another VolumeAttributesClass.
    Modifies {
        /// The claim.
        claim: String,
        /// Which.
        to: String,
    },
    /// A driver did not give a volume another VolumeAttributesClass.
    ModificationFails {
        /// The claim.
        claim: String,
        /// Which.
        to: String,
        /// What the driver says.
        why: &'static str,
    },
    /// A driver has given a volume another VolumeAttributesClass.
    Modified {
        /// The claim.
        claim: String,
        /// The class before; none where there was none.
        from: Option<String>,
        /// The class since.
        to: String,
    },
    /// A replica of a StatefulSet starts.
    ReplicaStarts {
        /// Its claim.
        claim: String,
        /// The size of the claim, where it was made for it.
        made: Option<Bytes>,
    },
    /// The pod of a replica is stopped by its StatefulSet.
    ReplicaStops {
        /// Its claim.
        claim: String,
    },
    /// A StatefulSet is gone, and its pods and claims are left.
    SetGone {
        /// The StatefulSet.
        set: String,
    },
    /// The API server has answered a request of a step by which a StatefulSet is made anew.
    Stepped {
        /// Whose request.
        operator: usize,
        /// The step.
        action: TemplateAction,
        /// The answer's code where it was refused, else 0.
        code: u16,
    },
    /// An operator leads.
    Leads {
        /// Which.
        operator: usize,
    },
    /// An operator has ended.
    Ended {
        /// Which.
        operator: usize,
        /// Why.
        why: &'static str,
    },
    /// An operator has started.
    Started {
        /// Which.
        operator: usize,
    },
    /// The API server has carried out an operator's request.
    Applied {
        /// Whose request.
        operator: usize,
        /// What it was for; none for a status.
        action: Option<Action>,
        /// The object before.
        before: Value,
        /// The object after.
        after: Value,
    },
    /// The API server has refused an operator's request.
    Refused {
        /// Whose request.
        operator: usize,
        /// What it was for; none for a status.
        action: Option<Action>,
        /// The answer's code.
        code: u16,
        /// The object as it is.
        before: Value,
        /// The size that was asked for, where one was.
        asks: Option<Bytes>,
    },
    /// A leading operator has another reason than before for what it does about a claim.
    Decided {
        /// Which operator.
        operator: usize,
        /// The claim.
        claim: String,
        /// The reason.
        reason: Reason,
        /// The sentence.
        message: String,
    },
    /// The same for what it does about a claim's VolumeAttributesClass.
    DecidedClass {
        /// Which operator.
        operator: usize,
        /// The claim.
        claim: String,
        /// The reason.
        reason: PerformanceReason,
        /// The sentence.
        message: String,
    },
}

/// What a volume can be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Free bytes.
    Bytes,
    /// Free inodes.
    Inodes,
}

/// A fact with its time.
#[derive(Debug, Clone)]
pub struct Entry {
    /// How long after the beginning.
    pub at: Duration,
    /// What happened.
    pub fact: Fact,
}

/// The operators' names: `a`, `b`, …
pub(crate) fn name(operator: usize) -> char {
    u8::try_from(operator).map_or('?', |operator| char::from(b'a'.saturating_add(operator)))
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TroubleBegins(trouble) => write!(f, "trouble: {trouble}"),
            Self::TroubleEnds(trouble) => write!(f, "over: {trouble}"),
            Self::Changed(change) => change.what.fmt(f),
            Self::Full { claim, lacks: Resource::Bytes } => write!(f, "{claim} is FULL"),
            Self::Full { claim, lacks: Resource::Inodes } => write!(f, "{claim} is FULL: it has no inodes left"),
            Self::Room { claim } => write!(f, "{claim} has room again"),
            Self::Expands { claim, to } => write!(f, "the driver begins to expand {claim} to {to}"),
            Self::ExpansionFails { claim, why } => write!(f, "the driver does not expand {claim}: {why}"),
            Self::Expanded { claim, from, to } => write!(f, "the driver has expanded {claim} from {from} to {to}"),
            Self::Usable { claim, size } => write!(f, "{claim} can use its {size}"),
            Self::HeldBack { claim, wanted, done } => {
                write!(f, "the pod of {claim} would do {wanted} operations a second, and may do {done}")
            }
            Self::Unhindered { claim, wanted } => {
                write!(f, "the pod of {claim} does the {wanted} operations a second that it would")
            }
            Self::Modifies { claim, to } => write!(f, "the driver begins to give {claim} class {to}"),
            Self::ModificationFails { claim, to, why } => {
                write!(f, "the driver does not give {claim} class {to}: {why}")
            }
            Self::Modified { claim, from, to } => {
                write!(f, "the driver has given {claim} class {to}")?;
                from.iter().try_for_each(|from| write!(f, " in place of {from}"))
            }
            Self::ReplicaStarts { claim, made: None } => write!(f, "the pod of {claim} starts"),
            Self::ReplicaStarts { claim, made: Some(size) } => {
                write!(f, "the pod of {claim} starts, for which the claim was made with {size}")
            }
            Self::ReplicaStops { claim } => write!(f, "the pod of {claim} is stopped"),
            Self::SetGone { set } => write!(f, "StatefulSet {set} is gone, and its pods and claims are left"),
            Self::Stepped { operator, action, code: 0 } => write!(f, "operator {}: {action}", name(*operator)),
            Self::Stepped { operator, action, code } => {
                write!(f, "operator {} may not {action}: the API server refuses it with {code}", name(*operator))
            }
            Self::Leads { operator } => write!(f, "operator {} leads", name(*operator)),
            Self::Ended { operator, why } => write!(f, "operator {} ends: {why}", name(*operator)),
            Self::Started { operator } => write!(f, "operator {} starts", name(*operator)),
            Self::Applied { action: Some(Action::Grow { claim, record, .. }), operator, .. } => {
                write!(
                    f,
                    "operator {} requests {} for {}, up from {}",
                    name(*operator),
                    record.to,
                    claim.name,
                    record.from
                )
            }
            Self::Applied { action: Some(Action::SetClass { claim, record, .. }), operator, .. } => {
                let (from, to) = (record.from.as_deref().unwrap_or("none"), record.to.as_deref().unwrap_or("none"));
                let operator = name(*operator);
                write!(
                    f,
                    "operator {operator} requests class {to} for {} in place of {from} ({})",
                    claim.name, record.reason
                )
            }
            Self::Applied { action: Some(Action::SyncPod { claim, .. }), operator, .. } => {
                write!(f, "operator {} touches the pod of {}, so that its kubelet looks", name(*operator), claim.name)
            }
            Self::Applied { action: Some(action), operator, .. } => write!(f, "operator {}: {action}", name(*operator)),
            Self::Applied { action: None, after, .. } => f.write_str(&status_line(after)),
            Self::Refused { operator, action, code, .. } => {
                let what = action.as_ref().map_or_else(|| "write a status".to_owned(), ToString::to_string);
                write!(f, "operator {} may not {what}: the API server refuses it with {code}", name(*operator))
            }
            Self::Decided { operator, claim, reason, message } => {
                write!(f, "operator {} on {claim}: {reason}, {message}", name(*operator))
            }
            Self::DecidedClass { operator, claim, reason, message } => {
                write!(f, "operator {} on the class of {claim}: {reason}, {message}", name(*operator))
            }
        }
    }
}

/// Is it a budget, of the objects with a status?
pub(crate) fn is_budget(object: &Value) -> bool {
    object["spec"].get("limits").is_some()
}

/// What a status tells whoever lists policies or budgets.
fn status_line(policy: &Value) -> String {
    let name = policy["metadata"]["name"].as_str().unwrap_or_default();
    let status = &policy["status"];
    if is_budget(policy) {
        return match (condition_of(policy, condition::READY), condition_of(policy, condition::HEALTHY)) {
            (("False", reason), _) => format!("budget {name} is not in force: {reason}"),
            (_, ("True", _)) => format!("budget {name} has room"),
            (_, (_, reason)) => format!("budget {name}: {reason}, {} claims wait", status["waitingCount"]),
        };
    }
    match (condition_of(policy, condition::READY), condition_of(policy, condition::HEALTHY)) {
        (("False", reason), _) => format!("policy {name} is not in force: {reason}"),
        (_, ("True", _)) => format!("policy {name} is healthy"),
        (_, ("False", reason)) => format!(
            "policy {name} is not healthy: {reason}, {} of {} claims need attention",
            status["problemCount"], status["claimCount"],
        ),
        (_, (_, reason)) => format!("policy {name} is of unknown health: {reason}"),
    }
}

/// Does a policy's status say that it is in force, and not whether it is healthy?
pub(crate) fn is_unknown(policy: &Value) -> bool {
    condition_of(policy, condition::READY).0 == "True" && condition_of(policy, condition::HEALTHY).0 == "Unknown"
}

/// A condition's status and reason.
fn condition_of<'a>(policy: &'a Value, kind: &str) -> (&'a str, &'a str) {
    let conditions = policy["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.into_iter().find(|it| it["type"] == kind);
    found.map_or(("Unknown", "nothing"), |it| {
        (it["status"].as_str().unwrap_or_default(), it["reason"].as_str().unwrap_or_default())
    })
}
