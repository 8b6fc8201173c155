//! Why a call is refused, and the one place that says which gRPC code that is. Sidecars and kubelets act on the code:
//! they try again at once, later, elsewhere or never.

use std::path::PathBuf;

use orlop_volume::{Error as VolumeError, InvalidId, VolumeId};
use tonic::{Code, Status};

use super::TOPOLOGY_KEY;
use crate::causes;

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
    #[error("{id} is on another node than this one, `{node}`: ask the driver there")]
    OtherNode { id: String, node: String },
    #[error(
        "{id}, with which the volume is to start, is on another node than this one, `{node}`, and only a volume there \
         can start with it"
    )]
    SourceElsewhere { id: String, node: String },
    #[error("`staging_target_path` is missing: stage the volume first")]
    NotStaged,
    #[error("volume {id} is for one pod at a time, and is in use at {}: stop that pod first", .path.display())]
    InUseAlone { id: VolumeId, path: PathBuf },
    #[error("{0} are not on one node, and a group must be: choose volumes of one node")]
    Scattered(String),
    #[error(
        "volume {id} is on another node, and this driver knows no operator that would hand the change on: give it \
         --namespace, or ask the driver there"
    )]
    NoOperator { id: VolumeId },
    #[error("it is wanted elsewhere than on this node: its {TOPOLOGY_KEY} is `{node}`")]
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
            Self::OtherNode { .. } | Self::NotStaged | Self::InUseAlone { .. } | Self::Scattered(_) => {
                Code::FailedPrecondition
            }
            // The code that lets the scheduler try another node.
            Self::Elsewhere { .. } | Self::SourceElsewhere { .. } => Code::ResourceExhausted,
            Self::NoOperator { .. } => Code::Unavailable,
            Self::Token(_) => Code::Aborted,
            Self::Panicked(_) => Code::Internal,
            Self::Volume(error) => match error {
                VolumeError::NotFound(_)
                | VolumeError::NoSnapshot(_)
                | VolumeError::NoGroup(_)
                | VolumeError::SourceMissing(_)
                | VolumeError::NotMounted { .. } => Code::NotFound,
                VolumeError::Conflict { .. } => Code::AlreadyExists,
                VolumeError::TooSmall { .. } => Code::OutOfRange,
                VolumeError::NoRoom { .. } => Code::ResourceExhausted,
                VolumeError::Busy(_) | VolumeError::ThawedEarly(_) => Code::Aborted,
                VolumeError::NoWatchdog(_) => Code::Unavailable,
                VolumeError::MountOption(..)
                | VolumeError::SourceDiffers { .. }
                | VolumeError::InGroup { .. }
                | VolumeError::Unrelated(..) => Code::InvalidArgument,
                VolumeError::CannotFreeze(_)
                | VolumeError::InUse { .. }
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

impl Refusal {
    /// As the caller is told, and the log.
    pub(super) fn reported(self, rpc: &'static str, object: &str) -> Status {
        let status = Status::from(self);
        tracing::warn!(rpc, object, code = ?status.code(), "refused: {}", status.message());
        status
    }
}

/// The message has the whole chain of causes: it ends up in an Event, which has no other place for them.
impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), causes::in_one_line(&refusal))
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
        let source = Refusal::SourceElsewhere { id: "snap-1".into(), node: "a".into() };
        assert_eq!(source.code(), Code::ResourceExhausted);
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
