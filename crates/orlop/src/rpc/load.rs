//! A volume's I/O and what is asked for of it, as they are sent between agent and operator.

use orlop_api::{Dimension, Limits};
use orlop_planner as planner;

use super::agent_v1::{Bounds, LoadWatch, Pressure, Rates};

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

impl From<planner::Pressure> for Pressure {
    fn from(planner::Pressure { some, full }: planner::Pressure) -> Self {
        Self { some: some.into(), full: full.into() }
    }
}

impl From<Pressure> for planner::Pressure {
    fn from(Pressure { some, full }: Pressure) -> Self {
        let percent = |share: u32| u8::try_from(share.min(100)).unwrap_or(100);
        Self { some: percent(some), full: percent(full) }
    }
}

impl From<&planner::LoadWatch> for LoadWatch {
    fn from(planner::LoadWatch { busy, quiet, gives }: &planner::LoadWatch) -> Self {
        Self { busy: Some(busy.into()), quiet: quiet.as_ref().map(Bounds::from), gives: Some(gives.into()) }
    }
}

impl From<LoadWatch> for planner::LoadWatch {
    fn from(LoadWatch { busy, quiet, gives }: LoadWatch) -> Self {
        let limits = |bounds: Option<Bounds>| Limits::from(bounds.unwrap_or_default());
        Self { busy: limits(busy), quiet: quiet.map(Limits::from), gives: limits(gives) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_as_it_was() {
        let rates = planner::Rates::new(1, 2, 3, 4);
        assert_eq!(planner::Rates::from(Rates::from(rates)), rates);
        let pressure = planner::Pressure { some: 100, full: 7 };
        assert_eq!(planner::Pressure::from(Pressure::from(pressure)), pressure);
        assert_eq!(planner::Pressure::from(Pressure { some: 101, full: 7 }), pressure, "there is no more than all");
        let mut busy = Limits::default();
        busy.set(Dimension::WriteIops, 90);
        busy.set(Dimension::Throughput, 0);
        for quiet in [None, Some(Limits::default()), Some(busy)] {
            let mut gives = busy;
            gives.set(Dimension::Iops, 7);
            let watch = planner::LoadWatch { busy, quiet, gives };
            assert_eq!(planner::LoadWatch::from(LoadWatch::from(&watch)), watch);
        }
    }
}
