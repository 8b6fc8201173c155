//! What a volume of some size can hold. A simulated volume is to its size as the recorded one was: the same part of it
//! is the filesystem's, and the same part of that is held back.

use orlop_api::{Abilities, Bytes};

use crate::{
    history::Sample,
    line::{part, part_up},
};

/// Of so many bytes of a filesystem one must be available, or it counts as full, and of so many inodes one must be free: a
/// writer is refused a little before the last byte, and what was recorded and what is simulated are judged alike.
const FULL_BELOW: u64 = 1000;

/// The recorded volume that all sizes are in proportion to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The size of the claim.
    size: u64,
    /// The bytes of the filesystem.
    total: u64,
    /// Those of them that can be used.
    usable: u64,
    /// The inodes, or zero where they were not recorded.
    inodes: u64,
}

/// What a volume of one size can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// The size of the claim.
    pub(crate) size: Bytes,
    /// The bytes of the filesystem.
    pub(crate) total: Bytes,
    /// Those of them that can be used.
    pub(crate) usable: u64,
    /// All inodes, or zero where they were not recorded.
    pub(crate) inodes: u64,
    /// With more than this used it is full.
    pub(crate) full_above: u64,
    /// And with more inodes than this.
    pub(crate) inodes_full_above: u64,
}

impl Shape {
    /// The shape of the volume of a claim of that size, by a sample of it.
    pub(crate) fn new(size: Bytes, sample: &Sample) -> Self {
        let total = sample.capacity.0;
        let usable = sample.usable().min(total).max(1);
        Self { size: size.0.max(1), total, usable, inodes: sample.inodes.map_or(0, |inodes| inodes.total.0) }
    }

    /// What a claim of this size can hold.
    pub(crate) fn room(&self, size: Bytes) -> Room {
        let scaled = |value| part(value, size.0, self.size);
        let (total, usable, inodes) = (scaled(self.total), scaled(self.usable), scaled(self.inodes));
        let (full_above, inodes_full_above) = (full_above(usable, total), inodes_full_above(inodes));
        Room { size, total: Bytes(total), usable, inodes, full_above, inodes_full_above }
    }

    /// The smallest size that the driver makes which holds so much without being full.
    pub(crate) fn size_for(&self, used: u64, inodes: u64, abilities: &Abilities<'_>) -> Bytes {
        let for_bytes = part_up(used, self.size, full_above(self.usable, self.total));
        let for_inodes = if self.inodes == 0 { 0 } else { part_up(inodes, self.size, inodes_full_above(self.inodes)) };
        let least = abilities.minimum_size.unwrap_or(Bytes(1));
        Bytes(for_bytes.max(for_inodes)).max(least).round_up(abilities.size_increment)
    }
}

/// With more than this used, a filesystem is full.
pub(crate) fn full_above(usable: u64, total: u64) -> u64 {
    usable.saturating_sub(total / FULL_BELOW)
}

/// With more inodes than this used, a filesystem is full; one of which none are known never is.
pub(crate) fn inodes_full_above(inodes: u64) -> u64 {
    if inodes == 0 { u64::MAX } else { inodes - inodes / FULL_BELOW - 1 }
}

/// The size of the claim whose filesystem has so many bytes: the known one where that is it, which is where it is no more
/// than a tenth larger, and else the next that the driver makes. A filesystem is a little smaller than its volume.
pub(crate) fn claim_size(filesystem: Bytes, known: Option<Bytes>, increment: Bytes) -> Bytes {
    known
        .filter(|size| *size >= filesystem && u128::from(filesystem.0) * 10 >= u128::from(size.0) * 9)
        .unwrap_or_else(|| filesystem.round_up(increment))
}

#[cfg(test)]
mod tests {
    use orlop_api::DriverProfileSpec;

    use super::*;

    const GIB: u64 = 1 << 30;

    /// A volume of 100Gi of which the filesystem takes 2 GiB for itself and holds 5 GiB back.
    fn sample() -> Sample {
        Sample { at_ms: 0, capacity: Bytes(98 * GIB), used: Bytes(50 * GIB), available: Bytes(43 * GIB), inodes: None }
    }

    #[test]
    fn a_larger_volume_holds_more_in_the_same_proportion() {
        let shape = Shape::new(Bytes(100 * GIB), &sample());
        let room = shape.room(Bytes(200 * GIB));
        assert_eq!((room.total, room.usable, room.inodes), (Bytes(196 * GIB), 186 * GIB, 0));
        assert_eq!(room.full_above, 186 * GIB - 196 * GIB / 1000);
    }

    #[test]
    fn the_smallest_size_that_holds_so_much_is_not_full_with_it() {
        let shape = Shape::new(Bytes(100 * GIB), &sample());
        let profile = DriverProfileSpec::default();
        let abilities = profile.abilities(&[].into());
        for used in [1, GIB, 50 * GIB, 93 * GIB, 500 * GIB] {
            let size = shape.size_for(used, 0, &abilities);
            assert!(shape.room(size).full_above >= used, "{used} in {size}");
            let smaller = Bytes(size.0 - GIB);
            assert!(shape.room(smaller).full_above < used, "{used} in {smaller}");
        }
    }

    #[test]
    fn a_filesystem_is_of_the_known_claim_where_it_is_little_smaller_and_else_of_the_next_size() {
        let size =
            |filesystem, known| claim_size(Bytes(filesystem * GIB), Some(Bytes(known * GIB)), Bytes::GIB).0 / GIB;
        assert_eq!(size(98, 100), 100);
        assert_eq!(size(98, 200), 98, "it has grown since");
        assert_eq!(size(98, 50), 98, "it cannot have shrunk, and is another claim");
        assert_eq!(claim_size(Bytes(98 * GIB - 1), None, Bytes::GIB), Bytes(98 * GIB));
    }
}
