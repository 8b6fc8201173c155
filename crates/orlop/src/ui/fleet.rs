//! The fleet on one screen: what needs a hand first, then what there is.

use std::fmt::Write as _;

use anstyle::Style;
use jiff::Timestamp;
use orlop_api::{Bytes, Mode};
use orlop_operator::inspect::{ClaimRow, DriverRow, Fleet, PolicyRow};
use orlop_planner::Source;

use super::{
    fill,
    table::{Align, Table},
    words::{BAD, BUSY, FAINT, GOOD, TITLE, count, free, full_in, rate, reason, style, target, thousands},
};

/// How many policies and drivers the screen has room for.
const ROWS: usize = 10;

/// How wide the bar is.
const BAR: usize = 30;

/// The fleet for a terminal. `at` is when it was so.
pub fn render(fleet: &Fleet, at: Timestamp) -> String {
    let mut page = String::new();
    // Writing into a String does not fail.
    let _ = write!(page, "{}", head(fleet));
    problems(&mut page, fleet);
    let _ = write!(page, "\n{TITLE}Decisions{TITLE:#}\n{}", reasons(fleet));
    section(&mut page, "Policies", &policies(&fleet.policies), fleet.policies.len());
    section(&mut page, "Drivers", &drivers(&fleet.drivers), fleet.drivers.len());
    let _ = write!(page, "\n{TITLE}Growths of the last hour{TITLE:#}\n  {}\n", growths(fleet));
    let _ = write!(page, "\n{TITLE}Measurements{TITLE:#}\n{}", sources(fleet));
    let _ = writeln!(page, "\n{FAINT}as of {at}{FAINT:#}");
    page
}

/// The claims of a fleet, one in a line.
pub fn table(claims: &[ClaimRow]) -> Table {
    let mut table = Table::new([
        ("NAMESPACE", Align::Left),
        ("NAME", Align::Left),
        ("SIZE", Align::Right),
        ("TARGET", Align::Right),
        ("FREE", Align::Right),
        ("RATE", Align::Right),
        ("FULL IN", Align::Right),
        ("REASON", Align::Left),
    ]);
    for row in claims {
        let plain = |text: String| (text, Style::new());
        table.row([
            plain(row.namespace.clone()),
            plain(row.name.clone()),
            plain(row.size.to_string()),
            plain(target(row)),
            plain(free(row.usage.as_ref())),
            plain(rate(row.usage.as_ref())),
            plain(full_in(row.usage.as_ref())),
            (reason(row), style(row.decision.as_ref())),
        ]);
    }
    table
}

fn head(fleet: &Fleet) -> String {
    let totals = &fleet.totals;
    let place = fleet.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
    let state = match totals.problems {
        0 => format!("{GOOD}none needs a hand{GOOD:#}"),
        problems => format!("{BAD}{} a hand{BAD:#}", count(problems, "needs", "need")),
    };
    let mut line = format!("{TITLE}{}{place}{TITLE:#}: {state}", count(totals.claims, "claim", "claims"));
    let also = [
        (totals.growing, "growing"),
        (totals.ungoverned, "without a policy"),
        (totals.undecided, "not decided about yet"),
    ];
    for (number, what) in also.into_iter().filter(|(number, _)| *number > 0) {
        let _ = write!(line, ", {} {what}", thousands(number));
    }
    let _ = writeln!(line, "; {} requested", totals.requested.human());
    if totals.measured > Bytes(0) {
        let bar = fill::bar(totals.used, totals.measured, BAR);
        let (percent, measured) = (fill::percent(totals.used, totals.measured), totals.measured.human());
        let _ = writeln!(line, "  {bar}  {percent}% of {measured} used, as far as it is measured");
    }
    line
}

