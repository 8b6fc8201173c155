//! The latest measurements of each volume, and which of them to believe.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use orlop_planner::{Source, Usage};

/// An agent measures every second and reports at least once a minute, or confirms every five seconds that nothing has
/// changed. A kubelet's measurement that is newer by more than this shows that the agent has fallen silent.
const AGENT_SILENT_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// The latest measurement of each volume by each node and source.
#[derive(Debug, Default)]
pub(super) struct Measured {
    volumes: HashMap<String, Vec<Sample>>,
    /// The volumes that the agent of a node has measured: those that its confirmation is about.
    confirmable: HashMap<Arc<str>, BTreeSet<String>>,
}

#[derive(Debug)]
struct Sample {
    node: Arc<str>,
    usage: Usage,
}

impl Measured {
    /// A volume was measured.
    pub(super) fn sampled(&mut self, node: &str, volume: &str, usage: Usage) {
        let node = self.confirmable.get_key_value(node).map_or_else(|| node.into(), |(node, _)| node.clone());
        if usage.source == Source::Agent {
            self.confirmable.entry(node.clone()).or_default().insert(volume.to_owned());
        }
        let samples = self.volumes.entry(volume.to_owned()).or_default();
        match samples.iter_mut().find(|it| it.node == node && it.usage.source == usage.source) {
            Some(sample) => sample.usage = usage,
            None => {
                // Nearly every volume is mounted on one node, and there are many volumes.
                samples.reserve_exact(1);
                samples.push(Sample { node, usage });
            }
        }
    }

    /// What the agent of the node has measured still holds. Returns the volumes concerned.
    pub(super) fn confirm(&mut self, node: &str, at: Timestamp) -> Vec<String> {
        let volumes: Vec<String> = self.confirmable.get(node).into_iter().flatten().cloned().collect();
        for volume in &volumes {
            for sample in self.volumes.get_mut(volume).into_iter().flatten() {
                if *sample.node == *node && sample.usage.source == Source::Agent {
                    sample.usage.at = sample.usage.at.max(at);
                }
            }
        }
        volumes
    }

    /// The volume is no longer mounted on the node.
    pub(super) fn gone(&mut self, node: &str, volume: &str) {
        if let Some(volumes) = self.confirmable.get_mut(node) {
            volumes.remove(volume);
            if volumes.is_empty() {
                self.confirmable.remove(node);
            }
        }
        if let Some(samples) = self.volumes.get_mut(volume) {
            samples.retain(|sample| *sample.node != *node);
            if samples.is_empty() {
                self.volumes.remove(volume);
            }
        }
    }

    /// The volume is there no longer, on any node.
    pub(super) fn forget(&mut self, volume: &str) {
        for sample in self.volumes.remove(volume).into_iter().flatten() {
            if let Some(volumes) = self.confirmable.get_mut(&sample.node) {
                volumes.remove(volume);
                if volumes.is_empty() {
                    self.confirmable.remove(&sample.node);
                }
            }
        }
    }

    /// The measurement to believe: the newest by an agent, which measures the mount itself, unless the agents have
    /// fallen silent and a kubelet has not.
    pub(super) fn best(&self, volume: &str) -> Option<&Usage> {
        let newest = |source| {
            let samples = self.volumes.get(volume)?;
            samples.iter().map(|it| &it.usage).filter(|usage| usage.source == source).max_by_key(|usage| usage.at)
        };
        match (newest(Source::Agent), newest(Source::Kubelet)) {
            (Some(agent), Some(kubelet)) if kubelet.at.duration_since(agent.at) > AGENT_SILENT_AFTER => Some(kubelet),
            (agent, kubelet) => agent.or(kubelet),
        }
    }
}

#[cfg(test)]
mod tests {
    use orlop_api::Bytes;

    use super::*;

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
        assert_eq!(measured.best("v"), None);
        assert_eq!(measured.confirm("node-1", at), Vec::<String>::new());
        assert!(measured.volumes.is_empty() && measured.confirmable.is_empty());
    }
}
