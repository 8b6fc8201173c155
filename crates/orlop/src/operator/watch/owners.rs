//! Watches of the custom resources whose operators make claims. Which kinds that are the built-in profiles and the cluster's
//! OwnerProfiles say, and which of them the cluster has is asked for at intervals, for operators come and go.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Client, Resource as _,
    api::{ApiResource, DynamicObject},
    core::{DeserializeGuard, GroupVersionKind},
    runtime::watcher::{self, Event, watcher},
};
use orlop_api::{OwnerProfile, OwnerProfileSpec, owner::built_in};
use orlop_operator::{
    Metrics, objects,
    observe::{Change, Observation, ResourceFacts},
};
use orlop_planner::{ResourceId, ServedKind};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

use super::{BACKOFF, Observations, WATCH_SECONDS};

/// How often it is asked which kinds the cluster has: one small request.
const ASKED_EVERY: Duration = Duration::from_secs(30);

/// The name of the profiles and of the kinds in metrics.
const PROFILES: &str = "ownerprofiles";
const OWNERS: &str = "owners";

/// A custom resource as the API server knows it, by the name of its definition.
pub(in crate::operator) fn resource(definition: &str, version: &str, kind: &str) -> ApiResource {
    let (plural, group) = definition.split_once('.').unwrap_or((definition, ""));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Watches the profiles, and the objects of every kind that they speak of. Ends when the receiver of the observations is
/// gone.
pub(super) async fn watch(client: Client, observations: Observations, metrics: Metrics) {
    let profiles = Api::<DeserializeGuard<OwnerProfile>>::all(client.clone());
    let mut events = pin!(watcher(profiles, watcher::Config::default().timeout(WATCH_SECONDS)));
    let mut ticks = interval(ASKED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kinds = Kinds {
        client,
        observations: observations.clone(),
        metrics,
        built_in: built_in::all()
            .filter_map(|profile| Some((profile.metadata.name.clone()?, Arc::new(profile.spec.clone()))))
            .collect(),
        profiles: BTreeMap::new(),
        named: None,
        is_listed: false,
        is_told: false,
        watched: BTreeMap::new(),
        watches: JoinSet::new(),
    };
    let mut failures = 0;
    loop {
        let is_due = tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    failures = 0;
                    kinds.profile(event).await
                }
                Some(Err(error)) => {
                    let delay = BACKOFF.after(failures);
                    failures += 1;
                    kinds.metrics.watch_failed(PROFILES);
                    warn!(kind = PROFILES, ?delay, error = &error as &dyn std::error::Error, "the watch failed");
                    tokio::time::sleep(delay).await;
                    false
                }
                None => return,
            },
            _ = ticks.tick() => true,
            Some(_) = kinds.watches.join_next() => false,
        };
        if is_due && kinds.is_listed {
            kinds.follow().await;
        }
        if observations.is_closed() {
            debug!("the watches of owners end");
            return;
        }
    }
}

/// The kinds of owner.
struct Kinds {
    client: Client,
    observations: Observations,
    metrics: Metrics,
    /// The profiles that are built in, by their names.
    built_in: BTreeMap<String, Arc<OwnerProfileSpec>>,
    /// The cluster's profiles, by their names.
    profiles: BTreeMap<String, Arc<OwnerProfileSpec>>,
    /// Those that the list which is under way has named.
    named: Option<BTreeMap<String, Arc<OwnerProfileSpec>>>,
    is_listed: bool,
    /// Was it said once which kinds there are?
    is_told: bool,
    watched: BTreeMap<String, Watched>,
    watches: JoinSet<()>,
}

/// A kind that is watched.
struct Watched {
    version: String,
    profile: Arc<OwnerProfileSpec>,
    watch: AbortHandle,
}

