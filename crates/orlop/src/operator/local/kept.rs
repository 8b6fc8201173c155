//! The objects of a kind, kept by a watch that goes on after any failure.

use std::{fmt::Debug, hash::Hash, pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::{
    Resource,
    runtime::{
        reflector::{Store, store::Writer},
        watcher::{self, Event},
    },
};
use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, warn};

use orlop_operator::{Backoff, Metrics};

/// How long to wait after failures of a watch. A kind whose definition is not installed is asked for as often.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(30) };

/// A kind of object.
pub(super) struct Kind<K> {
    /// The resource's name, for logs and metrics.
    pub(super) name: &'static str,
    /// Which of the objects to keep.
    pub(super) wanted: fn(&K) -> bool,
    /// May its definition be missing?
    pub(super) optional: bool,
}

/// Told of every change of whatever is kept. Who listens looks at all that concerns it, and so need not be told what.
pub(super) type News = watch::Sender<()>;

impl<K> Kind<K> {
    /// What an event is where only wanted objects are kept: one that is no longer wanted is as good as gone.
    fn wanted(&self, event: Event<K>) -> Option<Event<K>> {
        match event {
            Event::Apply(object) if !(self.wanted)(&object) => Some(Event::Delete(object)),
            Event::InitApply(object) if !(self.wanted)(&object) => None,
            event => Some(event),
        }
    }
}

/// The wanted objects of a kind. The watch ends when this is dropped.
pub(super) struct Kept<K: Resource + 'static>
where
    K::DynamicType: Hash + Eq,
{
    store: Store<K>,
    _watch: JoinSet<()>,
}

impl<K> Kept<K>
where
    K: Resource + Clone + Debug + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone + Send + Sync,
{
    /// Starts to keep what `events` tell. `news` is told of every change.
    pub(super) fn start(
        kind: Kind<K>,
        dynamic: K::DynamicType,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
        news: News,
        metrics: Metrics,
    ) -> Self {
        let writer = Writer::new(dynamic);
        let store = writer.as_reader();
        let mut watch = JoinSet::new();
        watch.spawn(keep(kind, events, writer, news, metrics));
        Self { store, _watch: watch }
    }

    /// Waits until all objects that there are have been listed once. Before, one that is not kept may still be there.
    pub(super) async fn complete(&self) {
        if self.store.wait_until_ready().await.is_err() {
            // The watch never ends while this is there.
            std::future::pending::<()>().await;
        }
    }

    /// The objects, in no order.
    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }
}

async fn keep<K>(
    kind: Kind<K>,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    mut writer: Writer<K>,
    news: News,
    metrics: Metrics,
) where
    K: Resource + Clone,
    K::DynamicType: Hash + Eq + Clone,
{
    let mut events = pin!(events);
    let mut failures = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let Some(mut event) = kind.wanted(event) else { continue };
                if let Event::Apply(object) | Event::InitApply(object) = &mut event {
                    // Who owns which field is most of an object, and of no use here.
                    object.meta_mut().managed_fields = None;
                }
                if !matches!(event, Event::Init) {
                    failures = 0;
                }
                writer.apply_watcher_event(&event);
                if matches!(event, Event::Apply(_) | Event::Delete(_) | Event::InitDone) {
                    news.send_replace(());
                }
            }
            Err(error) => {
                let delay = BACKOFF.after(failures);
                failures += 1;
                if kind.optional && is_undefined(&error) {
                    debug!(kind = kind.name, "the cluster has no such kind");
                } else {
                    metrics.watch_failed(kind.name);
                    warn!(kind = kind.name, ?delay, error = &error as &dyn std::error::Error, "the watch failed");
                }
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// Does the API server say that it has no such kind of object?
fn is_undefined(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}
