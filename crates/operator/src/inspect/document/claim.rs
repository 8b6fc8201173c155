//! All that is known of one claim, for `orlop explain`.

use jiff::Timestamp;
use orlop_api::{
    Bytes, Count, Days, Expansion, Mode, Percent, Period, Price, Threshold,
    names::{PerformanceReason, Reason},
};
use orlop_planner::{ClassChange, ClassMove, GrowthRecord, Outcome, Source};
use serde::{Deserialize, Serialize};

/// All that is known of one claim, and what was decided about it, with the numbers that led to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimAccount {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// The claim's UID.
    pub uid: String,
    /// What was decided last.
    pub decision: DecisionAccount,
    /// What would lead to another decision, each in a sentence.
    pub turning_points: Vec<String>,
    /// How large the claim is.
    pub size: SizeAccount,
    /// The PersistentVolume that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The latest measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageAccount>,
    /// What the governing policy promises, and what that comes to for this volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<ThresholdAccount>,
    /// How it will fill over days, where its policy has a horizon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastAccount>,
    /// Which policy governs it.
    pub governed: Governed,
    /// Its StorageClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassAccount>,
    /// What its driver can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverAccount>,
    /// To whom it belongs; none where it belongs to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerAccount>,
    /// When its pods may be stopped, where its driver expands only volumes that no pod uses and its policy names windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceAccount>,
    /// How often its volume may be modified, where the driver limits that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifications: Option<ModificationAccount>,
    /// The last growth that Orlop asked for, as it is recorded on the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<GrowthRecord>,
    /// What was decided about its VolumeAttributesClass, where the governing policy has a `performance` section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<PerformanceAccount>,
    /// What failed a short while ago.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setbacks: Vec<SetbackAccount>,
    /// The running pods that use it, by name.
    pub pods: Vec<String>,
}

/// What is done about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Nothing is to be done.
    Keep,
    /// A larger size is requested now.
    Grow,
    /// A larger size would be requested, were the mode Auto.
    Recommend,
    /// A growth that was requested is under way.
    Growing,
    /// Nothing can be done or decided; the reason says what stands in the way.
    Wait,
}

impl From<Outcome> for Act {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Keep => Self::Keep,
            Outcome::Grow(_) => Self::Grow,
            Outcome::Recommend(_) => Self::Recommend,
            Outcome::Growing(_) => Self::Growing,
            Outcome::Wait => Self::Wait,
        }
    }
}

/// What was decided last about a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionAccount {
    /// What is done.
    pub act: Act,
    /// The size that is called for, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Bytes>,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with the numbers that led to it.
    pub message: String,
    /// Must somebody look at it?
    pub problem: bool,
    /// The mode of the governing policy; Off where there is none.
    pub mode: Mode,
    /// Since when the reason has been this one, or since the operator's start; none where it has not been reported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the claim is looked at again at the latest, if nothing about it changes until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_look: Option<Timestamp>,
    /// Is a request for it under way?
    pub acting: bool,
}

/// What is done about a claim's VolumeAttributesClass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClassAct {
    /// Nothing is to be done.
    Keep,
    /// Another class is requested now.
    Set,
    /// Another class would be requested, were the mode Auto.
    Recommend,
    /// A change that was requested is under way.
    Modifying,
    /// Nothing can be done or decided; the reason says what stands in the way.
    Wait,
}

impl From<&ClassMove> for ClassAct {
    fn from(outcome: &ClassMove) -> Self {
        match outcome {
            ClassMove::Keep => Self::Keep,
            ClassMove::Set(_) => Self::Set,
            ClassMove::Recommend(_) => Self::Recommend,
            ClassMove::Modifying(_) => Self::Modifying,
            ClassMove::Wait => Self::Wait,
        }
    }
}

/// What was decided last about a claim's VolumeAttributesClass, with the numbers that led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PerformanceAccount {
    /// What is done.
    pub act: ClassAct,
    /// The class that is requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The class that the volume has, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The class that is called for, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why.
    pub reason: PerformanceReason,
    /// Why, in a sentence with the numbers that led to it.
    pub message: String,
    /// Must somebody look at it?
    pub problem: bool,
    /// Since when the reason has been this one, or since the operator's start; none where it has not been reported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The classes of the policy, from the slowest to the fastest.
    pub classes: Vec<ClassLimits>,
    /// When a faster one is taken, and when a slower one.
    pub thresholds: PerformanceThresholds,
    /// What the volume does; none where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadAccount>,
    /// For how long more is asked of it than its limits allow, as its driver counts; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceeded: Option<ExceededAccount>,
    /// The last change that Orlop asked for, as it is recorded on the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ClassChange>,
}

