//! An operator's process: the operator's mind as it is, with its watches, what it has asked for, and what has not reached
//! it yet.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use orlop_api::names::{PerformanceReason, Reason};
use orlop_operator::{
    Core, Errand, Failure, Measurement, Metrics, Moment, NodeClock, StatusWrite,
    kubelets::{Measured, Schedule},
    lease::{Campaign, Candidate},
    observe::Observation,
    request::Request,
};
use orlop_planner::{Action, Watch};

use crate::{
    server::{Kind, Lease},
    simulation::steps::Step,
};

/// For how long a lease holds. Longer than it would be, because renewing is most of what happens in a quiet world.
const LEASE: Duration = Duration::from_mins(2);

/// What came of a request: the object as it is since, where it can be read.
pub(crate) type Answer = Result<Option<Observation>, Failure>;

/// What reaches a process.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// What a watch tells.
    Observed { kind: Kind, stream: u64, observations: Vec<Observation> },
    /// An agent begins a stream.
    Hello { node: usize, sent: Timestamp },
    /// What an agent tells.
    Measured { node: usize, sent: Timestamp, measurements: Vec<Measurement> },
    /// The stream of a node's agent, of this number, has ended a while ago.
    AgentLost { node: usize, stream: u64 },
    /// It is time to ask kubelets.
    KubeletsDue { planned: u64 },
    /// What a kubelet says of its volumes.
    Summary { node: usize, answer: Result<Vec<Measured>, Silence> },
    /// What became of a request.
    Answered { call: u64, answer: Box<Answer> },
    /// What became of a request of a step.
    StepAnswered { call: u64, number: Option<u32>, answer: Box<Result<serde_json::Value, Failure>> },
    /// It is time to try for the lease.
    LeaseDue,
    /// The lease was read.
    LeaseRead { attempt: u64, lease: Box<Lease> },
    /// The lease was written, or not.
    LeaseWritten { attempt: u64, written: bool },
    /// An attempt at the lease has taken too long.
    LeaseTimedOut { attempt: u64 },
    /// It has something to do.
    Turn { number: u64 },
}

/// Why a kubelet's summary does not come.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum Silence {
    #[error("the API server does not bring the kubelet's summary")]
    Refused,
    #[error("the kubelet does not answer")]
    Silent,
}

/// An agent's stream to a process, as the process sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AgentStream {
    /// Counts the streams of the node.
    pub(crate) number: u64,
    pub(crate) open: bool,
}

/// The asking of kubelets.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) schedule: Schedule,
    /// Which of the times that were planned counts.
    pub(crate) planned: u64,
    pub(crate) planned_at: Option<Duration>,
}

/// What a process has asked for and not been answered.
#[derive(Debug)]
pub(crate) enum Call {
    Errand(Box<Errand>),
    Status(StatusWrite),
    Step(Box<Step>),
}

impl Call {
    /// What is sent; none of a step, which is sent in its own way.
    pub(crate) fn request(&self) -> Option<&Request> {
        match self {
            Self::Errand(errand) => Some(errand.request()),
            Self::Status(status) => Some(&status.request),
            Self::Step(_) => None,
        }
    }

    pub(crate) fn action(&self) -> Option<&Action> {
        match self {
            Self::Errand(errand) => Some(errand.action()),
            Self::Status(_) | Self::Step(_) => None,
        }
    }
}

/// A watch of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stream {
    /// Counts the watches: what an earlier one had under way is lost with it.
    pub(crate) id: u64,
    pub(crate) open: bool,
    /// When its last message arrives: they keep their order.
    pub(crate) last: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Paused,
    Dead,
}

