//! The steps by which an operator makes a StatefulSet anew, each a few requests of which the last changes something: as
//! `crates/orlop/src/operator/act/templates.rs` makes them, so that an operator can be killed between any two of them.

use std::time::Duration;

use kube::core::Status;
use orlop_api::names::GIVEN_UP_ANNOTATION;
use orlop_operator::{
    Failure, TemplateActed,
    observe::{Change, Observation},
    request::DEADLINE,
    stored,
};
use orlop_planner::TemplateAction;
use serde_json::{Value, json};

use super::{Event, Simulation};
use crate::{
    fact::Fact,
    process::{Call, Message},
    scenario::Trouble,
    server::{Kind, status},
};

/// A step that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) action: TemplateAction,
    ask: Ask,
    /// Which of its requests that is: an answer that comes twice answers only one.
    number: u32,
}

/// A request of a step.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    GetSet,
    /// Would the API server take the manifest?
    TrySet {
        map: Value,
    },
    CreateMap {
        map: Value,
    },
    GetMap,
    DeleteSet,
    CreateSet {
        manifest: Value,
    },
    GiveUp,
    DeleteMap,
}

impl Ask {
    const fn changes_something(&self) -> bool {
        !matches!(self, Self::GetSet | Self::TrySet { .. } | Self::GetMap)
    }
}

/// A request of a step that reaches the API server.
#[derive(Debug, Clone)]
pub(crate) struct StepArrival {
    pub(crate) operator: usize,
    pub(crate) life: u64,
    pub(crate) call: u64,
    pub(crate) step: Step,
    pub(crate) answered: bool,
}

/// What comes after an answer.
enum Then {
    Ask(Ask),
    Ended(Result<Vec<Observation>, Failure>),
}

impl Simulation {
    /// Begins a step.
    pub(super) fn begin_step(&mut self, operator: usize, action: TemplateAction) {
        let ask = match &action {
            TemplateAction::Store { .. } => Ask::GetSet,
            TemplateAction::Delete { .. } | TemplateAction::Create { .. } => Ask::GetMap,
            TemplateAction::GiveUp { .. } => Ask::GiveUp,
            TemplateAction::Forget { .. } => Ask::DeleteMap,
        };
        self.calls += 1;
        let call = self.calls;
        // All requests of a step have one deadline.
        let answer = Box::new(Err(Failure::no_answer(DEADLINE)));
        self.send_to(operator, DEADLINE, Message::StepAnswered { call, number: None, answer });
        self.ask(operator, call, &Step { action, ask, number: 0 });
    }

    fn ask(&mut self, operator: usize, call: u64, step: &Step) {
        if self.is_killed_at_request(operator, false) {
            return self.kill(operator, "it was killed just before a request");
        }
        let leads = self.leads(operator);
        let process = &mut self.processes[operator];
        let (life, number) = (process.life, Some(step.number));
        process.calls.insert(call, Call::Step(Box::new(step.clone())));
        if step.ask.changes_something() && !leads {
            let answer = Box::new(Err(Failure::not_leading()));
            return self.send_to(operator, Duration::ZERO, Message::StepAnswered { call, number, answer });
        }
        let is_carried_out = self.tamper.as_mut().is_none_or(|tamper| tamper.step(&step.action));
        if is_carried_out {
            let arrival = |answered| {
                Event::StepArrives(Box::new(StepArrival { operator, life, call, step: step.clone(), answered }))
            };
            let refused = |failure| Message::StepAnswered { call, number, answer: Box::new(Err(failure)) };
            self.carry(operator, arrival, refused);
        }
        if self.is_killed_at_request(operator, true) {
            self.kill(operator, "it was killed just after a request");
        }
    }

    pub(super) fn step_arrives(&mut self, arrival: StepArrival) {
        let StepArrival { operator, life, call, step, answered } = arrival;
        let number = Some(step.number);
        let answer = if self.faults.server_is_down() {
            Err(Failure::Unanswered("connection refused".to_owned()))
        } else {
            let answer = self.serve(&step);
            if step.ask.changes_something() {
                let code = answer.as_ref().err().map_or(0, |status| status.code);
                self.tell(Fact::Stepped { operator, action: step.action, code });
            }
            answer.map_err(|status| Failure::from(&*status))
        };
        if answered {
            let latency = self.latency();
            let message = Box::new(Message::StepAnswered { call, number, answer: Box::new(answer) });
            self.schedule(latency, Event::Deliver { operator, life, message });
        }
    }

