//! The agents: what they measure and when they report it, to the operator that leads.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use orlop_api::Bytes;
use orlop_operator::Measurement;
use orlop_planner::{Source, Usage};

use super::{Event, Simulation, node_name};
use crate::{
    process::{Message, State, later},
    scenario::{MeasurementFate, Trouble},
    volume::{AgentView, Reported},
};

/// How often an agent says that it is there. The real one does every five seconds; a measurement is stale after thirty.
pub(super) const HEARTBEAT_MS: u64 = 10_000;

/// An agent that restarts is back within this time. If it is not, the operator gives up what it had reported.
const GRACE: Duration = Duration::from_mins(1);

/// How much later a late report is.
const LATE: Duration = Duration::from_secs(20);

impl Simulation {
    fn agent_is_down(&self, node: usize) -> bool {
        self.scenario.agentless.contains(&node)
            || self.faults.is_on(|trouble| match trouble {
                Trouble::AgentDown { node: of } => *of == node,
                Trouble::AgentsDown {} => true,
                _ => false,
            })
    }

    /// Does somebody measure the volumes of a node, and is it the agent?
    pub(crate) fn measured_by(&self, node: usize) -> Option<Source> {
        if self.agent_is_down(node) {
            self.scenario.kubelet_interval.map(|_| Source::Kubelet)
        } else {
            Some(Source::Agent)
        }
    }

    /// The operator that agents find: the first that leads.
    fn served_by(&self) -> Option<usize> {
        let leads = |operator: &usize| {
            let process = &self.processes[*operator];
            process.state != State::Dead
                && process.campaign.held_until().is_some()
                && process.leads(self.moment(*operator))
        };
        (0..self.processes.len()).find(leads)
    }

    pub(super) fn node_time(&self, node: usize) -> Timestamp {
        let ahead = self.faults.sum(|trouble| match trouble {
            Trouble::NodeClock { node: of, ahead } if *of == node => Some(*ahead),
            _ => None,
        });
        later(self.time(), SignedDuration::from_secs(ahead))
    }

    /// An operator has begun to lead, or an agent to run: everything is reported anew.
    pub(super) fn agents_dial(&mut self) {
        self.agents_lose_their_operator();
        self.drop_what_is_not_reported();
        if let Some(operator) = self.served_by() {
            for node in 0..self.scenario.nodes {
                if self.agent_is_down(node) {
                    continue;
                }
                let stream = self.processes[operator].agents.entry(node).or_default();
                stream.number += 1;
                stream.open = true;
                let sent = self.node_time(node);
                self.send_to(operator, Duration::ZERO, Message::Hello { node, sent });
            }
            self.set_kubelets(operator);
        }
        let claims: Vec<_> = self.volumes.keys().cloned().collect();
        for claim in claims {
            self.plan_report(&claim);
        }
    }

    /// What agents have told another operator, this one does not know.
    pub(super) fn agents_lose_their_operator(&mut self) {
        self.confirming.clear();
        for volume in self.volumes.values_mut() {
            volume.agent.reported = None;
        }
    }

    /// What an agent had reported and does not report anew is gone: the operator sees to that itself.
    fn drop_what_is_not_reported(&mut self) {
        let Some(operator) = self.served_by() else { return };
        let now = self.moment(operator);
        for (claim, volume) in &mut self.volumes {
            for node in volume.seen_on.extract_if(.., |node| volume.node != Some(*node)) {
                let gone = Measurement::Gone { node: node_name(node), volume: claim.clone() };
                self.processes[operator].core.measure(gone, now);
            }
        }
    }

    pub(super) fn agent_ends(&mut self, node: usize) {
        let now = self.now;
        self.confirming.remove(&node);
        for volume in self.volumes.values_mut().filter(|volume| volume.node == Some(node)) {
            volume.agent = AgentView::new(now);
        }
        for operator in 0..self.processes.len() {
            let Some(stream) = self.processes[operator].agents.get_mut(&node).filter(|stream| stream.open) else {
                continue;
            };
            stream.open = false;
            let stream = stream.number;
            self.send_to(operator, GRACE, Message::AgentLost { node, stream });
            self.set_kubelets(operator);
        }
    }

