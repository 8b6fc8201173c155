//! What is known of a volume when it is decided about: by its agent, by its driver, or by both.

use jiff::Timestamp;

use super::{LoadSample, excess::Excess, load::Load};

/// What is known, of which at least one is.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// What the agent has measured lately.
    pub(super) sample: Option<&'a LoadSample>,
    /// What the driver has counted lately.
    pub(super) excess: Option<&'a Excess>,
    /// When a limit was last seen to be exceeded, be it long ago.
    last_exceeded: Option<Timestamp>,
}

impl<'a> Seen<'a> {
    /// None where nothing is known that is recent enough.
    pub(super) fn of(load: &'a Load, now: Timestamp) -> Option<Self> {
        let (sample, excess) = (load.current(now), load.excess.as_ref().filter(|excess| excess.is_current(now)));
        let last_exceeded = load.excess.as_ref().and_then(|excess| excess.last);
        (sample.is_some() || excess.is_some()).then_some(Self { sample, excess, last_exceeded })
    }

    /// Since when the volume does little, and its limits were not exceeded; none where it does not, or that is not known.
    pub(super) fn quiet_since(&self) -> Option<Timestamp> {
        let since = self.sample?.quiet.as_ref()?.since;
        Some(self.last_exceeded.map_or(since, |last| last.max(since)))
    }
}