    /// What the API server answers.
    fn serve(&mut self, Step { action, ask, .. }: &Step) -> Result<Value, Box<Status>> {
        let (now, set) = (self.time(), action.set().name.to_string());
        let not_found = || status(404, "NotFound", "not found", Value::Null);
        match ask {
            Ask::GetSet => self.server.get(Kind::Set, &set).cloned().ok_or_else(not_found),
            Ask::GetMap => self.server.get(Kind::Stored, &set).cloned().ok_or_else(not_found),
            Ask::TrySet { .. } | Ask::CreateSet { .. } if self.refuses_sets() => {
                Err(status(403, "Forbidden", "exceeded quota: statefulsets", Value::Null))
            }
            // It objects to nothing but that there is one of its name, or to nothing at all.
            Ask::TrySet { .. } => Ok(json!(self.server.get(Kind::Set, &set).is_some())),
            Ask::CreateMap { map } => self.server.create_new(Kind::Stored, &set, map.clone(), now),
            Ask::CreateSet { manifest } => {
                let created = self.server.create_new(Kind::Set, &set, manifest.clone(), now)?;
                let after = Duration::from_millis(self.rng.u64(50..1_000));
                self.look_at_set(&set, after);
                Ok(created)
            }
            Ask::DeleteSet => self.delete_set(action, &set),
            Ask::GiveUp => {
                let TemplateAction::GiveUp { uid, version, stored, .. } = action else { return Err(not_found()) };
                let patch = json!({ "metadata": {
                    "uid": &*uid.0, "resourceVersion": version.to_string(),
                    "annotations": { GIVEN_UP_ANNOTATION: &*stored.0 },
                } });
                self.server.merge(Kind::Set, &set, &patch)
            }
            Ask::DeleteMap => {
                let TemplateAction::Forget { stored, .. } = action else { return Err(not_found()) };
                let map = self.server.get(Kind::Stored, &set).ok_or_else(not_found)?;
                if map["metadata"]["uid"] != *stored.0 {
                    return Err(status(409, "Conflict", "the UID in the precondition does not match", Value::Null));
                }
                self.server.delete(Kind::Stored, &set);
                Ok(Value::Null)
            }
        }
    }

    /// The StatefulSet is marked, and gone when its pods and claims have been let go of.
    fn delete_set(&mut self, action: &TemplateAction, set: &str) -> Result<Value, Box<Status>> {
        let TemplateAction::Delete { uid, version, .. } = action else { unreachable!("{action} deletes nothing") };
        let now = self.time();
        let object = self.server.get(Kind::Set, set).cloned();
        let object = object.ok_or_else(|| status(404, "NotFound", "not found", Value::Null))?;
        let meta = &object["metadata"];
        let has_version = meta["resourceVersion"].as_str().and_then(|it| it.parse().ok()) == Some(*version);
        if meta["uid"] != *uid.0 || !has_version {
            return Err(status(409, "Conflict", "the precondition does not match", Value::Null));
        }
        if meta["deletionTimestamp"].is_null() {
            self.server.update(Kind::Set, set, |object| object["metadata"]["deletionTimestamp"] = json!(now));
            let after = Duration::from_millis(self.rng.u64(50..5_000));
            self.schedule(after, Event::SetReleased { set: set.to_owned(), uid: uid.0.to_string() });
        }
        Ok(object)
    }

    fn refuses_sets(&self) -> bool {
        self.faults.is_on(|trouble| matches!(trouble, Trouble::SetsRefused {}))
    }

    /// A request of a step was answered; or the step was not done in time, where there is no number.
    pub(super) fn step_answered(
        &mut self,
        operator: usize,
        call: u64,
        number: Option<u32>,
        answer: Result<Value, Failure>,
    ) {
        let now = self.moment(operator);
        let process = &mut self.processes[operator];
        let Some(Call::Step(step)) = process.calls.get(&call) else { return };
        if number.is_some_and(|number| number != step.number) {
            return;
        }
        let Step { action, ask, number } = (**step).clone();
        process.calls.remove(&call);
        match then(&action, ask, answer) {
            Then::Ask(ask) => self.ask(operator, call, &Step { action, ask, number: number + 1 }),
            Then::Ended(result) => process.core.template_acted(TemplateActed { action, result }, now.instant),
        }
    }
}

/// What follows an answer, as the operator in a cluster has it.
fn then(action: &TemplateAction, ask: Ask, answer: Result<Value, Failure>) -> Then {
    let (id, ended) = (action.set(), Then::Ended);
    let object = match (&ask, answer) {
        (Ask::TrySet { map, .. }, Ok(Value::Bool(true))) => return Then::Ask(Ask::CreateMap { map: map.clone() }),
        // It has been deleted meanwhile.
        (Ask::TrySet { .. }, Ok(_)) => return ended(Err(Failure::Overtaken)),
        (_, Err(failure)) => return ended(Err(failure)),
        (_, Ok(object)) => object,
    };
    let is_stored = |stored: &orlop_planner::Uid| object["metadata"]["uid"] == *stored.0;
    match (action, ask) {
        (TemplateAction::Store { uid, resizes, .. }, Ask::GetSet) => match stored::store(id, uid, resizes, &object) {
            Ok((_, map)) => Then::Ask(Ask::TrySet { map: json!(map) }),
            Err(_) => ended(Err(Failure::Overtaken)),
        },
        (TemplateAction::Delete { stored, .. }, Ask::GetMap) if is_stored(stored) => Then::Ask(Ask::DeleteSet),
        (TemplateAction::Create { stored, .. }, Ask::GetMap) if is_stored(stored) => {
            let map = serde_json::from_value(object).unwrap_or_default();
            match stored::manifest(&map) {
                Ok(manifest) => Then::Ask(Ask::CreateSet { manifest }),
                Err(why) => ended(Err(Failure::Refused(why.to_string()))),
            }
        }
        (_, Ask::GetMap) => ended(Err(Failure::Overtaken)),
        (_, Ask::CreateMap { .. }) => ended(Ok(Kind::Stored.observe(&id.name, Some(&object)).into_iter().collect())),
        (_, Ask::CreateSet { .. } | Ask::GiveUp) => {
            ended(Ok(Kind::Set.observe(&id.name, Some(&object)).into_iter().collect()))
        }
        (_, Ask::DeleteMap) => ended(Ok(vec![Observation::Stored(Change::Gone(id.clone()))])),
        // The watch tells when it is gone.
        (_, _) => ended(Ok(Vec::new())),
    }
}
