//! Watches of everything that a decision depends on, one for each kind. Each lists in pages, converts every object to
//! the little that is kept of it, and goes on after any failure. An object that cannot be read is reported and
//! concerns nobody else.

mod kinds;
mod owners;

use std::{fmt::Debug, pin::pin, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event, watcher},
};
use orlop_operator::{
    Backoff, Metrics,
    observe::{Change, Observation},
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{debug, warn};

use self::kinds::Kind;
pub(super) use self::owners::resource;

/// The API server ends a watch after this long. A connection that has died without a word is noticed five seconds
/// later, and until then its kind of object is not observed: so much shorter than the library's five minutes.
const WATCH_SECONDS: u32 = 60;

/// How long to wait after failures of a watch: an API server that comes back after a restart finds its watchers back
/// within seconds.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// The code with which the API server says that it cannot continue a watch from where it was.
const GONE: u16 = 410;

/// The code with which the API server says that it has no such kind.
const NOT_FOUND: u16 = 404;

/// A kind that the cluster does not have is looked for again after this long: an API server that is upgraded has it then.
const LOOK_FOR_KIND_EVERY: Duration = Duration::from_mins(5);

/// Where the watches put what they read. Bounded: a watch waits when the observer is behind.
pub(super) type Observations = mpsc::Sender<Observation>;

/// Starts a watch for every kind. They end when the receiver of the observations is gone. `stored_in` is the namespace in which
/// StatefulSets are stored that are being made anew; none where that is not allowed, and nothing of the kind may be read. Deployments, and what
/// scales others, are watched only where workloads may be scaled here.
pub(super) fn start(
    client: &Client,
    observations: &Observations,
    metrics: &Metrics,
    stored_in: Option<&str>,
    may_scale: bool,
) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let all = || (client.clone(), observations.clone(), metrics.clone());
    watches.spawn(watch(all(), kinds::claims()));
    watches.spawn(watch(all(), kinds::volumes()));
    watches.spawn(watch(all(), kinds::pods()));
    watches.spawn(watch(all(), kinds::namespaces()));
    watches.spawn(watch(all(), kinds::nodes()));
    watches.spawn(watch(all(), kinds::classes()));
    watches.spawn(watch(all(), kinds::attributes_classes()));
    watches.spawn(watch(all(), kinds::policies()));
    watches.spawn(watch(all(), kinds::cluster_policies()));
    watches.spawn(watch(all(), kinds::budgets()));
    watches.spawn(watch(all(), kinds::drivers()));
    watches.spawn(owners::watch(client.clone(), observations.clone(), metrics.clone()));
    watches.spawn(watch(all(), kinds::sets()));
    if may_scale {
        watches.spawn(watch(all(), kinds::deployments()));
        watches.spawn(watch(all(), kinds::autoscalers()));
    }
    match stored_in {
        Some(namespace) => {
            let api = Api::namespaced(client.clone(), namespace);
            watches.spawn(follow(api, Some(kinds::STORED), all(), kinds::stored()));
        }
        None => {
            watches.spawn(nothing_stored(observations.clone()));
        }
    }
    watches
}

type Means = (Client, Observations, Metrics);

/// Of what is not looked for, nothing is there. It never ends, as no watch does.
async fn nothing_stored(observations: Observations) {
    for change in [Change::ListBegins, Change::ListComplete] {
        // Nobody listens only when all ends.
        let _ = observations.send(Observation::Stored(change)).await;
    }
    observations.closed().await;
}

async fn watch<O, K, T>(means: Means, kind: Kind<O, K, T>)
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    K: Debug,
{
    follow(Api::<O>::all(means.0.clone()), None, means, kind).await;
}

/// Watches the objects that `api` has, of those only the ones with `labels`, a selector.
async fn follow<O, K, T>(api: Api<O>, labels: Option<&str>, (_, observations, metrics): Means, kind: Kind<O, K, T>)
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    K: Debug,
{
    let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
    config.field_selector = kind.fields.map(str::to_owned);
    config.label_selector = labels.map(str::to_owned);
    let mut events = pin!(watcher(api, config));
    let mut failures = 0;
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(event) => kind.change(event, &metrics),
            Err(watcher::Error::InitialListFailed(kube::Error::Api(status)))
                if kind.optional && status.code == NOT_FOUND =>
            {
                debug!(kind = kind.name, "the cluster has no such kind");
                for change in [Change::ListBegins, Change::ListComplete] {
                    if observations.send((kind.observation)(change)).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(LOOK_FOR_KIND_EVERY).await;
                continue;
            }
            Err(error) => {
                // The API server answers, and only no longer knows where the watch was: nothing is to be waited for.
                if matches!(&error, watcher::Error::WatchError(status) if status.code == GONE) {
                    failures = 0;
                }
                let delay = BACKOFF.after(failures);
                failures += 1;
                metrics.watch_failed(kind.name);
                warn!(kind = kind.name, ?delay, error = &error as &dyn std::error::Error, "the watch failed");
                tokio::time::sleep(delay).await;
                continue;
            }
        };
        // That a list has been asked for does not say that it is answered.
        if !matches!(change, Change::ListBegins) {
            failures = 0;
        }
        if observations.send((kind.observation)(change)).await.is_err() {
            debug!(kind = kind.name, "the watch ends");
            return;
        }
    }
}

impl<O: Resource<DynamicType = ()>, K: Debug, T> Kind<O, K, T> {
    fn change(&self, event: Event<O>, metrics: &Metrics) -> Change<K, T> {
        match event {
            Event::Init => Change::ListBegins,
            Event::InitDone => Change::ListComplete,
            Event::Delete(object) => Change::Gone((self.key)(object.meta())),
            Event::Apply(object) | Event::InitApply(object) => {
                let key = (self.key)(object.meta());
                match (self.facts)(object) {
                    Ok(Some(facts)) => Change::Is(key, facts),
                    Ok(None) => Change::Gone(key),
                    Err(why) => {
                        metrics.object_unreadable(self.name);
                        warn!(kind = self.name, object = ?key, %why, "an object cannot be read, and is passed over");
                        Change::Gone(key)
                    }
                }
            }
        }
    }
}
