//! What the users of an object are told: what they see with `kubectl describe`. An Event's name is a digest of what it says, so that an operator
//! that is killed at any moment says it again after its restart without doubling it: the API server already has it.

pub mod template;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, ObjectMeta},
};
use kube::Resource as _;
use orlop_api::{
    ClusterStoragePolicy, StorageBudget, StorageBudgetStatus, StoragePolicy,
    names::{FIELD_MANAGER, PerformanceReason, Reason},
};
use orlop_planner::{
    Action, Claim, ClaimId, ClassChange, ClassMove, Decision, Governance, GrowthRecord, NamespaceName, Outcome,
    PerformanceDecision, PolicyId, PolicyKind, SetId, Uid,
};
use sha2::{Digest as _, Sha256};

use crate::request::StatusId;

/// The API server keeps an Event for an hour by default. What is older than this is not said again after a restart.
const NEWS_FOR: SignedDuration = SignedDuration::from_mins(10);

/// The longest note that an Event may have, in bytes.
const NOTE_BYTES_MAX: usize = 1024;

/// Something to tell the users of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    about: About,
    uid: Uid,
    severity: Severity,
    reason: String,
    note: String,
    /// What makes this notice this one and no other about the same object: told once.
    occasion: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Claim(ClaimId),
    /// A policy or a budget.
    Status(StatusId),
    /// A PersistentVolume, by its name.
    Volume(String),
    /// A VolumeGroupSnapshot, by its namespace and name.
    GroupSnapshot(NamespaceName, String),
    /// A StatefulSet.
    Set(SetId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Normal,
    Warning,
}

/// A growth has been asked for, or a smaller one in its place. The decision tells why with its numbers, where it is still
/// known.
pub fn growing(id: &ClaimId, uid: &Uid, record: &GrowthRecord, decision: Option<&Decision>) -> Notice {
    let reduced = Reason::GrowthReduced;
    let asks = |decision: &&Decision| {
        let to = decision.target() == Some(record.to);
        to && (matches!(decision.outcome, Outcome::Grow(_)) || decision.reason == reduced)
    };
    let note = decision.filter(asks).map_or_else(
        || {
            let instead = record.refused.last().map_or_else(String::new, |size| format!(" in place of {size}"));
            format!("grow from {} to {}{instead} ({})", record.from, record.to, record.reason)
        },
        |decision| decision.message.clone(),
    );
    let is_first = record.refused.is_empty();
    Notice {
        about: About::Claim(id.clone()),
        uid: uid.clone(),
        severity: if is_first { Severity::Normal } else { Severity::Warning },
        reason: if is_first { "Growing".to_owned() } else { reduced.to_string() },
        note,
        occasion: format!("{} at {}", record.to, record.crossed),
    }
}

/// What is to be told when something new was decided about a claim.
pub fn of_decision(id: &ClaimId, claim: &Claim, decision: &Decision, now: Timestamp) -> Vec<Notice> {
    let mut notices = Vec::new();
    if let Some(record) = &claim.growth {
        match record.usable {
            // Had the operator been killed between asking and telling, it is told now.
            None if matches!(decision.outcome, Outcome::Growing(_)) && is_news(record.crossed, now) => {
                notices.push(growing(id, &claim.uid, record, None));
            }
            Some(usable) if is_news(usable, now) => notices.push(grown(id, &claim.uid, record, usable)),
            _ => {}
        }
    }
    if decision.is_problem() {
        let mut occasion = format!("{} of {}", decision.reason, decision.size);
        if let Governance::Conflict(policies) = &decision.governance {
            occasion = policies.iter().fold(occasion, |occasion, policy| format!("{occasion}, {policy}"));
        }
        notices.push(problem(id, &claim.uid, &decision.reason, &decision.message, occasion));
    }
    notices
}

/// Another VolumeAttributesClass has been asked for. The decision tells why with its numbers, where it is still known.
pub fn class_changing(id: &ClaimId, uid: &Uid, record: &ClassChange, decision: Option<&PerformanceDecision>) -> Notice {
    let asks = |decision: &&PerformanceDecision| decision.outcome == ClassMove::Set(record.to.clone());
    let named = |class: &Option<String>| class.clone().unwrap_or_else(|| "none".to_owned());
    let note = decision.filter(asks).map_or_else(
        || {
            format!(
                "VolumeAttributesClass {} in place of {} ({})",
                named(&record.to),
                named(&record.from),
                record.reason
            )
        },
        |decision| decision.message.clone(),
    );
    let is_taken_back = record.reason == PerformanceReason::ClassTakenBack;
    Notice {
        about: About::Claim(id.clone()),
        uid: uid.clone(),
        severity: if is_taken_back { Severity::Warning } else { Severity::Normal },
        reason: record.reason.to_string(),
        note,
        occasion: format!("{} at {}", named(&record.to), record.decided),
    }
}

