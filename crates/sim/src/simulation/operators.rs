//! The operators' side of the world: what reaches them, what they send, and what becomes of it on the way.

use std::time::Duration;

use orlop_operator::{
    Effects, Failure, Next,
    observe::{Change, Observation},
    request,
};
use orlop_planner::Allowed;

use super::{Arrival, Event, Simulation};
use crate::{
    fact::Fact,
    process::{Call, Message, State},
    scenario::{RequestFate, Trouble, WatchFate},
    server::{self, Kind},
};

/// How late a message is that is late.
pub(super) const LATE: Duration = Duration::from_secs(30);

impl Simulation {
    pub(super) fn start(&mut self, operator: usize, life: u64) {
        let now = self.moment(operator);
        let process = &mut self.processes[operator];
        if process.state != State::Dead || process.life != life {
            return;
        }
        process.start(now.instant);
        self.tell(Fact::Started { operator });
        for kind in Kind::present(&self.scenario) {
            self.relist(operator, kind, Duration::from_millis(10));
        }
        if !self.scenario.sets.is_empty() {
            self.processes[operator].core.allow(Allowed { scaling: true, template_sync: true });
            // There are no Deployments, and nobody scales the StatefulSets but their users.
            for change in [Change::ListBegins, Change::ListComplete] {
                self.processes[operator].core.observe(Observation::Autoscaler(change));
            }
            for change in [Change::ListBegins, Change::ListComplete] {
                self.processes[operator].core.observe(Observation::Deployment(change));
            }
        }
        for (begins, complete) in Kind::absent(&self.scenario).into_iter().map(Kind::list) {
            self.processes[operator].core.observe(begins);
            self.processes[operator].core.observe(complete);
        }
        // Of custom resources there are none.
        for change in [Change::ListBegins, Change::ListComplete] {
            self.processes[operator].core.observe(Observation::OwnerKind(change));
        }
        self.send_to(operator, Duration::ZERO, Message::LeaseDue);
    }

    pub(super) fn kill(&mut self, operator: usize, why: &'static str) {
        if self.processes[operator].state == State::Dead {
            return;
        }
        self.processes[operator].end();
        self.tell(Fact::Ended { operator, why });
        self.schedule(Duration::from_secs(3), Event::AgentsDial);
    }

    pub(super) fn resume(&mut self, operator: usize) {
        let process = &mut self.processes[operator];
        if process.state != State::Paused {
            return;
        }
        process.state = State::Running;
        let life = process.life;
        for message in std::mem::take(&mut process.inbox) {
            self.deliver(operator, life, message);
        }
    }

    /// The watch of a kind ends, and the kind is listed anew after a while.
    fn relist(&mut self, operator: usize, kind: Kind, after: Duration) {
        let process = &mut self.processes[operator];
        let life = process.life;
        let stream = process.stream(kind);
        stream.id += 1;
        stream.open = false;
        let stream = stream.id;
        self.schedule(after, Event::List { operator, life, kind, stream });
    }

    pub(super) fn break_watches(&mut self) {
        for operator in 0..self.processes.len() {
            for kind in Kind::present(&self.scenario) {
                let after = Duration::from_millis(self.rng.u64(200..5_000));
                self.relist(operator, kind, after);
            }
        }
    }

    pub(super) fn list(&mut self, operator: usize, life: u64, kind: Kind, stream: u64) {
        let process = &self.processes[operator];
        if process.life != life || process.streams.get(&kind).is_none_or(|known| known.id != stream) {
            return;
        }
        if self.faults.server_is_down() {
            let after = Duration::from_millis(self.rng.u64(1_000..5_000));
            self.schedule(after, Event::List { operator, life, kind, stream });
            return;
        }
        let observations = self.server.list(kind);
        let latency = self.latency();
        let at = self.now + latency;
        let known = self.processes[operator].stream(kind);
        known.open = true;
        known.last = at;
        self.send_to(operator, latency, Message::Observed { kind, stream, observations });
    }

    /// Brings what has changed in the API server to every watch.
    pub(super) fn spread_events(&mut self) {
        for event in self.server.take_events() {
            for operator in 0..self.processes.len() {
                let kind = event.kind;
                let known = *self.processes[operator].stream(kind);
                if self.processes[operator].state == State::Dead || !known.open {
                    continue;
                }
                let mut latency = self.latency();
                match self.faults.of_event(&mut self.rng) {
                    Some(WatchFate::Broken) => {
                        let after = Duration::from_millis(self.rng.u64(200..10_000));
                        self.relist(operator, kind, after);
                        continue;
                    }
                    Some(WatchFate::BrokenAndStale) => {
                        self.stale_list(operator, kind);
                        continue;
                    }
                    Some(WatchFate::Delayed) => latency += LATE,
                    // A watch never tells of a deletion again after it has told that the object is there anew, nor of an object that
                    // is gone since.
                    Some(WatchFate::Twice) if !event.is_deletion && !matches!(kind, Kind::Set | Kind::Stored) => {
                        let observations = vec![event.observation.clone()];
                        let again = latency + Duration::from_millis(self.rng.u64(10..5_000));
                        self.send_to(operator, again, Message::Observed { kind, stream: known.id, observations });
                    }
                    Some(WatchFate::Twice) | None => {}
                }
                let at = (self.now + latency).max(known.last);
                self.processes[operator].stream(kind).last = at;
                let observations = vec![event.observation.clone()];
                let message = Message::Observed { kind, stream: known.id, observations };
                self.send_to(operator, at.saturating_sub(self.now), message);
            }
        }
    }

