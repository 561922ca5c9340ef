//! Pieces of JSON, written as they come.

use std::fmt::{self, Display};
use std::io::Write;

use invivo_model::Result;
use serde_json::{Value, json};

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
    pub(crate) fn of<N: Display>(
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

/// What may not be known: a number or a truth, or `null`.
pub(crate) struct Known<T>(pub(crate) Option<T>);

impl<T: Display> Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// An object of JSON that is written member by member, since its columns are long.
pub(crate) struct Object<'a> {
    out: &'a mut dyn Write,
    list: List,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Result<Self> {
        out.write_all(b"{").map_err(unwritten)?;
        let list = List::new();
        Ok(Self { out, list })
    }

    /// One that has all members of `first`, an object too.
    pub(crate) fn beginning_with(first: &Value, out: &'a mut dyn Write) -> Result<Self> {
        let mut object = Self::new(out)?;
        for (name, value) in first.as_object().into_iter().flatten() {
            object.member(name, value)?;
        }
        Ok(object)
    }

    fn name(&mut self, name: &str) -> Result<()> {
        self.list.next(self.out)?;
        write!(self.out, "\"{name}\":").map_err(unwritten)
    }

    pub(crate) fn member(&mut self, name: &str, value: &Value) -> Result<()> {
        self.name(name)?;
        write!(self.out, "{value}").map_err(unwritten)
    }

    pub(crate) fn length(&mut self, length: usize) -> Result<()> {
        self.member("length", &json!(length))
    }

    pub(crate) fn column<N: Display>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = N>,
    ) -> Result<()> {
        self.name(name)?;
        List::of(self.out, values)
    }

    pub(crate) fn table(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut Object<'_>) -> Result<()>,
    ) -> Result<()> {
        self.name(name)?;
        let mut table = Object::new(self.out)?;
        write(&mut table)?;
        table.end()
    }

    pub(crate) fn end(self) -> Result<()> {
        self.out.write_all(b"}").map_err(unwritten)
    }
}
