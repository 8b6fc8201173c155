//! When the pods of a claim may be stopped for it: windows that a policy names.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// When the pods of a claim may be stopped, so that its driver can expand a volume that no pod uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// The windows. Any of them will do.
    #[schemars(length(min = 1, max = 10))]
    pub windows: Vec<Window>,
}

/// A window, again and again.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.duration) >= duration('20m') && duration(self.duration) <= duration('24h')").message(
        "the duration of a maintenance window is from 20m to 24h: stopping pods, expanding a volume and starting them again \
         takes some minutes",
    ),
)]
pub struct Window {
    /// When it begins, as cron has it: minute, hour, day of the month, month, day of the week; such as `0 3 * * 0`, at three on
    /// Sundays.
    #[schemars(length(min = 1, max = 100))]
    pub schedule: String,
    /// In which time zone that is, by its name in the database of IANA, such as Europe/Berlin.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// How long it lasts.
    pub duration: Period,
}

fn utc() -> String {
    "UTC".to_owned()
}
