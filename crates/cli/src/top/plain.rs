//! The same as text, once.

use std::fmt::Write;

use invivo::profile::live::Board;

use super::draw::{and_others, counted, first_process, heading, shares};
use super::listing::Listing;
use super::state::{State, View};
use crate::show::{Output, Style, Table, shown};

/// Rows of functions and threads at most.
const ROWS: usize = 20;

/// Functions and threads, as tables.
pub(crate) fn tables(board: &Board, state: &mut State, output: &Output) -> String {
    state.whole = true;
    let mut text = String::new();
    if let Some(process) = first_process(board) {
        let command = shown(&process.command.join(" ")).into_owned();
        // Writing to a String can't fail.
        let _ = writeln!(text, "process {}: {command}", process.pid);
        let _ = writeln!(
            text,
            "CPython {}{}, {}",
            process.version,
            and_others(board),
            counted(state.mode)
        );
        let (overview, whole) = (board.overview(), board.about().duration);
        let _ = writeln!(text, "{}", shares(&board.ever(), &overview, whole));
    }
    for view in [View::Functions, View::Threads] {
        state.view = view;
        let listing = Listing::new(board, state);
        let columns = listing.columns;
        let headings: Vec<&str> = columns.iter().map(|column| heading(*column).0).collect();
        let mut table = Table::new(&headings);
        for row in listing.rows.iter().take(ROWS) {
            table.row(
                columns
                    .iter()
                    .map(|column| listing.cell(row, *column))
                    .collect(),
            );
        }
        text.push('\n');
        let name = columns
            .iter()
            .position(|column| heading(*column).1.is_none());
        let mut lines = table
            .fitted(output.columns(), name.unwrap_or(0))
            .into_iter();
        if let Some(headings) = lines.next() {
            let _ = writeln!(text, "{}", output.styled(Style::Strong, &headings));
        }
        lines.for_each(|line| text.push_str(&(line + "\n")));
        if let Some(more) = listing.rows.len().checked_sub(ROWS + 1) {
            let _ = writeln!(text, "and {} more", more + 1);
        }
    }
    text
}