    /// The watch ends, its kind is listed from a cache that says what was true just before, and only then anew.
    fn stale_list(&mut self, operator: usize, kind: Kind) {
        let catches_up = Duration::from_mins(1);
        self.relist(operator, kind, catches_up + Duration::from_secs(5));
        let stream = self.processes[operator].stream(kind).id;
        let observations = self.server.list(kind);
        self.send_to(operator, catches_up, Message::Observed { kind, stream, observations });
    }

    pub(super) fn send_to(&mut self, operator: usize, after: Duration, message: Message) {
        let life = self.processes[operator].life;
        self.schedule(after, Event::Deliver { operator, life, message: Box::new(message) });
    }

    pub(super) fn deliver(&mut self, operator: usize, life: u64, message: Message) {
        let now = self.moment(operator);
        let process = &mut self.processes[operator];
        if process.life != life || process.state == State::Dead {
            return;
        }
        if process.state == State::Paused {
            process.inbox.push(message);
            return;
        }
        match message {
            Message::Observed { kind, stream, observations } => {
                if process.streams.get(&kind).is_some_and(|known| known.id == stream) {
                    for observation in observations {
                        process.core.observe(observation);
                    }
                }
            }
            Message::Hello { node, sent } => return process.greeted(node, sent, now),
            Message::Measured { node, sent, measurements } => self.measured(operator, node, sent, measurements),
            Message::AgentLost { node, stream } => self.agent_lost(operator, node, stream),
            Message::KubeletsDue { planned } => return self.ask_kubelets(operator, planned),
            Message::Summary { node, answer } => self.summary(operator, node, answer),
            Message::Answered { call, answer } => match process.calls.remove(&call) {
                Some(Call::Errand(errand)) => match errand.answered(*answer) {
                    Next::Request(next) => self.send(operator, Call::Errand(Box::new(next))),
                    Next::Ended(acted) => process.core.acted(acted, now.instant),
                },
                Some(Call::Status(status)) => process.core.written(&status.of, *answer, now.instant),
                Some(Call::Step(_)) | None => return,
            },
            Message::StepAnswered { call, number, answer } => self.step_answered(operator, call, number, *answer),
            Message::LeaseDue => return self.try_for_lease(operator),
            Message::LeaseRead { attempt, lease } => return self.lease_read(operator, attempt, &lease),
            Message::LeaseWritten { attempt, written } => return self.lease_written(operator, attempt, written),
            Message::LeaseTimedOut { attempt } => {
                if process.attempt.number == attempt {
                    self.attempt_ends(operator);
                }
                return;
            }
            Message::Turn { number } => {
                if process.turn != number {
                    return;
                }
                process.turn_at = None;
            }
        }
        self.turn(operator);
    }

    pub(super) fn turn(&mut self, operator: usize) {
        let now = self.moment(operator);
        let leads = self.leads(operator);
        let process = &mut self.processes[operator];
        if process.state != State::Running {
            return;
        }
        // There is nobody who remembers.
        let Effects { errands, statuses, templates, notices: _, watches, counted: _, decided, histories: _ } =
            process.core.turn(leads, now);
        for (volume, watch) in watches {
            match watch {
                Some(watch) => process.wanted.insert(volume, watch),
                None => process.wanted.remove(&volume),
            };
        }
        for claim in &decided {
            let Some(decision) = process.core.ledger().decision(claim) else { continue };
            let (reason, name) = (decision.reason, &*claim.name);
            if process.reasons.get(name) != Some(&reason) {
                process.reasons.insert(name.to_owned(), reason);
                let message = decision.message.clone();
                let fact = Fact::Decided { operator, claim: name.to_owned(), reason, message };
                self.facts.push(crate::fact::Entry { at: self.now, fact });
            }
        }
        for claim in &decided {
            self.tell_of_class(operator, claim);
        }
        for claim in decided {
            self.plan_report(&claim.name);
        }
        for errand in errands {
            self.send(operator, Call::Errand(Box::new(errand)));
        }
        for status in statuses {
            self.send(operator, Call::Status(status));
        }
        for action in templates {
            self.begin_step(operator, action);
        }
        self.plan_turn(operator);
    }

