//! Sizes, counts, thresholds and periods as they are written in a manifest: parsed once, typed from then on.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{quantity, written::written_as_text};

/// Why a text is not the unit it should be. The message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size such as `512Mi`.
    #[error("`{0}` is not a size: write a Kubernetes quantity, such as 512Mi or 100Gi")]
    Bytes(String),
    /// Not a count such as `10000`.
    #[error("`{0}` is not a count: write a whole number, such as 10000")]
    Count(String),
    /// A percentage outside 1% to 99%.
    #[error("`{0}` is not a percentage between 1% and 99%")]
    Percent(String),
    /// Not a period such as `10m`.
    #[error("`{0}` is not a period: write hours, minutes and seconds, such as 90s, 10m or 1h30m")]
    Period(String),
    /// Not a number of days.
    #[error("`{0}` is not a number of days: write one from 1d to 99d, such as 7d")]
    Days(String),
    /// Not a number such as `0.08`.
    #[error("`{0}` is not a decimal number: write digits, at most twelve before and six after the point, such as 0.08")]
    Decimal(String),
}

/// A number of bytes, at most 2^63 - 1 as in the API server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

impl Bytes {
    /// One binary kilobyte, 1,024 bytes.
    pub const KIB: Self = Self(1 << 10);
    /// One binary megabyte.
    pub const MIB: Self = Self(1 << 20);
    /// One binary gigabyte.
    pub const GIB: Self = Self(1 << 30);

    /// This size rounded up to a whole multiple of `increment`; an increment of zero changes nothing. Saturates.
    #[must_use]
    pub fn round_up(self, increment: Self) -> Self {
        if increment.0 == 0 { self } else { Self(self.0.div_ceil(increment.0).saturating_mul(increment.0)) }
    }

    /// This size rounded down to a whole multiple of `increment`; an increment of zero changes nothing.
    #[must_use]
    pub fn round_down(self, increment: Self) -> Self {
        self.0.checked_div(increment.0).map_or(self, |times| Self(times * increment.0))
    }

    /// A text for people: three significant digits in the largest binary unit, such as `1.25 GiB`.
    pub fn human(self) -> String {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        match unit {
            0 => format!("{} B", self.0),
            _ if value >= 100.0 => format!("{value:.0} {}", UNITS[unit]),
            _ if value >= 10.0 => format!("{value:.1} {}", UNITS[unit]),
            _ => format!("{value:.2} {}", UNITS[unit]),
        }
    }
}

/// The exact value as a Kubernetes quantity, in the largest binary unit that divides it: `512Mi`, `1537`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, suffix) in [(50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if self.0 != 0 && self.0.is_multiple_of(1_u64 << shift) {
                return write!(f, "{}{suffix}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        quantity::parse(text).map(Self).ok_or_else(|| UnitError::Bytes(text.to_owned()))
    }
}

written_as_text!(
    Bytes,
    max_length: 32,
    rule: "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
    message: "is not a size: write a Kubernetes quantity above zero, such as 512Mi or 100Gi",
);

/// A whole number of things, such as inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Count {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.parse().map(Self).map_err(|_| UnitError::Count(text.to_owned()))
    }
}

/// What can stand beside a percentage in a [`Threshold`].
pub trait Unit: Copy + fmt::Display + FromStr<Err = UnitError> {
    /// What to write, for the schema's message.
    const EXAMPLE: &'static str;
    /// The CEL expression that holds for a valid absolute value, over `self`.
    const RULE: &'static str;
    /// The bare number.
    fn number(self) -> u64;
}

impl Unit for Bytes {
    const EXAMPLE: &'static str = "10Gi";
    const RULE: &'static str = "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))";
    fn number(self) -> u64 {
        self.0
    }
}

impl Unit for Count {
    const EXAMPLE: &'static str = "10000";
    const RULE: &'static str = "self.matches('^[1-9][0-9]{0,17}$')";
    fn number(self) -> u64 {
        self.0
    }
}

/// A share of a whole that the field names, 1% to 99%.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(u8);

impl Percent {
    /// A percentage, held within 1% and 99%.
    pub const fn new(percent: u8) -> Self {
        match percent {
            0 => Self(1),
            1..=99 => Self(percent),
            _ => Self(99),
        }
    }

    /// The number, 1 to 99.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// What is left of the whole.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(100 - self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Percent {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text.strip_suffix('%').map(str::parse) {
            Some(Ok(percent @ 1..=99)) => Ok(Self(percent)),
            _ => Err(UnitError::Percent(text.to_owned())),
        }
    }
}

written_as_text!(
    Percent,
    max_length: 3,
    rule: "self.matches('^[1-9][0-9]?%$')",
    message: "is not a percentage: write a whole number from 1% to 99%, such as 60%",
);

/// An absolute value, or a percentage (1 to 99) of a whole that the field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "U: Unit")]
pub enum Threshold<U> {
    /// This many.
    Absolute(U),
    /// This percentage of the whole, 1 to 99.
    Percent(u8),
}

impl<U: Unit> Threshold<U> {
    /// The threshold as a number, rounded up, where `whole` is 100%.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Absolute(value) => value.number(),
            Self::Percent(percent) => {
                let part = (u128::from(whole) * u128::from(percent)).div_ceil(100);
                u64::try_from(part).unwrap_or(u64::MAX)
            }
        }
    }
}

impl<U: Unit> fmt::Display for Threshold<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(value) => value.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl<U: Unit> FromStr for Threshold<U> {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.ends_with('%') {
            text.parse().map(|Percent(percent)| Self::Percent(percent))
        } else {
            text.parse().map(Self::Absolute)
        }
    }
}

