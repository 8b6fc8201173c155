//! Watches of everything that a decision depends on, one for each kind. Each lists in pages, converts every object to
//! the little that is kept of it, and goes on after any failure. An object that cannot be read is reported and
//! concerns nobody else.

mod kinds;
mod owners;
mod served;

use std::{fmt::Debug, pin::pin, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event, watcher},
};
use orlop_operator::{
    Backoff, Metrics,
    observe::{Change, Observation, WantedKinds},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{mpsc, watch as latest},
    task::JoinSet,
};
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
/// scales others, are watched only where workloads may be scaled here. `wanted` are the kinds of custom resource whose objects own
/// claims.
pub(super) fn start(
    client: &Client,
    observations: &Observations,
    metrics: &Metrics,
    stored_in: Option<&str>,
    may_scale: bool,
    wanted: latest::Receiver<Option<WantedKinds>>,
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
    watches.spawn(watch(all(), kinds::owner_profiles()));
    watches.spawn(owners::watch(client.clone(), observations.clone(), metrics.clone(), wanted));
    watches.spawn(watch(all(), kinds::sets()));
    if may_scale {
        watches.spawn(watch(all(), kinds::deployments()));
        watches.spawn(watch(all(), kinds::autoscalers()));
    }
    match stored_in {
        Some(namespace) => {
            let api = Api::namespaced(client.clone(), namespace);
            let config = watcher::Config::default().labels(kinds::STORED);
            watches.spawn(follow(api, config, kinds::stored(), (observations.clone(), metrics.clone())));
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

async fn watch<O, K, T>((client, observations, metrics): Means, kind: Kind<O, K, T>)
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    K: Debug,
{
    let config = watcher::Config { field_selector: kind.fields.map(str::to_owned), ..watcher::Config::default() };
    follow(Api::<O>::all(client), config, kind, (observations, metrics)).await;
}

/// What is told of the objects that are watched.
trait Subject<O> {
    /// The name in logs and metrics.
    fn name(&self) -> &'static str;

    /// What an event comes to.
    fn news(&mut self, event: Event<O>, metrics: &Metrics) -> Vec<Observation>;

    /// What a failure comes to, of which there were so many in a row.
    fn failed(&mut self, error: &watcher::Error, failures: u32) -> Setback;
}

/// What a failure of a watch comes to.
#[derive(Default)]
struct Setback {
    /// What is told.
    told: Vec<Observation>,
    /// When to go on; none to find that out by trying, later each time.
    again_in: Option<Duration>,
    /// Is it none that anybody has to know of?
    is_expected: bool,
}

/// Watches the objects that `api` has, and tells of them. Ends when the receiver is gone.
async fn follow<O, S>(
    api: Api<O>,
    config: watcher::Config,
    mut subject: S,
    (observations, metrics): (Observations, Metrics),
) where
    O: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Subject<O>,
{
    let mut events = pin!(watcher(api, config.timeout(WATCH_SECONDS)));
    let mut failures = 0;
    while let Some(event) = events.next().await {
        let (told, pause) = match event {
            Ok(event) => {
                // That a list has been asked for does not say that it is answered.
                if !matches!(event, Event::Init) {
                    failures = 0;
                }
                (subject.news(event, &metrics), None)
            }
            Err(error) => {
                // The API server answers, and only no longer knows where the watch was: nothing is to be waited for.
                if matches!(&error, watcher::Error::WatchError(status) if status.code == GONE) {
                    failures = 0;
                }
                let backoff = BACKOFF.after(failures);
                failures += 1;
                let Setback { told, again_in, is_expected } = subject.failed(&error, failures);
                let pause = again_in.unwrap_or(backoff);
                if !is_expected {
                    metrics.watch_failed(subject.name());
                    let error = &error as &dyn std::error::Error;
                    warn!(kind = subject.name(), ?pause, error, "the watch failed");
                }
                (told, Some(pause))
            }
        };
        for observation in told {
            if observations.send(observation).await.is_err() {
                debug!(kind = subject.name(), "the watch ends");
                return;
            }
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

impl<O: Resource<DynamicType = ()>, K: Debug, T> Subject<O> for Kind<O, K, T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn news(&mut self, event: Event<O>, metrics: &Metrics) -> Vec<Observation> {
        let change = match event {
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
        };
        vec![(self.observation)(change)]
    }

    /// Of a kind that the cluster does not have there is no object.
    fn failed(&mut self, error: &watcher::Error, _: u32) -> Setback {
        match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
                if self.optional && status.code == NOT_FOUND =>
            {
                debug!(kind = self.name, "the cluster has no such kind");
                let told = [Change::ListBegins, Change::ListComplete].map(self.observation).into();
                Setback { told, again_in: Some(LOOK_FOR_KIND_EVERY), is_expected: true }
            }
            _ => Setback::default(),
        }
    }
}