/// A VolumeAttributesClass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassLimits {
    /// Its name.
    pub name: String,
    /// What it gives, in words, or why that is not known.
    pub gives: String,
}

/// When a faster class is taken, and when a slower one, as the policy has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PerformanceThresholds {
    /// A faster one above this share of what the class gives,
    pub raise_above: Percent,
    /// for so long.
    pub raise_after: Period,
    /// A slower one below this share of what that one gives,
    pub lower_below: Percent,
    /// for so long.
    pub lower_after: Period,
}

/// What a volume does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadAccount {
    /// When it was measured, or last confirmed.
    pub at: Timestamp,
    /// Reads a second.
    pub reads: u64,
    /// Writes a second.
    pub writes: u64,
    /// Bytes a second that are read.
    pub read_bytes: u64,
    /// Bytes a second that are written.
    pub written_bytes: u64,
    /// How much the volume's pod waits for I/O; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<PressureAccount>,
    /// Since when it is nearly all that the class gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_since: Option<Timestamp>,
    /// Since when the volume's pod waits while the volume does a good part of what the class gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strained_since: Option<Timestamp>,
    /// Since when it is little for the next slower class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_since: Option<Timestamp>,
}

/// For how long more is asked of a volume than its limits allow, as its driver counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExceededAccount {
    /// When the counters were read.
    pub at: Timestamp,
    /// The limits.
    pub limits: Vec<ExceededLimit>,
    /// Since when each reading has shown a limit to be exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// For which share of the time before the counters were read a limit was exceeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceededLimit {
    /// What is limited, in words.
    pub limit: String,
    /// In percent.
    pub percent: u8,
}

/// For which share of the last ten seconds the tasks of a volume's pod waited for I/O, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PressureAccount {
    /// At least one of them.
    pub some: u8,
    /// All that were not idle.
    pub full: u8,
}

/// How large a claim is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SizeAccount {
    /// What is requested.
    pub requested: Bytes,
    /// What the claim has, as its kubelet last said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Bytes>,
    /// What the driver has made the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Bytes>,
    /// How a resize stands, in words; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<String>,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageAccount {
    /// When it was made, or last confirmed.
    pub at: Timestamp,
    /// Who made it.
    pub source: Source,
    /// On which node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it is too old to decide by.
    pub stale_at: Timestamp,
    /// All bytes of the filesystem.
    pub total: Bytes,
    /// The free ones.
    pub available: Bytes,
    /// The inodes, where the filesystem counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<InodeAccount>,
    /// How fast the free bytes shrink.
    pub fill_bytes_per_second: u64,
    /// In how many seconds none is left at that rate; none where they do not shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_to_full: Option<u64>,
}

/// Of how many inodes, how many are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InodeAccount {
    /// All of them.
    pub total: Count,
    /// The free ones.
    pub free: Count,
}

/// What the governing policy promises, and what that comes to for one volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdAccount {
    /// As the policy has it.
    pub min_free: Threshold<Bytes>,
    /// It is to grow with fewer free bytes than this.
    pub available_below: Bytes,
    /// As the policy has it.
    pub min_free_inodes: Threshold<Count>,
    /// It is to grow with fewer free inodes than this.
    pub free_inodes_below: Count,
    /// It is to grow when it would be full within this.
    pub time_to_full: Period,
    /// It is to grow when it would be full within this, as it rises from day to day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon: Option<Days>,
    /// By how much at least.
    pub increase: Threshold<Bytes>,
    /// How much of it is to be used after a growth at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_utilization: Option<Percent>,
    /// The label by whose value claims are kept equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// Up to which size.
    pub maximum: Bytes,
}