/// What is to be told when something new was decided about a claim's VolumeAttributesClass.
pub fn of_class_decision(id: &ClaimId, claim: &Claim, decision: &PerformanceDecision, now: Timestamp) -> Vec<Notice> {
    let mut notices = Vec::new();
    let change = claim.attributes.as_ref().and_then(|attributes| attributes.change.as_ref());
    // Had the operator been killed between asking and telling, it is told now.
    if let Some(record) = change
        .filter(|record| is_news(record.decided, now) && decision.outcome == ClassMove::Modifying(record.to.clone()))
    {
        notices.push(class_changing(id, &claim.uid, record, None));
    }
    if decision.is_problem() {
        let class = decision.class.as_deref().unwrap_or_default();
        let occasion = format!("{} with {class}", decision.reason);
        notices.push(problem(id, &claim.uid, &decision.reason, &decision.message, occasion));
    }
    notices
}

/// Somebody must look at a claim.
fn problem(id: &ClaimId, uid: &Uid, reason: &impl ToString, message: &str, occasion: String) -> Notice {
    Notice {
        about: About::Claim(id.clone()),
        uid: uid.clone(),
        severity: Severity::Warning,
        reason: reason.to_string(),
        note: message.to_owned(),
        occasion,
    }
}

fn grown(id: &ClaimId, uid: &Uid, record: &GrowthRecord, usable: Timestamp) -> Notice {
    let seconds = usable.duration_since(record.crossed).as_secs_f64();
    Notice {
        about: About::Claim(id.clone()),
        uid: uid.clone(),
        severity: Severity::Normal,
        reason: "Grown".to_owned(),
        note: format!(
            "grown from {} to {}: the new bytes were usable {seconds:.1} s after the threshold was crossed",
            record.from, record.to
        ),
        occasion: format!("{} at {}", record.to, record.crossed),
    }
}

/// The pods that use a claim were stopped for it, or come back, or were stopped in vain.
pub fn scaled(id: &ClaimId, uid: &Uid, action: &Action) -> Option<Notice> {
    let (severity, reason, at) = match action {
        Action::ScaleToZero { scaled, .. } => (Severity::Normal, "PodsStopped", scaled.at),
        Action::ScaleBack { scaled, in_vain: None, .. } => (Severity::Normal, "PodsStarted", scaled.at),
        Action::ScaleBack { scaled, in_vain: Some(_), .. } => (Severity::Warning, "StoppedInVain", scaled.at),
        _ => return None,
    };
    let note = action.to_string();
    let occasion = format!("{note} at {at}");
    Some(Notice {
        about: About::Claim(id.clone()),
        uid: uid.clone(),
        severity,
        reason: reason.to_owned(),
        note,
        occasion,
    })
}

/// A policy or a budget is not in force, as its condition says.
pub fn not_ready(id: &StatusId, uid: &Uid, generation: Option<i64>, condition: &Condition) -> Notice {
    let Condition { reason, message, .. } = condition;
    Notice {
        about: About::Status(id.clone()),
        uid: uid.clone(),
        severity: Severity::Warning,
        reason: reason.clone(),
        note: message.clone(),
        occasion: format!("{reason} of generation {}", generation.unwrap_or_default()),
    }
}

/// A budget stands otherwise than before, as its condition says.
pub fn of_budget(id: &StatusId, uid: &Uid, status: &StorageBudgetStatus, condition: &Condition) -> Notice {
    let Condition { reason, message, .. } = condition;
    let generation = status.observed_generation.unwrap_or_default();
    Notice {
        about: About::Status(id.clone()),
        uid: uid.clone(),
        severity: if condition.status == "False" { Severity::Warning } else { Severity::Normal },
        reason: reason.clone(),
        note: message.clone(),
        occasion: format!("{reason} of generation {generation} with {}", status.used.bytes),
    }
}

/// A volume's node is gone. Told of the volume, and of the claim that has it.
pub fn lost(volume: (&str, &Uid), claim: Option<(ClaimId, Uid)>, node: &str, since: Timestamp) -> Vec<Notice> {
    let notice = |about, uid| Notice {
        about,
        uid,
        severity: Severity::Warning,
        reason: "NodeLost".to_owned(),
        note: format!(
            "node {node} is gone, and with it the disk that the data of volume {} is on: bring the node back under its \
             name, or delete the claim and restore it from a backup",
            volume.0
        ),
        occasion: format!("since {since}"),
    };
    let claim = claim.map(|(id, uid)| notice(About::Claim(id), uid));
    [Some(notice(About::Volume(volume.0.to_owned()), volume.1.clone())), claim].into_iter().flatten().collect()
}