    /// The agent of a node has been gone for long: what it had reported is given up, unless it is back.
    pub(super) fn agent_lost(&mut self, operator: usize, node: usize, stream: u64) {
        let now = self.moment(operator);
        let process = &mut self.processes[operator];
        if process.agents.get(&node).is_none_or(|known| known.open || known.number != stream) {
            return;
        }
        for (claim, volume) in &mut self.volumes {
            if volume.seen_on.remove(&node) {
                process.core.measure(Measurement::Gone { node: node_name(node), volume: claim.clone() }, now);
            }
        }
    }

    pub(super) fn heartbeat(&mut self, node: usize) {
        self.schedule(Duration::from_millis(HEARTBEAT_MS), Event::Heartbeat { node });
        if self.agent_is_down(node) {
            return;
        }
        let Some(operator) = self.served_by() else { return };
        let at = self.node_time(node);
        if !self.confirming.contains(&node) {
            // What has not been reported is not confirmed.
            let mounted = || self.volumes.values().filter(|volume| volume.node == Some(node));
            if mounted().next().is_none() || mounted().any(|volume| volume.agent.reported.is_none()) {
                return;
            }
            self.confirming.insert(node);
        }
        self.tell_operator(operator, node, vec![Measurement::Confirmed { node: node_name(node), at }]);
    }

    /// Plans the next report of a volume.
    pub(super) fn plan_report(&mut self, claim: &str) {
        let Some(operator) = self.served_by() else { return };
        let Some((node, volume)) = self.volumes.get_mut(claim).and_then(|volume| Some((volume.node?, volume))) else {
            return;
        };
        let watch = self.processes[operator].wanted.get(claim);
        let wait = volume.until_report(watch, self.now);
        // It looks once a second.
        let at = Duration::from_secs((self.now + wait).as_secs() + 1);
        // One that comes too early plans the next.
        if volume.agent.planned_at.is_some_and(|planned| planned <= at) {
            return;
        }
        volume.agent.planned_at = Some(at);
        let planned = self.reports.entry((at, node)).or_default();
        planned.push(claim.to_owned());
        if planned.len() == 1 {
            self.schedule_at(at, Event::Report { node });
        }
    }

    /// The agent of a node reports what it has to report of its volumes, in one message.
    pub(super) fn report(&mut self, node: usize) {
        let now = self.now;
        let mut planned = self.reports.remove(&(now, node)).unwrap_or_default();
        // A report may have been planned anew since, or its volume be gone.
        planned.retain(|claim| {
            let volume = self.volumes.get_mut(claim).filter(|volume| volume.node == Some(node));
            volume.is_some_and(|volume| volume.agent.planned_at.take_if(|at| *at == now).is_some())
        });
        let down = self.agent_is_down(node);
        let Some(operator) = self.served_by().filter(|_| !down) else { return };
        let sampled: Vec<_> = planned.iter().flat_map(|claim| self.measure(claim, node, operator)).collect();
        if !sampled.is_empty() {
            self.tell_operator(operator, node, sampled);
        }
        for claim in planned {
            self.plan_report(&claim);
        }
    }

    /// What an agent has to report of a volume; nothing where it has nothing yet.
    fn measure(&mut self, claim: &str, node: usize, operator: usize) -> Vec<Measurement> {
        let (now, true_time, at) = (self.now, self.time(), self.node_time(node));
        let watch = self.processes[operator].wanted.get(claim);
        let Some(volume) = self.volumes.get_mut(claim) else { return Vec::new() };
        if volume.until_report(watch, now) > Duration::ZERO {
            return Vec::new();
        }
        // It has taken a sample a second, of which those at the beginnings of its windows count.
        for before in [60, 5, 0] {
            let when = now.saturating_sub(Duration::from_secs(before));
            volume.sample(when, earlier(true_time, now.saturating_sub(when)));
        }
        let (total, available, inodes) = (volume.filesystem, volume.available(now), volume.inodes(now));
        let rate = volume.agent.history.rate(true_time);
        if volume.agent.reported.is_some_and(|reported| reported.total != total) {
            volume.agent.crossed = None;
        }
        let usage =
            Usage { at, source: Source::Agent, total, available, inodes, fill_bytes_per_second: rate, crossed: None };
        let beyond = watch.is_some_and(|watch| watch.is_crossed_by(&usage));
        volume.agent.crossed = if beyond { volume.agent.crossed.or(Some(at)) } else { None };
        volume.seen_on.insert(node);
        volume.agent.reported = Some(Reported { at: now, available, total, free_inodes: inodes.map(|it| it.free) });
        let usage = Usage { crossed: volume.agent.crossed, ..usage };
        let sampled = Measurement::Sampled { node: node_name(node), volume: claim.to_owned(), usage };
        let reading = volume.tell_load(watch.and_then(|watch| watch.load.as_ref()), now, at);
        let load = reading.map(|reading| Measurement::Load {
            node: node_name(node),
            volume: claim.to_owned(),
            reading: Box::new(reading),
        });
        std::iter::once(sampled).chain(load).collect()
    }

