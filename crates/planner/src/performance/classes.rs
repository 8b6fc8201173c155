//! `VolumeAttributesClass`es: what each gives a volume, and what it costs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_api::{Decimal, Dimension, Limits, Price, names::PerformanceReason};
use serde::{Deserialize, Serialize};

use super::Rates;
use crate::view::{Claim, View};

/// A VolumeAttributesClass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributesClass {
    /// `driverName`.
    pub driver: String,
    /// `parameters`.
    pub parameters: BTreeMap<String, String>,
}

/// A claim's VolumeAttributesClass: what is asked for, and what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassUse {
    /// `spec.volumeAttributesClassName`.
    pub requested: Option<String>,
    /// `status.currentVolumeAttributesClassName`: what the driver has made of it.
    pub current: Option<String>,
    /// How a change stands.
    pub modification: Modification,
    /// The last change that Orlop asked for, from the claim's annotation.
    pub change: Option<ClassChange>,
}

/// How a change of class stands, from the claim's `status.modifyVolumeStatus` and conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Modification {
    /// Nothing is reported.
    #[default]
    Idle,
    /// The driver is at it, or the resizer waits for something before it asks the driver; then the text says for what.
    Pending(Option<String>),
    /// The driver refused the class for good; the text is the driver's.
    Infeasible(String),
}

/// What is written on a claim, in the same request as its new class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassChange {
    /// The class that was requested before; none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The class that was requested then; none only where what the driver refused was taken back and there had been none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When it was decided.
    pub decided: Timestamp,
    /// Why, as in the report.
    pub reason: PerformanceReason,
    /// When modifications before this one were decided, growths too, that took a modification slot of the driver still at
    /// that time, the oldest first; none where its profile does not limit modifications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Timestamp>,
    /// The classes that the driver has refused within the last day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedClass>,
}

/// A class that a driver has refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedClass {
    /// The class.
    pub class: String,
    /// When that was seen.
    pub at: Timestamp,
}

impl ClassChange {
    /// When modification slots were taken, as far as this record says. To take back what the driver has refused takes none:
    /// it has not begun it.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Timestamp> {
        let own = (self.reason != PerformanceReason::ClassTakenBack).then_some(&self.decided);
        self.earlier.iter().chain(own)
    }

    pub(crate) fn before_in_words(&self) -> String {
        named(self.from.as_deref())
    }

    pub(crate) fn after_in_words(&self) -> String {
        named(self.to.as_deref())
    }
}

/// A class by its name, in words.
pub(crate) fn named(class: Option<&str>) -> String {
    class.map_or_else(|| "no VolumeAttributesClass".to_owned(), |class| format!("VolumeAttributesClass {class}"))
}

impl View {
    /// How much the claim's volume does of what its class gives, in millionths, in the dimension in which that is most; none
    /// where it is not known what the class gives.
    pub fn utilization(&self, claim: &Claim, rates: &Rates) -> Option<u64> {
        let attributes = claim.attributes.as_ref()?;
        let limits = self.limits_of(claim, attributes.current.as_ref().or(attributes.requested.as_ref())?).ok()?;
        let part = |(dimension, limit): (Dimension, u64)| {
            let millionths = u128::from(rates.get(dimension)) * 1_000_000 / u128::from(limit.max(1));
            u64::try_from(millionths).unwrap_or(u64::MAX)
        };
        limits.iter().map(part).max()
    }

