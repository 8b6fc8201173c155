//! Statuses: when one is worth writing, and what that of an object says that cannot be read.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use orlop_api::names::condition;
use serde::Serialize;
use serde_json::json;

/// Would writing the status change what is there? Compared as it is written: a time is written in whole seconds.
pub(crate) fn is_news<S: Serialize>(before: Option<&S>, after: &S) -> bool {
    before.is_none_or(|before| json!(before) != json!(after))
}

/// The conditions of a policy or a budget of this generation that cannot be read, and so is not in force. `previous` are
/// those that it has now.
pub(crate) fn of_invalid(
    what: &str,
    generation: Option<i64>,
    previous: &[Condition],
    why: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |kind: &str, status: &str| {
        let unchanged = previous.iter().find(|it| it.type_ == kind && it.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: INVALID.to_owned(),
            message: format!("the {what} is not applied: {why}"),
            observed_generation: generation,
            last_transition_time: unchanged.map_or(Time(now), |it| it.last_transition_time.clone()),
        }
    };
    vec![condition(condition::READY, "False"), condition(condition::HEALTHY, "Unknown")]
}

/// The reason of the conditions of what cannot be read.
const INVALID: &str = "Invalid";

/// The condition that the policy or the budget is not in force, where it was not so before.
pub(crate) fn newly_not_ready<'a>(before: &[Condition], after: &'a [Condition]) -> Option<&'a Condition> {
    let is_not_ready = |it: &&Condition| it.type_ == condition::READY && it.status == "False";
    let was_not_ready = before.iter().any(|it| is_not_ready(&it));
    after.iter().find(is_not_ready).filter(|_| !was_not_ready)
}

/// The condition of the kind that has another reason than before; none where there was none before.
pub(crate) fn newly<'a>(kind: &str, before: &[Condition], after: &'a [Condition]) -> Option<&'a Condition> {
    let before = before.iter().find(|it| it.type_ == kind)?;
    after.iter().find(|it| it.type_ == kind).filter(|it| it.reason != before.reason)
}

#[cfg(test)]
mod tests {
    use orlop_api::PolicyStatus;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn invalid(previous: &[Condition], why: &str, now: i64) -> Vec<Condition> {
        of_invalid("policy", Some(3), previous, why, at(now))
    }

    #[test]
    fn the_conditions_of_what_cannot_be_read_say_why_and_since_when() {
        let first = invalid(&[], "no such operator", 10);
        let [ready, healthy] = &first[..] else { panic!("two conditions") };
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "False"));
        assert_eq!((healthy.type_.as_str(), healthy.status.as_str()), ("Healthy", "Unknown"));
        assert_eq!(ready.message, "the policy is not applied: no such operator");
        assert_eq!(ready.observed_generation, Some(3));

        let second = invalid(&first, "still none", 20);
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!(second[0].message, "the policy is not applied: still none");
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
            performance: None,
        };
        let status = |since| PolicyStatus { claims: vec![claim(since)], ..PolicyStatus::default() };
        let exactly = Timestamp::new(10, 123_456_789).unwrap();
        assert!(!is_news(Some(&status(at(10))), &status(exactly)));
        assert!(is_news(Some(&status(at(10))), &status(at(11))));
        assert!(is_news(None, &PolicyStatus::default()));
    }

    #[test]
    fn that_something_is_not_in_force_is_told_when_it_begins() {
        let not_ready = invalid(&[], "no such operator", 10);
        assert!(newly_not_ready(&[], &not_ready).is_some());
        assert!(newly_not_ready(&not_ready, &not_ready).is_none());
        assert!(newly_not_ready(&not_ready, &[]).is_none());
    }

    #[test]
    fn another_reason_is_told_and_the_first_is_not() {
        let [ready, _] = &invalid(&[], "no such operator", 10)[..] else { panic!("two conditions") };
        let other = Condition { reason: "Other".to_owned(), ..ready.clone() };
        let newly =
            |before: &[Condition], after: &Condition| newly("Ready", before, std::slice::from_ref(after)).cloned();
        assert_eq!(newly(&[], ready), None);
        assert_eq!(newly(std::slice::from_ref(ready), ready), None);
        assert_eq!(newly(std::slice::from_ref(ready), &other), Some(other.clone()));
    }
}
