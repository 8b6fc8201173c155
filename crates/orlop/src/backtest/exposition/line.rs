//! How a line of the text format names its series (the page "Exposition formats" of Prometheus, and OpenMetrics 1.0).

/// A series, and how much of the line names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) name: String,
    labels: Vec<(String, String)>,
    pub(super) bytes: usize,
}

impl Series {
    /// The series of a line; none where the line is a comment or empty.
    pub(super) fn of(line: &str) -> Result<Option<Self>, String> {
        let text = line.trim_end();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let end = text.find(['{', ' ', '\t']).unwrap_or(text.len());
        let mut series = Self { name: text[..end].to_owned(), labels: Vec::new(), bytes: end };
        if text[end..].starts_with('{') {
            let rest =
                series.read_labels(&text[end + 1..]).ok_or("has labels that do not end, or are not name=\"value\"")?;
            series.bytes = text.len() - rest.len();
        }
        // As `promtool tsdb dump` has it, the name is a label.
        if series.name.is_empty() {
            series.name = series.label("__name__").unwrap_or_default().to_owned();
        }
        Ok(Some(series))
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    /// Reads what is behind the opening brace, and returns what is behind the closing one.
    fn read_labels<'a>(&mut self, mut text: &'a str) -> Option<&'a str> {
        loop {
            text = text.trim_start_matches([' ', ',']);
            if let Some(rest) = text.strip_prefix('}') {
                return Some(rest);
            }
            let (name, rest) = text.split_once('=')?;
            let (value, rest) = quoted(rest.trim_start().strip_prefix('"')?)?;
            self.labels.push((name.trim().trim_matches('"').to_owned(), value));
            text = rest;
        }
    }
}

/// The text up to the closing quote, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(line: &str) -> Series {
        Series::of(line).unwrap().unwrap()
    }

    #[test]
    fn a_line_names_its_series_with_any_labels() {
        let line = r#"used_bytes{namespace="a b",claim="x\"}\\\n" , job="kubelet",} 5 1700000000"#;
        let read = series(line);
        assert_eq!(read.name, "used_bytes");
        assert_eq!((read.label("namespace"), read.label("claim")), (Some("a b"), Some("x\"}\\\n")));
        assert_eq!(&line[read.bytes..], " 5 1700000000");
        assert_eq!(read.label("other"), None);
    }

    #[test]
    fn the_name_may_be_a_label_or_stand_alone() {
        assert_eq!(series(r#"{__name__="used_bytes", claim="x"} 5 1"#).name, "used_bytes");
        assert_eq!(series("up 1 1700000000"), Series { name: "up".to_owned(), labels: vec![], bytes: 2 });
    }

    #[test]
    fn comments_are_passed_over_and_what_is_no_line_is_refused() {
        for line in ["# EOF\n", "# HELP up Is it?\n", "\n"] {
            assert_eq!(Series::of(line), Ok(None));
        }
        for line in [r#"used{a="b" 5 1"#, r"used{a=b} 5 1", r#"used{a="b} 5 1"#] {
            assert!(Series::of(line).is_err(), "{line}");
        }
    }
}
