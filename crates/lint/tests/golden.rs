//! Each rule has a folder in `cases/`: `bad.yaml`, with `bad.out` that has all that is found in it, and `good.yaml`, in
//! which nothing is. `ORLOP_LINT_BLESS=1` writes what is found anew; read what has changed.
#![expect(clippy::disallowed_methods, reason = "what the tests look at is in files")]

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use orlop_lint::{RULES, Source, lint};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// What is found in a file of a case, one line each.
fn found(case: &str, file: &str) -> String {
    let text =
        fs::read_to_string(folder().join(case).join(file)).unwrap_or_else(|error| panic!("{case}/{file}: {error}"));
    let report = lint(&[Source { name: file.to_owned(), text }], "default");
    let lines = report.findings.iter().map(|finding| {
        let (span, rule) = (finding.span, finding.rule);
        let end = span.column + span.length;
        format!("{}:{}-{end}: {}[{}]: {}\n", span.line, span.column, rule.severity, rule.id, finding.message)
    });
    lines.collect()
}

#[test]
fn each_rule_finds_what_is_bad() {
    for rule in RULES {
        let found = found(rule.id, "bad.yaml");
        let golden = folder().join(rule.id).join("bad.out");
        if env::var_os("ORLOP_LINT_BLESS").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found, expected, "{} (ORLOP_LINT_BLESS=1 writes it anew)", rule.id);
        assert!(found.contains(&format!("{}[{}]: ", rule.severity, rule.id)), "{}: {found}", rule.id);
    }
}

#[test]
fn nothing_is_found_in_what_is_good() {
    for rule in RULES {
        assert_eq!(found(rule.id, "good.yaml"), "", "{}", rule.id);
    }
}

#[test]
fn every_case_is_of_a_rule() {
    let cases = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let rules: BTreeSet<_> = RULES.iter().map(|rule| rule.id.to_owned()).collect();
    assert_eq!(cases.collect::<BTreeSet<_>>(), rules);
    assert_eq!(rules.len(), RULES.len(), "no two rules are called the same");
}