impl Kinds {
    /// Takes in news of a profile. Returns whether the kinds are to be looked at again.
    async fn profile(&mut self, event: Event<DeserializeGuard<OwnerProfile>>) -> bool {
        match event {
            Event::Init => {
                self.named = Some(BTreeMap::new());
                self.tell(Observation::OwnerProfile(Change::ListBegins)).await;
                false
            }
            Event::InitApply(object) => {
                if let Some((name, profile)) = self.read(object) {
                    self.tell(Observation::OwnerProfile(Change::Is(name.clone(), profile.clone()))).await;
                    self.named.get_or_insert_default().insert(name, profile);
                }
                false
            }
            Event::InitDone => {
                self.profiles = self.named.take().unwrap_or_default();
                self.is_listed = true;
                self.tell(Observation::OwnerProfile(Change::ListComplete)).await;
                true
            }
            Event::Apply(object) => {
                let name = name(&object);
                match self.read(object) {
                    Some((name, profile)) => {
                        self.profiles.insert(name.clone(), profile.clone());
                        self.tell(Observation::OwnerProfile(Change::Is(name, profile))).await;
                    }
                    None => self.forget(name).await,
                }
                true
            }
            Event::Delete(object) => {
                self.forget(name(&object)).await;
                true
            }
        }
    }

    async fn forget(&mut self, name: String) {
        self.profiles.remove(&name);
        self.tell(Observation::OwnerProfile(Change::Gone(name))).await;
    }

    fn read(&self, object: DeserializeGuard<OwnerProfile>) -> Option<(String, Arc<OwnerProfileSpec>)> {
        let name = name(&object);
        match object.0 {
            Ok(profile) => Some((name, Arc::new(profile.spec))),
            Err(why) => {
                self.metrics.object_unreadable(PROFILES);
                warn!(kind = PROFILES, object = name, %why, "an object cannot be read, and is passed over");
                None
            }
        }
    }

    async fn tell(&self, observation: Observation) {
        // That the receiver is gone is seen by the loop.
        let _ = self.observations.send(observation).await;
    }

    /// Watches the kinds that the cluster has and of which there is a profile, each by its profile.
    async fn follow(&mut self) {
        let found = match self.served().await {
            Ok(found) => found,
            Err(error) => {
                self.metrics.watch_failed(OWNERS);
                warn!(error = &error as &dyn std::error::Error, "cannot ask which custom resources there are");
                return;
            }
        };
        let is_first = !std::mem::replace(&mut self.is_told, true);
        if is_first {
            self.tell(Observation::OwnerKind(Change::ListBegins)).await;
        }
        let gone = self.watched.extract_if(.., |definition, watched| {
            found
                .get(definition)
                .is_none_or(|(version, profile)| *version != watched.version || *profile != watched.profile)
        });
        for (definition, watched) in gone.collect::<Vec<_>>() {
            watched.watch.abort();
            if !found.contains_key(&definition) {
                info!(kind = definition.as_str(), "no longer watches the owners of claims");
                self.tell(Observation::OwnerKind(Change::Gone(definition))).await;
            }
        }
        for (definition, (version, profile)) in found {
            if !self.watched.contains_key(&definition) {
                info!(kind = definition.as_str(), version = version.as_str(), "watches the owners of claims");
                self.begin(definition, version, profile).await;
            }
        }
        if is_first {
            self.tell(Observation::OwnerKind(Change::ListComplete)).await;
        }
    }

    /// The kinds that the cluster has and of which there is a profile, by their definitions, with their versions.
    async fn served(&self) -> Result<BTreeMap<String, (String, Arc<OwnerProfileSpec>)>, kube::Error> {
        let mut profiles = self.built_in.clone();
        profiles.extend(self.profiles.clone());
        let groups = self.client.list_api_groups().await?.groups;
        let mut found = BTreeMap::new();
        for (definition, profile) in profiles {
            let Some((plural, group)) = definition.split_once('.') else { continue };
            let Some(group) = groups.iter().find(|known| known.name == group) else { continue };
            let Some(preferred) = group.preferred_version.as_ref().or(group.versions.first()) else { continue };
            let resources = self.client.list_api_group_resources(&preferred.group_version).await?.resources;
            if resources.iter().any(|resource| resource.name == plural && resource.namespaced) {
                found.insert(definition, (preferred.version.clone(), profile));
            }
        }
        Ok(found)
    }

