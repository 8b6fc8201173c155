//! A report for a terminal.

use std::fmt::Write as _;

use orlop_api::Bytes;

use crate::report::{ClaimReport, Compared, Forecast, Full, Report};

/// So many claims are shown, those most worth a look; the other forms of the report have all.
const CLAIMS_SHOWN: usize = 20;

/// Of each claim so many growths are shown.
const GROWTHS_SHOWN: usize = 8;

/// So many names are listed where a list is of all claims that have something in common.
const NAMES_SHOWN: usize = 5;

/// Further ahead a forecast says nothing but that it is far: ten years, in seconds.
const FORESEEN_S: i64 = 3650 * 86_400;

/// The report in lines.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    head(&mut text, report);
    totals(&mut text, report);
    let claims = report.by_interest();
    for claim in claims.iter().take(CLAIMS_SHOWN) {
        of_claim(&mut text, claim);
    }
    if claims.len() > CLAIMS_SHOWN {
        let _ = writeln!(text, "\nand {} more claims: --output json has all.", claims.len() - CLAIMS_SHOWN);
    }
    if !report.notes.is_empty() {
        let _ = writeln!(text, "\nNote:");
        for note in &report.notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    text
}

fn head(text: &mut String, report: &Report) {
    let totals = &report.totals;
    let _ = writeln!(
        text,
        "{} of {}, {} to {}; {} governed by a policy.\n",
        counted(report.samples, "sample"),
        counted(totals.claims, "claim"),
        report.from,
        report.to,
        totals.governed,
    );
}

fn totals(text: &mut String, report: &Report) {
    let totals = &report.totals;
    let mut row = |name: &str, recorded: &str, policy: &str, peak: &str| {
        let _ = writeln!(text, "{}", format!("{name:<22}{recorded:>24}{policy:>24}{peak:>24}").trim_end());
    };
    row("", "as recorded", "under the policy", "at the peak's size");
    row("times full", &totals.recorded_full.times.to_string(), &totals.policy_full.times.to_string(), "");
    row("time full", &span(totals.recorded_full.seconds), &span(totals.policy_full.seconds), "");
    let held = totals.gib_months;
    row("GiB-months", &held.recorded.to_string(), &held.policy.to_string(), &held.peak.to_string());
    for (currency, cost) in &totals.costs {
        let Compared { recorded, policy, peak } = cost;
        row(&format!("cost, {currency}"), &recorded.to_string(), &policy.to_string(), &peak.to_string());
    }
    let _ = writeln!(
        text,
        "\n{} of {} averted; {} of {}.",
        totals.averted,
        counted(totals.recorded_full.times, "fill"),
        counted(totals.growths, "growth"),
        counted(totals.grown, "claim"),
    );
    for (reason, wait) in &totals.waits {
        let claims = counted(wait.claims, "claim");
        let _ =
            writeln!(text, "{reason}: growth of {claims} was called for and could not be for {}.", span(wait.seconds));
    }
    if !totals.unpriced.is_empty() {
        let names = some(&totals.unpriced);
        let _ = writeln!(text, "Without a price, and so in no cost: {names}.");
    }
}

