//! The statuses of policies: how they are written, and what that of a policy says that cannot be read.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::DeserializeGuard,
};
use orlop_api::{
    ClusterStoragePolicy, PolicyStatus, StoragePolicy,
    names::{FIELD_MANAGER, condition},
};
use orlop_planner::{PolicyId, PolicyKind, Uid};
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

use super::{
    act::Failure,
    lease::Leadership,
    observe::{Change, KnownPolicy, Observation},
    watch,
};

/// A status whose writing has not been answered by then is written again.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Writes statuses.
pub(super) struct Statuses {
    client: Client,
    leadership: Leadership,
    under_way: JoinSet<Written>,
}

/// What has become of writing a status.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) policy: PolicyId,
    /// The policy as it is since, or why it could not be written.
    pub(super) result: Result<Observation, Failure>,
}

impl Statuses {
    pub(super) fn new(client: Client, leadership: Leadership) -> Self {
        Self { client, leadership, under_way: JoinSet::new() }
    }

    /// Begins to write a status.
    pub(super) fn write(&mut self, policy: PolicyId, uid: &Uid, status: &PolicyStatus) {
        // A UID cannot be changed, so another policy of the same name refuses this status.
        let patch = json!({ "metadata": { "uid": &*uid.0 }, "status": status });
        let (client, leadership) = (self.client.clone(), self.leadership.clone());
        self.under_way.spawn(async move {
            let result = if leadership.is_held() {
                match timeout(REQUEST_DEADLINE, send(&client, &policy, patch)).await {
                    Ok(result) => result.map_err(|error| Failure::from(&error)),
                    Err(_) => Err(Failure::no_answer(REQUEST_DEADLINE)),
                }
            } else {
                Err(Failure::not_leading())
            };
            Written { policy, result }
        });
    }

    /// Waits until some status has been written or could not be; forever where none is under way.
    pub(super) async fn written(&mut self) -> Written {
        match self.under_way.join_next().await {
            Some(Ok(written)) => written,
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => std::future::pending().await,
        }
    }
}

async fn send(client: &Client, policy: &PolicyId, patch: serde_json::Value) -> Result<Observation, kube::Error> {
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(patch);
    let id = policy.clone();
    match &policy.kind {
        PolicyKind::Namespaced(namespace) => {
            let api = Api::<DeserializeGuard<StoragePolicy>>::namespaced(client.clone(), &namespace.0);
            let object = api.patch_status(&policy.name, &parameters, &patch).await?;
            Ok(Observation::Policy(Change::Is(id, watch::policy(object.0))))
        }
        PolicyKind::Cluster => {
            let api = Api::<DeserializeGuard<ClusterStoragePolicy>>::all(client.clone());
            let object = api.patch_status(&policy.name, &parameters, &patch).await?;
            Ok(Observation::ClusterPolicy(Change::Is(id, watch::cluster_policy(object.0))))
        }
    }
}

/// Would writing the status change what is there? Compared as it is written: a time is written in whole seconds.
pub(super) fn is_news(before: Option<&PolicyStatus>, after: &PolicyStatus) -> bool {
    before.is_none_or(|before| json!(before) != json!(after))
}

/// What the status of a policy says that cannot be read, and so governs nothing.
pub(super) fn of_invalid(known: &KnownPolicy, why: &str, now: Timestamp) -> PolicyStatus {
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
pub(super) fn newly_not_ready<'a>(before: Option<&PolicyStatus>, after: &'a PolicyStatus) -> Option<&'a Condition> {
    let not_ready = |status: &'a PolicyStatus| {
        status.conditions.iter().find(|it| it.type_ == condition::READY && it.status == "False")
    };
    let was_not_ready = before
        .is_some_and(|status| status.conditions.iter().any(|it| it.type_ == condition::READY && it.status == "False"));
    not_ready(after).filter(|_| !was_not_ready)
}

#[cfg(test)]
mod tests {
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
