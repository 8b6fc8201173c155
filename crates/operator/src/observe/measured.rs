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
    volumes: HashMap<Arc<str>, Vec<Sample>>,
    /// When the agent of a node last said that what it has measured still holds.
    confirmed: HashMap<Arc<str>, Timestamp>,
}

#[derive(Debug)]
struct Sample {
    node: Arc<str>,
    usage: Usage,
    /// When it was last confirmed before the volume grew, where that has grown since. What an agent confirms then is what it
    /// has measured of the larger one, and that may have been lost on its way.
    outgrown: Option<Timestamp>,
}

impl Measured {
    /// A volume was measured.
    pub(super) fn sampled(&mut self, node: Arc<str>, volume: Arc<str>, usage: Usage) {
        let samples = self.volumes.entry(volume).or_default();
        if usage.source == Source::Agent {
            // An agent that is back knows better. What a kubelet said meanwhile may be dated into the future, by its clock or
            // because ours was behind, and would hide what the agent measures for as long.
            samples.retain(|sample| sample.usage.source == Source::Agent);
        }
        if let Some(known) = samples.iter_mut().find(|it| it.node == node && it.usage.source == usage.source) {
            // One that was overtaken on its way tells of what was. Much older it is by a clock that was set back.
            let behind = known.usage.at.duration_since(usage.at);
            if behind <= SignedDuration::ZERO || behind > OVERTAKEN_BY {
                known.usage = usage;
                // The same once more shows nothing new.
                known.outgrown = known.outgrown.filter(|_| behind.is_zero());
            }
        } else {
            // Nearly every volume is mounted on one node, and there are many volumes.
            samples.reserve_exact(1);
            samples.push(Sample { node, usage, outgrown: None });
        }
    }

    /// What the agent of the node has measured still holds.
    pub(super) fn confirmed(&mut self, node: Arc<str>, at: Timestamp) {
        let known = self.confirmed.entry(node).or_insert(at);
        *known = at.max(*known);
    }

    /// The clock that dates what agents measure was set forward by so much, or back. Kubelets date by their own.
    pub(super) fn date_anew(&mut self, set_by: SignedDuration) {
        let anew = |at: &mut Timestamp| *at = at.saturating_add(set_by).unwrap_or(*at);
        self.confirmed.values_mut().for_each(anew);
        let by_ours = |sample: &&mut Sample| sample.usage.source == Source::Agent;
        for sample in self.volumes.values_mut().flatten().filter(by_ours) {
            anew(&mut sample.usage.at);
            sample.usage.crossed.as_mut().map(anew);
            sample.outgrown.as_mut().map(anew);
        }
    }

    /// The volume has grown: no confirmation makes newer what was measured before.
    pub(super) fn outgrown(&mut self, volume: &str) {
        for sample in self.volumes.get_mut(volume).into_iter().flatten() {
            sample.outgrown = sample.outgrown.or(Some(sample.confirmed(&self.confirmed)));
        }
    }

    /// The agent of the node no longer measures the volume: it is not mounted, or the agent is gone. That says nothing about
    /// what others have measured, which may be all that there is then.
    pub(super) fn gone(&mut self, node: &str, volume: &str) {
        if let Some(samples) = self.volumes.get_mut(volume) {
            samples.retain(|sample| *sample.node != *node || sample.usage.source != Source::Agent);
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

    /// The node that made the measurement to believe, where it is known.
    pub(super) fn best_node(&self, volume: &str) -> Option<&str> {
        let best = self.best(volume)?;
        let made_it = |sample: &&Sample| self.as_confirmed(sample) == best;
        let node = self.volumes.get(volume)?.iter().find(made_it).map(|sample| &*sample.node);
        // What Prometheus has read is of no certain node.
        node.filter(|node| !node.is_empty())
    }

    /// The node whose agent renews the measurement of the volume by confirming it; none where none or several do.
    pub(super) fn only_agent(&self, volume: &str) -> Option<&Arc<str>> {
        let mut renewed = self.volumes.get(volume)?.iter().filter(|sample| sample.is_renewed());
        renewed.next().filter(|_| renewed.next().is_none()).map(|sample| &sample.node)
    }

    /// When the agent of the node last said that what it has measured still holds.
    pub(super) fn last_confirmed(&self, node: &str) -> Option<Timestamp> {
        self.confirmed.get(node).copied()
    }

    fn as_confirmed(&self, sample: &Sample) -> Usage {
        Usage { at: sample.confirmed(&self.confirmed), ..sample.usage.clone() }
    }
}

impl Sample {
    /// Does its agent renew it by confirming what it has measured?
    fn is_renewed(&self) -> bool {
        self.usage.source == Source::Agent && self.outgrown.is_none()
    }

    /// When it was last confirmed, these being the times at which each node's agent last confirmed anything.
    fn confirmed(&self, agents: &HashMap<Arc<str>, Timestamp>) -> Timestamp {
        let last = if self.is_renewed() { agents.get(&self.node).copied() } else { self.outgrown };
        last.map_or(self.usage.at, |at| at.max(self.usage.at))
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
        measured.sampled("node-1".into(), "v".into(), usage(1_020, 1));
        measured.sampled("node-1".into(), "v".into(), usage(1_000, 2));
        assert_eq!(measured.best("v").unwrap().available, Bytes(1));
        measured.sampled("node-1".into(), "v".into(), usage(100, 3));
        assert_eq!(measured.best("v").unwrap().available, Bytes(3), "its clock was set back");
        measured.sampled("node-2".into(), "v".into(), usage(90, 4));
        assert_eq!(measured.best_node("v"), Some("node-1"));
    }

    fn usage(source: Source, second: i64) -> Usage {
        Usage {
            at: Timestamp::from_second(second).unwrap(),
            source,
            total: Bytes::GIB,
            available: Bytes::MIB,
            inodes: None,
            fill_bytes_per_second: 0,
            crossed: None,
        }
    }

    #[test]
    fn an_agent_that_is_given_up_takes_nothing_with_it_that_a_kubelet_has_measured() {
        let mut measured = Measured::default();
        measured.sampled("node-1".into(), "v".into(), usage(Source::Agent, 1_000));
        measured.sampled("node-1".into(), "v".into(), usage(Source::Kubelet, 1_040));
        measured.gone("node-1", "v");
        assert_eq!(measured.best("v"), Some(usage(Source::Kubelet, 1_040)));
    }

    #[test]
    fn an_agent_that_is_back_is_believed_also_after_a_kubelet_from_the_future() {
        let mut measured = Measured::default();
        measured.sampled("node-1".into(), "v".into(), usage(Source::Kubelet, 8_200));
        measured.sampled("node-1".into(), "v".into(), usage(Source::Agent, 1_000));
        assert_eq!(measured.best("v"), Some(usage(Source::Agent, 1_000)));
    }

    #[test]
    fn nothing_is_kept_of_a_volume_that_is_deleted() {
        let at = Timestamp::from_second(1_000).unwrap();
        let usage = |source| usage(source, 1_000);
        let mut measured = Measured::default();
        measured.sampled("node-1".into(), "v".into(), usage(Source::Agent));
        measured.sampled("node-2".into(), "v".into(), usage(Source::Kubelet));
        measured.forget("v");
        measured.confirmed("node-1".into(), at);
        assert_eq!(measured.best("v"), None);
        assert!(measured.volumes.is_empty());
    }
}
