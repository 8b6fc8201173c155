//! Carries out plans: one request for each action, those of a claim one after the other, a bounded number of claims
//! at a time. There are no decisions here: an action that fails is not tried again but decided again.

mod failure;
mod patch;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, Client, api::PatchParams};
use orlop_api::names::FIELD_MANAGER;
use orlop_planner::{Action, ClaimId, Plan};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

pub(super) use self::failure::Failure;
use self::patch::{Request, Target, request};
use super::{
    lease::Leadership,
    observe::{Change, Observation, Observer},
    watch,
};

/// How many claims are acted on at a time. More would only queue in the API server.
const CLAIMS_AT_A_TIME: usize = 16;

/// A request that has not been answered by then is given up; whether it was carried out, the watch will tell.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// What has become of the actions for one claim.
#[derive(Debug)]
pub(super) struct Acted {
    pub(super) claim: ClaimId,
    /// The actions that were carried out, with the object as it is since.
    pub(super) done: Vec<(Action, Option<Observation>)>,
    /// The action that failed; those after it were not begun.
    pub(super) failed: Option<(Action, Failure)>,
}

/// Carries out actions.
pub(super) struct Executor {
    client: Client,
    leadership: Leadership,
    permits: Arc<Semaphore>,
    under_way: JoinSet<Acted>,
}

impl Executor {
    pub(super) fn new(client: Client, leadership: Leadership) -> Self {
        let permits = Arc::new(Semaphore::new(CLAIMS_AT_A_TIME));
        Self { client, leadership, permits, under_way: JoinSet::new() }
    }

    /// Begins to carry out a plan, made from what the observer holds now. Returns the claims that are acted on.
    pub(super) fn begin(&mut self, plan: Plan, observer: &Observer) -> Vec<ClaimId> {
        let mut by_claim: BTreeMap<ClaimId, Vec<(Action, Request)>> = BTreeMap::new();
        for action in plan.actions {
            let claim = action.claim().clone();
            if let Some(request) = request(&action, observer.spelling(&claim)) {
                by_claim.entry(claim).or_default().push((action, request));
            }
        }
        let claims = by_claim.keys().cloned().collect();
        for (claim, requests) in by_claim {
            let (client, leadership) = (self.client.clone(), self.leadership.clone());
            let permits = Arc::clone(&self.permits);
            self.under_way.spawn(async move {
                let _permit = permits.acquire_owned().await;
                act(&client, &leadership, claim, requests).await
            });
        }
        claims
    }

    /// Waits until the actions of some claim have been carried out or have failed; forever where none are under way.
    pub(super) async fn acted(&mut self) -> Acted {
        loop {
            match self.under_way.join_next().await {
                Some(Ok(acted)) => return acted,
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => std::future::pending().await,
            }
        }
    }
}

async fn act(client: &Client, leadership: &Leadership, claim: ClaimId, requests: Vec<(Action, Request)>) -> Acted {
    let mut done = Vec::new();
    for (action, request) in requests {
        let failure = if leadership.is_held() {
            match timeout(REQUEST_DEADLINE, send(client, request)).await {
                Ok(Ok(observation)) => {
                    done.push((action, observation));
                    continue;
                }
                Ok(Err(error)) => Failure::from(&error),
                Err(_) => Failure::no_answer(REQUEST_DEADLINE),
            }
        } else {
            Failure::not_leading()
        };
        return Acted { claim, done, failed: Some((action, failure)) };
    }
    Acted { claim, done, failed: None }
}

/// Sends a request. What the object is since, so that it need not be waited for; none where it cannot be read.
async fn send(client: &Client, request: Request) -> Result<Option<Observation>, kube::Error> {
    let Request { target, patch } = request;
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match target {
        Target::Claim(id) => {
            let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &id.namespace.0);
            let claim = api.patch(&id.name, &parameters, &patch).await?;
            Ok(watch::claim(claim).ok().map(|facts| Observation::Claim(Change::Is(id, facts))))
        }
        Target::Pod(id) => {
            let api = Api::<watch::PodObject>::namespaced(client.clone(), &id.namespace.0);
            // By the status: it has the same annotations, and whoever may patch it may not change what a pod runs.
            let pod = api.patch_status(&id.name, &parameters, &patch).await?;
            Ok(watch::pod(&pod).map(|facts| Observation::Pod(Change::Is(id, facts))))
        }
    }
}
