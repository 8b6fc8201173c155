//! The rules by which a volume has its I/O operations and its throughput.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::units::Decimal;

/// How much a volume has of something a second: I/O operations, or MiB. By itself it has `baseline` and `perGib` for
/// each GiB of its size; where the driver lets a user choose, between `minimum` and `maximum` and at most
/// `maximumPerGib` for each GiB.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum")
        .message("minimum is above maximum: exchange them, or leave out the one that is not known"),
    validation = Rule::new("!has(self.included) || !has(self.maximum) || self.included <= self.maximum")
        .message("included is above maximum: no volume has so much, so write maximum in its place"),
)]
pub struct Performance {
    /// What a volume of any size has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub baseline: Option<u32>,
    /// What each GiB of a volume's size adds to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_gib: Option<Decimal>,
    /// How much the price of the size includes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub included: Option<u32>,
    /// The least that a volume has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub minimum: Option<u32>,
    /// The most that a volume has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub maximum: Option<u32>,
    /// The most that can be chosen for each GiB of a volume's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub maximum_per_gib: Option<u32>,
}
