//! Watches of the custom resources whose operators make claims. Which kinds that are the built-in profiles and the cluster's
//! OwnerProfiles say. Which of them the cluster has is asked for at intervals, for operators come and go, and at once when a
//! claim is to grow that names one which the cluster did not have.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    runtime::watcher::{self, Event},
};
use orlop_api::{OwnerProfileSpec, owner::built_in};
use orlop_operator::{
    Metrics, objects,
    observe::{Change, Observation, WantedKinds},
};
use orlop_planner::{Objects, OwnerKind, Unknown};
use tokio::{
    sync::watch as latest,
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

use super::{Observations, Setback, Subject, follow, served};

/// How often it is asked which kinds the cluster has: one small request, and one for each group of which there is a profile.
const ASKED_EVERY: Duration = Duration::from_secs(30);

/// After so many failures in a row it is said that the objects of a kind are not known.
const FAILURES_UNTOLD: u32 = 3;

/// The name of the kinds in metrics.
const OWNERS: &str = "owners";

/// A custom resource as the API server knows it, by the name of its definition.
pub(in crate::operator) fn resource(definition: &str, version: &str, kind: &str) -> ApiResource {
    let (plural, group) = definition.split_once('.').unwrap_or((definition, ""));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Watches the objects of every kind that is wanted. Ends when the receiver of the observations is gone.
pub(super) async fn watch(
    client: Client,
    observations: Observations,
    metrics: Metrics,
    mut wanted: latest::Receiver<Option<WantedKinds>>,
) {
    let mut ticks = interval(ASKED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kinds = Kinds {
        client,
        observations: observations.clone(),
        metrics,
        is_told: false,
        watched: BTreeMap::new(),
        unknown: BTreeMap::new(),
        watches: JoinSet::new(),
    };
    let mut profiles = None;
    loop {
        let is_due = tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            _ = ticks.tick() => true,
            Some(_) = kinds.watches.join_next() => continue,
        };
        let known = wanted.borrow_and_update().clone();
        if let Some(wanted) = known
            && (is_due || !wanted.asked.is_empty() || profiles.as_ref() != Some(&wanted.profiles))
        {
            kinds.follow(&wanted).await;
            profiles = Some(wanted.profiles);
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
    /// Was it said once which kinds there are?
    is_told: bool,
    watched: BTreeMap<String, Watched>,
    /// The kinds of which it could not be found out whether the cluster has them, since when.
    unknown: BTreeMap<String, Timestamp>,
    watches: JoinSet<()>,
}

/// A kind that is watched.
struct Watched {
    version: String,
    profile: Arc<OwnerProfileSpec>,
    watch: AbortHandle,
}

impl Kinds {
    async fn tell(&self, definition: &str, kind: OwnerKind) {
        self.send(Change::Is(definition.to_owned(), kind)).await;
    }

    async fn send(&self, change: Change<String, OwnerKind>) {
        // That the receiver is gone is seen by the loop.
        let _ = self.observations.send(Observation::OwnerKind(change)).await;
    }

    /// Watches the kinds that the cluster has and of which there is a profile, each by its profile, and answers whether it
    /// has those that are asked for.
    async fn follow(&mut self, wanted: &WantedKinds) {
        let mut profiles: BTreeMap<_, _> = built_in::all()
            .filter_map(|profile| Some((profile.metadata.name.clone()?, Arc::new(profile.spec.clone()))))
            .collect();
        profiles.extend(wanted.profiles.clone());
        let asked_at = Timestamp::now();
        let mut served = served::versions(&self.client, profiles.keys()).await;
        let is_first = !self.is_told;
        if is_first && served.values().all(Result::is_err) {
            // Nothing is decided before it is known, and it is asked again.
            self.failed(served.into_values().find_map(Result::err).unwrap_or_default().as_str());
            return;
        }
        if is_first {
            self.is_told = true;
            self.send(Change::ListBegins).await;
        }
        let known: Vec<_> = self.watched.keys().chain(self.unknown.keys()).cloned().collect();
        for definition in known {
            if !profiles.contains_key(&definition) {
                served.insert(definition, Ok(None));
            }
        }
        for (definition, version) in served {
            match version {
                Ok(Some(version)) => {
                    if let Some(profile) = profiles.get(&definition) {
                        self.is_served(&definition, version, profile).await;
                    }
                }
                Ok(None) => self.is_absent(&definition, asked_at, wanted.asked.contains(&definition)).await,
                Err(why) => self.is_unknown(&definition, why, is_first || wanted.asked.contains(&definition)).await,
            }
        }
        if is_first {
            self.send(Change::ListComplete).await;
        }
    }

    fn failed(&self, why: &str) {
        self.metrics.watch_failed(OWNERS);
        warn!(why, "cannot ask which custom resources there are");
    }

    async fn is_served(&mut self, definition: &str, version: String, profile: &Arc<OwnerProfileSpec>) {
        let as_watched = |watched: &Watched| watched.version == version && watched.profile == *profile;
        self.unknown.remove(definition);
        if self.watched.get(definition).is_some_and(as_watched) {
            return;
        }
        if let Some(before) = self.watched.remove(definition) {
            before.watch.abort();
        }
        info!(kind = definition, version = version.as_str(), "watches the owners of claims");
        let owners = Owners {
            definition: definition.into(),
            version: version.as_str().into(),
            profile: profile.clone(),
            told: Told::Nothing,
        };
        self.tell(definition, owners.kind(Objects::Listing)).await;
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource(definition, &version, &profile.kind));
        let to = (self.observations.clone(), self.metrics.clone());
        let watch = self.watches.spawn(follow(api, watcher::Config::default(), owners, to));
        self.watched.insert(definition.to_owned(), Watched { version, profile: profile.clone(), watch });
    }

    async fn is_absent(&mut self, definition: &str, at: Timestamp, is_asked: bool) {
        let was_unknown = self.unknown.remove(definition).is_some();
        let watched = self.watched.remove(definition);
        if let Some(watched) = &watched {
            watched.watch.abort();
            info!(kind = definition, "no longer watches the owners of claims");
        }
        if is_asked || was_unknown || watched.is_some() {
            self.tell(definition, OwnerKind::Absent(at)).await;
        }
    }

    /// What is watched is there until the cluster says that it is not.
    async fn is_unknown(&mut self, definition: &str, why: String, is_asked: bool) {
        self.failed(&why);
        if !is_asked || self.watched.contains_key(definition) {
            return;
        }
        let since = *self.unknown.entry(definition.to_owned()).or_insert_with(Timestamp::now);
        self.tell(definition, OwnerKind::Unknown(Unknown { why, since })).await;
    }
}

/// One kind of owner.
struct Owners {
    definition: Arc<str>,
    version: Arc<str>,
    profile: Arc<OwnerProfileSpec>,
    told: Told,
}

/// What was told last of whether the objects of a kind are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Listed,
    Unknown,
}

impl Owners {
    fn kind(&self, objects: Objects) -> OwnerKind {
        OwnerKind::Served { version: self.version.clone(), objects }
    }

    fn told(&self, objects: Objects) -> Observation {
        Observation::OwnerKind(Change::Is(self.definition.to_string(), self.kind(objects)))
    }
}

impl Subject<DynamicObject> for Owners {
    fn name(&self) -> &'static str {
        OWNERS
    }

    fn news(&mut self, event: Event<DynamicObject>, _: &Metrics) -> Vec<Observation> {
        let id = |object: &DynamicObject| objects::resource_id(&self.definition, &object.metadata);
        let change = match event {
            Event::Init => Change::ListBegins,
            Event::InitDone => Change::ListComplete,
            Event::Delete(object) => Change::Gone(id(&object)),
            Event::Apply(object) | Event::InitApply(object) => {
                Change::Is(id(&object), objects::resource(&object, &self.profile))
            }
        };
        let is_listed = matches!(change, Change::ListComplete);
        let mut told = vec![Observation::Resource(self.definition.clone(), change)];
        if is_listed && std::mem::replace(&mut self.told, Told::Listed) != Told::Listed {
            told.push(self.told(Objects::Listed));
        }
        told
    }

    /// What the API server refuses is told at once and asked for again when the kinds are, for asking again soon would not
    /// change it; other failures, when they go on.
    fn failed(&mut self, error: &watcher::Error, failures: u32) -> Setback {
        let refusal = refusal(error);
        let again_in = refusal.is_some().then_some(ASKED_EVERY);
        let lasting = || (failures >= FAILURES_UNTOLD).then(|| format!("they cannot be read: {error}"));
        let why = refusal.or_else(lasting).filter(|_| self.told != Told::Unknown);
        let told = why.map(|why| {
            self.told = Told::Unknown;
            warn!(kind = &*self.definition, why, "the owners of claims are not known");
            self.told(Objects::Unknown(Unknown { why, since: Timestamp::now() }))
        });
        Setback { told: told.into_iter().collect(), again_in, is_expected: false }
    }
}

/// Why the API server does not let a kind be read, and what to do about it.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use tokio::sync::mpsc;

    use super::{
        super::served::tests::{answering, groups, stores},
        *,
    };

    const STORES: &str = "stores.a.example";

    fn wanted(asked: &[&str]) -> WantedKinds {
        let spec = json!({ "kind": "Store", "claims": [{ "role": "data", "name": "{owner}", "size": ["spec.size"] }] });
        let profile: OwnerProfileSpec = serde_json::from_value(spec).unwrap();
        let asked = asked.iter().map(|&definition| definition.to_owned()).collect::<BTreeSet<_>>();
        WantedKinds { profiles: BTreeMap::from([(STORES.to_owned(), Arc::new(profile))]), asked }
    }

    /// What is told of the stores, from the beginning on, while these kinds are asked for one after the other.
    async fn told(client: Client, asked: &[&[&str]], count: usize) -> Vec<OwnerKind> {
        let (observations, mut observed) = mpsc::channel(64);
        let kinds = latest::Sender::new(None);
        let watching = tokio::spawn(watch(client, observations, Metrics::default(), kinds.subscribe()));
        let mut told = Vec::new();
        for asked in asked {
            kinds.send_replace(Some(wanted(asked)));
            while told.len() < count {
                let observation = observed.recv().await.unwrap();
                match observation {
                    Observation::OwnerKind(Change::Is(definition, kind)) if definition == STORES => told.push(kind),
                    Observation::OwnerKind(Change::ListComplete) => break,
                    _ => {}
                }
            }
        }
        watching.abort();
        told
    }

    #[tokio::test]
    async fn a_kind_that_is_asked_for_is_answered_at_once() {
        let nothing = || answering(vec![groups(&[])]);
        assert_eq!(told(nothing(), &[&[]], 1).await, [], "nobody has asked");
        let answers = told(nothing(), &[&[], &[STORES]], 1).await;
        assert!(matches!(&answers[..], [OwnerKind::Absent(_)]), "{answers:?}");
        let answers = told(answering(vec![groups(&["a.example"])]), &[&[], &[STORES]], 2).await;
        let why = answers[1].unknown().map(|unknown| unknown.why.as_str()).unwrap_or_default();
        assert!(why.contains("overloaded"), "{answers:?}");
    }

    #[tokio::test]
    async fn a_kind_that_is_served_is_listed_and_its_failures_are_told_when_they_go_on() {
        let list = json!({
            "kind": "StoreList", "apiVersion": "a.example/v1", "metadata": { "resourceVersion": "1" }, "items": [],
        });
        let served = vec![groups(&["a.example"]), stores(), ("/apis/a.example/v1/stores", list)];
        let is = |objects| OwnerKind::Served { version: "v1".into(), objects };
        let mut answers = told(answering(served.clone()), &[&[], &[]], 2).await;
        assert_eq!(answers, [is(Objects::Listing), is(Objects::Listed)]);
        answers = told(answering(served[..2].to_vec()), &[&[], &[]], 2).await;
        assert!(answers[1].unknown().is_some_and(|it| it.why.contains("cannot be read")), "{answers:?}");
    }
}
