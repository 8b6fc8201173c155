//! The event loop: brings news to the operator's mind, and carries out what it says. Everything that waits for the API
//! server runs beside it and reports back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use orlop_operator::{
    Core, Effects, History, Measurement, Metrics, Moment,
    observe::{Observation, WantedKinds},
};
use orlop_planner::Allowed;
use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};

use super::{
    act::{Executor, Outcome},
    desk::{Desk, Question},
    events::Notices,
    http::Health,
    lease::Leadership,
    measure::Watches,
    prometheus::{exceeded::CountedVolumes, history::Wanted},
};

/// The loop turns at least this often, so that it is seen to be alive.
const TURN_AT_LEAST: Duration = Duration::from_secs(5);

/// How much news is taken in at most before the loop looks at anything else.
const BATCH_MAX: usize = 512;

/// Where news comes from.
pub(super) struct Inputs {
    pub(super) observations: mpsc::Receiver<Observation>,
    pub(super) measurements: mpsc::Receiver<Vec<Measurement>>,
    /// How claims have filled before they were measured here.
    pub(super) histories: mpsc::Receiver<Vec<History>>,
    /// What people want to know.
    pub(super) questions: mpsc::Receiver<Question>,
}

/// Whom the engine tells.
pub(super) struct Outputs {
    pub(super) executor: Executor,
    pub(super) notices: Notices,
    pub(super) watches: Watches,
    /// The volumes whose drivers' counters are wanted.
    pub(super) counted: watch::Sender<CountedVolumes>,
    pub(super) nodes: watch::Sender<BTreeSet<String>>,
    /// The kinds of owner that are looked for.
    pub(super) kinds: watch::Sender<Option<WantedKinds>>,
    pub(super) health: Health,
    /// The claims whose history is wanted; none where nobody knows any.
    pub(super) wanted: Option<Wanted>,
    pub(super) metrics: Metrics,
}

/// The event loop.
pub(super) struct Engine {
    core: Core,
    leadership: Leadership,
    to: Outputs,
}

impl Engine {
    /// `allowed` is what the operator's rights let it do to StatefulSets.
    pub(super) fn new(leadership: Leadership, to: Outputs, allowed: Allowed) -> Self {
        let mut core = Core::new(to.metrics.clone());
        core.allow(allowed);
        Self { core, leadership, to }
    }

    /// Runs until the sources of observations are gone.
    pub(super) async fn run(mut self, mut from: Inputs) {
        let (mut observed, mut measured) = (Vec::new(), Vec::new());
        let mut desk = Desk::new(from.questions);
        loop {
            let now = Moment::now();
            let at_least = now.instant + TURN_AT_LEAST;
            let turn_at = self.core.turn_at(self.leadership.is_held(), now).map_or(at_least, |at| at.min(at_least));
            tokio::select! {
                count = from.observations.recv_many(&mut observed, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    observed.drain(..).for_each(|observation| self.core.observe(observation));
                }
                count = from.measurements.recv_many(&mut measured, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    let now = Moment::now();
                    measured.drain(..).flatten().for_each(|measurement| self.core.measure(measurement, now));
                }
                Some(histories) = from.histories.recv() => {
                    for history in histories {
                        self.core.remember(history);
                    }
                }
                outcome = self.to.executor.ended() => match outcome {
                    Outcome::Acted(acted) => self.core.acted(acted, Instant::now()),
                    Outcome::Written(of, answer) => self.core.written(&of, answer, Instant::now()),
                    Outcome::TemplateActed(acted) => self.core.template_acted(acted, Instant::now()),
                },
                () = desk.ready() => {
                    desk.work(&self.core, self.leadership.is_held(), Moment::now());
                    // Nothing is known or decided for it that was not before.
                    continue;
                }
                () = self.leadership.changed() => {}
                () = sleep_until(turn_at.into()) => {}
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.to.health.turned(self.core.observer().is_synced());
        self.to.nodes.send_if_modified(|nodes| replace(nodes, self.core.observer().nodes()));
        let began = Instant::now();
        let Effects { errands, statuses, templates, notices, watches, counted, decided, histories } =
            self.core.turn(self.leadership.is_held(), Moment::now());
        if !decided.is_empty() {
            self.to.metrics.planned(decided.len(), began.elapsed());
        }
        let kinds = self.core.observer().wanted_kinds();
        self.to.kinds.send_if_modified(|wanted| {
            let is_news = wanted.as_ref() != kinds;
            if is_news {
                *wanted = kinds.cloned();
            }
            is_news
        });
        for errand in errands {
            self.to.executor.begin(errand);
        }
        for status in statuses {
            self.to.executor.write(status);
        }
        for action in templates {
            self.to.executor.begin_step(action);
        }
        for notice in notices {
            self.to.notices.send(notice);
        }
        if let Some(wanted) = self.to.wanted.as_ref().filter(|_| !histories.is_empty()) {
            wanted.add(histories);
        }
        self.to.watches.send_if_modified(|wanted| update_all(wanted, watches));
        self.to.counted.send_if_modified(|wanted| update_all(wanted, counted));
    }
}

fn replace<T: Clone + PartialEq>(before: &mut T, after: &T) -> bool {
    let differs = before != after;
    if differs {
        before.clone_from(after);
    }
    differs
}

/// Sets or removes entries. Returns whether that changes anything.
fn update_all<T: PartialEq>(map: &mut BTreeMap<Arc<str>, T>, entries: Vec<(Arc<str>, Option<T>)>) -> bool {
    // Each is looked at, also where one before it was news.
    entries.into_iter().fold(false, |is_news, (key, value)| update(map, key, value) || is_news)
}

/// Sets or removes an entry. Returns whether that changes anything.
fn update<T: PartialEq>(map: &mut BTreeMap<Arc<str>, T>, key: Arc<str>, value: Option<T>) -> bool {
    if map.get(&key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
    true
}
