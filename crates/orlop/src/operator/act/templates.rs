//! Makes the steps to larger templates: each is one request that changes something, after others that only look. There are no
//! decisions here, but for what a step itself expects to find.

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use orlop_api::names::{FIELD_MANAGER, GIVEN_UP_ANNOTATION};
use orlop_operator::{
    Failure,
    objects::{self, SetObject},
    observe::{Change, Observation},
    stored,
};
use orlop_planner::{Resizes, SetId, TemplateAction, Uid};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use super::{DEADLINE, Sender, failure};

/// What came of a step: what is there since, as far as it can be read.
type Stepped = Result<Vec<Observation>, Failure>;

impl Sender {
    /// Makes a step.
    pub(super) async fn step(&self, action: &TemplateAction) -> Stepped {
        match timeout(DEADLINE, self.try_step(action)).await {
            Ok(stepped) => stepped,
            Err(_) => Err(Failure::no_answer(DEADLINE)),
        }
    }

    async fn try_step(&self, action: &TemplateAction) -> Stepped {
        match action {
            TemplateAction::Store { set, uid, resizes } => self.store(set, uid, resizes).await,
            TemplateAction::Delete { set, uid, version, stored } => self.delete(set, uid, *version, stored).await,
            TemplateAction::Create { set, stored } => self.create(set, stored).await,
            TemplateAction::GiveUp { set, uid, version, stored } => self.give_up(set, uid, *version, stored).await,
            TemplateAction::Forget { set, stored } => self.forget(set, stored).await,
        }
    }

    async fn store(&self, id: &SetId, uid: &Uid, resizes: &Resizes) -> Stepped {
        let object = asked(self.sets(id).get(&id.name).await)?;
        let object = serde_json::to_value(object).unwrap_or_default();
        let Ok((manifest, map)) = stored::store(id, uid, resizes, &object) else { return Err(Failure::Overtaken) };
        self.would_be_taken(id, &manifest).await?;
        self.may_act()?;
        let map = asked(self.maps().create(&parameters(false), &map).await)?;
        Ok(read(stored::facts(&map))
            .map(|facts| Observation::Stored(Change::Is(id.clone(), facts)))
            .into_iter()
            .collect())
    }

    /// Would the API server, with its quotas and webhooks, take the manifest as a new StatefulSet? There is one of its name
    /// still, and the API server says so only of one in which it finds nothing else wrong.
    async fn would_be_taken(&self, id: &SetId, manifest: &Value) -> Result<(), Failure> {
        match self.sets(id).create(&parameters(true), &object(manifest)?).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            Err(error) => Err(failure(&error)),
            // It has been deleted meanwhile.
            Ok(_) => Err(Failure::Overtaken),
        }
    }

    async fn delete(&self, id: &SetId, uid: &Uid, version: u64, stored: &Uid) -> Stepped {
        self.stored(id, stored).await?;
        self.may_act()?;
        let preconditions = Preconditions { uid: Some(uid.0.to_string()), resource_version: Some(version.to_string()) };
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Orphan),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        asked(self.sets(id).delete(&id.name, &parameters).await)?;
        // The watch tells when its pods and claims have been let go of and it is gone, which may be before this answer: what is in
        // the answer would bring it back.
        Ok(Vec::new())
    }

    async fn create(&self, id: &SetId, stored: &Uid) -> Stepped {
        let map = self.stored(id, stored).await?;
        let manifest = stored::manifest(&map).map_err(|why| Failure::Refused(why.to_string()))?;
        self.may_act()?;
        let created = asked(self.sets(id).create(&parameters(false), &object(&manifest)?).await)?;
        Ok(set(id, &created).into_iter().collect())
    }

    async fn give_up(&self, id: &SetId, uid: &Uid, version: u64, stored: &Uid) -> Stepped {
        self.may_act()?;
        // It takes another state with each value, and there was none with this one.
        let patch = json!({ "metadata": {
            "uid": &*uid.0, "resourceVersion": version.to_string(),
            "annotations": { GIVEN_UP_ANNOTATION: &*stored.0 },
        } });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = asked(self.sets(id).patch(&id.name, &parameters, &Patch::Merge(patch)).await)?;
        Ok(set(id, &patched).into_iter().collect())
    }

    async fn forget(&self, id: &SetId, stored: &Uid) -> Stepped {
        self.may_act()?;
        let preconditions = Preconditions { uid: Some(stored.0.to_string()), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        asked(self.maps().delete(&stored::name(id), &parameters).await)?;
        Ok(vec![Observation::Stored(Change::Gone(id.clone()))])
    }

    /// What is stored of a StatefulSet, if it still is that.
    async fn stored(&self, id: &SetId, uid: &Uid) -> Result<ConfigMap, Failure> {
        let map = asked(self.maps().get(&stored::name(id)).await)?;
        if map.metadata.uid.as_deref() == Some(&*uid.0) { Ok(map) } else { Err(Failure::Overtaken) }
    }

    fn may_act(&self) -> Result<(), Failure> {
        if self.leadership.is_held() { Ok(()) } else { Err(Failure::not_leading()) }
    }

    /// With every field, also those of a later version.
    fn sets(&self, id: &SetId) -> Api<DynamicObject> {
        namespaced(self.client.clone(), &id.namespace.0)
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn namespaced(client: Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client, namespace, &ApiResource::erase::<StatefulSet>(&()))
}

fn parameters(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) }
}

fn asked<T>(answer: Result<T, kube::Error>) -> Result<T, Failure> {
    answer.map_err(|error| failure(&error))
}

/// Decodes what is known to be JSON of an object.
fn decoded<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::Refused(format!("the StatefulSet cannot be read: {error}")))
}

fn object(manifest: &Value) -> Result<DynamicObject, Failure> {
    decoded(manifest.clone())
}

fn set(id: &SetId, object: &DynamicObject) -> Option<Observation> {
    let set: SetObject = serde_json::to_value(object).ok().and_then(|value| decoded(value).ok())?;
    Some(Observation::Set(Change::Is(id.clone(), objects::set(set))))
}

/// What cannot be read the watch will bring, and complain about.
fn read<T>(facts: Result<T, objects::Unreadable>) -> Option<T> {
    facts.inspect_err(|why| warn!(%why, "what was stored cannot be read")).ok()
}
