//! Tables as `kubectl` prints them: aligned columns under a head, two spaces apart.

use std::fmt;

use anstyle::Style;

/// Which side a column is aligned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table. What it displays as has colours; a stream that shows none takes them out.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<(String, Style)>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl Into<Vec<(&'static str, Align)>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row, whose cells are as many as the columns.
    pub fn row(&mut self, cells: impl Into<Vec<(String, Style)>>) {
        self.rows.push(cells.into());
    }

    /// Has it no row?
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let width = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|(text, _)| text.chars().count());
            cells.max().unwrap_or(0).max(self.columns[index].0.len())
        };
        (0..self.columns.len()).map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let head: Vec<_> = self.columns.iter().map(|(name, _)| ((*name).to_owned(), Style::new().bold())).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            for (index, ((text, style), (_, align))) in row.iter().zip(&self.columns).enumerate() {
                let pad = " ".repeat(widths[index] - text.chars().count());
                let is_last = index + 1 == self.columns.len();
                match align {
                    Align::Right => write!(f, "{pad}{style}{text}{style:#}")?,
                    Align::Left if is_last => write!(f, "{style}{text}{style:#}")?,
                    Align::Left => write!(f, "{style}{text}{style:#}{pad}")?,
                }
                f.write_str(if is_last { "\n" } else { "  " })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use anstyle::AnsiColor;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_whatever_its_colour() {
        let mut table = Table::new([("NAME", Align::Left), ("FREE", Align::Right), ("WHY", Align::Left)]);
        let red = AnsiColor::Red.on_default();
        table.row([("data-0".into(), red), ("7%".into(), red), ("full".into(), Style::new())]);
        table.row([("d".into(), Style::new()), ("100%".into(), Style::new()), ("…".into(), red)]);
        let text = table.to_string();
        assert!(text.contains('\u{1b}'));
        assert_eq!(
            strip_str(&text).to_string(),
            "NAME    FREE  WHY\n\
             data-0    7%  full\n\
             d       100%  …\n"
        );
    }
}
