//! The latest measurements of each volume, and which of them to believe.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use orlop_planner::{Source, Usage};

/// An agent measures every second and reports at least once a minute, or confirms every five seconds that nothing has
/// changed. A kubelet's measurement that is newer by more than this shows that the agent has fallen silent.
const AGENT_SILENT_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// A kubelet measures once a minute, and is asked about twice as often. What Prometheus has read of it that is newer by more
/// than this shows that it is not reached any more.
const KUBELET_SILENT_AFTER: SignedDuration = SignedDuration::from_secs(120);

/// How much older a measurement may be than the one that has overtaken it.
const OVERTAKEN_BY: SignedDuration = SignedDuration::from_secs(60);

/// The latest measurement of each volume by each node and source.
#[derive(Debug, Default)]
pub(super) struct Measured {
    volumes: HashMap<String, Vec<Sample>>,
    /// When the agent of a node last said that what it has measured still holds.
    confirmed: HashMap<Arc<str>, Timestamp>,
}

#[derive(Debug)]
struct Sample {
    node: Arc<str>,
    usage: Usage,
}

impl Measured {
    /// A volume was measured.
    pub(super) fn sampled(&mut self, node: &str, volume: &str, usage: Usage) {
        let node = self.confirmed.get_key_value(node).map_or_else(|| node.into(), |(node, _)| node.clone());
        let samples = self.volumes.entry(volume.to_owned()).or_default();
        if let Some(known) = samples.iter_mut().find(|it| it.node == node && it.usage.source == usage.source) {
            // One that was overtaken on its way tells of what was. Much older it is by a clock that was set back.
            let behind = known.usage.at.duration_since(usage.at);
            if behind <= SignedDuration::ZERO || behind > OVERTAKEN_BY {
                known.usage = usage;
            }
        } else {
            // Nearly every volume is mounted on one node, and there are many volumes.
            samples.reserve_exact(1);
            samples.push(Sample { node, usage });
        }
    }

    /// What the agent of the node has measured still holds.
    pub(super) fn confirmed(&mut self, node: &str, at: Timestamp) {
        match self.confirmed.get_mut(node) {
            Some(known) => *known = at.max(*known),
            None => {
                self.confirmed.insert(node.into(), at);
            }
        }
    }

    /// The clock that dates them was set forward by so much, or back.
    pub(super) fn date_anew(&mut self, set_by: SignedDuration) {
        let anew = |at: &mut Timestamp| *at = at.saturating_add(set_by).unwrap_or(*at);
        self.confirmed.values_mut().for_each(anew);
        for sample in self.volumes.values_mut().flatten() {
            anew(&mut sample.usage.at);
            sample.usage.crossed.as_mut().map(anew);
        }
    }

    /// The volume is no longer mounted on the node. What Prometheus has read is of no certain node, and may be of this one.
    pub(super) fn gone(&mut self, node: &str, volume: &str) {
        if let Some(samples) = self.volumes.get_mut(volume) {
            samples.retain(|sample| *sample.node != *node && sample.usage.source != Source::Prometheus);
            if samples.is_empty() {
                self.volumes.remove(volume);
            }
        }
    }

    /// The volume is there no longer, on any node.
    pub(super) fn forget(&mut self, volume: &str) {
        self.volumes.remove(volume);
    }

    /// The node is there no longer.
    pub(super) fn forget_node(&mut self, node: &str) {
        self.confirmed.remove(node);
    }

    /// The measurement to believe: the newest by an agent, which measures the mount itself, or else by a kubelet, or else
    /// by Prometheus; but not by one that has fallen silent while a less trusted one has not.
    pub(super) fn best(&self, volume: &str) -> Option<Usage> {
        let samples = self.volumes.get(volume)?;
        let newest = |source| {
            let usages = samples.iter().filter(|sample| sample.usage.source == source).map(|it| self.as_confirmed(it));
            usages.max_by_key(|usage| usage.at)
        };
        let by_trust = [Source::Agent, Source::Kubelet, Source::Prometheus].into_iter().filter_map(newest);
        by_trust.reduce(|trusted, other| {
            let is_silent = other.at.duration_since(trusted.at) > silent_after(trusted.source);
            if is_silent { other } else { trusted }
        })
    }

    /// The node that made the measurement to believe.
    pub(super) fn best_node(&self, volume: &str) -> Option<&str> {
        let best = self.best(volume)?;
        let made_it = |sample: &&Sample| self.as_confirmed(sample) == best;
        self.volumes.get(volume)?.iter().find(made_it).map(|sample| &*sample.node)
    }

    fn as_confirmed(&self, sample: &Sample) -> Usage {
        let confirmed = self.confirmed.get(&sample.node).filter(|_| sample.usage.source == Source::Agent);
        Usage { at: confirmed.map_or(sample.usage.at, |at| sample.usage.at.max(*at)), ..sample.usage.clone() }
    }
}

const fn silent_after(source: Source) -> SignedDuration {
    match source {
        Source::Agent => AGENT_SILENT_AFTER,
        Source::Kubelet | Source::Prometheus => KUBELET_SILENT_AFTER,
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::Bytes;

    use super::*;

    #[test]
    fn a_measurement_that_was_overtaken_is_not_taken_for_the_latest() {
        let usage = |second, available| Usage {
            at: Timestamp::from_second(second).unwrap(),
            source: Source::Agent,
            total: Bytes::GIB,
            available: Bytes(available),
            inodes: None,
            fill_bytes_per_second: 0,
            crossed: None,
        };
        let mut measured = Measured::default();
        measured.sampled("node-1", "v", usage(1_020, 1));
        measured.sampled("node-1", "v", usage(1_000, 2));
        assert_eq!(measured.best("v").unwrap().available, Bytes(1));
        measured.sampled("node-1", "v", usage(100, 3));
        assert_eq!(measured.best("v").unwrap().available, Bytes(3), "its clock was set back");
        measured.sampled("node-2", "v", usage(90, 4));
        assert_eq!(measured.best_node("v"), Some("node-1"));
    }

    #[test]
    fn nothing_is_kept_of_a_volume_that_is_deleted() {
        let at = Timestamp::from_second(1_000).unwrap();
        let usage = |source| Usage {
            at,
            source,
            total: Bytes::GIB,
            available: Bytes::MIB,
            inodes: None,
            fill_bytes_per_second: 0,
            crossed: None,
        };
        let mut measured = Measured::default();
        measured.sampled("node-1", "v", usage(Source::Agent));
        measured.sampled("node-2", "v", usage(Source::Kubelet));
        measured.forget("v");
        measured.confirmed("node-1", at);
        assert_eq!(measured.best("v"), None);
        assert!(measured.volumes.is_empty());
    }
}
