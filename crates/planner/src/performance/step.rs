//! Which class comes next: the ladder of classes on which a claim stands, and whether it is to go up or down.

use jiff::Timestamp;
use orlop_api::{Dimension, Limits, PerformanceSpec, names::PerformanceReason as Reason};

use super::{RefusedClass, Verdict, later, saturation::Saturation, seen::Seen};
use crate::view::{Claim, View};

/// The classes of a policy with what each gives, from the slowest to the fastest, and where on it the claim is.
pub(super) struct Ladder<'a> {
    present: Limits,
    /// Those below the claim's own.
    slower: Vec<(&'a str, Limits)>,
    /// Those above it; all, where the claim has none.
    faster: Vec<(&'a str, Limits)>,
}

impl<'a> Ladder<'a> {
    /// Fails with a sentence where it is not known what a class gives, or what the volume has.
    pub(super) fn of(view: &View, claim: &Claim, spec: &'a PerformanceSpec) -> Result<Self, String> {
        let limits = |name: &'a String| Ok((name.as_str(), view.limits_of(claim, name)?));
        let classes = spec.attributes_classes.iter().map(limits).collect::<Result<Vec<_>, String>>()?;
        let requested = claim.attributes.as_ref().and_then(|attributes| attributes.requested.as_deref());
        let Some(requested) = requested else {
            let present = view.limits_without_class(claim);
            if present.is_empty() {
                return Err(format!(
                    "the claim has no VolumeAttributesClass, and it is not known what its volume has without one: set its \
                     volumeAttributesClassName to one of {}",
                    spec.attributes_classes.join(", ")
                ));
            }
            return Ok(Self { present, slower: Vec::new(), faster: classes });
        };
        let position = classes.iter().position(|(name, _)| *name == requested);
        let position =
            position.ok_or_else(|| format!("VolumeAttributesClass {requested} is none of attributesClasses"))?;
        let present = classes[position].1;
        let (slower, faster) = (classes[..position].to_vec(), classes[position + 1..].to_vec());
        Ok(Self { present, slower, faster })
    }

    /// The same without the classes that the driver has refused.
    pub(super) fn without(mut self, refused: &[RefusedClass]) -> Self {
        let is_left = |(name, _): &(&str, Limits)| refused.iter().all(|refused| refused.class != *name);
        // Whoever cannot go down by one step stays: the watch asks for the load of the next slower class.
        if self.slower.last().is_some_and(|next| !is_left(next)) {
            self.slower.clear();
        }
        self.faster.retain(is_left);
        self
    }

    /// What the volume has now.
    pub(super) const fn present(&self) -> &Limits {
        &self.present
    }

    /// The next slower class.
    pub(super) fn slower(&self) -> Option<(&'a str, Limits)> {
        self.slower.last().copied()
    }

    /// The slowest of the faster classes that has room for what is done, by `raise_above`, where that is known; or else the
    /// fastest that gives more of what is used up.
    fn faster(&self, spec: &PerformanceSpec, seen: Seen<'_>, used_up: &[Dimension]) -> Option<(&'a str, Limits)> {
        let gives_more =
            |limits: &Limits| used_up.iter().any(|dimension| limits.get(*dimension) > self.present.get(*dimension));
        let has_room = |limits: &Limits| {
            let bounds = limits.share(spec.raise_above.number());
            seen.sample.is_none_or(|sample| !sample.rates.reaches(&bounds))
        };
        let more = || self.faster.iter().filter(|(_, limits)| gives_more(limits));
        more().find(|(_, limits)| has_room(limits)).or_else(|| more().next_back()).copied()
    }
}

/// A change of class that is called for.
pub(super) struct Step<'a> {
    pub(super) to: (&'a str, Limits),
    pub(super) reason: Reason,
    /// In a sentence.
    pub(super) why: String,
}

impl<'a> Step<'a> {
    /// None where the volume has neither been busy nor quiet for long enough; an error where it needs a faster class and
    /// there is none.
    pub(super) fn called_for(
        ladder: &Ladder<'a>,
        spec: &PerformanceSpec,
        seen: Seen<'_>,
        now: Timestamp,
    ) -> Option<Result<Self, Verdict>> {
        if let Some(saturation) = Saturation::of(ladder.present(), spec, seen, now) {
            return Some(Self::up(ladder, spec, seen, saturation));
        }
        seen.quiet_since().filter(|since| now >= later(*since, spec.lower_after.into()))?;
        let quiet = seen.sample?.quiet.as_ref()?;
        let (name, limits) = ladder.slower()?;
        let most: Vec<_> = limits.iter().map(|(dimension, _)| dimension.amount(quiet.peak.get(dimension))).collect();
        let why = format!(
            "for {} the volume has done at most {}, below {} of what VolumeAttributesClass {name} gives",
            spec.lower_after,
            most.join(", "),
            spec.lower_below
        );
        Some(Ok(Self { to: (name, limits), reason: Reason::Idle, why }))
    }

    fn up(
        ladder: &Ladder<'a>,
        spec: &PerformanceSpec,
        seen: Seen<'_>,
        saturation: Saturation,
    ) -> Result<Self, Verdict> {
        let Saturation { used_up, why, in_short } = saturation;
        match ladder.faster(spec, seen, &used_up) {
            Some(to) => Ok(Self { to, reason: Reason::Saturated, why }),
            None => Err(Verdict::wait(
                Reason::FastestClass,
                format!(
                    "{in_short}, {}, and attributesClasses names no faster class that the driver takes: add one, or spread \
                     the load",
                    ladder.present()
                ),
            )),
        }
    }
}
