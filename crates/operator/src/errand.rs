//! What is being carried out for a claim: one request for each action, one after the other. There are no decisions
//! here: an action that fails is not tried again but decided again.

use std::collections::{BTreeMap, VecDeque};

use orlop_api::Bytes;
use orlop_planner::{Action, ClaimId, Plan};

use crate::{
    failure::Failure,
    observe::{Observation, Observer},
    request::{Request, request},
};

/// The actions for one claim, as far as they have come.
#[derive(Debug)]
pub struct Errand {
    claim: ClaimId,
    done: Vec<(Action, Option<Observation>)>,
    current: (Action, Request),
    rest: VecDeque<(Action, Request)>,
}

/// What follows an answer.
#[derive(Debug)]
pub enum Next {
    /// The errand's next request is to be sent.
    Request(Errand),
    /// The errand has ended.
    Ended(Acted),
}

/// What has become of the actions for one claim.
#[derive(Debug)]
pub struct Acted {
    pub(crate) claim: ClaimId,
    /// The actions that were carried out, with the object as it is since.
    pub(crate) done: Vec<(Action, Option<Observation>)>,
    /// The action that failed; those after it were not begun.
    pub(crate) failed: Option<(Action, Failure)>,
}

impl Errand {
    /// The errands that carry out a plan, which was made from what the observer holds now.
    pub(crate) fn of_plan(plan: Plan, observer: &Observer) -> Vec<Self> {
        let mut by_claim: BTreeMap<ClaimId, VecDeque<(Action, Request)>> = BTreeMap::new();
        for action in plan.actions {
            let claim = action.claim().clone();
            let version = match &action {
                Action::ScaleToZero { workload, .. } | Action::ScaleBack { workload, .. } => {
                    observer.workload_version(workload)
                }
                _ => None,
            };
            if let Some(request) = request(&action, observer.spelling(&claim), &observer.view().resources, version) {
                by_claim.entry(claim).or_default().push_back((action, request));
            }
        }
        let errand = |(claim, mut rest): (ClaimId, VecDeque<_>)| {
            rest.pop_front().map(|current| Self { claim, done: Vec::new(), current, rest })
        };
        by_claim.into_iter().filter_map(errand).collect()
    }

    /// Whose errand it is.
    pub fn claim(&self) -> &ClaimId {
        &self.claim
    }

    /// The action that the present request is for.
    pub fn action(&self) -> &Action {
        &self.current.0
    }

    /// The size that it asks for by any of its actions.
    pub(crate) fn requests(&self) -> Option<Bytes> {
        let actions = std::iter::once(&self.current).chain(&self.rest);
        actions.map(|(action, _)| action).find_map(Action::requests)
    }

    /// What is to be sent now, if this operator still may act.
    pub fn request(&self) -> &Request {
        &self.current.1
    }

    /// The present request was answered, with the object as it is since where that can be read; or failed.
    pub fn answered(mut self, answer: Result<Option<Observation>, Failure>) -> Next {
        let (action, _) = self.current;
        let failed = match answer {
            Ok(observation) => {
                self.done.push((action, observation));
                if let Some(current) = self.rest.pop_front() {
                    return Next::Request(Self { current, ..self });
                }
                None
            }
            Err(failure) => Some((action, failure)),
        };
        Next::Ended(Acted { claim: self.claim, done: self.done, failed })
    }
}
