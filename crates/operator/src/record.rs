//! How the records of a claim's last growth and of the last change of its class are written into the claim's annotations:
//! with the UID of the claim whose record it was. A copy of a claim, a backup that is restored under its name for one, brings the annotation along, and what was
//! asked of another volume's driver says nothing of this one's.

use orlop_planner::Uid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Serialize, Deserialize)]
struct Written<R> {
    /// The UID of the claim; empty where an earlier operator wrote none.
    #[serde(default)]
    claim: String,
    #[serde(flatten)]
    record: R,
}

/// The annotation's text for a record of the claim of this UID.
pub(crate) fn write(claim: &Uid, record: &impl Serialize) -> Option<String> {
    serde_json::to_string(&Written { claim: claim.0.to_string(), record }).ok()
}

/// The record that the annotation of the claim of this UID holds; none where the text is no record, or that of another
/// claim.
pub(crate) fn read<R: DeserializeOwned>(text: &str, claim: &Uid) -> Option<R> {
    let written: Written<R> = serde_json::from_str(text).ok()?;
    (written.claim.is_empty() || *written.claim == *claim.0).then_some(written.record)
}
