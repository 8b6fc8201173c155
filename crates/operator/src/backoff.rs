//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// Waits that double from `first` up to `longest`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after one failure more than `failures`.
    pub fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_has_an_end() {
        let backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };
        let waits: Vec<_> = [0, 1, 2, 5, 31, 32, u32::MAX].map(|failures| backoff.after(failures).as_millis()).into();
        assert_eq!(waits, [200, 400, 800, 5000, 5000, 5000, 5000]);
    }
}
