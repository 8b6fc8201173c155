//! What is between two samples: a value that changes evenly from the one to the other. Whole numbers only, so that the
//! moment at which a limit is crossed is one at which the value really is beyond it.

/// A value over a span of time. Offsets are in milliseconds from its beginning, and never beyond its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// How long it lasts; at least 1.
    pub(crate) lasts_ms: u64,
}

impl Line {
    /// The value at an offset, rounded towards the beginning's.
    pub(crate) fn at(&self, offset_ms: u64) -> u64 {
        let change = |by: u64| part(by, offset_ms, self.lasts_ms);
        if self.to >= self.from {
            self.from + change(self.to - self.from)
        } else {
            self.from - change(self.from - self.to)
        }
    }

    /// How much the value rises a second, rounded down; zero where it does not.
    pub(crate) fn rise_per_second(&self) -> u64 {
        part(self.to.saturating_sub(self.from), 1000, self.lasts_ms)
    }

    /// The larger of both ends.
    pub(crate) fn most(&self) -> u64 {
        self.from.max(self.to)
    }

    /// The offset after `after_ms` at which the value comes to be above the limit, or ceases to be; none if it stays on its
    /// side of it to the end.
    pub(crate) fn crosses(&self, limit: u64, after_ms: u64) -> Option<u64> {
        let (is_above, ends_above) = (self.at(after_ms) > limit, self.to > limit);
        if is_above == ends_above {
            return None;
        }
        let (change, all) = if ends_above {
            (limit - self.from + 1, self.to - self.from)
        } else {
            (self.from - limit, self.from - self.to)
        };
        let offset = (u128::from(change) * u128::from(self.lasts_ms)).div_ceil(u128::from(all));
        u64::try_from(offset).ok()
    }
}

/// whole × numerator ÷ denominator, rounded down; saturates, and is the whole for a denominator of zero.
pub(crate) fn part(whole: u64, numerator: u64, denominator: u64) -> u64 {
    let Some(part) = (u128::from(whole) * u128::from(numerator)).checked_div(u128::from(denominator)) else {
        return whole;
    };
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// As [`part`], rounded up.
pub(crate) fn part_up(whole: u64, numerator: u64, denominator: u64) -> u64 {
    let part = (u128::from(whole) * u128::from(numerator)).div_ceil(u128::from(denominator.max(1)));
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_crosses_a_limit_at_the_first_moment_beyond_it() {
        let line = Line { from: 0, to: 100, lasts_ms: 1000 };
        assert_eq!((line.at(0), line.at(500), line.at(1000)), (0, 50, 100));
        assert_eq!(line.crosses(50, 0), Some(510));
        assert_eq!(line.crosses(50, 510), None, "it is above already");
        assert_eq!(line.crosses(100, 0), None, "at the limit is not above it");
        let falling = Line { from: 100, to: 0, lasts_ms: 1000 };
        assert_eq!(falling.crosses(50, 0), Some(500));
        assert_eq!((line.rise_per_second(), falling.rise_per_second()), (100, 0));
    }

    proptest! {
        #[test]
        fn what_crosses_is_on_the_other_side_from_then_on_and_not_before(
            from in 0_u64..1 << 50,
            to in 0_u64..1 << 50,
            limit in 0_u64..1 << 50,
            lasts_ms in 1_u64..1_000_000,
        ) {
            let line = Line { from, to, lasts_ms };
            match line.crosses(limit, 0) {
                None => prop_assert_eq!(from > limit, to > limit),
                Some(at) => {
                    prop_assert!(at >= 1 && at <= lasts_ms);
                    prop_assert_eq!(line.at(at - 1) > limit, from > limit);
                    prop_assert_eq!(line.at(at) > limit, to > limit);
                }
            }
        }
    }
}
