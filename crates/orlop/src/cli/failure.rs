//! How a command fails: what happened, what to do, and the chain of causes.

use std::{error::Error, fmt, process::ExitCode};

use crate::causes::chain;

/// What a command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// A failure as its user reads it.
#[derive(Debug)]
pub struct Failure {
    what: String,
    remedy: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    exit_code: u8,
}

impl Failure {
    /// A failure that says what happened, to which object.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None, cause: None, exit_code: 1 }
    }

    /// A failure that `cause` led to.
    pub fn because(what: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what: what.into(), remedy: None, cause: Some(cause.into()), exit_code: 1 }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Ends the program with this code in the place of 1, for a command whose failures mean different things.
    #[must_use]
    pub fn exit_code(mut self, code: u8) -> Self {
        self.exit_code = code;
        self
    }

    /// What the program ends with.
    pub fn code(&self) -> ExitCode {
        self.exit_code.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for error in self.source().into_iter().flat_map(chain) {
            write!(f, "\n  because: {error}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  to do: {remedy}")?;
        }
        Ok(())
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
