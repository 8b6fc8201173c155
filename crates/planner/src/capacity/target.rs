//! Is growth called for, and to which size? Whole numbers only, 128 bits wide on the way, which saturate at the most.

use std::fmt::Display;

use jiff::{SignedDuration, Timestamp};
use orlop_api::{Abilities, Bytes, CapacitySpec, Price, Threshold, names::Reason, units::Unit};

use super::{horizon, slots::to_the_second};
use crate::{
    budget::Fit,
    view::{Claim, Usage},
};

/// Why growth is called for, if it is.
pub(super) fn need(spec: &CapacitySpec, claim: &Claim, usage: &Usage) -> Option<Reason> {
    if usage.available.0 < spec.min_free.of(usage.total.0) {
        return Some(Reason::BelowMinFree);
    }
    if usage.counted_inodes().is_some_and(|inodes| inodes.free.0 < spec.min_free_inodes.of(inodes.total.0)) {
        return Some(Reason::BelowMinFreeInodes);
    }
    let filled = filled_within(spec, usage, SignedDuration::ZERO);
    if u128::from(usage.available.0) < filled {
        return Some(Reason::FillsTooSoon);
    }
    (horizon::lacking(spec, claim, usage) > 0).then_some(Reason::FullWithinHorizon)
}

/// Why growth is called for, in a sentence with the numbers.
pub(super) fn sentence(need: Reason, spec: &CapacitySpec, claim: &Claim, usage: &Usage) -> String {
    if let Some(sentence) = horizon::sentence(spec, claim, usage).filter(|_| need == Reason::FullWithinHorizon) {
        return sentence;
    }
    let Usage { total, available, .. } = usage;
    match (need, usage.counted_inodes()) {
        (Reason::BelowMinFreeInodes, Some(inodes)) => format!(
            "{} ({}%) of {} inodes are free, below minFreeInodes {}",
            inodes.free,
            percent(inodes.free.0, inodes.total.0),
            inodes.total,
            spec.min_free_inodes
        ),
        (Reason::FillsTooSoon, _) => format!(
            "{} are free and last {}s at {}/s, less than timeToFull {}",
            available.human(),
            available.0 / usage.fill_bytes_per_second.max(1),
            Bytes(usage.fill_bytes_per_second).human(),
            spec.time_to_full
        ),
        _ => format!(
            "{} ({}%) of {} are free, below minFree {}",
            available.human(),
            percent(available.0, total.0),
            total.human(),
            spec.min_free
        ),
    }
}

/// What is done, in words. The last modification for some time says so, for it may be a large one.
pub(super) fn step(claim: &Claim, fit: &Fit<'_>, next_after_this: Option<Timestamp>) -> String {
    let ends = fit.ends_with.map_or_else(String::new, |name| format!(", as far as StorageBudget {name} allows"));
    let last = next_after_this.map_or_else(String::new, |at| {
        format!(", the last modification that the driver allows until {}", to_the_second(at))
    });
    format!("grow from {} to {}{ends}{last}", claim.requested, fit.to)
}

/// What the step costs, in words; none where the price is not known.
pub(super) fn cost(price: Option<&Price>, claim: &Claim, to: Bytes) -> String {
    let added = Bytes(to.0.saturating_sub(present(claim).0));
    price.map_or_else(String::new, |price| format!(", for {} a month more", price.monthly(added)))
}

/// A volume may be larger than was requested: bound by hand, or rounded up by its driver. A size up to that would change
/// nothing.
pub(super) fn present(claim: &Claim) -> Bytes {
    claim.requested.max(claim.capacity)
}

/// The size at which the claim will again have `minFree`, `minFreeInodes` and `timeToFull`, the last for as long as
/// `lasting` at the present rate, use no more than `targetUtilization`, and last for `horizon`; and at least `increase` more than now; in the
/// driver's increments and within what policy and driver allow. Or the limit that allows nothing larger than now.
pub(super) fn size(
    spec: &CapacitySpec,
    abilities: &Abilities<'_>,
    claim: &Claim,
    usage: &Usage,
    lasting: SignedDuration,
) -> Result<Bytes, Limit> {
    let present = present(claim);
    let Abilities { size_increment: increment, maximum_size, .. } = *abilities;
    let step = u128::from(spec.increase.of(present.0));
    let wanted = step.max(missing(spec, claim, usage, lasting)).saturating_add(present.0.into());
    let (least, most) = limits(spec, abilities);
    let wanted = Bytes(u64::try_from(wanted).unwrap_or(u64::MAX)).round_up(increment).max(least);
    let to = wanted.min(most);
    if to > present && to >= least {
        return Ok(to);
    }
    Err(match maximum_size {
        Some(size) if size < spec.maximum => Limit::Driver { present, size },
        _ if most < least => Limit::Minimum { least, maximum: spec.maximum },
        _ => Limit::Policy { present, maximum: spec.maximum, increment },
    })
}

/// The smallest and the largest size that policy and driver allow.
pub(super) fn limits(spec: &CapacitySpec, abilities: &Abilities<'_>) -> (Bytes, Bytes) {
    let Abilities { size_increment: increment, minimum_size, maximum_size, .. } = *abilities;
    let least = minimum_size.unwrap_or(Bytes(0)).round_up(increment);
    let most = spec.maximum.min(maximum_size.unwrap_or(Bytes(u64::MAX))).round_down(increment);
    (least, most)
}

