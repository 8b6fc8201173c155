//! Metrics: what the programs tell (the snapshots of their tests say what) is what the documentation describes, and what the
//! alerts and the dashboard go by; and the alerts do what their tests say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::links;
use crate::run;

/// The texts that the programs serve, as their tests have them.
const TOLD: [&str; 3] = [
    "crates/operator/src/metrics/snapshots/orlop_operator__metrics__tests__what_is_told_is_told_by_these_names.snap",
    "crates/orlop/src/agent/snapshots/orlop__agent__metrics__tests__what_is_told_is_told_by_these_names.snap",
    "crates/orlop/src/csi/snapshots/orlop__csi__metrics__tests__what_is_told_is_told_by_these_names.snap",
];

const DOCUMENTATION: &str = "docs/observability.md";
const RULES: &str = "charts/orlop/files/rules.yaml";
const TESTS_OF_RULES: &str = "charts/orlop/tests/rules.yaml";
const DASHBOARD: &str = "charts/orlop/files/dashboard.json";

/// A metric: its type and the names of its labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

pub fn check(root: &Path) -> Result<()> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"));
    let mut told = BTreeMap::new();
    for path in TOLD {
        told.extend(exposed(&read(path)?));
    }
    let documentation = read(DOCUMENTATION)?;
    same(&told, &documented(&documentation))?;

    let (rules, dashboard) = (read(RULES)?, read(DASHBOARD)?);
    let series = series(&told);
    for (file, text) in [(RULES, &rules), (DASHBOARD, &dashboard), (TESTS_OF_RULES, &read(TESTS_OF_RULES)?)] {
        let unknown: Vec<_> = names(text).into_iter().filter(|name| !series.contains(*name)).collect();
        ensure!(unknown.is_empty(), "{file} names metrics that nothing tells: {unknown:?}");
    }
    serde_json::from_str::<Value>(&dashboard).with_context(|| format!("{DASHBOARD} is no JSON"))?;
    alerts(&rules, &read(TESTS_OF_RULES)?, &documentation)?;
    run::output(Command::new("promtool").args(["check", "rules"]).arg(root.join(RULES)))?;
    run::output(Command::new("promtool").args(["test", "rules"]).arg(root.join(TESTS_OF_RULES)))?;
    Ok(())
}

/// The metrics in a text that Prometheus reads, in which every metric has a sample.
fn exposed(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), Metric { kind: kind.to_owned(), labels: BTreeSet::new() }))
        .collect();
    for line in text.lines().filter(|line| line.starts_with("orlop_")) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
        let known = ["", "_total", "_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|ending| name.strip_suffix(ending))
            .find(|name| metrics.contains_key(*name));
        if let Some(metric) = known.and_then(|name| metrics.get_mut(name)) {
            let labels = rest.split("\",").filter_map(|part| part.trim_start_matches('{').split_once("=\""));
            metric.labels.extend(labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
        }
    }
    metrics
}

