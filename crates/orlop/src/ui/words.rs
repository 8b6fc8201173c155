//! How numbers, times and decisions read, wherever they are shown.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use orlop_api::Bytes;
use orlop_operator::inspect::{Act, ClaimRow, DecisionAccount, UsageAccount, lasting};
use orlop_planner::Source;

use super::fill;

/// What is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What is under way or called for.
pub(super) const BUSY: Style = AnsiColor::Yellow.on_default();
/// What somebody must look at.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// What matters less.
pub(super) const FAINT: Style = Style::new().dimmed();
/// What stands above the rest.
pub(super) const TITLE: Style = Style::new().bold();

/// How long ago, by the clock of whoever says so: `3s ago`.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", age(at, now))
}

/// For how long: `3s`.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    lasting(whole_seconds(at, now))
}

/// In how long: `in 1m5s`, or `now` where that is past.
pub(super) fn ahead(at: Timestamp, now: Timestamp) -> String {
    match whole_seconds(now, at) {
        0 => "now".to_owned(),
        seconds => format!("in {}", lasting(seconds)),
    }
}

fn whole_seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

/// A time to the second.
pub(super) fn second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// A number with its thousands apart: `12,345`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(|group| std::str::from_utf8(group).unwrap_or_default());
    let parts: Vec<&str> = Some(head).filter(|head| !head.is_empty()).into_iter().chain(groups).collect();
    parts.join(",")
}

/// How many of something, in words: `1 claim`, `2 claims`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

pub(super) const fn source(source: Source) -> &'static str {
    match source {
        Source::Agent => "the agent",
        Source::Kubelet => "the kubelet",
        Source::Prometheus => "Prometheus",
    }
}

/// The colour of a decision; none where there is nothing to say.
pub(super) fn style(decision: Option<&DecisionAccount>) -> Style {
    match decision {
        Some(decision) if decision.problem => BAD,
        Some(DecisionAccount { act: Act::Grow | Act::Growing | Act::Recommend, .. }) => BUSY,
        Some(DecisionAccount { act: Act::Keep, .. }) => Style::new(),
        Some(_) | None => FAINT,
    }
}

/// The free part in percent.
pub(super) fn free(usage: Option<&UsageAccount>) -> String {
    usage.map_or_else(unknown, |usage| format!("{}%", fill::percent(usage.available, usage.total)))
}

/// How fast it fills.
pub(super) fn rate(usage: Option<&UsageAccount>) -> String {
    usage.map_or_else(unknown, |usage| match usage.fill_bytes_per_second {
        0 => "0".to_owned(),
        rate => format!("{}/s", Bytes(rate).human()),
    })
}

/// When it is full at that rate.
pub(super) fn full_in(usage: Option<&UsageAccount>) -> String {
    usage.and_then(|usage| usage.seconds_to_full).map_or_else(unknown, lasting)
}

/// The size that is called for.
pub(super) fn target(row: &ClaimRow) -> String {
    row.decision.as_ref().and_then(|decision| decision.target).map_or_else(unknown, |target| target.to_string())
}

/// Why.
pub(super) fn reason(row: &ClaimRow) -> String {
    row.decision.as_ref().map_or_else(unknown, |decision| decision.reason.to_string())
}

fn unknown() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(
            (count(1, "claim", "claims"), count(2_000, "claim", "claims")),
            ("1 claim".into(), "2,000 claims".into())
        );
    }

    #[test]
    fn times_are_told_from_now() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(ago(at(100), at(165)), "1m5s ago");
        assert_eq!(ago(at(200), at(165)), "0s ago", "a clock that is a little ahead");
        assert_eq!((ahead(at(165), at(100)), ahead(at(100), at(165))), ("in 1m5s".into(), "now".into()));
    }
}
