//! The node agent: measures the volumes below the kubelet's directory, and streams to the operator that leads what has
//! changed: at once when a volume crosses what the operator asked to be told of, and else each second or later.
//!
//! [`mounts`] says what is mounted, [`probe`] measures it, [`counters`] has what its device does and [`pressure`] how its pod
//! waits, [`load`] what that comes to, [`sampler`] does so in time, [`board`] decides what is worth a report, [`dial`] and
//! [`stream`] bring it to the operator. One task holds all state; what waits is bounded, and what
//! cannot be sent is merged with what comes after it.

pub mod board;
pub mod counters;
pub mod dial;
mod load;
pub mod metrics;
pub mod mounts;
pub mod pressure;
pub mod probe;
pub mod sampler;
pub mod stream;
mod window;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, interval_at},
};

use crate::rpc::agent_v1::{FromAgent, Heartbeat, from_agent::Message};
use board::Due;
use dial::Directory;
use metrics::Metrics;
use pressure::PodCgroups;
use sampler::Sampler;
use stream::Event;

/// How often what is worth a report, but not at once, is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How often the operator is told that nothing else has changed: often enough that two may be lost before it calls
/// measurements stale.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// How many events of the stream wait for the agent.
const EVENTS: usize = 8;

/// What an agent needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node that it runs on.
    pub node: String,
    /// The kubelet's directory.
    pub kubelet_dir: PathBuf,
    /// The kubelet's `cgroupRoot`.
    pub cgroup_root: PathBuf,
    /// How often a volume is measured.
    pub interval: Duration,
}

/// Why an agent cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The kubelet's directory, or the kernel's list of mounts.
    #[error("cannot look for volumes below the kubelet's directory {directory}")]
    KubeletDir {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Measures and reports until `shutdown`. Fails only at the start.
pub async fn run(
    config: Config,
    directory: impl Directory,
    metrics: &Metrics,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let Config { node, kubelet_dir, cgroup_root, interval: every } = config;
    let cgroups = PodCgroups::new(Path::new(pressure::HIERARCHIES), &cgroup_root);
    let sampler = Sampler::new(&kubelet_dir, probe::Statvfs { cgroups }, every)
        .map_err(|source| AgentError::KubeletDir { directory: kubelet_dir, source })?;
    let (events, incoming) = mpsc::channel(EVENTS);
    // Ends with this function, and with it the stream.
    let mut dialing = JoinSet::new();
    dialing.spawn(stream::keep(directory, node, events));
    let agent = Agent { sampler, outgoing: None, due: Due::No, metrics };
    tokio::select! {
        () = agent.work(incoming) => {}
        () = shutdown => {}
    }
    Ok(())
}

struct Agent<'a> {
    sampler: Sampler,
    /// To the operator, while there is a stream.
    outgoing: Option<mpsc::Sender<FromAgent>>,
    /// How soon there is something to report.
    due: Due,
    metrics: &'a Metrics,
}

impl Agent<'_> {
    async fn work(mut self, mut events: mpsc::Receiver<Event>) {
        let mut reports = interval(REPORT_EVERY);
        // The first one says that what it has not been told of is not there: only once all volumes have been looked at.
        let mut heartbeats = interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
        for ticks in [&mut reports, &mut heartbeats] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                due = self.sampler.next() => self.due = self.due.max(due),
                Some(event) = events.recv() => self.take_in(event),
                _ = reports.tick(), if self.due == Due::Soon => self.report(Due::Soon),
                _ = heartbeats.tick() => self.heartbeat(),
            }
            if self.due == Due::Now {
                self.report(Due::Now);
            }
        }
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Began(outgoing) => {
                self.sampler.board.stream_began();
                self.outgoing = Some(outgoing);
                self.due = Due::Now;
            }
            Event::Watches(watches) => {
                for (volume, watch) in watches {
                    self.due = self.due.max(self.sampler.board.watch(&volume, watch));
                }
            }
            Event::Ended => self.outgoing = None,
        }
        self.metrics.connected.set(i64::from(self.outgoing.is_some()));
    }

    /// Reports what is due at least this soon. What a slow network does not take now is tried again within a second,
    /// as it is by then.
    fn report(&mut self, at_least: Due) {
        let Some(outgoing) = &self.outgoing else {
            // A new stream is told everything.
            self.due = Due::No;
            return;
        };
        // What is due soon may be left when what was due at once has been reported.
        self.due = if at_least == Due::Now { Due::Soon } else { Due::No };
        loop {
            let Ok(room) = outgoing.try_reserve() else {
                self.due = Due::Soon;
                return;
            };
            let Some(samples) = self.sampler.board.report(at_least) else { return };
            self.metrics.reported.inc_by(samples.samples.len() as u64);
            room.send(FromAgent { message: Some(Message::Samples(samples)) });
        }
    }

    /// Reports what is due, and then that everything else is as it was.
    fn heartbeat(&mut self) {
        self.report(Due::Soon);
        self.metrics.count(self.sampler.census());
        let Some(outgoing) = &self.outgoing else { return };
        let heartbeat = Heartbeat {
            at_ms: self.sampler.board.confirmed().map_or(0, Timestamp::as_millisecond),
            sent_at_ms: Timestamp::now().as_millisecond(),
        };
        // Without room the network is slow, and the next one comes soon.
        let _ = outgoing.try_send(FromAgent { message: Some(Message::Heartbeat(heartbeat)) });
    }
}
