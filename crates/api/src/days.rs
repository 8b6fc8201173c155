//! Spans of days, for what is planned ahead. A period of hours is a [`Period`](crate::Period).

use std::{fmt, str::FromStr};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{units::UnitError, written::written_as_text};

/// A number of days, from 1 to 99, written as `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Days(u8);

impl Days {
    /// So many days, held within 1 and 99.
    pub const fn new(days: u8) -> Self {
        match days {
            0 => Self(1),
            1..=99 => Self(days),
            _ => Self(99),
        }
    }

    /// How many.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl From<Days> for SignedDuration {
    fn from(days: Days) -> Self {
        Self::from_hours(24 * i64::from(days.0))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}d", self.0)
    }
}

impl FromStr for Days {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let days = text.strip_suffix('d').filter(|digits| digits.starts_with(|first: char| matches!(first, '1'..='9')));
        match days.and_then(|digits| digits.parse().ok()) {
            Some(days @ 1..=99) => Ok(Self(days)),
            _ => Err(UnitError::Days(text.to_owned())),
        }
    }
}

written_as_text!(
    Days,
    max_length: 3,
    rule: "self.matches('^[1-9][0-9]?d$')",
    message: "is not a number of days: write one from 1d to 99d, such as 7d",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_a_number_with_a_d_and_read_back() {
        for (text, days) in [("1d", 1), ("7d", 7), ("99d", 99)] {
            let parsed: Days = text.parse().unwrap();
            assert_eq!((parsed.number(), parsed.to_string()), (days, text.to_owned()));
        }
        assert_eq!(SignedDuration::from(Days::new(7)), SignedDuration::from_hours(168));
        for text in ["", "d", "0d", "07d", "+7d", "100d", "7", "168h", "1.5d"] {
            assert!(text.parse::<Days>().is_err(), "{text}");
        }
    }
}
