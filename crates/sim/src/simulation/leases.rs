//! How operators come to the lease and keep it: what each asks of the API server for that, and what becomes of it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use orlop_operator::lease::Move;

use super::{Event, Simulation, operators::LATE};
use crate::{
    fact::Fact,
    process::{Attempt, Message},
    server,
};

impl Simulation {
    pub(super) fn try_for_lease(&mut self, operator: usize) {
        let now = self.moment(operator);
        let process = &mut self.processes[operator];
        let number = process.attempt.number + 1;
        process.attempt = Attempt { number, asked: now.instant };
        let (life, deadline) = (process.life, process.campaign.candidate().deadline());
        self.send_to(operator, deadline, Message::LeaseTimedOut { attempt: number });
        let latency = self.latency();
        self.schedule(latency, Event::LeaseArrives { operator, life, attempt: number, write: None });
    }

    pub(super) fn lease_arrives(
        &mut self,
        operator: usize,
        life: u64,
        attempt: u64,
        write: Option<Box<(LeaseSpec, u64)>>,
    ) {
        if self.faults.server_is_down() {
            return;
        }
        let message = match write {
            None => Message::LeaseRead { attempt, lease: Box::new(self.server.lease.clone()) },
            Some(write) => {
                let (spec, version) = *write;
                let lease = &mut self.server.lease;
                let written = lease.version == version;
                if written {
                    *lease = server::Lease { spec: Some(spec), version: version + 1 };
                }
                Message::LeaseWritten { attempt, written }
            }
        };
        let latency = self.latency();
        self.schedule(latency, Event::Deliver { operator, life, message: Box::new(message) });
    }

    pub(super) fn lease_read(&mut self, operator: usize, attempt: u64, lease: &server::Lease) {
        let now = self.moment(operator);
        let process = &mut self.processes[operator];
        if process.attempt.number != attempt {
            return;
        }
        match process.campaign.found(lease.spec.as_ref(), now) {
            Move::Write(spec) => {
                let life = process.life;
                let fate = self.faults.of_request(&mut self.rng);
                let late = if fate.is_some() { LATE } else { Duration::ZERO };
                let latency = self.latency() + late;
                let write = Some(Box::new((spec, lease.version)));
                self.schedule(latency, Event::LeaseArrives { operator, life, attempt, write });
            }
            Move::Wait(holder) => match process.campaign.is_held_by(holder) {
                Ok(()) => self.attempt_ends(operator),
                Err(_) => {
                    self.kill(operator, "another has taken the lease");
                    let life = self.processes[operator].life;
                    self.schedule(Duration::from_secs(2), Event::Start { operator, life });
                }
            },
        }
    }

    pub(super) fn lease_written(&mut self, operator: usize, attempt: u64, written: bool) {
        let led = self.leads(operator);
        let process = &mut self.processes[operator];
        if process.attempt.number != attempt {
            return;
        }
        if written {
            process.campaign.holds(process.attempt.asked);
        }
        if written && !led {
            self.tell(Fact::Leads { operator });
            self.agents_lose_their_operator();
            self.begin_asking(operator);
            let dial = Duration::from_millis(self.rng.u64(500..5_000));
            self.schedule(dial, Event::AgentsDial);
        }
        self.attempt_ends(operator);
        self.turn(operator);
    }

    pub(super) fn attempt_ends(&mut self, operator: usize) {
        let process = &mut self.processes[operator];
        process.attempt.number += 1;
        let pause = process.campaign.candidate().pause();
        self.send_to(operator, pause, Message::LeaseDue);
    }
}
