//! How the record of a claim's last growth is written into the claim's annotation: with the UID of the claim whose growth
//! it was. A copy of a claim, a backup that is restored under its name for one, brings the annotation along, and what was
//! asked of another volume's driver says nothing of this one's.

use orlop_planner::{GrowthRecord, Uid};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Written {
    /// The UID of the claim; empty where an earlier operator wrote none.
    #[serde(default)]
    claim: String,
    #[serde(flatten)]
    record: GrowthRecord,
}

/// The annotation's text for a growth of the claim of this UID.
pub(crate) fn write(claim: &Uid, record: &GrowthRecord) -> Option<String> {
    serde_json::to_string(&Written { claim: claim.0.to_string(), record: record.clone() }).ok()
}

/// The record that the annotation of the claim of this UID holds; none where the text is no record, or that of another
/// claim.
pub(crate) fn read(text: &str, claim: &Uid) -> Option<GrowthRecord> {
    let written: Written = serde_json::from_str(text).ok()?;
    (written.claim.is_empty() || *written.claim == *claim.0).then_some(written.record)
}
