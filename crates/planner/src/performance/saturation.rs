//! Whether a volume is held back by what its class gives, and by what that is seen.

use jiff::Timestamp;
use orlop_api::{Dimension, Limits, PerformanceSpec};

use super::{LoadSample, excess::Excess, later, pressure::STRAINED_FROM_PERCENT, seen::Seen};

/// A volume that is held back.
pub(super) struct Saturation {
    /// What its class gives too little of.
    pub(super) used_up: Vec<Dimension>,
    /// By what that is seen, with the numbers.
    pub(super) why: String,
    /// The same without numbers that change all the time.
    pub(super) in_short: String,
}

impl Saturation {
    /// None where the volume has not been held back for long enough.
    pub(super) fn of(present: &Limits, spec: &PerformanceSpec, seen: Seen<'_>, now: Timestamp) -> Option<Self> {
        let for_long =
            |since: Option<Timestamp>| since.is_some_and(|since| now >= later(since, spec.raise_after.into()));
        let by_load = match seen.sample {
            Some(sample) if for_long(sample.busy) => Some(Self::by_device(present, spec, sample)),
            Some(sample) if for_long(sample.strained) => Some(Self::by_pressure(present, spec, sample)),
            _ => None,
        };
        let by_driver = seen.excess.filter(|excess| excess.lasts(spec)).map(|excess| Self::by_driver(spec, excess));
        [by_load, by_driver].into_iter().flatten().reduce(Self::and)
    }

    /// Both are seen.
    fn and(mut self, other: Self) -> Self {
        let more: Vec<_> = other.used_up.into_iter().filter(|dimension| !self.used_up.contains(dimension)).collect();
        self.used_up.extend(more);
        Self { why: format!("{}; and {}", self.why, other.why), ..self }
    }

    /// More is asked of it than its limits allow, as its driver has counted.
    fn by_driver(spec: &PerformanceSpec, excess: &Excess) -> Self {
        let parts: Vec<_> = excess
            .shares
            .limits()
            .map(|(limit, percent)| format!("{} for {percent}% of the time", limit.name()))
            .collect();
        Self {
            used_up: excess.shares.limits().map(|(limit, _)| limit).collect(),
            why: format!(
                "for {} more has been asked of the volume than its limits allow, as its driver counts: {}",
                spec.raise_after,
                parts.join(", ")
            ),
            in_short: "as its driver counts, more is asked of the volume than its limits allow".to_owned(),
        }
    }

    /// It does nearly all that it may, as the counters of its device say.
    fn by_device(present: &Limits, spec: &PerformanceSpec, sample: &LoadSample) -> Self {
        let (used_up, parts) = reached(present, spec.raise_above.number(), sample);
        let share = spec.raise_above;
        Self {
            used_up,
            why: format!("for {} the volume has done at least {share} of what it may: {parts}", spec.raise_after),
            in_short: format!("the volume does at least {share} of what it may"),
        }
    }

    /// Its pod waits for it.
    fn by_pressure(present: &Limits, spec: &PerformanceSpec, sample: &LoadSample) -> Self {
        let (used_up, parts) = reached(present, STRAINED_FROM_PERCENT, sample);
        let full = sample.pressure.unwrap_or_default().full;
        Self {
            used_up,
            why: format!(
                "for {} the volume's pod has waited for I/O, all of it for {full}% of the last ten seconds, while the volume \
                 did at least {STRAINED_FROM_PERCENT}% of what it may: {parts}",
                spec.raise_after
            ),
            in_short: format!(
                "the volume's pod waits for I/O while the volume does at least {STRAINED_FROM_PERCENT}% of what it may"
            ),
        }
    }
}

/// Of what the volume does that share or more, and how much of each, in words.
fn reached(present: &Limits, percent: u8, sample: &LoadSample) -> (Vec<Dimension>, String) {
    let bounds = present.share(percent);
    let reached: Vec<_> = sample.rates.at_bounds(&bounds).collect();
    let part = |dimension: &Dimension| {
        let limit = present.get(*dimension).unwrap_or_default();
        format!("{} of {}", dimension.amount(sample.rates.get(*dimension)), dimension.amount(limit))
    };
    let parts: Vec<_> = reached.iter().map(part).collect();
    let parts = parts.join(", ");
    (reached, parts)
}