    fn plan_turn(&mut self, operator: usize) {
        let (now, leads) = (self.moment(operator), self.leads(operator));
        let process = &mut self.processes[operator];
        if process.state != State::Running {
            return;
        }
        let mut wanted = process.core.turn_at(leads, now);
        if let Some(tamper) = &mut self.tamper {
            wanted = tamper.turn_at(wanted);
        }
        let Some(wanted) = wanted else { return };
        let at = self.now + wanted.saturating_duration_since(now.instant).max(Duration::from_millis(1));
        // A turn that comes too early plans the next one.
        if process.turn_at.is_none_or(|planned| at < planned) {
            process.turn += 1;
            process.turn_at = Some(at);
            let message = Message::Turn { number: process.turn };
            self.send_to(operator, at.saturating_sub(self.now), message);
        }
    }

    /// Sends a request, and gives it up at its deadline.
    fn send(&mut self, operator: usize, call: Call) {
        if self.is_killed_at_request(operator, false) {
            return self.kill(operator, "it was killed just before a request");
        }
        self.calls += 1;
        let (id, leads) = (self.calls, self.leads(operator));
        let process = &mut self.processes[operator];
        let mut request = call.request().cloned();
        if let Some(tamper) = &mut self.tamper {
            request = request.and_then(|request| tamper.request(request));
        }
        let action = call.action().cloned();
        process.calls.insert(id, call);
        if !leads {
            let answer = Box::new(Err(Failure::not_leading()));
            return self.send_to(operator, Duration::ZERO, Message::Answered { call: id, answer });
        }
        let no_answer = Message::Answered { call: id, answer: Box::new(Err(Failure::no_answer(request::DEADLINE))) };
        self.send_to(operator, request::DEADLINE, no_answer);
        let Some(request) = request else { return };
        let life = self.processes[operator].life;
        let arrival = |answered| {
            Event::Arrive(Box::new(Arrival {
                operator,
                life,
                call: id,
                request: request.clone(),
                action: action.clone(),
                answered,
            }))
        };
        let refused = |failure| Message::Answered { call: id, answer: Box::new(Err(failure)) };
        self.carry(operator, arrival, refused);
        if self.is_killed_at_request(operator, true) {
            self.kill(operator, "it was killed just after a request");
        }
    }

    /// Is an operator to be killed just before its next request, or just after it?
    pub(super) fn is_killed_at_request(&self, operator: usize, after: bool) -> bool {
        self.faults.is_on(|trouble| {
            matches!(trouble, Trouble::KillAtRequest { operator: of, after: when } if *of == operator && *when == after)
        })
    }

    /// A request goes on its way, which it may not come to the end of.
    pub(super) fn carry(
        &mut self,
        operator: usize,
        arrival: impl Fn(bool) -> Event,
        refused: impl FnOnce(Failure) -> Message,
    ) {
        let fate = self.faults.of_request(&mut self.rng);
        let latency = self.latency();
        match fate {
            Some(RequestFate::Lost) => {}
            Some(RequestFate::AnswerLost) => self.schedule(latency, arrival(false)),
            Some(RequestFate::Late) => self.schedule(latency + LATE, arrival(true)),
            Some(RequestFate::Twice) => {
                self.schedule(latency, arrival(true));
                let again = latency + Duration::from_millis(self.rng.u64(1..3_000));
                self.schedule(again, arrival(true));
            }
            Some(RequestFate::Answered(code)) => {
                let status = server::status(code, "Failed", "the API server is in trouble", serde_json::Value::Null);
                self.send_to(operator, latency, refused(Failure::from(&*status)));
            }
            None => self.schedule(latency, arrival(true)),
        }
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { operator, life, call, request, action, answered } = arrival;
        let answer = if self.faults.server_is_down() {
            Err(Failure::Unanswered("connection refused".to_owned()))
        } else {
            let (kind, name) = server::target(&request.target);
            let before = self.server.get(kind, &name).cloned().unwrap_or_default();
            match self.server.patch(&request) {
                Ok(applied) => {
                    let answer = Ok(applied.observation);
                    self.requested(kind, &name);
                    let fact = Fact::Applied { operator, action, before, after: applied.after };
                    self.tell(fact);
                    answer
                }
                Err(status) => {
                    // Where a precondition does not hold it was not asked for.
                    let asks = server::asks(&request)
                        .filter(|_| status.details.as_ref().is_some_and(|it| !it.name.is_empty()));
                    self.tell(Fact::Refused { operator, action, code: status.code, before, asks });
                    Err(Failure::from(&*status))
                }
            }
        };
        if answered {
            let latency = self.latency();
            let message = Box::new(Message::Answered { call, answer: Box::new(answer) });
            self.schedule(latency, Event::Deliver { operator, life, message });
        }
    }
}
