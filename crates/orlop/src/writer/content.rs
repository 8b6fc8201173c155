//! The data that is written: pseudo-random, so that no layer below can compress or share it, and a function of seed,
//! file and offset alone, so that what is read back can be told right from wrong without a copy.

/// The increment of `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes that are generated together.
const WORD: usize = size_of::<u64>();

/// Fills `block` with the data of the file number `file` from `offset` on, which must be a multiple of 8.
pub(super) fn fill(seed: u64, file: u64, offset: u64, block: &mut [u8]) {
    debug_assert!(offset.is_multiple_of(WORD as u64), "data is generated in whole words");
    // Each file starts at a place of its own in the sequence, far from the others'.
    let start = mix(seed ^ mix(file));
    for (word, chunk) in (offset / WORD as u64..).zip(block.chunks_mut(WORD)) {
        let bytes = mix(start.wrapping_add(word.wrapping_mul(GOLDEN))).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

/// The output function of `SplitMix64`.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_depends_on_the_offset_and_not_on_the_blocks_it_is_made_in() {
        let mut whole = vec![0; 4096];
        fill(7, 3, 0, &mut whole);
        let mut parts = vec![0; 4096];
        let (first, second) = parts.split_at_mut(1024);
        fill(7, 3, 0, first);
        fill(7, 3, 1024, second);
        assert_eq!(whole, parts);
    }

    #[test]
    fn seeds_files_and_offsets_all_make_different_data() {
        let block = |seed, file, offset| {
            let mut block = vec![0; 64];
            fill(seed, file, offset, &mut block);
            block
        };
        let one = block(1, 1, 0);
        assert_ne!(one, block(2, 1, 0));
        assert_ne!(one, block(1, 2, 0));
        assert_ne!(one, block(1, 1, 64));
    }

    #[test]
    fn a_block_that_ends_within_a_word_is_a_prefix_of_the_whole() {
        let mut whole = vec![0; 16];
        fill(1, 0, 0, &mut whole);
        let mut part = vec![0; 13];
        fill(1, 0, 0, &mut part);
        assert_eq!(part, whole[..13]);
    }
}
