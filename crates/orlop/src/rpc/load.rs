//! A volume's I/O and what is asked for of it, as they are sent between agent and operator.

use std::sync::Arc;

use orlop_api::{Dimension, Limits};
use orlop_planner as planner;

use super::agent_v1::{Bounds, LoadWatch, Rates};

impl From<planner::Rates> for Rates {
    fn from(rates: planner::Rates) -> Self {
        let [operations, reads, writes, bytes, read_bytes, written_bytes] = rates.to_array();
        Self { operations, reads, writes, bytes, read_bytes, written_bytes }
    }
}

impl From<Rates> for planner::Rates {
    fn from(rates: Rates) -> Self {
        let Rates { operations, reads, writes, bytes, read_bytes, written_bytes } = rates;
        Self::from_array([operations, reads, writes, bytes, read_bytes, written_bytes])
    }
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        let [operations, reads, writes, bytes, read_bytes, written_bytes] = Dimension::ALL.map(|it| limits.get(it));
        Self { operations, reads, writes, bytes, read_bytes, written_bytes }
    }
}

impl From<Bounds> for Limits {
    fn from(bounds: Bounds) -> Self {
        let Bounds { operations, reads, writes, bytes, read_bytes, written_bytes } = bounds;
        let mut limits = Self::default();
        let all = [operations, reads, writes, bytes, read_bytes, written_bytes];
        for (dimension, bound) in Dimension::ALL.into_iter().zip(all) {
            if let Some(bound) = bound {
                limits.set(dimension, bound);
            }
        }
        limits
    }
}

impl From<&planner::LoadWatch> for LoadWatch {
    fn from(watch: &planner::LoadWatch) -> Self {
        Self { busy: Some((&watch.busy).into()), quiet: watch.quiet.as_ref().map(Bounds::from) }
    }
}

impl From<LoadWatch> for Arc<planner::LoadWatch> {
    fn from(watch: LoadWatch) -> Self {
        let busy = watch.busy.unwrap_or_default().into();
        Self::new(planner::LoadWatch { busy, quiet: watch.quiet.map(Limits::from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_as_it_was() {
        let rates = planner::Rates::new(1, 2, 3, 4);
        assert_eq!(planner::Rates::from(Rates::from(rates)), rates);
        let mut busy = Limits::default();
        busy.set(Dimension::WriteIops, 90);
        busy.set(Dimension::Throughput, 0);
        for quiet in [None, Some(Limits::default()), Some(busy)] {
            let watch = Arc::new(planner::LoadWatch { busy, quiet });
            assert_eq!(Arc::<planner::LoadWatch>::from(LoadWatch::from(&*watch)), watch);
        }
    }
}