/// The volumes of a group are on several nodes, which have no common moment.
pub fn spans_nodes(namespace: NamespaceName, name: &str, uid: Uid, nodes: &[String]) -> Notice {
    Notice {
        about: About::GroupSnapshot(namespace, name.to_owned()),
        uid,
        severity: Severity::Warning,
        reason: "GroupSpansNodes".to_owned(),
        note: format!(
            "the claims of the group are on several nodes ({}), and local volumes can be frozen together on one node \
             only: select claims of one node",
            nodes.join(", ")
        ),
        occasion: nodes.join(", "),
    }
}

fn is_news(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) < NEWS_FOR
}

impl Notice {
    /// The Event that says it.
    pub fn event(&self, instance: &str, now: Timestamp) -> Event {
        let mut note = self.note.clone();
        note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
        let regarding = self.regarding();
        Event {
            metadata: ObjectMeta {
                name: Some(self.name(regarding.name.as_deref().unwrap_or_default())),
                namespace: Some(self.namespace().to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("Decide".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(note),
            reason: Some(self.reason.clone()),
            regarding: Some(regarding),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            type_: Some(format!("{:?}", self.severity)),
            ..Event::default()
        }
    }

    /// The same for the same notice, whoever sends it and whenever.
    fn name(&self, object: &str) -> String {
        let mut digest = Sha256::new();
        for part in [&*self.uid.0, &self.reason, &self.occasion] {
            digest.update(part);
            digest.update([0]);
        }
        let digest = digest.finalize();
        let digest = u64::from_be_bytes(std::array::from_fn(|index| digest[index]));
        // A name has at most 253 bytes, and one that is cut must not end in a separator.
        let object = object[..object.floor_char_boundary(200)].trim_end_matches(['.', '-']);
        format!("{object}.{digest:016x}")
    }

    /// Events about objects without a namespace go into `default`.
    pub fn namespace(&self) -> &str {
        match &self.about {
            About::Claim(id) => &id.namespace.0,
            About::Status(StatusId::Policy(PolicyId { kind: PolicyKind::Namespaced(namespace), .. }))
            | About::GroupSnapshot(namespace, _) => &namespace.0,
            About::Set(id) => &id.namespace.0,
            About::Status(_) | About::Volume(_) => "default",
        }
    }

    fn regarding(&self) -> ObjectReference {
        let (api_version, kind, name, namespaced) = match &self.about {
            About::Claim(id) => ("v1".to_owned(), "PersistentVolumeClaim".to_owned(), &*id.name, true),
            About::Volume(name) => ("v1".to_owned(), "PersistentVolume".to_owned(), name.as_str(), false),
            About::Set(id) => ("apps/v1".to_owned(), "StatefulSet".to_owned(), &*id.name, true),
            About::GroupSnapshot(_, name) => {
                ("groupsnapshot.storage.k8s.io/v1".to_owned(), "VolumeGroupSnapshot".to_owned(), name.as_str(), true)
            }
            About::Status(StatusId::Budget(name)) => {
                (StorageBudget::api_version(&()).into_owned(), StorageBudget::kind(&()).into_owned(), &*name.0, false)
            }
            About::Status(StatusId::Policy(PolicyId { kind: PolicyKind::Cluster, name })) => (
                ClusterStoragePolicy::api_version(&()).into_owned(),
                ClusterStoragePolicy::kind(&()).into_owned(),
                &**name,
                false,
            ),
            About::Status(StatusId::Policy(PolicyId { name, .. })) => {
                (StoragePolicy::api_version(&()).into_owned(), StoragePolicy::kind(&()).into_owned(), &**name, true)
            }
        };
        ObjectReference {
            api_version: Some(api_version),
            kind: Some(kind),
            name: Some(name.to_string()),
            namespace: namespaced.then(|| self.namespace().to_owned()),
            uid: Some(self.uid.0.to_string()),
            ..ObjectReference::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::{Bytes, Mode};
    use orlop_planner::Resize;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn id() -> ClaimId {
        ClaimId { namespace: NamespaceName("app".into()), name: "data".into() }
    }

    fn record() -> GrowthRecord {
        GrowthRecord {
            from: Bytes::GIB,
            to: Bytes(2 << 30),
            filesystem: Bytes(1000 << 20),
            crossed: at(100),
            decided: at(101),
            reason: Reason::BelowMinFree,
            earlier: Vec::new(),
            refused: Vec::new(),
            usable: None,
            owner: None,
        }
    }

    fn claim(growth: Option<GrowthRecord>) -> Claim {
        Claim {
            uid: Uid("u".into()),
            labels: orlop_planner::Labels::default(),
            belonging: None,
            class: None,
            driver: None,
            bound: true,
            raw_block: false,
            requested: Bytes(2 << 30),
            capacity: Bytes::GIB,
            volume_capacity: Bytes::GIB,
            resize: Resize::Idle,
            paused: None,
            growth: growth.map(Box::new),
            pods: Vec::new(),
            usage: None,
            outgrown: None,
            attributes: None,
            load: None,
            outlook: None,
        }
    }

    fn decision(outcome: Outcome, reason: Reason) -> Decision {
        Decision {
            uid: Uid("u".into()),
            governance: Governance::None,
            mode: Mode::Auto,
            size: Bytes(2 << 30),
            outcome,
            reason,
            message: "because".into(),
            again_at: None,
            over_budget: None,
            by_owner: None,
        }
    }

    fn told(claim: &Claim, decision: &Decision, now: i64) -> Vec<(String, String)> {
        let notices = of_decision(&id(), claim, decision, at(now));
        notices.into_iter().map(|notice| (notice.reason, notice.note)).collect()
    }

    #[test]
    fn a_growth_is_told_again_after_a_restart_under_the_same_name() {
        let decided = decision(Outcome::Grow(record().to), Reason::BelowMinFree);
        let first = growing(&id(), &Uid("u".into()), &record(), Some(&decided));
        assert_eq!(first.note, "because");
        let under_way = decision(Outcome::Growing(record().to), Reason::Growing);
        let [again] = &of_decision(&id(), &claim(Some(record())), &under_way, at(110))[..] else { panic!("one") };
        assert_eq!(again.note, "grow from 1Gi to 2Gi (BelowMinFree)");
        let name = |notice: &Notice| notice.event("operator", at(1)).metadata.name;
        assert_eq!(name(&first), name(again));

        let next = GrowthRecord { to: Bytes(3 << 30), ..record() };
        assert_ne!(name(&first), name(&growing(&id(), &Uid("u".into()), &next, None)));
        assert_ne!(name(&first), name(&growing(&id(), &Uid("other".into()), &record(), None)));
    }

    #[test]
    fn a_smaller_growth_is_a_warning_that_says_in_place_of_what() {
        let smaller = GrowthRecord { refused: vec![Bytes(3 << 30)], ..record() };
        let decided = decision(Outcome::Growing(record().to), Reason::GrowthReduced);
        let first = growing(&id(), &Uid("u".into()), &smaller, Some(&decided));
        assert_eq!((first.severity, &*first.reason, &*first.note), (Severity::Warning, "GrowthReduced", "because"));
        let under_way = decision(Outcome::Growing(record().to), Reason::Growing);
        let [again] = &of_decision(&id(), &claim(Some(smaller)), &under_way, at(110))[..] else { panic!("one") };
        assert_eq!(again.note, "grow from 1Gi to 2Gi in place of 3Gi (BelowMinFree)");
        assert_eq!(first.event("o", at(1)).metadata.name, again.event("o", at(1)).metadata.name);
    }

    #[test]
    fn a_growth_that_has_become_usable_is_told_with_how_long_it_took_while_it_is_news() {
        let claim = claim(Some(GrowthRecord { usable: Some(at(102)), ..record() }));
        let fine = decision(Outcome::Keep, Reason::EnoughRoom);
        let note = "grown from 1Gi to 2Gi: the new bytes were usable 2.0 s after the threshold was crossed";
        assert_eq!(told(&claim, &fine, 110), [("Grown".to_owned(), note.to_owned())]);
        assert_eq!(told(&claim, &fine, 100 + 3600), []);
    }

    #[test]
    fn a_problem_is_a_warning_and_everything_else_is_left_to_the_status() {
        let stuck = decision(Outcome::Wait, Reason::AtMaximum);
        let [notice] = &of_decision(&id(), &claim(None), &stuck, at(1))[..] else { panic!("one") };
        assert_eq!((notice.severity, notice.reason.as_str()), (Severity::Warning, "AtMaximum"));
        for (outcome, reason) in [(Outcome::Keep, Reason::EnoughRoom), (Outcome::Wait, Reason::NotBound)] {
            assert_eq!(told(&claim(None), &decision(outcome, reason), 1), []);
        }
    }

    #[test]
    fn an_event_fits_what_the_api_server_takes() {
        let long = ClaimId { namespace: NamespaceName("app".into()), name: ("d.".repeat(126) + "d").into() };
        let wordy = Decision { message: "ü".repeat(2000), ..decision(Outcome::Wait, Reason::GrowthFailed) };
        let [notice] = &of_decision(&long, &claim(None), &wordy, at(1))[..] else { panic!("one") };
        let event = notice.event("operator", at(1));
        assert!(event.note.unwrap().len() <= NOTE_BYTES_MAX);
        let name = event.metadata.name.unwrap();
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    }
}
