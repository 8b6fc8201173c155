//! What a `VolumeAttributesClass` gives a volume: which of its parameters limits what.

use std::{collections::BTreeMap, fmt};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// What of a volume's I/O is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Dimension {
    /// Operations a second.
    Iops,
    /// Reads a second.
    ReadIops,
    /// Writes a second.
    WriteIops,
    /// Bytes a second.
    Throughput,
    /// Bytes a second that are read.
    ReadThroughput,
    /// Bytes a second that are written.
    WriteThroughput,
}

impl Dimension {
    /// All of them, each at the index that is its number.
    pub const ALL: [Self; 6] =
        [Self::Iops, Self::ReadIops, Self::WriteIops, Self::Throughput, Self::ReadThroughput, Self::WriteThroughput];

    const fn index(self) -> usize {
        self as usize
    }

    /// What it is, in words: `write IOPS`, `read throughput`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iops => "IOPS",
            Self::ReadIops => "read IOPS",
            Self::WriteIops => "write IOPS",
            Self::Throughput => "throughput",
            Self::ReadThroughput => "read throughput",
            Self::WriteThroughput => "write throughput",
        }
    }

    /// So much of it a second, in words: `500 write IOPS`, `20.0 MiB/s read`.
    pub fn amount(self, amount: u64) -> String {
        let bytes = || Bytes(amount).human();
        match self {
            Self::Iops => format!("{amount} IOPS"),
            Self::ReadIops => format!("{amount} read IOPS"),
            Self::WriteIops => format!("{amount} write IOPS"),
            Self::Throughput => format!("{}/s", bytes()),
            Self::ReadThroughput => format!("{}/s read", bytes()),
            Self::WriteThroughput => format!("{}/s written", bytes()),
        }
    }
}

/// In which unit a class's parameter says how many bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ParameterUnit {
    /// A plain number of MiB.
    #[default]
    MiB,
    /// A plain number of megabytes, of 1,000,000 bytes each.
    MB,
    /// A plain number of bytes.
    Bytes,
    /// A Kubernetes quantity of bytes, such as 100Mi.
    Quantity,
}

/// A parameter of a VolumeAttributesClass that limits a volume's I/O. Its name is compared without regard to case, as most
/// drivers do.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.unit) || self.limits.endsWith('Throughput')")
        .message("unit is for throughput alone: operations are counted, so leave it out"),
)]
pub struct AttributeParameter {
    /// The parameter's name.
    #[schemars(length(min = 1, max = 63))]
    pub parameter: String,
    /// What it limits.
    pub limits: Dimension,
    /// In which unit it is written, where it limits throughput; MiB where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<ParameterUnit>,
}

impl AttributeParameter {
    /// The limit that a value says; none where there is none, or it is no number.
    fn read(&self, value: &str) -> Option<u64> {
        let number = |factor: u64| value.parse::<u64>().ok()?.checked_mul(factor);
        let limit = match (self.limits, self.unit.unwrap_or_default()) {
            (Dimension::Iops | Dimension::ReadIops | Dimension::WriteIops, _) | (_, ParameterUnit::Bytes) => number(1),
            (_, ParameterUnit::MiB) => number(Bytes::MIB.0),
            (_, ParameterUnit::MB) => number(1_000_000),
            (_, ParameterUnit::Quantity) => value.parse().ok().map(|Bytes(bytes)| bytes),
        };
        limit.filter(|limit| *limit > 0)
    }
}

/// A limit for each dimension, where there is one that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits([Option<u64>; 6]);

