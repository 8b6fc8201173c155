//! The statuses of policies: when one is worth writing, and what that of a policy says that cannot be read.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use orlop_api::{PolicyStatus, names::condition};
use serde_json::json;

use crate::observe::KnownPolicy;

/// Would writing the status change what is there? Compared as it is written: a time is written in whole seconds.
pub(crate) fn is_news(before: Option<&PolicyStatus>, after: &PolicyStatus) -> bool {
    before.is_none_or(|before| json!(before) != json!(after))
}

/// What the status of a policy says that cannot be read, and so governs nothing.
pub(crate) fn of_invalid(known: &KnownPolicy, why: &str, now: Timestamp) -> PolicyStatus {
    let previous = known.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let condition = |kind: &str, status: &str| {
        let unchanged = previous.iter().find(|it| it.type_ == kind && it.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: INVALID.to_owned(),
            message: format!("the policy is not applied: {why}"),
            observed_generation: known.generation,
            last_transition_time: unchanged.map_or(Time(now), |it| it.last_transition_time.clone()),
        }
    };
    PolicyStatus {
        observed_generation: known.generation,
        conditions: vec![condition(condition::READY, "False"), condition(condition::HEALTHY, "Unknown")],
        ..PolicyStatus::default()
    }
}

/// The reason of the conditions of a policy that cannot be read.
const INVALID: &str = "Invalid";

/// The condition that the policy is not in force, where the status has it and the one before had not.
pub(crate) fn newly_not_ready<'a>(before: Option<&PolicyStatus>, after: &'a PolicyStatus) -> Option<&'a Condition> {
    let not_ready = |status: &'a PolicyStatus| {
        status.conditions.iter().find(|it| it.type_ == condition::READY && it.status == "False")
    };
    let was_not_ready = before
        .is_some_and(|status| status.conditions.iter().any(|it| it.type_ == condition::READY && it.status == "False"));
    not_ready(after).filter(|_| !was_not_ready)
}

#[cfg(test)]
mod tests {
    use orlop_planner::Uid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn known(status: Option<PolicyStatus>) -> KnownPolicy {
        KnownPolicy { uid: Uid("u".into()), generation: Some(3), invalid: None, status }
    }

    #[test]
    fn the_status_of_a_policy_that_cannot_be_read_says_why_and_since_when() {
        let first = of_invalid(&known(None), "no such operator", at(10));
        let [ready, healthy] = &first.conditions[..] else { panic!("two conditions") };
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "False"));
        assert_eq!((healthy.type_.as_str(), healthy.status.as_str()), ("Healthy", "Unknown"));
        assert_eq!(ready.message, "the policy is not applied: no such operator");
        assert_eq!(ready.observed_generation, Some(3));

        let second = of_invalid(&known(Some(first)), "still none", at(20));
        assert_eq!(second.conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(second.conditions[0].message, "the policy is not applied: still none");
    }

    #[test]
    fn a_status_that_reads_the_same_when_it_is_written_is_no_news() {
        let claim = |since| orlop_api::policy::ClaimStatus {
            namespace: "app".to_owned(),
            name: "data".to_owned(),
            size: orlop_api::Bytes::GIB,
            target: None,
            reason: orlop_api::names::Reason::EnoughRoom,
            message: String::new(),
            since: Time(since),
        };
        let status = |since| PolicyStatus { claims: vec![claim(since)], ..PolicyStatus::default() };
        let exactly = Timestamp::new(10, 123_456_789).unwrap();
        assert!(!is_news(Some(&status(at(10))), &status(exactly)));
        assert!(is_news(Some(&status(at(10))), &status(at(11))));
        assert!(is_news(None, &PolicyStatus::default()));
    }

    #[test]
    fn that_a_policy_is_not_in_force_is_told_when_it_begins() {
        let not_ready = of_invalid(&known(None), "no such operator", at(10));
        assert!(newly_not_ready(None, &not_ready).is_some());
        assert!(newly_not_ready(Some(&not_ready), &not_ready).is_none());
        assert!(newly_not_ready(Some(&not_ready), &PolicyStatus::default()).is_none());
    }
}
