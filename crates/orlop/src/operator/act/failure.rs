//! Why a request to the API server failed, by what is to be done about it.

use std::time::Duration;

use kube::core::Status;

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
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
    pub(crate) fn not_leading() -> Self {
        Self::Unanswered("this operator does not hold the lease now".to_owned())
    }

    /// The deadline has passed.
    pub(crate) fn no_answer(within: Duration) -> Self {
        Self::Unanswered(format!("no answer within {within:?}"))
    }

    /// The reason as a label of a metric.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Overtaken => "overtaken",
            Self::Refused(_) => "refused",
            Self::Unanswered(_) => "unanswered",
        }
    }
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => of_status(status),
            other => Self::Unanswered(other.to_string()),
        }
    }
}

fn of_status(status: &Status) -> Failure {
    match status.code {
        404 | 409 => Failure::Overtaken,
        422 if is_failed_precondition(status) => Failure::Overtaken,
        429 | 500.. => Failure::Unanswered(status.message.clone()),
        _ => Failure::Refused(status.message.clone()),
    }
}

/// A precondition that does not hold is answered as an object that fails validation is. But the answer to a JSON patch
/// whose test fails names no object, and the one to a patch for another UID names that field.
fn is_failed_precondition(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|details| {
        details.name.is_empty() || details.causes.iter().any(|cause| cause.field == "metadata.uid")
    })
}
