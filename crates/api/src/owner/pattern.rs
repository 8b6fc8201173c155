//! Patterns of names and of labels' values: text in which `{owner}` stands for the name of the custom resource, `{ordinal}`
//! for a number, and any other word in braces for what is to be found out.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::written::written_as_text;

/// What the variables stand for.
pub type Bindings = BTreeMap<String, String>;

/// The variable that is the custom resource's name.
pub(super) const OWNER: &str = "owner";

/// The variable that is any number; where it stands several times, it may be another each time.
const ORDINAL: &str = "ordinal";

/// Of how many parts a pattern consists at most: what is tried to match one stays little.
const PARTS_MAX: usize = 16;

/// A pattern, such as `data-{owner}-{ordinal}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Text(String),
    Variable(String),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pattern: write text with variables in braces, such as data-{{owner}}-{{ordinal}}")]
pub struct NoPattern(String);

impl FromStr for Pattern {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, NoPattern> {
        let invalid = || NoPattern(text.to_owned());
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (before, variable, after) = match rest.split_once('{') {
                None => (rest, None, ""),
                Some((before, braced)) => {
                    let (name, after) = braced.split_once('}').ok_or_else(invalid)?;
                    (before, Some(name), after)
                }
            };
            if before.contains('}') {
                return Err(invalid());
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            if let Some(name) = variable {
                let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
                    && name.chars().all(|character| character.is_ascii_alphanumeric());
                parts.push(if is_name { Part::Variable(name.to_owned()) } else { return Err(invalid()) });
            }
            rest = after;
        }
        if parts.len() <= PARTS_MAX { Ok(Self(parts)) } else { Err(invalid()) }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(name) => write!(f, "{{{name}}}"),
        })
    }
}

written_as_text!(
    Pattern,
    max_length: 253,
    rule: "self.matches('^([^{}]|[{][A-Za-z][A-Za-z0-9]*[}])*$')",
    message: "is not a pattern: write text with variables in braces, such as data-{owner}-{ordinal}",
);

impl Pattern {
    /// What the variables stand for so that the pattern is this text, beside what is known of them already. None where the
    /// pattern cannot be this text, and none where it can in several ways: then nobody knows which is meant.
    pub fn matches(&self, text: &str, known: &Bindings) -> Option<Bindings> {
        let mut found = Vec::new();
        matches(&self.0, text, known.clone(), &mut found);
        let only = found.pop();
        only.filter(|_| found.is_empty())
    }

    /// The text with what the variables stand for; none where that is not known of one.
    pub fn fill(&self, known: &Bindings) -> Option<String> {
        let texts = self.0.iter().map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Variable(name) => known.get(name).map(String::as_str),
        });
        texts.collect()
    }

    /// The names of its variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable(name) => Some(name.as_str()),
        })
    }
}

/// Puts into `found` what the variables can stand for, as far as the second possibility.
fn matches(parts: &[Part], text: &str, known: Bindings, found: &mut Vec<Bindings>) {
    let Some((first, rest)) = parts.split_first() else {
        if text.is_empty() && !found.contains(&known) {
            found.push(known);
        }
        return;
    };
    match first {
        Part::Text(literal) => {
            if let Some(after) = text.strip_prefix(literal.as_str()) {
                matches(rest, after, known, found);
            }
        }
        Part::Variable(name) if name == ORDINAL => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 {
                matches(rest, &text[digits..], known, found);
            }
        }
        Part::Variable(name) => match known.get(name).cloned() {
            Some(value) => {
                if let Some(after) = text.strip_prefix(value.as_str()) {
                    matches(rest, after, known, found);
                }
            }
            None => {
                for (end, _) in text.char_indices().skip(1).chain([(text.len(), ' ')]).filter(|(end, _)| *end > 0) {
                    if found.len() > 1 {
                        return;
                    }
                    let mut known = known.clone();
                    known.insert(name.clone(), text[..end].to_owned());
                    matches(rest, &text[end..], known, found);
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound<const N: usize>(pairs: [(&str, &str); N]) -> Bindings {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_pattern_finds_out_what_its_variables_stand_for() {
        let owner = bound([("owner", "db")]);
        for (pattern, text, expected) in [
            ("data-{owner}-{ordinal}", "data-db-12", Some(owner.clone())),
            ("data-{owner}-{ordinal}", "data-db-x", None),
            ("data-{owner}-{ordinal}", "data-other-1", None),
            ("{owner}-es-{set}", "db-es-hot-2", Some(bound([("owner", "db"), ("set", "hot-2")]))),
            ("{owner}-es-{set}", "db-es-", None),
            ("{owner}-{ordinal}-{ordinal}", "db-0-3", Some(owner.clone())),
            ("", "", Some(owner.clone())),
            ("", "x", None),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(text, &owner), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_a_pattern_can_mean_in_two_ways_it_does_not_say() {
        let owner = bound([("owner", "db")]);
        let pattern: Pattern = "{template}-{owner}-{set}-{ordinal}".parse().unwrap();
        assert_eq!(pattern.matches("a-db-db-x-0", &owner), None, "is the set `db-x`, or the template `a-db`?");
        let known = bound([("owner", "db"), ("set", "x")]);
        assert_eq!(
            pattern.matches("a-db-db-x-0", &known),
            Some(bound([("owner", "db"), ("set", "x"), ("template", "a-db")]))
        );
    }

    #[test]
    fn a_pattern_is_written_as_it_was_read() {
        for text in ["", "plain", "{a}", "a-{b}-{c}d"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for text in ["{", "}", "{}", "{a", "a}", "{a-b}", "{1}", "{{a}}"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_filled_where_all_of_it_is_known() {
        let pattern: Pattern = "{a}-{b}".parse().unwrap();
        assert_eq!(pattern.fill(&bound([("a", "1"), ("b", "2")])), Some("1-2".to_owned()));
        assert_eq!(pattern.fill(&bound([("a", "1")])), None);
    }
}
