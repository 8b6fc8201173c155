//! What tests have the watches tell.

use orlop_api::Bytes;
use orlop_planner::{Labels, Resize, Uid};

use super::{ClaimFacts, Spelling};

/// A claim of 1Gi with the UID `u` and the StorageClass `fast`, bound to the volume `pv`.
pub(crate) fn claim_facts() -> ClaimFacts {
    ClaimFacts {
        uid: Uid("u".into()),
        version: Some(1),
        labels: Labels::default(),
        belonging: None,
        class: Some("fast".into()),
        volume: Some("pv".into()),
        raw_block: false,
        requested: Bytes::GIB,
        capacity: Some(Bytes::GIB),
        resize: Resize::Idle,
        paused: None,
        growth: None,
        attributes: None,
        spelling: Spelling::default(),
    }
}
