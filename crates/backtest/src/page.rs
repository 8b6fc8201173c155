//! A report as one page for a browser, which needs no script and nothing from elsewhere.

mod picture;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    report::{ClaimReport, Report},
    text::{at, full_line, lasts, sizes, some, span},
};

/// So many claims have their picture, those most worth a look.
const PICTURES: usize = 60;

/// Of each claim so many growths are listed.
const GROWTHS_LISTED: usize = 40;

const STYLE: &str = include_str!("style.css");

/// The page. Its pictures are of the claims whose outlines the replay kept ([`crate::Replay::with_outlines`]).
pub fn page(report: &Report) -> String {
    let claims = report.by_interest();
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "orlop backtest" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "What the policy would have done" }
                p.quiet {
                    (report.claims.len()) " claims, " (report.samples) " samples, " (report.from) " to " (report.to)
                }
                (totals(report))
                @if !report.notes.is_empty() {
                    ul { @for note in &report.notes { li { (note) } } }
                }
                (picture::legend())
                @for claim in claims.iter().take(PICTURES) { (of_claim(claim, report)) }
                @if claims.len() > PICTURES {
                    p.quiet { "The " (claims.len() - PICTURES) " claims of which there is less to say have no picture." }
                }
            }
        }
    };
    markup.into_string()
}

fn totals(report: &Report) -> Markup {
    let totals = &report.totals;
    let held = totals.gib_months;
    html! {
        table {
            thead { tr { th {} th { "as recorded" } th { "under the policy" } th { "at the peak's size" } } }
            tbody {
                (row("times full", [totals.recorded_full.times.to_string(), totals.policy_full.times.to_string(), String::new()]))
                (row("time full", [span(totals.recorded_full.seconds), span(totals.policy_full.seconds), String::new()]))
                (row("GiB-months", [held.recorded, held.policy, held.peak].map(|it| it.to_string())))
                @for (currency, cost) in &totals.costs {
                    (row(&format!("cost, {currency}"), [cost.recorded, cost.policy, cost.peak].map(|it| it.to_string())))
                }
            }
        }
        p {
            (totals.averted) " of " (totals.recorded_full.times) " fills averted, by "
            (totals.growths) " growths of " (totals.grown) " claims."
        }
        @for (reason, wait) in &totals.waits {
            p.bad {
                (reason.to_string()) ": growth of " (wait.claims) " claims was called for and could not be for "
                (span(wait.seconds)) "."
            }
        }
        @if !totals.unpriced.is_empty() {
            p { "Without a price, and so in no cost: " (some(&totals.unpriced)) "." }
        }
    }
}

fn row(name: &str, [recorded, policy, peak]: [String; 3]) -> Markup {
    html! { tr { th { (name) } td { (recorded) } td { (policy) } td { (peak) } } }
}

fn of_claim(claim: &ClaimReport, report: &Report) -> Markup {
    html! {
        h2 { (claim.id()) small { (claim.driver) "; " (sizes(claim)) } }
        @if let Some(outline) = &claim.outline { (picture::draw(claim, outline, report)) }
        @if let Some(line) = full_line("Full in the record", &claim.recorded_full) { p.quiet { (line) "." } }
        @if let Some(line) = full_line("Full under the policy", &claim.policy_full) { p.bad { (line) "." } }
        @for wait in &claim.waits {
            p.bad { (wait.reason.to_string()) ", " (span(wait.seconds)) " in all: " (wait.message) "." }
        }
        @if let Some(cost) = &claim.cost {
            p.quiet {
                "Cost " (cost.amount.recorded) " " (cost.currency) " as recorded, " (cost.amount.policy)
                " under the policy, " (cost.amount.peak) " at " (claim.peak_size) ", the peak's size."
            }
        }
        @if let Some(forecast) = &claim.forecast { p.quiet { (lasts("By", forecast)) "." } }
        @if !claim.growths.is_empty() {
            ul.growths {
                @for growth in claim.growths.iter().take(GROWTHS_LISTED) {
                    li { (at(growth.at)) " " (growth.from) " to " (growth.to) " " (growth.reason.to_string()) }
                }
                @if claim.growths.len() > GROWTHS_LISTED {
                    li { "and " (claim.growths.len() - GROWTHS_LISTED) " more" }
                }
            }
        }
    }
}
