//! Why a call is refused, and the one place that says which gRPC code that is. Sidecars and kubelets act on the code:
//! they try again at once, later, elsewhere or never.

use std::error::Error as _;

use orlop_volume::{Error as VolumeError, InvalidId, VolumeId};
use tonic::{Code, Status};

use super::TOPOLOGY_KEY;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    OutOfRange(String),
    #[error(transparent)]
    UnknownId(#[from] InvalidId),
    #[error("volume {id} is on another node than this one, `{node}`: ask the driver there")]
    OtherNode { id: VolumeId, node: String },
    #[error("the volume is wanted elsewhere than on this node: its {TOPOLOGY_KEY} is `{node}`")]
    Elsewhere { node: String },
    #[error("`{0}` is not a starting_token of this driver: start without one")]
    Token(String),
    #[error("the operation ended unexpectedly: {0}")]
    Panicked(String),
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Missing(_) | Self::Invalid(_) => Code::InvalidArgument,
            Self::OutOfRange(_) => Code::OutOfRange,
            Self::UnknownId(_) => Code::NotFound,
            Self::OtherNode { .. } => Code::FailedPrecondition,
            // The code that lets the scheduler try another node.
            Self::Elsewhere { .. } => Code::ResourceExhausted,
            Self::Token(_) => Code::Aborted,
            Self::Panicked(_) => Code::Internal,
            Self::Volume(error) => match error {
                VolumeError::NotFound(_) | VolumeError::NotMounted { .. } => Code::NotFound,
                VolumeError::Conflict { .. } => Code::AlreadyExists,
                VolumeError::TooSmall { .. } => Code::OutOfRange,
                VolumeError::NoRoom { .. } => Code::ResourceExhausted,
                VolumeError::Busy(_) => Code::Aborted,
                VolumeError::MountOption(..) => Code::InvalidArgument,
                VolumeError::InUse { .. }
                | VolumeError::NotStaged { .. }
                | VolumeError::Occupied { .. }
                | VolumeError::GrowsWhenStaged(_) => Code::FailedPrecondition,
                VolumeError::Damaged { .. } => Code::DataLoss,
                VolumeError::Pool { .. }
                | VolumeError::Buffered { .. }
                | VolumeError::Tool { .. }
                | VolumeError::Io { .. } => Code::Internal,
            },
        }
    }
}

/// The message has the whole chain of causes: it ends up in an Event, which has no other place for them.
impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut message = refusal.to_string();
        let mut cause = refusal.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::new(refusal.code(), message)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use orlop_api::Bytes;

    use super::*;

    #[test]
    fn a_full_pool_sends_the_scheduler_to_another_node() {
        let error = VolumeError::NoRoom { asked: Bytes::GIB, available: Bytes::MIB };
        let status = Status::from(Refusal::from(error));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(Refusal::Elsewhere { node: "a".into() }.code(), Code::ResourceExhausted);
    }

    #[test]
    fn a_message_has_its_causes() {
        let source = io::Error::from_raw_os_error(5);
        let error = VolumeError::Io { action: "mount", object: "/dev/loop7".into(), source };
        let status = Status::from(Refusal::from(error));
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "cannot mount /dev/loop7: Input/output error (os error 5)");
    }
}