    async fn begin(&mut self, definition: String, version: String, profile: Arc<OwnerProfileSpec>) {
        let owners = Owners {
            definition: definition.as_str().into(),
            version: version.as_str().into(),
            profile: profile.clone(),
            observations: self.observations.clone(),
            metrics: self.metrics.clone(),
        };
        owners.tell_of_kind(None).await;
        let watch = self.watches.spawn(owners.watch(self.client.clone()));
        self.watched.insert(definition, Watched { version, profile, watch });
    }
}

/// One kind of owner.
struct Owners {
    definition: Arc<str>,
    version: Arc<str>,
    profile: Arc<OwnerProfileSpec>,
    observations: Observations,
    metrics: Metrics,
}

impl Owners {
    async fn watch(self, client: Client) {
        let resource = resource(&self.definition, &self.version, &self.profile.kind);
        let api = Api::<DynamicObject>::all_with(client, &resource);
        let mut events = pin!(watcher(api, watcher::Config::default().timeout(WATCH_SECONDS)));
        let (mut failures, mut is_unknown) = (0, false);
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(event) => self.change(event),
                Err(error) => {
                    self.metrics.watch_failed(OWNERS);
                    let mut delay = BACKOFF.after(failures);
                    failures += 1;
                    if let Some(why) = refusal(&error) {
                        delay = ASKED_EVERY;
                        if !std::mem::replace(&mut is_unknown, true) {
                            warn!(kind = &*self.definition, why, "the owners of claims may not be read");
                            self.tell_of_kind(Some(why)).await;
                        }
                    } else {
                        let error = &error as &dyn std::error::Error;
                        warn!(kind = &*self.definition, ?delay, error, "the watch failed");
                    }
                    tokio::time::sleep(delay).await;
                    continue;
                }
            };
            if !matches!(change, Change::ListBegins) {
                failures = 0;
            }
            let is_listed = matches!(change, Change::ListComplete);
            if self.observations.send(Observation::Resource(self.definition.clone(), change)).await.is_err() {
                return;
            }
            if is_listed && std::mem::take(&mut is_unknown) {
                self.tell_of_kind(None).await;
            }
        }
    }

    fn change(&self, event: Event<DynamicObject>) -> Change<ResourceId, ResourceFacts> {
        let id = |object: &DynamicObject| objects::resource_id(&self.definition, &object.metadata);
        match event {
            Event::Init => Change::ListBegins,
            Event::InitDone => Change::ListComplete,
            Event::Delete(object) => Change::Gone(id(&object)),
            Event::Apply(object) | Event::InitApply(object) => {
                Change::Is(id(&object), objects::resource(&object, &self.profile))
            }
        }
    }

    /// Says that the kind is there, and why its objects are not known, where they are not.
    async fn tell_of_kind(&self, unknown: Option<String>) {
        let kind = ServedKind { version: self.version.clone(), unknown };
        let change = Change::Is(self.definition.to_string(), kind);
        let _ = self.observations.send(Observation::OwnerKind(change)).await;
    }
}

/// Why the API server does not let a kind be read, which asking again soon would not change.
fn refusal(error: &watcher::Error) -> Option<String> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return None;
    };
    let rights = "Orlop may not read it: add it to operator.owners of the chart";
    match status.code {
        401 | 403 => Some(rights.to_owned()),
        404 | 405 => Some(format!("the API server does not serve it: {}", status.message)),
        _ => None,
    }
}

fn name(object: &DeserializeGuard<OwnerProfile>) -> String {
    objects::name(object.meta())
}
