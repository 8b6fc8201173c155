//! One agent's stream: hands on what it measures, and tells it what to watch.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Bytes, Count};
use orlop_operator::{Measurement, Moment, NodeClock};
use orlop_planner::{Capacity, LoadReading, Quiet, Source, Usage, Watch};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tonic::{Status, Streaming};

use super::nodes::Presence;
use crate::{
    operator::measure::Measurements,
    rpc::agent_v1::{self, FromAgent, FromOperator, Sample, Samples, Watches, from_agent::Message},
    spread::spread,
};

/// An agent that is silent for so long is not there any more: it would send a heartbeat every five seconds.
const SILENCE: Duration = Duration::from_secs(20);

/// A stream is ended after this time, so that the agent comes back with a newer token: a token that has been revoked
/// serves no longer than that.
const LIFE: Duration = Duration::from_hours(1);

/// The names of PersistentVolumes are DNS subdomains, of at most this length.
const NAME_MAX: usize = 253;

/// The API server's quantities end here, and so do sizes.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// One agent's stream.
pub(super) struct Session {
    pub(super) presence: Presence,
    pub(super) clock: NodeClock,
    pub(super) incoming: Streaming<FromAgent>,
    pub(super) outgoing: mpsc::Sender<Result<FromOperator, Status>>,
    pub(super) measurements: Measurements,
    pub(super) wanted: watch::Receiver<BTreeMap<Arc<str>, Watch>>,
    /// What the agent was told to watch, for each volume that it has reported on this stream.
    pub(super) told: BTreeMap<String, Option<Watch>>,
    /// Volumes that earlier streams of the node had reported, and this one not yet.
    pub(super) before: BTreeSet<String>,
}

impl Session {
    /// Serves the stream to its end.
    pub(super) async fn run(mut self) {
        let ended = self.serve().await;
        tracing::info!(node = self.presence.node, reason = ended.message(), "an agent's stream has ended");
        // The agent may be gone, or too slow to be told why.
        let _ = self.outgoing.try_send(Err(ended));
    }

    /// Returns why the stream is ended.
    async fn serve(&mut self) -> Status {
        let superseded = self.presence.superseded.clone();
        // Not all at the same time: after a failover all agents have come at once.
        let end = Instant::now() + LIFE - spread(&self.presence.node, LIFE / 4);
        let mut heard = Instant::now();
        let mut news = false;
        loop {
            tokio::select! {
                message = timeout_at(heard + SILENCE, self.incoming.message()) => {
                    let message = match message {
                        Ok(Ok(Some(FromAgent { message: Some(message) }))) => message,
                        Ok(Ok(Some(FromAgent { message: None }))) => return Status::invalid_argument("a message of an unknown kind"),
                        Ok(Ok(None)) => return Status::ok("the agent has ended it"),
                        Ok(Err(status)) => return status,
                        Err(_) => return Status::deadline_exceeded("the agent has been silent for too long"),
                    };
                    heard = Instant::now();
                    let measured = match self.take_in(message) {
                        Ok(measured) => measured,
                        Err(status) => return status,
                    };
                    news = true;
                    if !measured.is_empty() && self.measurements.send(measured).await.is_err() {
                        return Status::unavailable("the operator ends");
                    }
                }
                changed = self.wanted.changed() => match changed {
                    Ok(()) => news = true,
                    Err(_) => return Status::unavailable("the operator ends"),
                },
                // Only when the agent takes it: what changes until then is merged.
                room = self.outgoing.clone().reserve_owned(), if news => {
                    news = false;
                    let Ok(room) = room else { return Status::ok("the agent has ended it") };
                    if let Some(watches) = self.news() {
                        room.send(Ok(FromOperator { watches: Some(watches) }));
                    }
                }
                () = superseded.cancelled() => return Status::aborted("a newer stream of the same node has taken over"),
                () = sleep_until(end) => return Status::unavailable("the stream is to be opened anew, with a newer token"),
            }
        }
    }

    fn take_in(&mut self, message: Message) -> Result<Vec<Measurement>, Status> {
        match message {
            Message::Hello(_) => Err(Status::invalid_argument("a second Hello")),
            Message::Samples(samples) => self.take_in_samples(samples),
            Message::Heartbeat(heartbeat) => {
                let now = Moment::now();
                if let Some(behind) = self.clock.heard(time(heartbeat.sent_at_ms)?, now) {
                    let node = &self.presence.node;
                    tracing::warn!(
                        node,
                        behind_s = behind.as_secs(),
                        "the node's clock is off; its times are corrected"
                    );
                }
                // By now an agent has looked at all volumes: what it has not reported is no longer there.
                let mut measured: Vec<_> =
                    std::mem::take(&mut self.before).into_iter().filter_map(|volume| self.take_back(volume)).collect();
                if heartbeat.at_ms != 0 {
                    let at = self.ours(heartbeat.at_ms)?;
                    measured.push(Measurement::Confirmed { node: self.presence.node.clone(), at });
                }
                Ok(measured)
            }
        }
    }