fn of_claim(text: &mut String, claim: &ClaimReport) {
    let _ = writeln!(text, "\n{}  {}", claim.id(), claim.driver);
    let policy = claim.policy.as_deref().unwrap_or("no policy");
    let _ = writeln!(text, "  {policy}; {}", sizes(claim));
    for (what, full) in [("full in the record", &claim.recorded_full), ("full under the policy", &claim.policy_full)] {
        if let Some(line) = full_line(what, full) {
            let _ = writeln!(text, "  {line}");
        }
    }
    for growth in claim.growths.iter().take(GROWTHS_SHOWN) {
        let _ = writeln!(text, "  {}  {} to {}  {}", at(growth.at), growth.from, growth.to, growth.reason);
    }
    if claim.growths.len() > GROWTHS_SHOWN {
        let _ = writeln!(text, "  and {} more growths", claim.growths.len() - GROWTHS_SHOWN);
    }
    for wait in &claim.waits {
        let times = if wait.times == 1 { "once".to_owned() } else { format!("{} times", wait.times) };
        let _ = writeln!(
            text,
            "  {} {times} from {}, {} in all: {}",
            wait.reason,
            at(wait.first),
            span(wait.seconds),
            wait.message
        );
    }
    if let Some(slots) = &claim.slots
        && slots.used > 0
    {
        let _ = writeln!(
            text,
            "  {} used, at most {} of {} in {}",
            counted(slots.used, "modification slot"),
            slots.most_in_window,
            slots.count,
            slots.window
        );
    }
    if let Some(closing) = &claim.closing
        && closing.reason.is_problem()
        && claim.waits.iter().all(|wait| wait.reason != closing.reason)
    {
        let _ = writeln!(text, "  {}: {}", closing.reason, closing.message);
    }
    if let Some(cost) = &claim.cost {
        let Compared { recorded, policy, peak } = cost.amount;
        let _ = writeln!(
            text,
            "  cost {recorded} {} as recorded, {policy} under the policy, {peak} at {}, the peak's size",
            cost.currency, claim.peak_size
        );
    }
    if let Some(forecast) = &claim.forecast {
        let _ = writeln!(text, "  {}", lasts("by", forecast));
    }
}

/// From which size to which, as recorded and under the policy.
pub(crate) fn sizes(claim: &ClaimReport) -> String {
    let change = |from: Bytes, to: Bytes| if from == to { from.to_string() } else { format!("{from} to {to}") };
    format!(
        "recorded {}, under the policy {}, at most {} used",
        change(claim.first_recorded, claim.last_recorded),
        change(claim.first_size, claim.last_size),
        claim.peak_used.human()
    )
}

pub(crate) fn full_line(what: &str, full: &Full) -> Option<String> {
    let first = at(full.first?);
    Some(if full.times == 1 {
        format!("{what} from {first} for {}", span(full.seconds))
    } else {
        format!("{what} {} times from {first}, {} in all", full.times, span(full.seconds))
    })
}

/// For how long the volume lasts at the end, with how sure that is, in a sentence that begins with that `by`.
pub(crate) fn lasts(by: &str, forecast: &Forecast) -> String {
    let Forecast { bytes_per_day, earliest_seconds, median_seconds, latest_seconds } = *forecast;
    let lasts = |seconds: Option<i64>| match seconds {
        None => "for ever".to_owned(),
        Some(FORESEEN_S..) => "over ten years".to_owned(),
        Some(seconds) => span(seconds.unsigned_abs()),
    };
    let rate = Bytes(bytes_per_day.max(0).unsigned_abs()).human();
    format!(
        "{by} its last two weeks ({rate} more a day) the size at the end lasts {} ({} to {})",
        lasts(median_seconds),
        lasts(earliest_seconds),
        lasts(latest_seconds)
    )
}

/// A time without its seconds' fraction.
pub(crate) fn at(time: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// A time span in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |large: u64, unit: char, small: u64, smaller: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{smaller}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => two(minutes, 'm', seconds % 60, 's'),
        (0, ..) => two(hours, 'h', minutes, 'm'),
        _ => two(days, 'd', hours, 'h'),
    }
}

/// Some of the names, and how many more there are.
pub(crate) fn some(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_SHOWN { format!("{shown} and {} more", names.len() - NAMES_SHOWN) } else { shown }
}

fn counted(number: impl TryInto<u64>, what: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (seconds, told) in [(0, "0s"), (59, "59s"), (60, "1m"), (3661, "1h 1m"), (90_000, "1d 1h"), (86_400, "1d")]
        {
            assert_eq!(span(seconds), told);
        }
    }

    #[test]
    fn a_long_list_of_names_is_cut_and_says_so() {
        let names: Vec<String> = (0..7).map(|number| format!("a/{number}")).collect();
        assert_eq!(some(&names), "a/0, a/1, a/2, a/3, a/4 and 2 more");
        assert_eq!(some(&names[..2]), "a/0, a/1");
    }
}
