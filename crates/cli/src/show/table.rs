//! Columns of text that line up.

use unicode_width::UnicodeWidthStr;

/// A table of escaped cells: every column as wide as its widest cell, the last one cut to what
/// the terminal leaves.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![
                headings
                    .iter()
                    .map(|heading| (*heading).to_owned())
                    .collect(),
            ],
        }
    }

    /// Adds a row. The cells must be escaped already.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines, none longer than `columns` where that is given.
    pub(crate) fn lines(&self, columns: Option<usize>) -> Vec<String> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..count)
            .map(|column| {
                let width = |row: &Vec<String>| row.get(column).map_or(0, |cell| cell.width());
                self.rows.iter().map(width).max().unwrap_or(0)
            })
            .collect();
        self.rows
            .iter()
            .map(|row| line(row, &widths, columns))
            .collect()
    }
}

fn line(row: &[String], widths: &[usize], columns: Option<usize>) -> String {
    let mut text = String::new();
    for (index, cell) in row.iter().enumerate() {
        if index > 0 {
            text.push_str("  ");
        }
        text.push_str(cell);
        if index + 1 < row.len() {
            let padding = widths[index].saturating_sub(cell.width());
            text.extend(std::iter::repeat_n(' ', padding));
        }
    }
    match columns {
        Some(columns) if text.width() > columns => cut(&text, columns),
        _ => text,
    }
}

fn cut(text: &str, columns: usize) -> String {
    let mut short = String::new();
    for character in text.chars() {
        short.push(character);
        if short.width() >= columns {
            short.pop();
            break;
        }
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_width_not_by_bytes() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec!["数".into(), "x".into()]);
        table.row(vec!["abc".into(), "y".into()]);
        assert_eq!(table.lines(None), ["A    B", "数   x", "abc  y"]);
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let mut table = Table::new(&["A"]);
        table.row(vec!["0123456789".into()]);
        assert_eq!(table.lines(Some(5)), ["A", "0123…"]);
    }
}
