//! Pieces of JSON, written as they come.

use std::io::Write;

use invivo_model::Result;

use crate::unwritten;

/// `text` as a JSON string.
pub(crate) fn string(out: &mut dyn Write, text: &str) -> Result<()> {
    serde_json::to_writer(out, text).map_err(|error| unwritten(error.into()))
}

/// A string, and its name before it.
pub(crate) fn named(out: &mut dyn Write, name: &str, text: &str) -> Result<()> {
    write!(out, "\"{name}\":").map_err(unwritten)?;
    string(out, text)
}

/// Items with commas between them.
pub(crate) struct List {
    empty: bool,
}

impl List {
    pub(crate) fn new() -> Self {
        Self { empty: true }
    }

    /// What stands before the next item.
    pub(crate) fn next(&mut self, out: &mut dyn Write) -> Result<()> {
        if std::mem::take(&mut self.empty) {
            return Ok(());
        }
        out.write_all(b",").map_err(unwritten)
    }

    /// Numbers, as a list in brackets.
    pub(crate) fn of<N: std::fmt::Display>(
        out: &mut dyn Write,
        numbers: impl IntoIterator<Item = N>,
    ) -> Result<()> {
        let mut list = List::new();
        out.write_all(b"[").map_err(unwritten)?;
        for number in numbers {
            list.next(out)?;
            write!(out, "{number}").map_err(unwritten)?;
        }
        out.write_all(b"]").map_err(unwritten)
    }
}