fn problems(page: &mut String, fleet: &Fleet) {
    let invalid = fleet.policies.iter().filter_map(|policy| Some((&policy.policy, policy.invalid.as_ref()?)));
    let invalid: Vec<_> = invalid.collect();
    let claims: Vec<_> = fleet.claims.iter().filter_map(|row| Some((row, row.decision.as_ref()?))).collect();
    let claims: Vec<_> = claims.into_iter().filter(|(_, decision)| decision.problem).collect();
    if claims.is_empty() && invalid.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n{TITLE}To do{TITLE:#}");
    for (policy, why) in invalid {
        let _ = writeln!(page, "  {BAD}{policy} cannot be read{BAD:#}: {why}");
    }
    for (row, decision) in &claims {
        let _ =
            writeln!(page, "  {BAD}{}/{} ({}){BAD:#}: {}", row.namespace, row.name, decision.reason, decision.message);
    }
    let left = fleet.totals.problems.saturating_sub(claims.len() as u64);
    if left > 0 {
        let _ = writeln!(page, "  {FAINT}and {} more: --limit lists more of them{FAINT:#}", thousands(left));
    }
}

/// The decisions, as many as there are of each, the most first.
fn reasons(fleet: &Fleet) -> String {
    let mut reasons: Vec<_> = fleet.reasons.iter().collect();
    reasons.sort_by_key(|(reason, claims)| (!reason.is_problem(), std::cmp::Reverse(**claims)));
    let mut text = String::new();
    let width = reasons.iter().map(|(_, claims)| thousands(**claims).len()).max().unwrap_or(0);
    for (reason, claims) in reasons {
        let colour = if reason.is_problem() { BAD } else { Style::new() };
        let _ = writeln!(text, "  {:>width$}  {colour}{reason}{colour:#}", thousands(*claims));
    }
    if text.is_empty() { "  none: no policy governs a claim\n".to_owned() } else { text }
}

fn section(page: &mut String, title: &str, table: &Table, rows: usize) {
    if table.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n{TITLE}{title}{TITLE:#}");
    for line in table.to_string().lines() {
        let _ = writeln!(page, "  {line}");
    }
    if rows > ROWS {
        let _ = writeln!(page, "  {FAINT}and {} more: --output json has them{FAINT:#}", rows - ROWS);
    }
}

fn policies(policies: &[PolicyRow]) -> Table {
    let mut table = Table::new([
        ("POLICY", Align::Left),
        ("MODE", Align::Left),
        ("CLAIMS", Align::Right),
        ("GROWING", Align::Right),
        ("PROBLEMS", Align::Right),
    ]);
    for row in policies.iter().take(ROWS) {
        let mode = row.mode.map_or_else(|| ("invalid".to_owned(), BAD), |mode| (format!("{mode:?}"), mode_style(mode)));
        let bad = if row.problems > 0 { BAD } else { Style::new() };
        table.row([
            (row.policy.clone(), Style::new()),
            mode,
            (thousands(row.claims), Style::new()),
            (thousands(row.growing), Style::new()),
            (thousands(row.problems), bad),
        ]);
    }
    table
}

const fn mode_style(mode: Mode) -> Style {
    match mode {
        Mode::Auto => Style::new(),
        Mode::Recommend => BUSY,
        Mode::Off => FAINT,
    }
}

fn drivers(drivers: &[DriverRow]) -> Table {
    let mut table = Table::new([
        ("DRIVER", Align::Left),
        ("CLAIMS", Align::Right),
        ("REQUESTED", Align::Right),
        ("USED", Align::Right),
        ("A MONTH", Align::Left),
    ]);
    for row in drivers.iter().take(ROWS) {
        let costs = row.monthly.iter().map(|cost| {
            let of = if cost.claims < row.claims { format!(" for {}", thousands(cost.claims)) } else { String::new() };
            format!("{} {}{of}", cost.amount, cost.currency)
        });
        let costs: Vec<String> = costs.collect();
        table.row([
            (row.driver.clone(), Style::new()),
            (thousands(row.claims), Style::new()),
            (row.requested.human(), Style::new()),
            (row.used.human(), Style::new()),
            (if costs.is_empty() { "-".to_owned() } else { costs.join(", ") }, Style::new()),
        ]);
    }
    table
}

fn growths(fleet: &Fleet) -> String {
    let growths = &fleet.growths;
    if growths.claims == 0 {
        return "none".to_owned();
    }
    let mut text =
        format!("{}, {} added", count(growths.claims, "claim has grown", "claims have grown"), growths.added.human());
    if growths.under_way > 0 {
        let _ = write!(text, ", {} not usable yet", thousands(growths.under_way));
    }
    if let Some(slowest) = growths.slowest_ms {
        let _ =
            write!(text, "; the slowest was usable {}.{} s after the threshold", slowest / 1000, slowest % 1000 / 100);
    }
    text
}

fn sources(fleet: &Fleet) -> String {
    let mut text = String::new();
    let agents = &fleet.agents;
    let missing = agents.nodes.saturating_sub(agents.connected);
    let colour = if missing > 0 { BUSY } else { GOOD };
    let nodes = count(agents.nodes, "node has its agent", "nodes have their agent");
    let _ = write!(text, "  {colour}{} of {nodes} connected{colour:#}", thousands(agents.connected));
    if !agents.without.is_empty() {
        let more = if missing > agents.without.len() as u64 { ", …" } else { "" };
        let _ = write!(text, "; not {}{more}", agents.without.join(", "));
    }
    text.push('\n');
    for (source, row) in &fleet.measured.sources {
        let by = if source == Source::Prometheus.name() { "Prometheus".to_owned() } else { format!("{source}s") };
        let _ = write!(text, "  {} measured by {by}", count(row.fresh + row.stale, "claim", "claims"));
        if row.stale > 0 {
            let _ = write!(text, ", {BAD}{} of them too long ago{BAD:#}", thousands(row.stale));
        }
        text.push('\n');
    }
    if fleet.measured.unmeasured > 0 {
        let claims = count(fleet.measured.unmeasured, "claim that a pod uses is", "claims that pods use are");
        let _ = writeln!(text, "  {BAD}{claims} not measured{BAD:#}");
    }
    text
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use orlop_operator::inspect::Document;

    use super::*;

    fn fleet() -> (Fleet, Timestamp) {
        let document: Document<Fleet> = serde_json::from_str(include_str!("../../tests/inspect/fleet.json")).unwrap();
        document.open().unwrap()
    }

    #[test]
    fn a_fleet_shows_what_is_to_be_done_first() {
        let (fleet, at) = fleet();
        insta::assert_snapshot!(strip_str(&render(&fleet, at)).to_string());
    }

    #[test]
    fn an_empty_cluster_has_nothing_to_do() {
        insta::assert_snapshot!(strip_str(&render(&Fleet::default(), Timestamp::UNIX_EPOCH)).to_string());
    }

    #[test]
    fn the_claims_are_a_table() {
        insta::assert_snapshot!(strip_str(&table(&fleet().0.claims).to_string()).to_string());
    }
}