    fn take_in_samples(&mut self, samples: Samples) -> Result<Vec<Measurement>, Status> {
        let mut measured = Vec::with_capacity(samples.samples.len() + samples.gone.len());
        for sample in samples.samples {
            let usage = self.usage(&sample)?;
            self.before.remove(&sample.volume);
            if !self.presence.reports(&sample.volume) {
                return Err(Status::resource_exhausted("more volumes than any node has"));
            }
            self.told.entry(sample.volume.clone()).or_default();
            let load = self.load(&sample, usage.at);
            let (node, volume) = (self.presence.node.clone(), sample.volume);
            measured.push(Measurement::Sampled { node, volume, usage });
            measured.extend(load);
        }
        for volume in samples.gone {
            self.told.remove(&volume);
            measured.extend(self.take_back(volume));
        }
        Ok(measured)
    }

    /// Ignores a volume that nobody had reported from this node.
    fn take_back(&self, volume: String) -> Option<Measurement> {
        let node = || self.presence.node.clone();
        self.presence.takes_back(&volume).then(|| Measurement::Gone { node: node(), volume })
    }

    /// What a sample says. Refuses what no agent of ours sends; whether the numbers go together is the planner's
    /// question, which has an answer for the user.
    fn usage(&mut self, sample: &Sample) -> Result<Usage, Status> {
        let name_is_valid = (1..=NAME_MAX).contains(&sample.volume.len())
            && sample.volume.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
        if !name_is_valid {
            return Err(Status::invalid_argument("a volume whose name no PersistentVolume can have"));
        }
        let number = |number: u64| {
            if number <= NUMBER_MAX { Ok(number) } else { Err(Status::invalid_argument("a number beyond all sizes")) }
        };
        let inodes = Capacity { total: Count(number(sample.total_inodes)?), free: Count(number(sample.free_inodes)?) };
        Ok(Usage {
            at: self.ours(sample.measured_at_ms)?,
            source: Source::Agent,
            total: Bytes(number(sample.total_bytes)?),
            available: Bytes(number(sample.available_bytes)?),
            inodes: (sample.total_inodes > 0).then_some(inodes),
            fill_bytes_per_second: number(sample.fill_bytes_per_second)?,
            crossed: match sample.crossed_at_ms {
                0 => None,
                at_ms => Some(self.ours_long_ago(at_ms)?),
            },
        })
    }

    /// What a sample says of the volume's I/O, where it says anything of it.
    fn load(&self, sample: &Sample, at: Timestamp) -> Option<Measurement> {
        let load = sample.load?;
        let quiet = load.quiet.and_then(|quiet| {
            let since = at.checked_sub(SignedDuration::from_millis(i64::try_from(quiet.for_ms).ok()?)).ok()?;
            Some(Quiet { since, peak: quiet.peak?.into() })
        });
        let reading = LoadReading {
            at,
            rates: load.rates?.into(),
            peak: load.peak?.into(),
            pressure: load.pressure.map(Into::into),
            peak_pressure: load.peak_pressure.map(Into::into),
            quiet,
            watch: load.watch.map(Into::into),
        };
        let (node, volume) = (self.presence.node.clone(), sample.volume.clone());
        Some(Measurement::Load { node, volume, reading: Box::new(reading) })
    }

    /// A time of the node's, which may be long ago, by our clock.
    fn ours_long_ago(&self, at_ms: i64) -> Result<Timestamp, Status> {
        self.clock.ours_long_ago(time(at_ms)?).ok_or_else(beyond_all_times)
    }

    /// A time of the node's by our clock.
    fn ours(&mut self, at_ms: i64) -> Result<Timestamp, Status> {
        self.clock.ours(time(at_ms)?, Moment::now()).ok_or_else(beyond_all_times)
    }

    /// What the agent is to watch and has not been told yet; none where there is nothing.
    fn news(&mut self) -> Option<Watches> {
        let wanted = self.wanted.borrow_and_update();
        let mut watches = Vec::new();
        for (volume, told) in &mut self.told {
            let wanted = wanted.get(&**volume).cloned();
            if *told != wanted {
                watches.push(message(volume, wanted.as_ref()));
                *told = wanted;
            }
        }
        (!watches.is_empty()).then_some(Watches { watches })
    }
}

/// A time of the node's, by its own clock.
pub(super) fn time(at_ms: i64) -> Result<Timestamp, Status> {
    Timestamp::from_millisecond(at_ms).map_err(|_| beyond_all_times())
}

fn beyond_all_times() -> Status {
    Status::invalid_argument("a time beyond all times")
}

/// A watch without any bound takes back what was asked for.
fn message(volume: &str, watch: Option<&Watch>) -> agent_v1::Watch {
    let bound = |of: fn(&Watch) -> u64| watch.map_or(0, of);
    agent_v1::Watch {
        volume: volume.to_owned(),
        available_bytes_below: bound(|watch| watch.available_below.0),
        free_inodes_below: bound(|watch| watch.free_inodes_below.0),
        seconds_to_full_below: bound(|watch| watch.seconds_to_full_below),
        load: watch.and_then(|watch| watch.load.as_deref()).map(Into::into),
    }
}
