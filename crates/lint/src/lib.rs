//! What manifests say that would hurt stateful workloads in production. Texts go in, findings come out: no I/O, no
//! cluster. The same texts give the same findings, in the order of their places.
//!
//! [`lint()`] is the whole; [`RULES`] are what it looks for, each with why it matters and what to do. The rules see a
//! `World`: the claims, classes, policies and workloads of all texts together, with the planner's own answer to which
//! policy governs which claim. What is not among the texts is not known, and no rule guesses at it.

mod allow;
mod document;
mod rule;
mod rules;
mod schema;
mod world;

use allow::Allowed;
use document::{Broken, Node};

pub use document::Span;
pub use rule::{RULES, Rule, Severity, rule};

/// A text with manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it is called, such as the path of its file.
    pub name: String,
    /// YAML or JSON, any number of documents.
    pub text: String,
}

/// Something to be seen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// By which rule.
    pub rule: &'static Rule,
    /// In which of the sources.
    pub source: usize,
    /// Where.
    pub span: Span,
    /// What happens, to which object, and what to do.
    pub message: String,
}

/// What was found, and in how much.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order of their places.
    pub findings: Vec<Finding>,
    /// How many objects were looked at, of any kind.
    pub objects: usize,
}

/// Where a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    source: usize,
    span: Span,
}

/// Findings as they are made.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: &'static Rule, at: Place, message: impl Into<String>) {
        self.0.push(Finding { rule, source: at.source, span: at.span, message: message.into() });
    }
}

/// Looks at all sources together. An object that names no namespace is taken to be in `namespace`.
pub fn lint(sources: &[Source], namespace: &str) -> Report {
    let mut found = Findings::default();
    let documents: Vec<Vec<Node>> =
        sources.iter().enumerate().map(|(index, source)| read(index, source, &mut found)).collect();
    let world = world::World::of(sources, &documents, namespace);
    schema::check(&world, &mut found);
    rules::check(&world, &mut found);
    let objects = world.objects.len();

    let allowed: Vec<Allowed> = sources.iter().map(|source| Allowed::read(&source.text)).collect();
    for (source, allowed) in allowed.iter().enumerate() {
        for (span, message) in &allowed.unknown {
            found.add(&rules::manifests::UNKNOWN_RULE, Place { source, span: *span }, message);
        }
    }
    let mut findings = found.0;
    findings.retain(|finding| !allowed[finding.source].allows(finding.span.line, finding.rule.id));
    findings.sort_by(|one, other| {
        let key = |it: &Finding| (it.source, it.span, it.rule.id);
        key(one).cmp(&key(other)).then_with(|| one.message.cmp(&other.message))
    });
    Report { findings, objects }
}

/// The documents of a source. One that cannot be read has none, and a finding that says why.
fn read(index: usize, source: &Source, found: &mut Findings) -> Vec<Node> {
    match document::parse(&source.text) {
        Ok(documents) => documents,
        Err(Broken { span, message }) => {
            let place = Place { source: index, span };
            if let Some(span) = template(&source.text) {
                found.add(
                    &rules::manifests::HELM_TEMPLATE,
                    Place { source: index, span },
                    "this is a template, as of a Helm chart, and no manifest yet, and nothing else in the file was looked at: \
                     render it first, by `helm template CHART | orlop lint -`",
                );
            } else {
                found.add(
                    &rules::manifests::BROKEN_YAML,
                    place,
                    format!("this cannot be read as YAML, and nothing in the file was looked at: {message}"),
                );
            }
            Vec::new()
        }
    }
}

/// Where a text has an action of a template. Only asked of a text that is no YAML: in a string, braces are ordinary.
fn template(text: &str) -> Option<Span> {
    let (index, line) = text.lines().enumerate().find(|(_, line)| line.contains("{{"))?;
    let at = line.find("{{")?;
    let end = line[at..].find("}}").map_or(line.len(), |end| at + end + 2);
    Some(Span { line: index + 1, column: line[..at].chars().count() + 1, length: line[at..end].chars().count() })
}
