//! Sending Events: what a user sees with `kubectl describe`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::{Api, Client, api::PostParams};
use orlop_operator::{Backoff, Failure, Metrics, Notice};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{act::failure, lease::Leadership};

/// How many Events wait to be sent. More than that are dropped: they inform, and the status has the whole.
const WAITING_MAX: usize = 4096;

/// How often an Event is tried when the API server does not answer.
const ATTEMPTS: u32 = 5;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(8) };

/// Takes notices and never makes anybody wait.
#[derive(Debug, Clone)]
pub(super) struct Notices {
    waiting: mpsc::Sender<Notice>,
    metrics: Metrics,
}

impl Notices {
    pub(super) fn send(&self, notice: Notice) {
        if self.waiting.try_send(notice).is_err() {
            self.metrics.event_dropped();
        }
    }
}

/// Where notices are put, and the task that sends them, in their order.
pub(super) fn sender(
    client: Client,
    instance: String,
    leadership: Leadership,
    metrics: Metrics,
) -> (Notices, impl Future<Output = ()>) {
    let (waiting, mut notices) = mpsc::channel(WAITING_MAX);
    let sending = {
        let metrics = metrics.clone();
        async move {
            while let Some(notice) = notices.recv().await {
                if !leadership.is_held() || !deliver(&client, &notice, &instance).await {
                    metrics.event_dropped();
                }
            }
        }
    };
    (Notices { waiting, metrics }, sending)
}

/// Sends a notice; false where it could not be.
async fn deliver(client: &Client, notice: &Notice, instance: &str) -> bool {
    let api = Api::<Event>::namespaced(client.clone(), notice.namespace());
    let event = notice.event(instance, Timestamp::now());
    for attempt in 0..ATTEMPTS {
        let Err(error) = api.create(&PostParams::default(), &event).await else { return true };
        match failure(&error) {
            // It has been said before, or its object's namespace is gone.
            Failure::Overtaken => {
                debug!(event = event.metadata.name, "the Event is there already");
                return true;
            }
            Failure::Refused(why) => {
                warn!(event = event.metadata.name, why, "the API server refuses an Event");
                return false;
            }
            Failure::Unanswered(_) => tokio::time::sleep(BACKOFF.after(attempt)).await,
        }
    }
    warn!(event = event.metadata.name, "an Event could not be sent");
    false
}
