//! The account of a pool: what is there, what its volumes may yet take of it, and so what can still be promised. All of
//! it is arithmetic; what is counted is gathered in `audit`.

use orlop_api::Bytes;

use super::Overcommit;
use crate::Provisioning;

/// Held back from what is promised, in percent of the pool: its filesystem needs room for its own records. At the
/// worst, with every 4 KiB of every image an extent of its own, XFS records 52 bytes for each: 1.3 %.
const RESERVED_PERCENT: u64 = 2;

/// What one volume's image holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// The image's length, which is what its volume was promised.
    pub size: Bytes,
    /// What is allocated to the image.
    pub allocated: Bytes,
    /// How much of that belongs to a snapshot or to another volume too.
    pub shared: Bytes,
    pub provisioning: Provisioning,
}

impl Held {
    /// What is allocated to this image alone, and is overwritten in place.
    pub(crate) fn exclusive(&self) -> Bytes {
        Bytes(self.allocated.0.saturating_sub(self.shared.0).min(self.size.0))
    }

    /// What the image may yet take: holes take room when they are written, and shared bytes when they are overwritten.
    pub(crate) fn outstanding(&self) -> Bytes {
        Bytes(self.size.0 - self.exclusive().0)
    }
}

/// Room that somebody asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    pub thin: Bytes,
    pub thick: Bytes,
}

impl Demand {
    pub(crate) fn of(bytes: Bytes, provisioning: Provisioning) -> Self {
        let mut demand = Self::default();
        demand.add(bytes, provisioning);
        demand
    }

    pub(crate) fn add(&mut self, bytes: Bytes, provisioning: Provisioning) {
        let sum = match provisioning {
            Provisioning::Thin => &mut self.thin,
            Provisioning::Thick => &mut self.thick,
        };
        *sum = plus(*sum, bytes);
    }

    pub(crate) fn total(self) -> Bytes {
        plus(self.thin, self.thick)
    }

    /// What must be there for it: all of a thick part, and of a thin part what the overcommit ratio leaves of it.
    fn backing(self, overcommit: Overcommit) -> Bytes {
        plus(self.thick, overcommit.backing(self.thin))
    }
}

/// How a pool stands at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// The size of its filesystem.
    pub total: Bytes,
    /// What is free in it.
    pub free: Bytes,
    /// What the ballast lacks of its size, and gets back before anything more is promised.
    pub owed: Bytes,
    pub overcommit: Overcommit,
    /// The sizes of all volumes.
    pub promised: Bytes,
    pub allocated: Bytes,
    pub shared: Bytes,
    /// What volumes may yet take.
    pub outstanding: Demand,
}

impl Account {
    /// That of a pool without volumes.
    pub(crate) fn new(total: Bytes, free: Bytes, owed: Bytes, overcommit: Overcommit) -> Self {
        let none = Bytes(0);
        let outstanding = Demand::default();
        Self { total, free, owed, overcommit, promised: none, allocated: none, shared: none, outstanding }
    }

    pub(crate) fn add(&mut self, held: &Held) {
        self.promised = plus(self.promised, held.size);
        self.allocated = plus(self.allocated, held.allocated);
        self.shared = plus(self.shared, held.shared);
        self.outstanding.add(held.outstanding(), held.provisioning);
    }

    /// How much may be promised to one more volume: what is free, less the reserve, and less what must be there for
    /// what was promised already.
    pub(crate) fn available(&self, provisioning: Provisioning) -> Bytes {
        let reserved = self.total.0 / 100 * RESERVED_PERCENT;
        let spoken_for = self.outstanding.backing(self.overcommit);
        let left =
            [Bytes(reserved), self.owed, spoken_for].iter().fold(self.free.0, |left, part| left.saturating_sub(part.0));
        match provisioning {
            Provisioning::Thick => Bytes(left),
            Provisioning::Thin => self.overcommit.promisable(Bytes(left)),
        }
    }

    pub(crate) fn has_room_for(&self, demand: Demand) -> bool {
        demand.backing(self.overcommit) <= self.available(Provisioning::Thick)
    }
}

