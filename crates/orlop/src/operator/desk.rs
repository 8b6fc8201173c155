//! Where questions about what the operator knows are put to the event loop, which alone knows, and are answered between two
//! of its turns: a bounded piece of one question at a time.

use jiff::Timestamp;
use orlop_operator::{
    Core, Moment,
    inspect::{self, ClaimAccount, ClaimPage, Fleet, PageQuery, Survey, SurveyQuery},
};
use orlop_planner::ClaimId;
use tokio::sync::{mpsc, oneshot};

/// How many questions wait before further ones are refused. Each waits for those before it for tens of milliseconds.
pub(super) const QUESTIONS_MAX: usize = 16;

/// How many claims of a survey are looked at between two turns: about a millisecond's worth.
const CLAIMS_A_STEP: usize = 512;

/// A question.
pub(super) enum Question {
    /// All about one claim; none where there is no such claim.
    Claim(ClaimId, Reply<Option<ClaimAccount>>),
    /// A part of the claims.
    Page(PageQuery, Reply<ClaimPage>),
    /// The claims as a whole.
    Fleet(SurveyQuery, Reply<Fleet>),
}

/// Whom the answer goes to, with the time at which it was so. Whoever asked may have given up.
pub(super) type Reply<T> = oneshot::Sender<Result<(T, Timestamp), Unable>>;

/// Why this operator has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unable {
    /// Another operator leads, and decides.
    StandsBy,
    /// Not everything has been listed yet.
    NotSynced,
}

/// The event loop's side.
pub(super) struct Desk {
    questions: mpsc::Receiver<Question>,
    at_hand: Option<AtHand>,
}

enum AtHand {
    Asked(Question),
    Surveying(Box<Survey>, Reply<Fleet>),
}

impl Desk {
    pub(super) fn new(questions: mpsc::Receiver<Question>) -> Self {
        Self { questions, at_hand: None }
    }

    /// Waits until there is something to answer; forever where nobody can ask any more.
    pub(super) async fn ready(&mut self) {
        if self.at_hand.is_some() {
            return;
        }
        match self.questions.recv().await {
            Some(question) => self.at_hand = Some(AtHand::Asked(question)),
            None => std::future::pending().await,
        }
    }

    /// Answers a piece.
    pub(super) fn work(&mut self, core: &Core, leads: bool, now: Moment) {
        let unable = match (leads, core.observer().is_synced()) {
            (false, _) => Some(Unable::StandsBy),
            (true, false) => Some(Unable::NotSynced),
            (true, true) => None,
        };
        match (self.at_hand.take(), unable) {
            (Some(at_hand), Some(unable)) => at_hand.refuse(unable),
            (Some(at_hand), None) => self.at_hand = at_hand.answer(core, now),
            (None, _) => {}
        }
    }
}

impl AtHand {
    fn refuse(self, unable: Unable) {
        match self {
            Self::Asked(Question::Claim(_, reply)) => drop(reply.send(Err(unable))),
            Self::Asked(Question::Page(_, reply)) => drop(reply.send(Err(unable))),
            Self::Asked(Question::Fleet(_, reply)) | Self::Surveying(_, reply) => drop(reply.send(Err(unable))),
        }
    }

    /// What is left to be done.
    fn answer(self, core: &Core, now: Moment) -> Option<Self> {
        match self {
            Self::Asked(Question::Claim(id, reply)) => {
                drop(reply.send(Ok((inspect::claim(core, &id, now), now.time))));
            }
            Self::Asked(Question::Page(query, reply)) => {
                drop(reply.send(Ok((inspect::page(core, &query), now.time))));
            }
            Self::Asked(Question::Fleet(query, reply)) => {
                return Some(Self::Surveying(Box::new(Survey::new(query)), reply));
            }
            Self::Surveying(_, reply) if reply.is_closed() => {}
            Self::Surveying(mut survey, reply) => {
                if !survey.step(core, CLAIMS_A_STEP, now.time) {
                    return Some(Self::Surveying(survey, reply));
                }
                drop(reply.send(Ok((survey.finish(core), now.time))));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use orlop_operator::{
        Metrics,
        observe::{Change, Observation},
    };

    use super::*;

    /// A core that has listed a cluster with nothing in it.
    fn synced() -> Core {
        let mut core = Core::new(Metrics::default());
        macro_rules! nothing {
            ($($kind:ident),*) => {$(
                core.observe(Observation::$kind(Change::ListBegins));
                core.observe(Observation::$kind(Change::ListComplete));
            )*};
        }
        nothing!(Claim, Volume, Pod, Namespace, Class, Policy, ClusterPolicy, Budget, Driver, Node, Set, OwnerKind);
        core
    }

    async fn asked(core: &Core, leads: bool) -> Result<(Fleet, Timestamp), Unable> {
        let (ask, questions) = mpsc::channel(1);
        let (reply, answer) = oneshot::channel();
        let _ = ask.send(Question::Fleet(SurveyQuery::default(), reply)).await;
        let mut desk = Desk::new(questions);
        for _ in 0..2 {
            desk.ready().await;
            desk.work(core, leads, Moment::now());
            if !leads || !core.observer().is_synced() {
                break;
            }
        }
        assert!(desk.at_hand.is_none(), "it is answered");
        answer.await.unwrap()
    }

    #[tokio::test]
    async fn only_the_leader_answers_and_only_when_it_knows_everything() {
        assert_eq!(asked(&synced(), false).await.unwrap_err(), Unable::StandsBy);
        assert_eq!(asked(&Core::new(Metrics::default()), true).await.unwrap_err(), Unable::NotSynced);
        assert_eq!(asked(&synced(), true).await.unwrap().0, Fleet::default());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_worked_out() {
        let (ask, questions) = mpsc::channel(1);
        let (reply, answer) = oneshot::channel();
        let _ = ask.send(Question::Fleet(SurveyQuery::default(), reply)).await;
        drop(answer);
        let (core, mut desk) = (synced(), Desk::new(questions));
        desk.ready().await;
        desk.work(&core, true, Moment::now());
        assert!(desk.at_hand.is_some());
        desk.work(&core, true, Moment::now());
        assert!(desk.at_hand.is_none());
    }
}