/// The process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: usize,
    pub(crate) state: State,
    /// Counts its lives: what was under way to an earlier one is lost.
    pub(crate) life: u64,
    pub(crate) core: Core,
    pub(crate) campaign: Campaign,
    pub(crate) attempt: Attempt,
    pub(crate) streams: BTreeMap<Kind, Stream>,
    pub(crate) calls: BTreeMap<u64, Call>,
    /// What came while it stood still.
    pub(crate) inbox: Vec<Message>,
    /// Which of the turns that were planned counts.
    pub(crate) turn: u64,
    pub(crate) turn_at: Option<Duration>,
    pub(crate) wanted: BTreeMap<Arc<str>, Watch>,
    pub(crate) clocks: HashMap<usize, NodeClock>,
    pub(crate) agents: BTreeMap<usize, AgentStream>,
    /// None while it does not lead, or is to ask none.
    pub(crate) asking: Option<Asking>,
    pub(crate) reasons: HashMap<String, Reason>,
    /// The same of their VolumeAttributesClasses.
    pub(crate) class_reasons: HashMap<String, PerformanceReason>,
}

/// The attempt at the lease that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) number: u64,
    pub(crate) asked: Instant,
}

impl Process {
    pub(crate) fn new(number: usize, born: Instant) -> Self {
        Self {
            number,
            state: State::Dead,
            life: 0,
            core: Core::new(Metrics::default()),
            campaign: campaign(number),
            attempt: Attempt { number: 0, asked: born },
            streams: BTreeMap::new(),
            calls: BTreeMap::new(),
            inbox: Vec::new(),
            turn: 0,
            turn_at: None,
            wanted: BTreeMap::new(),
            clocks: HashMap::new(),
            agents: BTreeMap::new(),
            asking: None,
            reasons: HashMap::new(),
            class_reasons: HashMap::new(),
        }
    }

    /// Starts anew, with nothing remembered.
    pub(crate) fn start(&mut self, now: Instant) {
        *self = Self {
            state: State::Running,
            life: self.life + 1,
            attempt: Attempt { number: self.attempt.number, asked: now },
            turn: self.turn,
            // Watches are counted through all lives.
            streams: self.streams.iter().map(|(kind, it)| (*kind, Stream { open: false, ..*it })).collect(),
            ..Self::new(self.number, now)
        };
    }

    /// Ends at once. What it has sent is on its way.
    pub(crate) fn end(&mut self) {
        self.state = State::Dead;
        self.life += 1;
        self.calls.clear();
        self.inbox.clear();
        self.turn_at = None;
        for stream in self.streams.values_mut() {
            stream.open = false;
        }
    }

    /// May it act, as it sees it itself?
    pub(crate) fn leads(&self, now: Moment) -> bool {
        self.campaign.held_until().is_some_and(|until| now.instant < until)
    }

    /// A time of a node's clock by this process's own.
    pub(crate) fn ours(&mut self, node: usize, at: Timestamp, now: Moment) -> Option<Timestamp> {
        self.clocks.get_mut(&node).map_or(Some(at), |clock| clock.ours(at, now))
    }

    /// A time of a node's clock that may be long ago.
    pub(crate) fn ours_long_ago(&self, node: usize, at: Timestamp) -> Option<Timestamp> {
        self.clocks.get(&node).map_or(Some(at), |clock| clock.ours_long_ago(at))
    }

    /// An agent that begins a stream says what the node's clock says.
    pub(crate) fn greeted(&mut self, node: usize, sent: Timestamp, now: Moment) {
        self.clocks.insert(node, NodeClock::default());
        self.heard(node, sent, now);
    }

    /// A heartbeat says what the node's clock says.
    pub(crate) fn heard(&mut self, node: usize, sent: Timestamp, now: Moment) {
        self.clocks.entry(node).or_default().heard(sent, now);
    }

    pub(crate) fn stream(&mut self, kind: Kind) -> &mut Stream {
        self.streams.entry(kind).or_default()
    }
}

fn campaign(number: usize) -> Campaign {
    Campaign::new(Candidate {
        name: "orlop-operator".to_owned(),
        identity: crate::fact::name(number).to_string(),
        duration: LEASE,
    })
}

/// A time so much later, also where there is no such time.
pub(crate) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    if by.is_zero() { time } else { time.checked_add(by).unwrap_or(Timestamp::MAX) }
}
