//! Spreads what many would do at the same time: agents that dial again after their operator is back, kubelets that are
//! asked at the same interval.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    time::Duration,
};

/// A part of `within`, always the same for the same key, and evenly spread over different ones: no randomness, so that
/// what a node does when can be foretold.
pub fn spread(key: &impl Hash, within: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    // 32 bits are fine enough, and both factors stay exact.
    let part = (hasher.finish() >> 32) as u32;
    within.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_keys_fall_into_every_quarter_and_the_same_key_into_one_place() {
        let within = Duration::from_secs(4);
        let mut quarters = [0; 4];
        for node in 0..1_000 {
            let at = spread(&format!("node-{node}"), within);
            assert!(at <= within);
            quarters[usize::try_from(at.as_secs().min(3)).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|count| *count > 150), "{quarters:?}");
        assert_eq!(spread(&"node-1", within), spread(&"node-1", within));
    }
}
