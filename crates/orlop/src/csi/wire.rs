//! Numbers and times as they stand on the wire.

use std::time::{SystemTime, UNIX_EPOCH};

use orlop_api::Bytes;
use prost_types::Timestamp;

/// A size; sizes on the wire end at 2^63 - 1.
pub(super) fn signed(size: Bytes) -> i64 {
    i64::try_from(size.0).unwrap_or(i64::MAX)
}

/// A time; one before 1970, by a clock that was never set, counts as 1970.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time.max(UNIX_EPOCH))
}