fn plus(one: Bytes, other: Bytes) -> Bytes {
    Bytes(one.0.saturating_add(other.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn account(total: u64, free: u64, overcommit: Overcommit) -> Account {
        Account::new(Bytes(total), Bytes(free), Bytes(0), overcommit)
    }

    fn add_all(account: &mut Account, volumes: &[Held]) {
        for held in volumes {
            account.add(held);
        }
    }

    fn provisioning() -> impl Strategy<Value = Provisioning> {
        prop_oneof![Just(Provisioning::Thin), Just(Provisioning::Thick)]
    }

    fn overcommit() -> impl Strategy<Value = Overcommit> {
        (100..10_001_u32).prop_map(|percent| (f64::from(percent) / 100.0).to_string().parse().unwrap())
    }

    fn held() -> impl Strategy<Value = Held> {
        (1..1_u64 << 40, 0..1_u64 << 41, 0..1_u64 << 41, provisioning()).prop_map(
            |(size, allocated, shared, provisioning)| Held {
                size: Bytes(size),
                allocated: Bytes(allocated),
                shared: Bytes(shared.min(allocated)),
                provisioning,
            },
        )
    }

    #[test]
    fn holes_and_shared_bytes_are_outstanding_and_the_rest_is_not() {
        let held = Held {
            size: Bytes(100 * MIB),
            allocated: Bytes(70 * MIB),
            shared: Bytes(20 * MIB),
            provisioning: Provisioning::Thick,
        };
        assert_eq!(held.outstanding(), Bytes(50 * MIB));
        let mut account = account(1000 * MIB, 500 * MIB, "2".parse().unwrap());
        account.add(&held);
        assert_eq!(account.available(Provisioning::Thick), Bytes((500 - 20 - 50) * MIB));
        assert_eq!(account.available(Provisioning::Thin), Bytes(2 * (500 - 20 - 50) * MIB));
        account.add(&Held { provisioning: Provisioning::Thin, ..held });
        assert_eq!(account.available(Provisioning::Thick), Bytes((500 - 20 - 50 - 25) * MIB));
    }

    #[test]
    fn a_ballast_that_was_given_up_is_not_promised() {
        let with = Account::new(Bytes(1000 * MIB), Bytes(100 * MIB), Bytes(30 * MIB), Overcommit::default());
        assert_eq!(with.available(Provisioning::Thick), Bytes(50 * MIB));
    }

    proptest! {
        #[test]
        fn what_is_available_is_the_most_that_there_is_room_for(
            total in 0..1_u64 << 50, free in 0..1_u64 << 50, overcommit in overcommit(),
            volumes in prop::collection::vec(held(), 0..8), provisioning in provisioning(),
        ) {
            let mut account = account(total, free, overcommit);
            add_all(&mut account, &volumes);
            let most = account.available(provisioning);
            prop_assert!(account.has_room_for(Demand::of(most, provisioning)));
            prop_assert!(!account.has_room_for(Demand::of(Bytes(most.0 + 1), provisioning)));
        }

        #[test]
        fn whatever_is_promised_without_overcommitment_can_be_written(
            total in 1..1_u64 << 40,
            asked in prop::collection::vec((1..1_u64 << 38, provisioning(), any::<bool>()), 0..20),
        ) {
            let mut free = total;
            let mut volumes: Vec<Held> = Vec::new();
            for (size, provisioning, snapshot) in asked {
                let mut account = account(total, free, Overcommit::default());
                add_all(&mut account, &volumes);
                // A new volume takes its bytes at once if it is thick; a snapshot of the last one shares its bytes.
                if let Some(last) = volumes.last_mut().filter(|_| snapshot) {
                    if account.has_room_for(Demand::of(last.exclusive(), last.provisioning)) {
                        last.shared = last.allocated;
                    }
                } else if account.has_room_for(Demand::of(Bytes(size), provisioning)) {
                    let allocated = if provisioning == Provisioning::Thick { Bytes(size) } else { Bytes(0) };
                    free -= allocated.0;
                    volumes.push(Held { size: Bytes(size), allocated, shared: Bytes(0), provisioning });
                }
            }
            let worst: u64 = volumes.iter().map(|held| held.outstanding().0).sum();
            prop_assert!(worst <= free, "{worst} may be written, and {free} is free");
        }

        #[test]
        fn a_promise_lowers_what_is_available_by_as_much(
            total in 1..1_u64 << 50, overcommit in overcommit(), volumes in prop::collection::vec(held(), 0..4),
            size in 1..1_u64 << 40, provisioning in provisioning(),
        ) {
            let mut account = account(total, total, overcommit);
            add_all(&mut account, &volumes);
            let before = account.available(provisioning);
            let demand = Demand::of(Bytes(size), provisioning);
            prop_assume!(account.has_room_for(demand));
            account.add(&Held { size: Bytes(size), allocated: Bytes(0), shared: Bytes(0), provisioning });
            let after = account.available(provisioning);
            // Rounding loses less than a byte of what must be there, which is up to a hundred bytes of a promise.
            prop_assert!(before.0 - after.0 >= size - 100.min(size) && before.0 - after.0 <= size + 100);
        }
    }
}
