//! Columns of text that line up.

use unicode_width::UnicodeWidthStr;

use super::excerpt::cut;

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
        let widths = self.widths();
        self.rows
            .iter()
            .map(|row| line(row, &widths, columns))
            .collect()
    }

    /// The same, with the widest columns made narrower until all fit: every cell keeps its start.
    /// The column `favoured` is left twice as wide as others.
    pub(crate) fn fitted(&self, columns: Option<usize>, favoured: usize) -> Vec<String> {
        let mut widths = self.widths();
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(gaps));
        while widths.iter().sum::<usize>() > room {
            let weight = |(column, width): &(usize, &mut usize)| {
                if *column == favoured {
                    **width / 2
                } else {
                    **width
                }
            };
            match widths.iter_mut().enumerate().max_by_key(weight) {
                Some((_, widest)) if *widest > 1 => *widest -= 1,
                _ => break,
            }
        }
        let fit = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| match columns {
                Some(_) => cut(cell, *width),
                None => cell.clone(),
            });
            line(&cells.collect::<Vec<_>>(), &widths, columns)
        };
        self.rows.iter().map(fit).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.width()).max();
            widest.unwrap_or(0).min(WIDTH_MAX)
        };
        (0..count).map(width).collect()
    }
}

/// How wide a column is at most. A longer cell goes beyond it, and all others don't for its sake.
const WIDTH_MAX: usize = 200;

/// What stands between columns.
const GAP: &str = "  ";

fn line(row: &[String], widths: &[usize], columns: Option<usize>) -> String {
    let mut text = String::new();
    for (index, cell) in row.iter().enumerate() {
        if index > 0 {
            text.push_str(GAP);
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
    fn the_widest_columns_give_way() {
        let mut table = Table::new(&["NAME", "STATE", "PLACE"]);
        table.row(vec![
            "abc".into(),
            "0123456789".into(),
            "abcdefghijkl".into(),
        ]);
        table.row(vec!["数数数".into(), "x".into(), "y".into()]);
        assert_eq!(
            table.fitted(Some(22), 0),
            [
                "NAME    STATE   PLACE",
                "abc     01234…  abcde…",
                "数数数  x       y"
            ]
        );
        assert_eq!(
            table.fitted(Some(22), 2),
            [
                "NAME   STA…  PLACE",
                "abc    012…  abcdefgh…",
                "数数…  x     y"
            ]
        );
        assert_eq!(table.fitted(None, 0), table.lines(None));
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let mut table = Table::new(&["A"]);
        table.row(vec!["0123456789".into()]);
        assert_eq!(table.lines(Some(5)), ["A", "0123…"]);
    }
}