impl Limits {
    /// What a class with these parameters gives, by what the driver's profile says of parameters.
    pub fn of(parameters: &BTreeMap<String, String>, known: &[AttributeParameter]) -> Self {
        let mut limits = Self::default();
        for rule in known {
            let given = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(&rule.parameter));
            if let Some(limit) = given.and_then(|(_, value)| rule.read(value)) {
                limits.set(rule.limits, limit);
            }
        }
        limits
    }

    /// Sets one.
    pub const fn set(&mut self, dimension: Dimension, limit: u64) {
        self.0[dimension.index()] = Some(limit);
    }

    /// The limit of one dimension, where it is known.
    pub const fn get(&self, dimension: Dimension) -> Option<u64> {
        self.0[dimension.index()]
    }

    /// Those that are known.
    pub fn iter(&self) -> impl Iterator<Item = (Dimension, u64)> {
        Dimension::ALL.into_iter().zip(self.0).filter_map(|(dimension, limit)| Some((dimension, limit?)))
    }

    /// Is none known?
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// That percentage of each, rounded up.
    #[must_use]
    pub fn share(&self, percent: u8) -> Self {
        Self(self.0.map(|limit| limit.map(|limit| part(limit, percent))))
    }

    /// All operations a second that they allow: what a budget counts. None where there is no limit of operations.
    pub fn operations(&self) -> Option<u64> {
        self.either(Dimension::Iops, Dimension::ReadIops, Dimension::WriteIops)
    }

    /// All bytes a second that they allow; none where there is no limit of bytes.
    pub fn bytes(&self) -> Option<u64> {
        self.either(Dimension::Throughput, Dimension::ReadThroughput, Dimension::WriteThroughput)
    }

    /// Of a driver that limits reads and writes apart, both can be done at the same time.
    fn either(&self, both: Dimension, reads: Dimension, writes: Dimension) -> Option<u64> {
        self.get(both).or_else(|| match (self.get(reads), self.get(writes)) {
            (None, None) => None,
            (reads, writes) => Some(reads.unwrap_or(0).saturating_add(writes.unwrap_or(0))),
        })
    }
}

fn part(whole: u64, percent: u8) -> u64 {
    let part = (u128::from(whole) * u128::from(percent)).div_ceil(100);
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// In words: `1000 read IOPS, 500 write IOPS`.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = self.iter().map(|(dimension, limit)| dimension.amount(limit)).collect();
        if known.is_empty() { f.write_str("no limit that is known") } else { f.write_str(&known.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::built_in;

    fn limits(driver: &str, parameters: &[(&str, &str)]) -> String {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Limits::of(&parameters, &built_in::of(driver).attribute_parameters).to_string()
    }

    #[test]
    fn each_driver_s_class_is_read_by_its_own_parameters_and_units() {
        for (driver, parameters, expected) in [
            (
                "ebs.csi.aws.com",
                &[("iops", "4000"), ("throughput", "250"), ("type", "gp3")][..],
                "4000 IOPS, 250 MiB/s",
            ),
            ("pd.csi.storage.gke.io", &[("iops", "4000"), ("throughput", "188Mi")], "4000 IOPS, 188 MiB/s"),
            (
                "local.orlop.dev",
                &[("readIOPS", "1000"), ("writeIOPS", "500"), ("writeBandwidth", "50Mi")],
                "1000 read IOPS, 500 write IOPS, 50.0 MiB/s written",
            ),
            ("local.orlop.dev", &[("readIOPS", "none")], "no limit that is known"),
            ("ebs.csi.aws.com", &[("iops", "many"), ("throughput", "0")], "no limit that is known"),
            ("an.unknown.driver", &[("iops", "4000")], "no limit that is known"),
        ] {
            assert_eq!(limits(driver, parameters), expected, "{driver}");
        }
    }

    #[test]
    fn reads_and_writes_that_are_limited_apart_count_together() {
        let mut limits = Limits::default();
        assert_eq!(limits.operations(), None);
        limits.set(Dimension::ReadIops, 1000);
        limits.set(Dimension::WriteIops, 500);
        assert_eq!(limits.operations(), Some(1500));
        limits.set(Dimension::Iops, 1200);
        assert_eq!(limits.operations(), Some(1200));
        assert_eq!(limits.share(33).get(Dimension::WriteIops), Some(165));
    }
}
