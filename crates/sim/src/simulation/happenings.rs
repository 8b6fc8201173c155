//! What goes wrong and what users do, as it begins and ends.

use std::time::Duration;

use orlop_api::names::PAUSED_ANNOTATION;
use serde_json::json;

use super::{Event, Simulation, budget_spec, policy_spec};
use crate::{
    fact::Fact,
    io::Pattern,
    process::State,
    scenario::{Change, Deed, Trouble},
    server::{self, Kind},
    workload::Workload,
};

impl Simulation {
    pub(super) fn trouble_begins(&mut self, id: usize) {
        let fault = self.scenario.faults[id].clone();
        self.tell(Fact::TroubleBegins(fault.what.clone()));
        self.faults.begin(id, fault.what.clone(), self.now);
        self.schedule(fault.lasting.into(), Event::TroubleEnds(id));
        match fault.what {
            Trouble::Kill { operator } => self.kill(operator, "it was killed"),
            Trouble::Pause { operator } if self.processes[operator].state == State::Running => {
                self.processes[operator].state = State::Paused;
            }
            Trouble::ServerDown {} => self.break_watches(),
            Trouble::AgentDown { node } => self.agent_ends(node),
            Trouble::AgentsDown {} => (0..self.scenario.nodes).for_each(|node| self.agent_ends(node)),
            Trouble::CrashLoop { claim } => self.suspend(&claim),
            Trouble::NodeClock { node, .. } => self.counters_begin_anew(node),
            _ => {}
        }
    }

    pub(super) fn trouble_ends(&mut self, id: usize) {
        let trouble = self.scenario.faults[id].what.clone();
        self.faults.end(id, self.now);
        self.tell(Fact::TroubleEnds(trouble.clone()));
        match trouble {
            Trouble::Kill { operator } | Trouble::KillAtRequest { operator, .. } => {
                let life = self.processes[operator].life;
                self.schedule(Duration::from_secs(1), Event::Start { operator, life });
            }
            Trouble::Pause { operator } => self.resume(operator),
            Trouble::AgentDown { node } => {
                self.counters_begin_anew(node);
                self.schedule(Duration::from_secs(2), Event::AgentsDial);
            }
            Trouble::AgentsDown {} => {
                (0..self.scenario.nodes).for_each(|node| self.counters_begin_anew(node));
                self.schedule(Duration::from_secs(2), Event::AgentsDial);
            }
            Trouble::CrashLoop { claim } => self.begin_work(&claim),
            Trouble::NodeClock { node, .. } => self.counters_begin_anew(node),
            _ => {}
        }
    }

    pub(super) fn deed(&mut self, change: Change) {
        self.tell(Fact::Changed(change.clone()));
        match change.what {
            Deed::Request { claim, size } => {
                self.server.update(Kind::Claim, &claim, |object| {
                    if server::may_request(object, size.0) {
                        object["spec"]["resources"]["requests"]["storage"] = json!(size);
                    }
                });
                self.schedule(Duration::from_millis(200), Event::Resize { claim });
            }
            Deed::Recreate { claim } => {
                self.unprovision(&claim);
                self.provision(&claim);
            }
            Deed::Stop { claim } => self.stop_pod(&claim),
            Deed::Start { claim, node } => self.start_pod(&claim, node),
            Deed::Pause { claim, why } => self.server.update(Kind::Claim, &claim, |object| {
                object["metadata"]["annotations"][PAUSED_ANNOTATION] = json!(why);
            }),
            Deed::Resume { claim } => self.server.update(Kind::Claim, &claim, |object| {
                // A claim that was made anew meanwhile has none.
                let annotations = object.pointer_mut("/metadata/annotations").and_then(|it| it.as_object_mut());
                let Some(annotations) = annotations else { return };
                annotations.remove(PAUSED_ANNOTATION);
                // The API server keeps no empty map.
                if annotations.is_empty()
                    && let Some(metadata) = object["metadata"].as_object_mut()
                {
                    metadata.remove("annotations");
                }
            }),
            Deed::Policy { name, spec } => self.server.update(Kind::Policy, &name, |object| {
                object["spec"] = json!(policy_spec(spec));
                object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
            }),
            Deed::Budget { name, spec } => self.server.update(Kind::Budget, &name, |object| {
                object["spec"] = json!(budget_spec(spec));
                object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
            }),
            Deed::Scale { set, replicas } => self.scale_set(&set, replicas),
            Deed::Demand { claim, demand } => {
                if let Some(volume) = self.volumes.get_mut(&claim) {
                    volume.spec.demand = Some(demand);
                }
                self.demand(&claim, 0);
            }
            Deed::Quiet { claim } => {
                if let Some(volume) = self.volumes.get_mut(&claim) {
                    volume.spec.workload = Workload::Idle {};
                    // What was done just before is still to be seen.
                    if let Some(demand) = &mut volume.spec.demand {
                        demand.pattern = Pattern::Steady { iops: 0 };
                    }
                }
                self.begin_work(&claim);
            }
        }
    }
}
