//! How full a volume is, drawn in one line.

use orlop_api::Bytes;

/// A bar of `width` cells for a volume of `total` bytes of which `used` are used, such as `██████▌░░░`.
pub fn bar(used: Bytes, total: Bytes, width: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = eighths(used, total, width);
    let (full, part) = (eighths / 8, eighths % 8);
    let mut bar = "█".repeat(full);
    if part > 0 {
        bar.push(PARTS[part]);
    }
    let drawn = full + usize::from(part > 0);
    bar.extend(std::iter::repeat_n('░', width - drawn));
    bar
}

/// How many eighths of a cell are full; a volume without bytes is shown empty, one that is over-full as full.
fn eighths(used: Bytes, total: Bytes, width: usize) -> usize {
    let cells = u128::try_from(width * 8).unwrap_or(u128::MAX);
    let eighths = (u128::from(used.0.min(total.0)) * cells).checked_div(u128::from(total.0)).unwrap_or(0);
    usize::try_from(eighths).unwrap_or(width * 8)
}

/// The used part in whole percent, rounded down.
pub fn percent(used: Bytes, total: Bytes) -> u64 {
    let percent = (u128::from(used.0) * 100).checked_div(u128::from(total.0)).unwrap_or(0);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_as_it_was_asked_to_be_and_as_full_as_the_volume() {
        for (used, expected) in [(0, "░░░░"), (50, "██░░"), (100, "████"), (120, "████"), (13, "▌░░░")]
        {
            assert_eq!(bar(Bytes(used), Bytes(100), 4), expected, "{used}%");
        }
        assert_eq!(bar(Bytes(5), Bytes(0), 3), "░░░");
    }
}
