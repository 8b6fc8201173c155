//! Comments that silence a rule where it is meant to be: `# orlop-lint: allow RULE, RULE`, at the end of the line of a
//! finding, or on lines of their own above it.

use std::collections::BTreeMap;

use crate::{document::Span, rule::rule};

const MARK: &str = "# orlop-lint:";

/// What the comments of one text allow.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// By the line of a finding.
    rules: BTreeMap<usize, Vec<&'static str>>,
    /// What is said that means nothing: where, and what.
    pub unknown: Vec<(Span, String)>,
}

impl Allowed {
    pub fn read(text: &str) -> Self {
        let mut allowed = Self::default();
        let mut above = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let comment = line.find(MARK).filter(|&at| at == 0 || line[..at].ends_with([' ', '\t']));
            let here = comment.map_or_else(Vec::new, |at| allowed.comment(index + 1, line, at));
            let bare = line.trim_start();
            if bare.is_empty() || bare.starts_with('#') || bare == "---" {
                above.extend(here);
                continue;
            }
            let rules = [std::mem::take(&mut above), here].concat();
            if !rules.is_empty() {
                allowed.rules.insert(index + 1, rules);
            }
        }
        allowed
    }

    /// The rules that a comment names. Whatever follows two hyphens is a reason, for people.
    fn comment(&mut self, number: usize, line: &str, at: usize) -> Vec<&'static str> {
        let column = line[..at].chars().count() + 1;
        let mut complain = |what: String| {
            self.unknown.push((Span { line: number, column, length: line[at..].trim_end().chars().count() }, what));
        };
        let said = line[at + MARK.len()..].split("--").next().unwrap_or_default().trim();
        let names = match said.strip_prefix("allow") {
            Some(names) if names.starts_with([' ', '\t']) && !names.trim().is_empty() => names,
            _ => {
                complain("this comment allows nothing: write `# orlop-lint: allow RULE`".to_owned());
                return Vec::new();
            }
        };
        let names = names.split([',', ' ', '\t']).filter(|name| !name.is_empty());
        let known = names.filter_map(|name| match rule(name) {
            Some(rule) => Some(rule.id),
            None => {
                complain(format!(
                    "there is no rule `{name}` to allow: `orlop lint --rules` lists those that there are"
                ));
                None
            }
        });
        known.collect()
    }

    pub fn allows(&self, line: usize, id: &str) -> bool {
        self.rules.get(&line).is_some_and(|rules| rules.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_for_its_line_or_for_the_next_one_with_content() {
        let allowed = Allowed::read(
            "a: 1 # orlop-lint: allow no-class -- it is the only one\n\
             # orlop-lint: allow tiny-size, no-class\n\
             \n\
             # Another comment.\n\
             b: 2\n\
             c: 3\n",
        );
        assert!(allowed.allows(1, "no-class") && !allowed.allows(1, "tiny-size"));
        assert!(allowed.allows(5, "no-class") && allowed.allows(5, "tiny-size"));
        assert!(!allowed.allows(6, "no-class"), "and for no other");
        assert!(allowed.unknown.is_empty(), "{:?}", allowed.unknown);
    }

    #[test]
    fn a_comment_that_means_nothing_is_found() {
        let allowed = Allowed::read("a: 1 # orlop-lint: allow no-clas\n# orlop-lint: alow no-class\nb: 2\n");
        let places: Vec<_> = allowed.unknown.iter().map(|(span, _)| (span.line, span.column)).collect();
        assert_eq!(places, [(1, 6), (2, 1)]);
        assert!(allowed.unknown[0].1.contains("no rule `no-clas`"));
        assert!(!allowed.allows(3, "no-class"));
    }
}
