//! The documents, version 1. A field is added without a new version, and none is taken away or given another meaning
//! within one: readers pass over what they do not know. Sizes are Kubernetes quantities (`512Mi`), times are RFC 3339, and
//! what is not known is left out.

mod claim;
mod fleet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    claim::{
        Act, ClaimAccount, ClassAccount, ClassAct, ClassLimits, DecisionAccount, DriverAccount, ExceededAccount,
        ExceededLimit, ForecastAccount, Governed, InodeAccount, LoadAccount, MaintenanceAccount, ModificationAccount,
        OwnerAccount, OwnerLink, PerDayAccount, PerformanceAccount, PerformanceThresholds, PressureAccount,
        ProfileOrigin, SetbackAccount, SizeAccount, TemplateAccount, ThresholdAccount, UsageAccount, WriteBackAccount,
    },
    fleet::{Agents, ClaimPage, ClaimRow, Cost, DriverRow, Fleet, Growths, Measured, PolicyRow, SourceRow, Totals},
};

/// The version of the documents.
pub const API_VERSION: &str = "inspect.orlop.dev/v1";

/// What every document has, around its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<T> {
    /// [`API_VERSION`].
    pub api_version: String,
    /// What the content is.
    pub kind: String,
    /// When it was made, by the operator's clock.
    pub at: Timestamp,
    /// The content.
    #[serde(flatten)]
    pub content: T,
}

/// What a document can hold.
pub trait Content {
    /// Its kind.
    const KIND: &'static str;
}

impl Content for ClaimAccount {
    const KIND: &'static str = "ClaimAccount";
}

impl Content for ClaimPage {
    const KIND: &'static str = "ClaimPage";
}

impl Content for Fleet {
    const KIND: &'static str = "Fleet";
}

impl<T: Content> Document<T> {
    /// A document of this version.
    pub fn new(content: T, at: Timestamp) -> Self {
        Self { api_version: API_VERSION.to_owned(), kind: T::KIND.to_owned(), at, content }
    }

    /// The content of a document that was read, or why it is not what was asked for.
    pub fn open(self) -> Result<(T, Timestamp), Refused> {
        if self.api_version != API_VERSION || self.kind != T::KIND {
            return Err(Refused { api_version: self.api_version, kind: self.kind, wanted: T::KIND });
        }
        Ok((self.content, self.at))
    }
}

/// A document of another version or kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the operator answers with a {kind} of {api_version}, and this orlop reads a {wanted} of {API_VERSION}")]
pub struct Refused {
    api_version: String,
    kind: String,
    wanted: &'static str,
}
