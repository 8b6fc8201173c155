//! `docs/lint.md` has every rule as it is.
#![expect(clippy::disallowed_methods, reason = "what the tests look at is in files")]

use std::{fs, path::Path};

use orlop_lint::RULES;

/// What the page says of the rules.
fn rules() -> String {
    let row = |rule: &&orlop_lint::Rule| format!("| [`{0}`](#{0}) | {1} | {2} |", rule.id, rule.severity, rule.finds);
    let table: Vec<_> = RULES.iter().map(row).collect();
    let sections = RULES.iter().map(|rule| {
        format!("### `{}`\n\n{}\n\n**What to do.** {}\n\n*Source:* {}.\n", rule.id, rule.why, rule.remedy, rule.source)
    });
    format!(
        "| rule | severity | what is found |\n|---|---|---|\n{}\n\n{}",
        table.join("\n"),
        sections.collect::<Vec<_>>().join("\n")
    )
}

#[test]
fn the_page_has_every_rule_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lint.md");
    let page = fs::read_to_string(&path).unwrap_or_default();
    let rules = rules();
    if std::env::var_os("ORLOP_LINT_BLESS").is_some() {
        let head = page.split("| rule | severity").next().unwrap_or_default();
        fs::write(&path, format!("{head}{rules}")).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(page.ends_with(&rules), "ORLOP_LINT_BLESS=1 writes the rules into docs/lint.md anew");
}