impl<U: Unit> TryFrom<String> for Threshold<U> {
    type Error = UnitError;
    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl<U: Unit> From<Threshold<U>> for String {
    fn from(threshold: Threshold<U>) -> Self {
        threshold.to_string()
    }
}

impl<U: Unit> JsonSchema for Threshold<U> {
    fn schema_name() -> Cow<'static, str> {
        format!("Threshold_{}", U::EXAMPLE).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "x-kubernetes-validations": [{
                "rule": format!("self.endsWith('%') ? self.matches('^[1-9][0-9]?%$') : {}", U::RULE),
                "message": format!("is not a threshold: write a value such as {} or a percentage from 1% to 99%", U::EXAMPLE),
            }],
        })
    }
}

/// A span of time in whole seconds, one second to one year, written as `90s`, `10m` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(u64);

impl Period {
    const LONGEST_S: u64 = 365 * 86_400;

    /// A period of this many seconds, held within one second and one year.
    pub const fn from_secs(seconds: u64) -> Self {
        match seconds {
            0 => Self(1),
            1..=Self::LONGEST_S => Self(seconds),
            _ => Self(Self::LONGEST_S),
        }
    }

    /// The period in seconds.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        Self::from_secs(period.0)
    }
}

impl From<Period> for SignedDuration {
    fn from(period: Period) -> Self {
        // A year of seconds fits.
        Self::from_secs(period.0.cast_signed())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if seconds > 0 || self.0 == 0 {
            write!(f, "{seconds}s")?;
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refuse = || UnitError::Period(text.to_owned());
        let duration: SignedDuration = text.parse().map_err(|_| refuse())?;
        match u64::try_from(duration.as_secs()) {
            Ok(seconds @ 1..=Self::LONGEST_S) if duration.subsec_nanos() == 0 => Ok(Self(seconds)),
            _ => Err(refuse()),
        }
    }
}

written_as_text!(
    Period,
    max_length: 16,
    rule: "self.matches('^([0-9]{1,4}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$') && self != '' \
           && duration(self) >= duration('1s') && duration(self) <= duration('8760h')",
    message: "is not a period: write hours, minutes and seconds from 1s to 8760h, such as 90s, 10m or 1h30m",
);

/// A number from 0 with at most twelve digits before the point and six after it, kept exactly: a price, an amount of money,
/// or a share for each GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal(u64);

impl Decimal {
    const WHOLE_DIGITS: usize = 12;
    const FRACTION_DIGITS: usize = 6;
    const LARGEST: u64 = 10_u64.pow(18) - 1;

    /// A number of so many millionths, held within what can be written.
    pub const fn from_millionths(millionths: u64) -> Self {
        if millionths > Self::LARGEST { Self(Self::LARGEST) } else { Self(millionths) }
    }

    /// The number in millionths.
    pub const fn millionths(self) -> u64 {
        self.0
    }
}

/// The shortest text that reads back: `0.08`, `30`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for Decimal {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits =
            |part: &str, most| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole, Self::WHOLE_DIGITS) || !are_digits(fraction, Self::FRACTION_DIGITS) {
            return Err(UnitError::Decimal(text.to_owned()));
        }
        format!("{whole}{fraction:0<6}").parse().map(Self).map_err(|_| UnitError::Decimal(text.to_owned()))
    }
}

written_as_text!(
    Decimal,
    max_length: 19,
    rule: "self.matches('^[0-9]{1,12}([.][0-9]{1,6})?$')",
    message: "is not a decimal number: write it in quotes with at most twelve digits before and six after \
              the point, such as '0.08' or '30'",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_api_server_reads_them() {
        for (text, bytes) in
            [("512Mi", 512 << 20), ("1G", 1_000_000_000), ("1.5Gi", 3 << 29), ("1537", 1537), ("1e3", 1000)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "10 GB", "-1Gi", "ten", "1Zi"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_is_written_so_that_it_reads_back() {
        for bytes in [0, 1, 1024, 1537, 512 << 20, (1 << 40) + 1] {
            assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
        }
    }

    #[test]
    fn a_percentage_is_of_the_whole_and_rounds_up() {
        let threshold: Threshold<Bytes> = "20%".parse().unwrap();
        assert_eq!(threshold.of(101), 21);
        assert_eq!("64Mi".parse::<Threshold<Bytes>>().unwrap().of(5), 64 << 20);
        for text in ["0%", "100%", "20 %", "%", "-5%"] {
            assert!(text.parse::<Threshold<Bytes>>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_of_a_whole_is_a_whole_number_of_percent() {
        let percent: Percent = "60%".parse().unwrap();
        assert_eq!((percent.number(), percent.rest().number(), percent.to_string()), (60, 40, "60%".to_owned()));
        for text in ["0%", "100%", "60", "6.5%", "%", "-5%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_period_reads_back_and_refuses_what_is_not_one() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400)] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.as_secs(), seconds);
            assert_eq!(period.to_string().parse(), Ok(period));
        }
        for text in ["", "10", "0s", "-5m", "1.5ms", "100000h"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_decimal_number_is_exact_and_reads_back() {
        for (text, millionths, written) in
            [("0.08", 80_000, "0.08"), ("30", 30_000_000, "30"), ("0", 0, "0"), ("007.10", 7_100_000, "7.1")]
        {
            let decimal: Decimal = text.parse().unwrap();
            assert_eq!((decimal.millionths(), decimal.to_string()), (millionths, written.to_owned()));
            assert_eq!(written.parse(), Ok(decimal));
        }
        for text in ["", ".5", "5.", "-1", "1e3", "1.0000001", "1000000000000", "1,5", "1.2.3"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }
}