    /// What a class gives the claim's volume, or why that is not known, in a sentence.
    pub(crate) fn limits_of(&self, claim: &Claim, name: &str) -> Result<Limits, String> {
        let Some(class) = self.attributes_classes.get(name) else {
            return Err(format!(
                "there is no VolumeAttributesClass {name}: create it, or take it out of attributesClasses"
            ));
        };
        if let Some(driver) = self.driver_of(claim).filter(|driver| *driver != class.driver) {
            return Err(format!(
                "VolumeAttributesClass {name} is of the driver {}, and the volume of {driver}: name classes of its own \
                 driver in attributesClasses",
                class.driver
            ));
        }
        let known = &self.driver_profile(&class.driver).attribute_parameters;
        let limits = Limits::of(&class.parameters, known);
        if !limits.is_empty() {
            return Ok(limits);
        }
        if known.is_empty() {
            return Err(format!(
                "the profile of the driver {} does not say which parameters limit its volumes: write attributeParameters \
                 into its DriverProfile",
                class.driver
            ));
        }
        let names: Vec<_> = known.iter().map(|rule| rule.parameter.as_str()).collect();
        Err(format!(
            "VolumeAttributesClass {name} sets no limit that is known: give it a number for one of {}",
            names.join(", ")
        ))
    }

    /// What a class gives the claim's volume, in words, or why that is not known.
    pub fn class_in_words(&self, claim: &Claim, name: &str) -> String {
        self.limits_of(claim, name).map_or_else(|why| why, |limits| limits.to_string())
    }

    /// What a volume gives whose claim has no class: what every volume of its kind has, as far as its driver's profile says.
    pub(crate) fn limits_without_class(&self, claim: &Claim) -> Limits {
        let mut limits = Limits::default();
        let Some(abilities) = self.abilities(claim) else { return limits };
        if let Some(iops) = abilities.iops.and_then(|iops| iops.baseline) {
            limits.set(Dimension::Iops, iops.into());
        }
        if let Some(mib) = abilities.throughput.and_then(|throughput| throughput.baseline) {
            limits.set(Dimension::Throughput, u64::from(mib) << 20);
        }
        limits
    }

    /// The operations a second that the claim's class gives, of those that are asked for and those that there are the
    /// larger number: what a budget counts. Zero where no class limits them.
    pub(crate) fn provisioned_iops(&self, claim: &Claim) -> u64 {
        let Some(attributes) = &claim.attributes else { return 0 };
        let of = |class: &Option<String>| class.as_ref().map_or(0, |class| self.iops_of(claim, class));
        of(&attributes.requested).max(of(&attributes.current))
    }

    /// The operations a second that a class gives; zero where it does not limit them.
    pub(crate) fn iops_of(&self, claim: &Claim, class: &str) -> u64 {
        self.limits_of(claim, class).ok().and_then(|limits| limits.operations()).unwrap_or(0)
    }

    /// What a claim's performance costs a month beyond what the price of its size includes, in millionths of the currency;
    /// none where its driver has no price for it.
    fn performance_cost(&self, claim: &Claim, limits: &Limits) -> Option<(u128, &Price)> {
        let abilities = self.abilities(claim)?;
        let price = abilities.price.filter(|it| it.per_iops_month.is_some() || it.per_mibps_month.is_some())?;
        let beyond = |given: Option<u64>, included: Option<u32>| given?.checked_sub(u64::from(included.unwrap_or(0)));
        let of = |amount: Option<u64>, each: Option<Decimal>| {
            u128::from(amount.unwrap_or(0)).saturating_mul(each.map_or(0, Decimal::millionths).into())
        };
        let iops = beyond(limits.operations(), abilities.iops.and_then(|iops| iops.included));
        let mib = limits.bytes().map(|bytes| bytes.div_ceil(1 << 20));
        let mib = beyond(mib, abilities.throughput.and_then(|throughput| throughput.included));
        let cost = of(iops, price.per_iops_month).saturating_add(of(mib, price.per_mibps_month));
        Some((cost, price))
    }

    /// By how much a change of class changes what the claim costs a month, in words; empty where there is no price.
    pub(super) fn cost_of_change(&self, claim: &Claim, from: &Limits, to: &Limits) -> String {
        let costs = self.performance_cost(claim, from).zip(self.performance_cost(claim, to));
        costs.map_or_else(String::new, |((before, price), (after, _))| {
            let sign = if after >= before { '+' } else { '-' };
            let difference = orlop_api::amount(after.abs_diff(before));
            format!(" ({sign}{difference} {} a month by the list price)", price.currency)
        })
    }
}
