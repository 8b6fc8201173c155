//! What the operator knows, decides and asks for, without any I/O: no client, no runtime, no clock of its own. News goes
//! in, with the moment at which it came, and what is to be sent comes out; whoever runs it (the program `orlop operator`,
//! the simulator) carries that to an API server and brings the answers back.
//!
//! [`Core`] is the whole; [`observe`] keeps what is known, `orlop_planner` decides, an [`Errand`] is what is being
//! carried out, [`objects`] reads what the API server has, [`lease`] says which of several operators acts, and
//! [`kubelets`] which kubelet is asked when how full its volumes are.

mod agenda;
mod asked;
mod backoff;
mod core;
mod counting;
mod errand;
mod failure;
pub mod inspect;
pub mod kubelets;
pub mod lease;
mod measure;
mod metrics;
mod moment;
mod node_clock;
pub mod notice;
pub mod objects;
pub mod observe;
mod pace;
mod record;
pub mod request;
mod setbacks;
mod status;
pub mod stored;
mod templates;
mod vigil;

pub use self::{
    backoff::Backoff,
    core::{Core, Effects, StatusWrite, TemplateActed},
    counting::Counted,
    errand::{Acted, Errand, Next},
    failure::Failure,
    measure::{History, Measurement},
    metrics::Metrics,
    moment::Moment,
    node_clock::NodeClock,
    notice::Notice,
};