/// The metrics in the tables of the documentation: | `name` | type | `label`, `label` | meaning |
fn documented(text: &str) -> BTreeMap<String, Metric> {
    let rows = text.lines().filter(|line| line.starts_with("| `orlop_"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .filter_map(|cells| {
            let [_, name, kind, labels, meaning, ..] = &cells[..] else { return None };
            (!meaning.is_empty()).then(|| {
                let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                (name.trim_matches('`').to_owned(), Metric { kind: (*kind).to_owned(), labels })
            })
        })
        .collect()
}

fn same(told: &BTreeMap<String, Metric>, documented: &BTreeMap<String, Metric>) -> Result<()> {
    let missing: Vec<_> = told.keys().filter(|name| !documented.contains_key(*name)).collect();
    ensure!(missing.is_empty(), "{DOCUMENTATION} does not describe {missing:?}");
    for (name, metric) in documented {
        let told = told.get(name).with_context(|| format!("{DOCUMENTATION} describes {name}, which nothing tells"))?;
        ensure!(told == metric, "{DOCUMENTATION} says that {name} is {metric:?}, and it is {told:?}");
    }
    Ok(())
}

/// The names of the series that Prometheus makes of the metrics.
fn series(metrics: &BTreeMap<String, Metric>) -> BTreeSet<String> {
    let of = |(name, metric): (&String, &Metric)| match &*metric.kind {
        "counter" => vec![format!("{name}_total")],
        "histogram" => ["_bucket", "_sum", "_count"].map(|ending| format!("{name}{ending}")).into(),
        _ => vec![name.clone()],
    };
    metrics.iter().flat_map(of).collect()
}

/// The words that are names of Orlop's metrics.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_')
        .filter(|word| word.starts_with("orlop_"))
        .collect()
}

/// Every alert says what is wrong, what to do and where more is said, and has a test.
fn alerts(rules: &str, tests: &str, documentation: &str) -> Result<()> {
    let rules: Value = serde_yaml_ng::from_str(rules)?;
    let anchors = links::anchors(documentation);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for rule in list(&rules["groups"]).iter().flat_map(|group| list(&group["rules"])) {
        let name = rule["alert"].as_str().context("a rule that is no alert")?;
        let severity = rule["labels"]["severity"].as_str();
        ensure!(matches!(severity, Some("critical" | "warning" | "info")), "{name} has no severity");
        for annotation in ["summary", "description"] {
            ensure!(rule["annotations"][annotation].is_string(), "{name} has no {annotation}");
        }
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
        let anchor = runbook.strip_prefix(DOCUMENTATION).and_then(|anchor| anchor.strip_prefix('#'));
        ensure!(
            anchor.is_some_and(|anchor| anchors.contains(anchor)),
            "{name} links to {runbook:?}, which is not there"
        );
        ensure!(tests.contains(name), "{TESTS_OF_RULES} has no test of {name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP orlop_a_seconds What
# TYPE orlop_a_seconds histogram
# UNIT orlop_a_seconds seconds
orlop_a_seconds_sum 1.0
orlop_a_seconds_bucket{le="0.5",x="1"} 1
# TYPE orlop_b counter
orlop_b_total{x="1, =\"",y="2"} 1
"#;

    fn metric(kind: &str, labels: &[&str]) -> Metric {
        Metric { kind: kind.into(), labels: labels.iter().map(|&label| label.into()).collect() }
    }

    #[test]
    fn metrics_are_found_with_their_types_and_labels() {
        let found = exposed(TEXT);
        let expected = [("orlop_a_seconds", metric("histogram", &["x"])), ("orlop_b", metric("counter", &["x", "y"]))];
        assert_eq!(found, expected.map(|(name, metric)| (name.to_owned(), metric)).into());
        assert!(series(&found).contains("orlop_b_total") && !series(&found).contains("orlop_b"));
    }

    #[test]
    fn documentation_that_lacks_or_invents_something_is_found() {
        let whole = "| `orlop_a_seconds` | histogram | `x` | it |\n| `orlop_b` | counter | `x`, `y` | it |\n";
        let told = exposed(TEXT);
        assert!(same(&told, &documented(whole)).is_ok());
        for wrong in [
            whole.replace("orlop_b", "orlop_c"),
            whole.replace("`y`", "`z`"),
            whole.replace("counter", "gauge"),
            whole.replace("| it |\n| `orlop_b`", "| |\n| `orlop_b`"),
            format!("{whole}| `orlop_c` | gauge | | it |\n"),
        ] {
            assert!(same(&told, &documented(&wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_found_in_expressions() {
        let found = names("sum by (x) (rate(orlop_b_total{x=\"1\"}[5m])) / on() orlop_a_seconds_count");
        assert_eq!(found, BTreeSet::from(["orlop_a_seconds_count", "orlop_b_total"]));
    }

    #[test]
    fn an_alert_without_help_or_test_is_found() {
        let rules = "groups: [{rules: [{alert: A, labels: {severity: info}, annotations: {summary: s, description: d, \
                     runbook_url: docs/observability.md#a}}]}]";
        assert!(alerts(rules, "alertname: A", "## A\n").is_ok());
        assert!(alerts(rules, "alertname: B", "## A\n").is_err());
        assert!(alerts(rules, "alertname: A", "## B\n").is_err());
        assert!(alerts(&rules.replace("info", "loud"), "alertname: A", "## A\n").is_err());
        assert!(alerts(&rules.replace("summary", "summery"), "alertname: A", "## A\n").is_err());
    }
}
