//! Carries out errands and writes statuses: the requests of an errand one after the other, a bounded number of errands
//! at a time. There are no decisions here.

mod templates;

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client,
    api::PatchParams,
    core::{DeserializeGuard, DynamicObject},
};
use orlop_api::{ClusterStoragePolicy, StorageBudget, StoragePolicy, names::FIELD_MANAGER};
use orlop_operator::{
    Acted, Errand, Failure, Next, StatusWrite, TemplateActed,
    objects::{self, DeploymentObject, PodObject, SetObject},
    observe::{Change, Observation},
    request::{DEADLINE, OwnerTarget, Request, StatusId, Target},
};
use orlop_planner::{PolicyKind, TemplateAction, WorkloadId};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::{lease::Leadership, watch};

/// How many errands are under way at a time. More would only queue in the API server.
const ERRANDS_AT_A_TIME: usize = 16;

/// What came of a request: the object as it is since, so that it need not be waited for; none where it cannot be read.
pub(super) type Answer = Result<Option<Observation>, Failure>;

/// Carries out errands and writes statuses.
pub(super) struct Executor {
    sender: Sender,
    permits: Arc<Semaphore>,
    under_way: JoinSet<Outcome>,
}

/// What has become of something that was begun.
pub(super) enum Outcome {
    /// An errand has ended.
    Acted(Acted),
    /// A status was written, or could not be.
    Written(StatusId, Answer),
    /// A step to larger templates was made, or could not be.
    TemplateActed(TemplateActed),
}

#[derive(Clone)]
struct Sender {
    client: Client,
    /// The operator's own.
    namespace: String,
    leadership: Leadership,
}

impl Executor {
    /// `namespace` is the operator's own.
    pub(super) fn new(client: Client, namespace: String, leadership: Leadership) -> Self {
        Self {
            sender: Sender { client, namespace, leadership },
            permits: Arc::new(Semaphore::new(ERRANDS_AT_A_TIME)),
            under_way: JoinSet::new(),
        }
    }

    /// Begins an errand.
    pub(super) fn begin(&mut self, mut errand: Errand) {
        let (sender, permits) = (self.sender.clone(), Arc::clone(&self.permits));
        self.under_way.spawn(async move {
            let _permit = permits.acquire_owned().await;
            loop {
                let answer = sender.send(errand.request()).await;
                match errand.answered(answer) {
                    Next::Request(next) => errand = next,
                    Next::Ended(acted) => return Outcome::Acted(acted),
                }
            }
        });
    }

    /// Begins to write a status.
    pub(super) fn write(&mut self, status: StatusWrite) {
        let sender = self.sender.clone();
        self.under_way.spawn(async move {
            let answer = sender.send(&status.request).await;
            Outcome::Written(status.of, answer)
        });
    }

    /// Begins a step to larger templates.
    pub(super) fn begin_step(&mut self, action: TemplateAction) {
        let (sender, permits) = (self.sender.clone(), Arc::clone(&self.permits));
        self.under_way.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let result = sender.step(&action).await;
            Outcome::TemplateActed(TemplateActed { action, result })
        });
    }

    /// Waits until something that was begun has ended; forever where nothing is under way.
    pub(super) async fn ended(&mut self) -> Outcome {
        match self.under_way.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => std::future::pending().await,
        }
    }
}

impl Sender {
    async fn send(&self, request: &Request) -> Answer {
        if !self.leadership.is_held() {
            return Err(Failure::not_leading());
        }
        match timeout(DEADLINE, send(&self.client, request)).await {
            Ok(answer) => answer.map_err(|error| failure(&error)),
            Err(_) => Err(Failure::no_answer(DEADLINE)),
        }
    }
}

async fn send(client: &Client, Request { target, patch }: &Request) -> Result<Option<Observation>, kube::Error> {
    let client = client.clone();
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    Ok(match target.clone() {
        Target::Claim(id) => {
            let api = Api::<PersistentVolumeClaim>::namespaced(client, &id.namespace.0);
            let claim = api.patch(&id.name, &parameters, patch).await?;
            objects::claim(claim).ok().map(|facts| Observation::Claim(Change::Is(id, facts)))
        }
        Target::Pod(id) => {
            let api = Api::<PodObject>::namespaced(client, &id.namespace.0);
            let pod = api.patch_status(&id.name, &parameters, patch).await?;
            objects::pod(&pod).map(|facts| Observation::Pod(Change::Is(id, facts)))
        }
        Target::Workload(WorkloadId::StatefulSet(id)) => {
            let api = Api::<SetObject>::namespaced(client, &id.namespace.0);
            let set = api.patch(&id.name, &parameters, patch).await?;
            Some(Observation::Set(Change::Is(id, objects::set(set))))
        }
        Target::Workload(WorkloadId::Deployment(id)) => {
            let api = Api::<DeploymentObject>::namespaced(client, &id.namespace.0);
            let deployment = objects::deployment(api.patch(&id.name, &parameters, patch).await?);
            Some(Observation::Deployment(match deployment {
                Some(deployment) => Change::Is(id, deployment),
                None => Change::Gone(id),
            }))
        }
        Target::Owner(OwnerTarget { id, version, profile }) => {
            let resource = watch::resource(&id.definition, &version, &profile.kind);
            let api = Api::<DynamicObject>::namespaced_with(client, &id.namespace.0, &resource);
            let object = api.patch(&id.name, &parameters, patch).await?;
            let facts = objects::resource(&object, &profile);
            Some(Observation::Resource(id.definition.clone(), Change::Is(id, facts)))
        }
        Target::Status(StatusId::Budget(name)) => {
            let api = Api::<DeserializeGuard<StorageBudget>>::all(client);
            let object = api.patch_status(&name.0, &parameters, patch).await?;
            Some(Observation::Budget(Change::Is(name, objects::budget(object.0))))
        }
        Target::Status(StatusId::Policy(id)) => Some(match &id.kind {
            PolicyKind::Namespaced(namespace) => {
                let api = Api::<DeserializeGuard<StoragePolicy>>::namespaced(client, &namespace.0);
                let object = api.patch_status(&id.name, &parameters, patch).await?;
                Observation::Policy(Change::Is(id, objects::policy(object.0)))
            }
            PolicyKind::Cluster => {
                let api = Api::<DeserializeGuard<ClusterStoragePolicy>>::all(client);
                let object = api.patch_status(&id.name, &parameters, patch).await?;
                Observation::ClusterPolicy(Change::Is(id, objects::cluster_policy(object.0)))
            }
        }),
    })
}

/// Why a request failed, by what is to be done about it.
pub(super) fn failure(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => Failure::from(&**status),
        other => Failure::Unanswered(other.to_string()),
    }
}
