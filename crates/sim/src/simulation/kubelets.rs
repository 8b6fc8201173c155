//! The kubelets as a source of measurements: what each measures of its pods' volumes, and what the operator that leads hears
//! when it asks those whose agent is not there. When it asks whom, and what it takes for news, is its own code.

use std::{collections::BTreeSet, time::Duration};

use orlop_operator::kubelets::{Measured, Schedule};

use super::{Event, Simulation, node_name, node_number};
use crate::{
    process::{Asking, Message, Silence},
    scenario::{RequestFate, Trouble},
    server,
};

/// How often a kubelet measures its volumes, as it does by default.
pub(super) const MEASURES_EVERY_MS: u64 = 60_000;

/// How long the operator waits for an answer, and how many it asks at a time.
const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;

impl Simulation {
    pub(super) fn kubelet_measures(&mut self, node: usize) {
        self.schedule(Duration::from_millis(MEASURES_EVERY_MS), Event::KubeletMeasures { node });
        if self.kubelet_is_down(node) {
            return;
        }
        let (now, at) = (self.now, self.node_time(node));
        for (claim, volume) in self.volumes.iter_mut().filter(|(_, volume)| volume.node == Some(node)) {
            volume.summary = Some(Measured {
                claim: server::claim_id(claim),
                at,
                total: volume.filesystem,
                available: volume.available(now),
                inodes: volume.inodes(now),
            });
        }
    }

    pub(super) fn kubelet_is_down(&self, node: usize) -> bool {
        self.faults.is_on(|trouble| matches!(trouble, Trouble::KubeletDown { node: of } if *of == node))
    }

    /// An operator has begun to lead.
    pub(super) fn begin_asking(&mut self, operator: usize) {
        let Some(interval) = self.scenario.kubelet_interval else { return };
        let schedule = Schedule::new(interval.into());
        self.processes[operator].asking = Some(Asking { schedule, planned: 0, planned_at: None });
        self.set_kubelets(operator);
    }

    /// An agent has come or gone: the kubelets of the nodes without one are to be asked.
    pub(super) fn set_kubelets(&mut self, operator: usize) {
        let (now, nodes) = (self.moment(operator).instant, self.scenario.nodes);
        let process = &mut self.processes[operator];
        let Some(asking) = &mut process.asking else { return };
        let is_connected = |node: &usize| process.agents.get(node).is_some_and(|stream| stream.open);
        let wanted: BTreeSet<_> = (0..nodes).filter(|node| !is_connected(node)).map(node_name).collect();
        let parts = u32::try_from(nodes).unwrap_or(u32::MAX);
        let part = |node: &String| node_number(node).and_then(|node| u32::try_from(node).ok()).unwrap_or(0);
        asking.schedule.set_nodes(&wanted, |node, interval| interval / parts * part(node), now);
        self.plan_asking(operator);
    }

    fn plan_asking(&mut self, operator: usize) {
        let now = self.moment(operator).instant;
        let Some(asking) = &mut self.processes[operator].asking else { return };
        let Some(at) = asking.schedule.next_at() else { return };
        let at = self.now + at.saturating_duration_since(now);
        // A time that comes too early plans the next one.
        if asking.planned_at.is_some_and(|planned| planned <= at) {
            return;
        }
        asking.planned += 1;
        asking.planned_at = Some(at);
        let message = Message::KubeletsDue { planned: asking.planned };
        self.send_to(operator, at.saturating_sub(self.now), message);
    }

    pub(super) fn ask_kubelets(&mut self, operator: usize, planned: u64) {
        let now = self.moment(operator).instant;
        let process = &mut self.processes[operator];
        let life = process.life;
        let Some(asking) = process.asking.as_mut().filter(|asking| asking.planned == planned) else { return };
        asking.planned_at = None;
        let due = asking.schedule.take_due(AT_ONCE, now);
        for node in due.iter().filter_map(|node| node_number(node)) {
            let latency = self.latency();
            self.schedule(latency, Event::KubeletAsked { operator, life, node });
        }
        self.plan_asking(operator);
    }

    /// A question reaches the API server, and through it the kubelet.
    pub(super) fn kubelet_asked(&mut self, operator: usize, life: u64, node: usize) {
        let (answer, after) = if self.faults.server_is_down() {
            (Err(Silence::Refused), self.latency())
        } else {
            match self.faults.of_request(&mut self.rng) {
                Some(RequestFate::Answered(_)) => (Err(Silence::Refused), self.latency()),
                None | Some(RequestFate::Twice) if !self.kubelet_is_down(node) => {
                    (Ok(self.summary_of(node)), self.latency())
                }
                _ => (Err(Silence::Silent), PATIENCE),
            }
        };
        let message = Box::new(Message::Summary { node, answer });
        self.schedule(after, Event::Deliver { operator, life, message });
    }

    /// What a kubelet says: nothing of a pod that crashes again and again.
    fn summary_of(&self, node: usize) -> Vec<Measured> {
        let crashes = |name: &String| {
            self.faults.is_on(|trouble| matches!(trouble, Trouble::CrashLoop { claim } if claim == name))
        };
        let volumes = self.volumes.iter().filter(|(name, volume)| volume.node == Some(node) && !crashes(name));
        volumes.filter_map(|(_, volume)| volume.summary.clone()).collect()
    }

    pub(super) fn summary(&mut self, operator: usize, node: usize, answer: Result<Vec<Measured>, Silence>) {
        let now = self.moment(operator);
        let process = &mut self.processes[operator];
        let Some(asking) = &mut process.asking else { return };
        let news = asking.schedule.answered(&node_name(node), answer, now.instant);
        for mut measurement in news {
            if let Some(tamper) = &mut self.tamper {
                measurement = tamper.measurement(measurement);
            }
            process.core.measure(measurement, now);
        }
        self.plan_asking(operator);
    }
}
