//! Why a request to the API server failed, by what is to be done about it.

use std::time::Duration;

use kube::core::Status;

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The object is no longer what was planned for: decide again from what it is now.
    Overtaken,
    /// The API server does not allow it: a quota, an admission webhook, missing rights. The text is its own. Asking
    /// again soon would not change its mind.
    Refused(String),
    /// No answer, or none that says anything. It may have been done nevertheless; the preconditions see to it that
    /// it is not done twice.
    Unanswered(String),
}

impl Failure {
    /// Nothing was asked for, because this operator may not act now.
    pub fn not_leading() -> Self {
        Self::Unanswered("this operator does not hold the lease now".to_owned())
    }

    /// The deadline has passed.
    pub fn no_answer(within: Duration) -> Self {
        Self::Unanswered(format!("no answer within {within:?}"))
    }

    /// The reason as a label of a metric.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Overtaken => "overtaken",
            Self::Refused(_) => "refused",
            Self::Unanswered(_) => "unanswered",
        }
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        match status.code {
            404 | 409 => Self::Overtaken,
            422 if is_failed_precondition(status) => Self::Overtaken,
            429 | 500.. => Self::Unanswered(status.message.clone()),
            _ => Self::Refused(status.message.clone()),
        }
    }
}

/// A precondition that does not hold is answered as an object that fails validation is. But the answer to a JSON patch
/// whose test fails names no object, and the one to a patch for another UID names that field.
fn is_failed_precondition(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|details| {
        details.name.is_empty() || details.causes.iter().any(|cause| cause.field == "metadata.uid")
    })
}
