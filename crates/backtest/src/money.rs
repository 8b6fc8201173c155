//! What bytes held for a time cost. Whole numbers only, so that a sum is the sum of its parts.

use std::{fmt, ops::Add};

use orlop_api::{Bytes, Price, amount};
use serde::{Serialize, Serializer};

/// A month as volumes are billed: of 30 days, by the second (the worked examples of the page "Amazon EBS pricing").
pub(crate) const MONTH_MS: u128 = 30 * 86_400 * 1000;

/// An amount in a currency that is said beside it, in millionths. It is written with two digits after the point, and in
/// JSON with all six.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub u128);

impl Amount {
    /// What it costs to hold so many bytes times milliseconds.
    pub(crate) fn of(byte_ms: u128, price: &Price) -> Self {
        let per_gib_month = u128::from(price.per_gib_month.millionths());
        Self(byte_ms.saturating_mul(per_gib_month) / (u128::from(Bytes::GIB.0) * MONTH_MS))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&amount(self.0))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000))
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// GiB held for a month, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GibMonths(pub u128);

impl GibMonths {
    pub(crate) fn of(byte_ms: u128) -> Self {
        Self(byte_ms.saturating_mul(1000) / (u128::from(Bytes::GIB.0) * MONTH_MS))
    }
}

impl Add for GibMonths {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for GibMonths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 100)
    }
}

impl Serialize for GibMonths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(per_gib_month: &str) -> Price {
        Price {
            currency: "USD".to_owned(),
            per_gib_month: per_gib_month.parse().unwrap(),
            per_iops_month: None,
            per_mibps_month: None,
            source: "a list".to_owned(),
            as_of: "2026-01-31".to_owned(),
        }
    }

    /// The example of "Amazon EBS pricing": 2,000 GB for 12 hours in a 30-day month at $0.08 are $2.67.
    #[test]
    fn a_volume_costs_what_the_page_that_the_price_is_from_works_out() {
        let held = 2000 * u128::from(Bytes::GIB.0) * 43_200 * 1000;
        assert_eq!(Amount::of(held, &price("0.08")).to_string(), "2.67");
    }

    #[test]
    fn the_largest_fleet_for_the_longest_time_at_the_highest_price_is_still_a_number() {
        let held = u128::from(Bytes(64 << 40).0) * 100_000 * 365 * 86_400 * 1000;
        assert!(Amount::of(held, &price("0.2")).0 > 0);
        assert!(GibMonths::of(held).to_string().starts_with("79735466666"), "{}", GibMonths::of(held));
    }

    #[test]
    fn an_amount_is_rounded_for_people_and_whole_for_programs() {
        let amount = Amount(12_345_678);
        assert_eq!(amount.to_string(), "12.35");
        assert_eq!(serde_json::to_string(&amount).unwrap(), "\"12.345678\"");
    }
}