impl ThresholdAccount {
    /// Which field of the policy it is that asks for [`available_below`](Self::available_below) in a filesystem of so many
    /// bytes: `minFree 20%`, or `horizon 7d`.
    pub fn which(&self, total: Bytes) -> String {
        match self.horizon.filter(|_| self.available_below.0 > self.min_free.of(total.0)) {
            Some(horizon) => format!("horizon {horizon}"),
            None => format!("minFree {}", self.min_free),
        }
    }
}

/// How a volume will fill over days, by how it has done in the last two weeks. Of its numbers either the first or all others
/// are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastAccount {
    /// Too little was measured; from then on there is a forecast, if measuring goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_from: Option<Timestamp>,
    /// The most that was used in the last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Bytes>,
    /// By how many bytes that rises from day to day; negative where it falls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_day: Option<PerDayAccount>,
    /// In how many seconds it is full at the high rate; none where it never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest_seconds: Option<u64>,
    /// At the median rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_seconds: Option<u64>,
    /// At the low rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_seconds: Option<u64>,
}

/// By how many bytes the peak of a day rises from one day to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerDayAccount {
    /// One day in ten it is less than this.
    pub low: i64,
    /// As often more as less.
    pub median: i64,
    /// One day in ten it is more than this.
    pub high: i64,
}

/// Which policy governs a claim, and why that one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Governed {
    /// The policy, by its kind and name; none where none governs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Why that one, or none, in a sentence.
    pub why: String,
    /// The other policies that select the claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

/// A claim's StorageClass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassAccount {
    /// Its name.
    pub name: String,
    /// `allowVolumeExpansion`; none where there is no such class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expandable: Option<bool>,
}

/// Where what is known of a driver comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfileOrigin {
    /// From a DriverProfile of the cluster.
    DriverProfile,
    /// From a profile that is built in.
    BuiltIn,
    /// Nothing is known of this driver, and the common case is assumed.
    Assumed,
}

/// What a claim's driver can do with its volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriverAccount {
    /// The driver.
    pub name: String,
    /// Where the rest is from.
    pub profile: ProfileOrigin,
    /// The kind of volume that the class asks for, where the profile knows several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
    /// Whether it can expand the volume, and when.
    pub expansion: Expansion,
    /// Sizes are rounded up to a multiple of this.
    pub size_increment: Bytes,
    /// The smallest volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_size: Option<Bytes>,
    /// The largest volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_size: Option<Bytes>,
    /// Its price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// What the volume costs a month at its present size, such as `2.00 USD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<String>,
}

/// The maintenance windows of a claim's policy, by the clock of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceAccount {
    /// Until when one is open, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_until: Option<Timestamp>,
    /// When the next one opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// To whom a claim belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerAccount {
    /// Its owners, the outermost first.
    pub chain: Vec<OwnerLink>,
    /// What applies the outermost object's manifest, such as `Helm release shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// All of it in words.
    pub sentence: String,
    /// The StatefulSet's template that the claim is from, where that asks for less than its claims have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateAccount>,
    /// The field of an owner that says how large the claim is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_back: Option<WriteBackAccount>,
}

/// A claim template that asks for less than its claims have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateAccount {
    /// Its name.
    pub name: String,
    /// How much it asks for.
    pub size: Bytes,
    /// How much it is to ask for.
    pub target: Bytes,
    /// What is done about it, or what is to be done, in a sentence.
    pub message: String,
    /// The change of the StatefulSet's manifest, as a JSON patch.
    pub patch: String,
}

/// The owner whose field says how large a claim is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteBackAccount {
    /// The owner: `Cluster db`.
    pub owner: String,
    /// The path of the field, where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The size that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// Why Orlop does not write it, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// The command that writes the size that is called for, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// An owner of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerLink {
    /// Its group and version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// How often a volume may be modified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModificationAccount {
    /// How many slots there are.
    pub count: u32,
    /// For how long a slot is taken.
    pub window: Period,
    /// How long after one modification the next may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Period>,
    /// Does the next one begin only when the last one is completed?
    pub next_when_completed: bool,
    /// When those were taken that are not free again, the oldest first.
    pub taken: Vec<Timestamp>,
    /// When the next modification can be asked for; none if it can be now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// What failed for a claim a short while ago.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetbackAccount {
    /// What was to be done.
    pub action: String,
    /// How often in a row it has failed.
    pub failures: u32,
    /// Not before this is it tried again.
    pub again_at: Timestamp,
    /// What the API server said, where it refused a growth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}
