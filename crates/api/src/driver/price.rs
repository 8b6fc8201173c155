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
    /// What so many bytes cost a month, in millionths of the currency, rounded down.
    pub fn monthly_millionths(&self, size: Bytes) -> u128 {
        u128::from(size.0) * u128::from(self.per_gib_month.millionths()) / u128::from(Bytes::GIB.0)
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
    use super::*;

    #[test]
    fn a_size_costs_its_share_of_a_gib_rounded_to_the_nearest_hundredth() {
        let price = |per_gib_month: &str| Price {
            currency: "USD".to_owned(),
            per_gib_month: per_gib_month.parse().unwrap(),
            per_iops_month: None,
            per_mibps_month: None,
            source: "a list".to_owned(),
            as_of: "2026-01-31".to_owned(),
        };
        assert_eq!(price("0.08").monthly(Bytes(25 << 30)), "2.00 USD");
        assert_eq!(price("0.125").monthly(Bytes::GIB), "0.13 USD");
        assert_eq!(price("0.08").monthly(Bytes(128 << 20)), "0.01 USD");
        assert_eq!(price("0.045").monthly(Bytes(1 << 20)), "0.00 USD");
        assert_eq!(price("999999.999999").monthly(Bytes(u64::MAX)), "17179869183982820.13 USD");
    }
}