/// The size without the step of `increase`, without what `targetUtilization` adds, without what is to last until the driver
/// allows the next growth, and without what `horizon` adds to another need: the least with which the claim will again have
/// all that is needed now; no more than `size`, in the driver's increments.
pub(super) fn least(
    need: Reason,
    spec: &CapacitySpec,
    abilities: &Abilities<'_>,
    claim: &Claim,
    usage: &Usage,
    size: Bytes,
) -> Bytes {
    // How much of it is to be used is a wish like `increase`.
    let horizon = spec.horizon.filter(|_| need == Reason::FullWithinHorizon);
    let spec = &CapacitySpec { target_utilization: None, horizon, ..spec.clone() };
    larger_by(missing(spec, claim, usage, SignedDuration::ZERO), abilities, claim).min(size)
}

/// The smallest size that is a growth at all; no more than `size`, in the driver's increments.
pub(super) fn smallest(abilities: &Abilities<'_>, claim: &Claim, size: Bytes) -> Bytes {
    larger_by(1, abilities, claim).min(size)
}

/// The smallest size that the driver makes and that is larger than now by so many bytes, or by one.
fn larger_by(bytes: u128, abilities: &Abilities<'_>, claim: &Claim) -> Bytes {
    let Abilities { size_increment: increment, minimum_size, .. } = *abilities;
    let size = bytes.max(1).saturating_add(present(claim).0.into());
    let size = Bytes(u64::try_from(size).unwrap_or(u64::MAX)).round_up(increment);
    size.max(minimum_size.unwrap_or(Bytes(0)).round_up(increment))
}

/// What keeps a claim from growing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Limit {
    #[error(
        "the volume needs more room, and no size above {present}{} is within the policy's maximum {maximum}: raise \
         spec.capacity.maximum, or delete data",
        steps(*increment)
    )]
    Policy { present: Bytes, maximum: Bytes, increment: Bytes },
    #[error("the volume needs more room than {present}, and its driver makes none larger than {size}: delete data")]
    Driver { present: Bytes, size: Bytes },
    #[error(
        "the volume needs more room, and its driver makes none smaller than {least}, above the policy's maximum {maximum}: \
         raise spec.capacity.maximum, or delete data"
    )]
    Minimum { least: Bytes, maximum: Bytes },
}

/// A driver with coarse increments can put the next size beyond a maximum that looks as if it were far.
fn steps(increment: Bytes) -> String {
    if increment > Bytes::MIB { format!(" (the driver makes whole multiples of {increment})") } else { String::new() }
}

/// How many bytes the claim lacks.
fn missing(spec: &CapacitySpec, claim: &Claim, usage: &Usage, lasting: SignedDuration) -> u128 {
    let available = u128::from(usage.available.0);
    let spare = spec.target_utilization.map_or(0, |target| {
        let unused = Threshold::<Bytes>::Percent(target.rest().number());
        missing_for(unused, usage.total.0, usage.available.0)
    });
    let bytes = missing_for(spec.min_free, usage.total.0, usage.available.0)
        .max(spare)
        .max(horizon::lacking(spec, claim, usage).into())
        .max(filled_within(spec, usage, lasting).saturating_sub(available));
    // A filesystem is smaller than its volume by its own metadata, about in proportion: a byte of the filesystem
    // takes a little more than a byte of the claim.
    let volume = claim.capacity.max(usage.total).0;
    let for_bytes = scale(bytes, volume, usage.total.0);
    let for_inodes = usage.counted_inodes().map_or(0, |inodes| {
        // The number of inodes grows with the size, exactly so in ext4 and about so in XFS.
        scale(missing_for(spec.min_free_inodes, inodes.total.0, inodes.free.0), volume, inodes.total.0)
    });
    for_bytes.max(for_inodes)
}

/// How much of a whole is to be added, all of it free, for `free` to reach its threshold: the smallest d with
/// free + d >= min(total + d). For a percentage p that is 100 (free + d) >= p (total + d), solved for d.
fn missing_for<U: Unit + Display>(min: Threshold<U>, total: u64, free: u64) -> u128 {
    let (total, free) = (u128::from(total), u128::from(free));
    match min {
        Threshold::Absolute(value) => u128::from(value.number()).saturating_sub(free),
        Threshold::Percent(percent) => {
            let percent = u128::from(percent.min(99));
            (percent * total).saturating_sub(100 * free).div_ceil(100 - percent)
        }
    }
}

/// What is filled within `timeToFull` after `lasting`, at the present rate.
fn filled_within(spec: &CapacitySpec, usage: &Usage, lasting: SignedDuration) -> u128 {
    // A part of a second counts as a whole one.
    let lasting = lasting.as_millis().max(0).unsigned_abs().div_ceil(1000);
    u128::from(usage.fill_bytes_per_second).saturating_mul(lasting + u128::from(spec.time_to_full.as_secs()))
}

/// part × numerator ÷ denominator, rounded up. Saturates.
fn scale(part: u128, numerator: u64, denominator: u64) -> u128 {
    part.saturating_mul(numerator.into()).div_ceil(u128::from(denominator).max(1))
}

fn percent(part: u64, whole: u64) -> u128 {
    u128::from(part) * 100 / u128::from(whole).max(1)
}
