//! What a volume costs.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Decimal};

/// The list price of a volume that is billed by what is provisioned.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// The currency's code in ISO 4217, such as USD.
    #[schemars(length(max = 3))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Z]{3}$')")
        .message("is not a currency: write its code of three capital letters, such as USD"))]
    pub currency: String,
    /// What a GiB costs a month.
    pub per_gib_month: Decimal,
    /// What an I/O operation a second costs a month, beyond what is included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_iops_month: Option<Decimal>,
    /// What a MiB a second costs a month, beyond what is included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mibps_month: Option<Decimal>,
    /// Where the price comes from: the title of a page, and the region.
    #[schemars(length(min = 1, max = 256))]
    pub source: String,
    /// The day on which the source said so, as 2026-01-31.
    #[schemars(schema_with = "super::day")]
    pub as_of: String,
}

impl Price {
    /// What so many bytes cost a month, in millionths of the currency, rounded up. Saturates.
    pub fn monthly_millionths(&self, size: Bytes) -> u128 {
        u128::from(size.0).saturating_mul(self.per_gib_month.millionths().into()).div_ceil(Bytes::GIB.0.into())
    }

    /// The largest size that costs no more than so many millionths of the currency a month.
    pub fn affordable(&self, millionths: u128) -> Bytes {
        let size = millionths.saturating_mul(Bytes::GIB.0.into()).checked_div(self.per_gib_month.millionths().into());
        Bytes(size.map_or(u64::MAX, |size| u64::try_from(size).unwrap_or(u64::MAX)))
    }

    /// What so many bytes cost a month, such as `2.00 USD`, rounded to the nearest hundredth.
    pub fn monthly(&self, size: Bytes) -> String {
        format!("{} {}", amount(self.monthly_millionths(size)), self.currency)
    }
}

/// An amount of money, rounded to the nearest hundredth: `2.00`.
pub fn amount(millionths: u128) -> String {
    let hundredths = (millionths + 5_000) / 10_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn what_costs_nothing_is_always_affordable() {
        assert_eq!(price("0").affordable(0), Bytes(u64::MAX));
        assert_eq!(price("0").monthly_millionths(Bytes(u64::MAX)), 0);
    }

    proptest! {
        #[test]
        fn the_largest_size_that_is_affordable_costs_no_more_and_a_byte_more_does(
            per_gib_month in 1_u64..10_000_000,
            millionths in 0_u64..u64::MAX >> 12,
        ) {
            let price = Price { per_gib_month: Decimal::from_millionths(per_gib_month), ..price("0") };
            let millionths = u128::from(millionths);
            let most = price.affordable(millionths);
            prop_assert!(price.monthly_millionths(most) <= millionths);
            if most < Bytes(u64::MAX) {
                prop_assert!(price.monthly_millionths(Bytes(most.0 + 1)) > millionths);
            }
        }
    }

    #[test]
    fn a_size_costs_its_share_of_a_gib_rounded_to_the_nearest_hundredth() {
        assert_eq!(price("0.08").monthly(Bytes(25 << 30)), "2.00 USD");
        assert_eq!(price("0.125").monthly(Bytes::GIB), "0.13 USD");
        assert_eq!(price("0.08").monthly(Bytes(128 << 20)), "0.01 USD");
        assert_eq!(price("0.045").monthly(Bytes(1 << 20)), "0.00 USD");
        assert_eq!(price("999999.999999").monthly(Bytes(u64::MAX)), "17179869183982820.13 USD");
    }
}
