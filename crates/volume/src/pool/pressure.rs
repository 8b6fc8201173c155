//! What is done as a pool fills up, decided from how much is free.
//!
//! The ballast is a file that only takes room. It is given up when little else is left, which is room for what must
//! still be written: the records of the pool's filesystem, and what guests have in their caches. When that goes too,
//! the writers of the volumes that may still take room are held up until there is more, because a guest filesystem that
//! cannot write its journal shuts down.
//!
//! This is looked at five times a second, and a hundred times when the pool is low. Between two looks, until the
//! writers are held up, and with what guests have cached, less than half of the ballast's size may be written if nobody
//! is to see an error. Measured with the smallest ballast of 64 MiB and two busy cores: two volumes written directly
//! with 240 MB/s together never saw one, nor did XFS, ext4 and btrfs volumes written through their caches as fast as
//! they went; direct writes with 1 GB/s did in one of two runs, and their filesystems went on. At five looks a second,
//! 240 MB/s was too much.

use std::cmp::max;

use orlop_api::Bytes;

/// A pool's room, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pressure {
    pub free: Bytes,
    /// The size of the ballast, also when it is not held.
    pub ballast: Bytes,
    pub held: bool,
    pub paused: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    GiveUpBallast,
    Pause,
    Resume,
    MakeBallast,
}

impl Pressure {
    pub(crate) fn measure(self) -> Option<Measure> {
        let Self { free: Bytes(free), ballast: Bytes(ballast), held, paused } = self;
        match (held, paused) {
            (true, _) if free < ballast => Some(Measure::GiveUpBallast),
            (_, true) if free >= ballast => Some(Measure::Resume),
            (false, false) if free < ballast / 2 => Some(Measure::Pause),
            (false, false) if free / 4 >= ballast => Some(Measure::MakeBallast),
            _ => None,
        }
    }
}

/// The size of the ballast of a pool: a hundredth, but 64 MiB at least, for which a pool of less than 1 GiB is too
/// small, and 1 GiB at most.
pub(crate) fn ballast_of(total: Bytes) -> Bytes {
    const SMALLEST: Bytes = Bytes(64 << 20);
    Bytes((total.0 / 100).clamp(SMALLEST.0, Bytes::GIB.0).min(total.0 / 16)).round_down(Bytes::MIB)
}

/// Below so much free room, somebody should see to it that there is more, and it is looked at a hundred times a second.
pub(crate) fn low_water(total: Bytes) -> Bytes {
    max(Bytes(total.0 / 10), Bytes(8 * ballast_of(total).0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Measure::{GiveUpBallast, MakeBallast, Pause, Resume},
        *,
    };

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_ballast_is_a_hundredth_within_bounds() {
        for (total_mib, ballast_mib) in [(512, 32), (4096, 64), (10 << 10, 102), (1 << 20, 1024)] {
            assert_eq!(ballast_of(Bytes(total_mib * MIB)), Bytes(ballast_mib * MIB), "{total_mib} MiB");
        }
    }

    #[test]
    fn a_pool_that_fills_up_and_is_emptied_goes_through_each_measure_once() {
        let ballast = Bytes(64 * MIB);
        let mut pool = Pressure { free: Bytes(1024 * MIB), ballast, held: true, paused: false };
        let mut seen = Vec::new();
        let filling = (0..=100).map(|step| -(10 * step));
        let emptying = (0..=100).map(|step| 10 * step - 1000);
        for used in filling.chain(emptying) {
            let given_up = if pool.held { 0 } else { 64 };
            let free = u64::try_from((1000 + used + given_up).max(0)).unwrap();
            pool.free = Bytes(free * MIB);
            if let Some(measure) = pool.measure() {
                pool = apply(pool, measure);
                seen.push(measure);
            }
        }
        // 1000 MiB less 1000 plus the ballast is 64 MiB: never low enough for a pause.
        assert_eq!(seen, [GiveUpBallast, MakeBallast]);
        pool = apply(pool, GiveUpBallast);
        seen.clear();
        for free in [40, 20, 10, 40, 63, 64, 300] {
            pool.free = Bytes(free * MIB);
            if let Some(measure) = pool.measure() {
                pool = apply(pool, measure);
                seen.push(measure);
            }
        }
        assert_eq!(seen, [Pause, Resume, MakeBallast]);
    }

    fn apply(pool: Pressure, measure: Measure) -> Pressure {
        match measure {
            Measure::GiveUpBallast => Pressure { held: false, free: Bytes(pool.free.0 + pool.ballast.0), ..pool },
            Measure::MakeBallast => Pressure { held: true, free: Bytes(pool.free.0 - pool.ballast.0), ..pool },
            Measure::Pause => Pressure { paused: true, ..pool },
            Measure::Resume => Pressure { paused: false, ..pool },
        }
    }

    proptest! {
        #[test]
        fn measures_settle_while_the_room_stays_as_it_is(
            free in 0..1_u64 << 40, total in 1..1_u64 << 44, held: bool, paused: bool,
        ) {
            let mut pool = Pressure { free: Bytes(free), ballast: ballast_of(Bytes(total)), held, paused };
            let mut measures = 0;
            while let Some(measure) = pool.measure() {
                pool = apply(pool, measure);
                measures += 1;
                prop_assert!(measures <= 3, "{pool:?}");
            }
        }
    }
}
