//! Findings as people and programs read them.

use anstream::println;
use anstyle::{AnsiColor, Color, Style};
use orlop_lint::{Finding, RULES, Report, Severity, Source};
use serde_json::{Value, json};

/// How many columns of a long line are shown, as in JSON that is all on one.
const WIDTH: usize = 120;

/// Each finding with its line and a mark below it. In colours only where a person looks at it.
pub(super) fn text(report: &Report, sources: &[Source]) {
    for finding in &report.findings {
        let (bold, colour) = (Style::new().bold(), style(finding.rule.severity));
        println!(
            "{bold}{}{bold:#} {colour}{}[{}]{colour:#}: {}",
            place(finding, sources),
            finding.rule.severity,
            finding.rule.id,
            visible(&finding.message)
        );
        if let Some((line, mark)) = excerpt(finding, sources) {
            let number = finding.span.line.to_string();
            let margin = " ".repeat(number.len());
            println!("  {number} | {line}\n  {margin} | {colour}{mark}{colour:#}");
        }
    }
}

fn style(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Info => AnsiColor::Cyan,
    };
    Style::new().bold().fg_color(Some(Color::Ansi(colour)))
}

fn place(finding: &Finding, sources: &[Source]) -> String {
    let span = finding.span;
    format!("{}:{}:{}:", sources[finding.source].name, span.line, span.column)
}

/// The line of a finding and a line that marks its place: as much of both as can be shown.
fn excerpt(finding: &Finding, sources: &[Source]) -> Option<(String, String)> {
    let span = finding.span;
    let line = sources[finding.source].text.lines().nth(span.line - 1)?;
    let length = line.chars().count();
    let at = (span.column - 1).min(length);
    let from = if length <= WIDTH { 0 } else { at.saturating_sub(WIDTH / 2) };
    let shown: String = line.chars().skip(from).take(WIDTH).collect();
    let marked = span.length.clamp(1, (from + WIDTH).min(length.max(at + 1)) - at);
    // What stands before the mark is as wide as above it, also where it is a tab.
    let before: String =
        shown.chars().take(at - from).map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
    Some((visible(&shown), format!("{before}{}", "^".repeat(marked))))
}

/// A text from a manifest without what would do something to a terminal.
fn visible(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character })
        .collect()
}

/// Everything, as one object.
pub(super) fn json(report: &Report, sources: &[Source]) {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "file": sources[finding.source].name,
            "line": finding.span.line,
            "column": finding.span.column,
            "length": finding.span.length,
            "severity": finding.rule.severity.word(),
            "rule": finding.rule.id,
            "message": finding.message,
        })
    });
    let document = json!({
        "findings": findings.collect::<Vec<_>>(),
        "files": sources.len(),
        "objects": report.objects,
    });
    println!("{document:#}");
}

/// Commands of a workflow (GitHub Actions, Workflow commands), which shows each beside its line.
pub(super) fn github(report: &Report, sources: &[Source]) {
    for finding in &report.findings {
        let span = finding.span;
        let command = match finding.rule.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        println!(
            "::{command} file={},line={},col={},endColumn={},title={}::{}",
            property(&sources[finding.source].name),
            span.line,
            span.column,
            span.column + span.length,
            finding.rule.id,
            data(&finding.message)
        );
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A log of the Static Analysis Results Interchange Format, 2.1.0.
pub(super) fn sarif(report: &Report, sources: &[Source]) {
    let rules = RULES.iter().map(|rule| {
        json!({
            "id": rule.id,
            "shortDescription": { "text": rule.finds },
            "fullDescription": { "text": rule.why },
            "help": { "text": rule.remedy },
            "defaultConfiguration": { "level": level(rule.severity) },
        })
    });
    let results = report.findings.iter().map(|finding| result(finding, sources));
    let log = json!({
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "orlop lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    });
    println!("{log:#}");
}

fn result(finding: &Finding, sources: &[Source]) -> Value {
    let span = finding.span;
    json!({
        "ruleId": finding.rule.id,
        "level": level(finding.rule.severity),
        "message": { "text": finding.message },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": sources[finding.source].name },
            "region": {
                "startLine": span.line,
                "startColumn": span.column,
                "endColumn": span.column + span.length,
            },
        } }],
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// The rules, each with why it is there and what to do.
pub(super) fn rules() {
    for rule in RULES {
        let (bold, colour) = (Style::new().bold(), style(rule.severity));
        println!("{bold}{}{bold:#} ({colour}{}{colour:#}): {}", rule.id, rule.severity, rule.finds);
        println!("  {}\n  to do: {}\n", rule.why, rule.remedy);
    }
}

#[cfg(test)]
mod tests {
    use orlop_lint::{Span, rule};

    use super::*;

    fn marked(text: &str, line: usize, column: usize, length: usize) -> Option<(String, String)> {
        let source = Source { name: "a.yaml".to_owned(), text: text.to_owned() };
        let span = Span { line, column, length };
        let finding = Finding { rule: rule("no-class").unwrap(), source: 0, span, message: String::new() };
        excerpt(&finding, &[source])
    }

    #[test]
    fn the_mark_is_below_what_it_is_for() {
        let (line, mark) = marked("a: 1\nbéta: 22\n", 2, 7, 2).unwrap();
        assert_eq!((line.as_str(), mark.as_str()), ("béta: 22", "      ^^"));
        let (_, mark) = marked("\ta: 1\n", 1, 2, 1).unwrap();
        assert_eq!(mark, "\t^");
    }

    #[test]
    fn a_mark_ends_with_its_line_and_has_one_character_at_least() {
        assert_eq!(marked("abc", 1, 2, 99).unwrap().1, " ^^");
        assert_eq!(marked("abc", 1, 9, 1).unwrap().1, "   ^", "beyond the end, as where something is missing");
        assert_eq!(marked("", 1, 1, 1), None);
        assert_eq!(marked("a\n\n", 2, 1, 1).unwrap(), (String::new(), "^".to_owned()));
    }

    #[test]
    fn of_a_long_line_that_is_shown_which_is_meant() {
        let text = format!("{}here{}", "x".repeat(1000), "y".repeat(1000));
        let (line, mark) = marked(&text, 1, 1001, 4).unwrap();
        assert_eq!((line.chars().count(), mark.chars().count()), (WIDTH, WIDTH / 2 + 4));
        assert_eq!(&line[WIDTH / 2..WIDTH / 2 + 4], "here");
    }

    #[test]
    fn what_would_do_something_to_a_terminal_or_a_workflow_does_not() {
        assert_eq!(visible("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(data("a\n::error::b 100%"), "a%0A::error::b 100%25");
        assert_eq!(property("a,b:c"), "a%2Cb%3Ac");
    }
}