    /// The agent has taken a sample of a volume just before something changes.
    pub(super) fn sample(&mut self, claim: &str) {
        let (now, at) = (self.now, self.time());
        if let Some(volume) = self.volumes.get_mut(claim).filter(|volume| volume.node.is_some()) {
            volume.sample(now, at);
        }
    }

    pub(super) fn unmounted(&mut self, claim: &str, node: usize) {
        let now = self.now;
        self.confirming.remove(&node);
        if let Some(volume) = self.volumes.get_mut(claim) {
            volume.agent = AgentView::new(now);
        }
        if self.agent_is_down(node) {
            return;
        }
        if let Some(operator) = self.served_by() {
            let gone = Measurement::Gone { node: node_name(node), volume: claim.to_owned() };
            self.tell_operator(operator, node, vec![gone]);
        }
    }

    fn tell_operator(&mut self, operator: usize, node: usize, mut measurements: Vec<Measurement>) {
        let sent = self.node_time(node);
        let latency = self.latency();
        // A stream keeps its order: that a volume is gone comes neither late nor again, when it may be mounted anew.
        let ends = measurements.iter().any(|measurement| matches!(measurement, Measurement::Gone { .. }));
        let fate = self.faults.of_measurement(&mut self.rng);
        let fate = fate.filter(|fate| !ends || matches!(fate, MeasurementFate::Lost));
        let late = match fate {
            Some(MeasurementFate::Lost) => return,
            Some(MeasurementFate::Late) => LATE,
            _ => Duration::ZERO,
        };
        if fate == Some(MeasurementFate::Nonsense) {
            for measurement in &mut measurements {
                if let Measurement::Sampled { usage, .. } = measurement {
                    (usage.total, usage.available) = (Bytes(0), Bytes(0));
                }
            }
        }
        let message = Message::Measured { node, sent, measurements };
        if fate == Some(MeasurementFate::Twice) {
            self.send_to(operator, latency + LATE, message.clone());
        }
        self.send_to(operator, latency + late, message);
    }

    /// An operator hears of an agent: it corrects the times by what it knows of the node's clock.
    pub(super) fn measured(&mut self, operator: usize, node: usize, sent: Timestamp, measurements: Vec<Measurement>) {
        let now = self.moment(operator);
        for mut measurement in measurements {
            if let Some(tamper) = &mut self.tamper {
                measurement = tamper.measurement(measurement);
            }
            let process = &mut self.processes[operator];
            match &mut measurement {
                Measurement::Sampled { usage, .. } => {
                    let Some(at) = process.ours(node, usage.at, now) else { continue };
                    usage.at = at;
                    usage.crossed = usage.crossed.and_then(|crossed| process.ours_long_ago(node, crossed));
                }
                Measurement::Confirmed { at, .. } => {
                    process.heard(node, sent, now);
                    let Some(ours) = process.ours(node, *at, now) else { continue };
                    *at = ours;
                }
                Measurement::Load { reading, .. } => {
                    let Some(ours) = process.ours(node, reading.at, now) else { continue };
                    let moved = ours.duration_since(reading.at);
                    reading.at = ours;
                    if let Some(quiet) = &mut reading.quiet {
                        quiet.since = later(quiet.since, moved);
                    }
                }
                Measurement::SampledClaim { .. } | Measurement::Exceeded { .. } | Measurement::Gone { .. } => {}
            }
            process.core.measure(measurement, now);
        }
    }
}

/// The time so much earlier.
fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    later(time, SignedDuration::try_from(by).map_or(SignedDuration::ZERO, |by| -by))
}
