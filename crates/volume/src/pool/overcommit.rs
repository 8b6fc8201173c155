//! The overcommit ratio.

use std::{fmt, str::FromStr};

use orlop_api::Bytes;

/// How much may be promised, in percent of what is there; 100 by default, so that whatever is promised can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit(u32);

impl Default for Overcommit {
    fn default() -> Self {
        Self(100)
    }
}

impl Overcommit {
    /// What may be promised to thin volumes when `room` is there, rounded down.
    pub(super) fn promisable(self, room: Bytes) -> Bytes {
        saturated(u128::from(room.0) * u128::from(self.0) / 100)
    }

    /// What must be there so that `promised` may be promised to thin volumes, rounded up.
    pub(super) fn backing(self, promised: Bytes) -> Bytes {
        saturated((u128::from(promised.0) * 100).div_ceil(u128::from(self.0)))
    }
}

fn saturated(bytes: u128) -> Bytes {
    Bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Not a ratio such as `1.0`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an overcommit ratio: write a number from 1 (promise what is there) to 100, such as 1.5")]
pub struct InvalidOvercommit(String);

impl FromStr for Overcommit {
    type Err = InvalidOvercommit;

    fn from_str(text: &str) -> Result<Self, InvalidOvercommit> {
        match text.parse::<f64>() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
            Ok(ratio @ 1.0..=100.0) => Ok(Self((ratio * 100.0).round() as u32)),
            _ => Err(InvalidOvercommit(text.to_owned())),
        }
    }
}

/// The ratio, such as `1.5`.
impl fmt::Display for Overcommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f64::from(self.0) / 100.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overcommit_ratio_is_one_at_least() {
        assert_eq!("1".parse::<Overcommit>().unwrap(), Overcommit::default());
        assert_eq!("1.5".parse::<Overcommit>().unwrap().to_string(), "1.5");
        for text in ["0.9", "-1", "101", "NaN", "two"] {
            assert!(text.parse::<Overcommit>().is_err(), "{text}");
        }
    }
}
