//! `orlop lint`: what manifests say that would hurt in production. The rules are in `orlop_lint`; here are files and
//! what is printed.

mod files;
mod print;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use orlop_lint::{RULES, Report, Severity, Source};

use super::{Failure, Outcome};

/// Says that the command line or a file is at fault, and not what is in it.
const UNUSABLE: u8 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files with manifests, folders of them (*.yaml, *.yml and *.json, at any depth), or `-` for the standard input
    #[arg(required_unless_present = "rules", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    /// The namespace of objects that name none
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// A rule that finds nothing; may be repeated
    #[arg(long, value_name = "RULE", value_parser = PossibleValuesParser::new(RULES.iter().map(|rule| rule.id)), hide_possible_values = true)]
    allow: Vec<String>,
    /// Fail also for these; errors always do
    #[arg(long, value_enum)]
    deny: Option<Deny>,
    /// How to print what was found
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// List the rules, and look at nothing
    #[arg(long, exclusive = true)]
    rules: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Deny {
    /// Warnings
    Warnings,
    /// Everything that is found
    Info,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object
    Json,
    /// Annotations of a workflow on GitHub
    Github,
    /// SARIF 2.1.0, which code hosts and editors read
    Sarif,
}

/// Prints what is found. Fails where it is an error, or is denied; with another exit code where a file cannot be read.
pub(super) fn run(args: &Args) -> Outcome {
    if args.rules {
        print::rules();
        return Ok(());
    }
    let sources = files::read(&args.files).map_err(|failure| failure.exit_code(UNUSABLE))?;
    let mut report = orlop_lint::lint(&sources, &args.namespace);
    report.findings.retain(|finding| !args.allow.iter().any(|allowed| allowed == finding.rule.id));
    match args.output {
        Format::Text => print::text(&report, &sources),
        Format::Json => print::json(&report, &sources),
        Format::Github => print::github(&report, &sources),
        Format::Sarif => print::sarif(&report, &sources),
    }
    conclude(&report, &sources, args)
}

fn conclude(report: &Report, sources: &[Source], args: &Args) -> Outcome {
    let least = match args.deny {
        None => Severity::Error,
        Some(Deny::Warnings) => Severity::Warning,
        Some(Deny::Info) => Severity::Info,
    };
    let summary = summary(report, sources);
    if report.findings.iter().any(|finding| finding.rule.severity >= least) {
        return Err(Failure::new(summary).remedy(
            "correct what is found; where it is meant to be so, write `# orlop-lint: allow RULE` above the line; \
             `orlop lint --rules` says why each rule is there",
        ));
    }
    match args.output {
        Format::Text => println!("{summary}"),
        // The standard output is for a program.
        Format::Json | Format::Github | Format::Sarif => eprintln!("{summary}"),
    }
    Ok(())
}

/// Such as: 2 errors and 1 warning in 3 objects of 2 files.
fn summary(report: &Report, sources: &[Source]) -> String {
    let counts = [Severity::Error, Severity::Warning, Severity::Info].map(|severity| {
        let of_it = report.findings.iter().filter(|finding| finding.rule.severity == severity).count();
        (of_it, if severity == Severity::Info { "note" } else { severity.word() })
    });
    let found: Vec<_> =
        counts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| many(*number, what)).collect();
    let found = match &found[..] {
        [] => "nothing found".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    };
    format!("{found} in {} of {}", many(report.objects, "object"), many(sources.len(), "file"))
}

fn many(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use orlop_lint::{Finding, Span, rule};

    use super::*;

    #[test]
    fn the_summary_counts_what_is_there_and_names_nothing_else() {
        let finding =
            |id| Finding { rule: rule(id).unwrap(), source: 0, span: Span::default(), message: String::new() };
        let sources = [Source { name: "a.yaml".to_owned(), text: String::new() }];
        let of = |ids: &[&'static str]| {
            let report = Report { findings: ids.iter().map(|id| finding(id)).collect(), objects: 3 };
            summary(&report, &sources)
        };
        assert_eq!(of(&[]), "nothing found in 3 objects of 1 file");
        assert_eq!(of(&["shared-claim", "shared-claim"]), "2 errors in 3 objects of 1 file");
        assert_eq!(
            of(&["shared-claim", "tiny-size", "no-class"]),
            "1 error, 1 warning and 1 note in 3 objects of 1 file"
        );
    }
}
