//! The statuses of policies: written only when they say something else than what is there, and at most once a second
//! for each policy.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

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
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    act::Failure,
    backoff::Backoff,
    lease::Leadership,
    observe::{Change, KnownPolicy, Observation},
    watch,
};

/// How often the status of one policy is written at most.
const EVERY: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(60) };
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Which policies' statuses are to be compared with what they should say, and when.
pub(super) struct Statuses {
    client: Client,
    leadership: Leadership,
    due: BTreeMap<PolicyId, Instant>,
    /// Not before then, and after how many failures.
    earliest: HashMap<PolicyId, (Instant, u32)>,
    under_way: JoinSet<Written>,
    writing: BTreeSet<PolicyId>,
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
        Self {
            client,
            leadership,
            due: BTreeMap::new(),
            earliest: HashMap::new(),
            under_way: JoinSet::new(),
            writing: BTreeSet::new(),
        }
    }

    /// Has the policy's status compared as soon as may be.
    pub(super) fn mark(&mut self, policy: PolicyId, now: Instant) {
        let earliest = self.earliest.get(&policy).map_or(now, |(earliest, _)| *earliest);
        self.due.entry(policy).or_insert(earliest.max(now));
    }

    /// When the next status is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.iter().filter(|(policy, _)| !self.writing.contains(policy)).map(|(_, at)| *at).min()
    }

    /// The policies whose status is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<PolicyId> {
        let due = self.due.iter().filter(|(policy, at)| **at <= now && !self.writing.contains(policy));
        let due: Vec<_> = due.map(|(policy, _)| policy.clone()).collect();
        for policy in &due {
            self.due.remove(policy);
        }
        due
    }

    /// Forgets a policy that is no more.
    pub(super) fn forget(&mut self, policy: &PolicyId) {
        self.due.remove(policy);
        self.earliest.remove(policy);
    }

    /// Begins to write a status.
    pub(super) fn write(&mut self, policy: PolicyId, uid: &Uid, status: &PolicyStatus) {
        // A UID cannot be changed, so another policy of the same name refuses this status.
        let patch = json!({ "metadata": { "uid": uid }, "status": status });
        let (client, leadership) = (self.client.clone(), self.leadership.clone());
        self.writing.insert(policy.clone());
        self.under_way.spawn(async move {
            if !leadership.is_held() {
                let failure = Failure::Unanswered("this operator does not hold the lease now".to_owned());
                return Written { policy, result: Err(failure) };
            }
            let result = match timeout(REQUEST_DEADLINE, send(&client, &policy, patch)).await {
                Ok(result) => result.map_err(|error| Failure::from(&error)),
                Err(_) => Err(Failure::Unanswered(format!("no answer within {REQUEST_DEADLINE:?}"))),
            };
            Written { policy, result }
        });
    }

    /// Waits until some status has been written or could not be; forever where none is under way.
    pub(super) async fn written(&mut self) -> Written {
        match self.under_way.join_next().await {
            Some(Ok(written)) => {
                self.settle(&written, Instant::now());
                written
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => std::future::pending().await,
        }
    }

    fn settle(&mut self, written: &Written, now: Instant) {
        let policy = &written.policy;
        self.writing.remove(policy);
        match &written.result {
            Ok(_) => {
                self.earliest.insert(policy.clone(), (now + EVERY, 0));
            }
            Err(_) => {
                let failures = self.earliest.get(policy).map_or(0, |(_, failures)| *failures);
                self.earliest.insert(policy.clone(), (now + BACKOFF.after(failures), failures + 1));
                self.mark(policy.clone(), now);
            }
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
