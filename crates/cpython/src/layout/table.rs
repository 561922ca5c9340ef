//! Reading `_Py_DebugOffsets`, which a target wrote: nothing in it is believed before it has been
//! checked against the sizes it gives itself.

use invivo_model::{Error, ErrorKind, Result, Version};

use super::minor::{Minor, Rule};

/// What `_Py_DebugOffsets` begins with.
const COOKIE: [u8; 8] = *b"xdebugpy";
/// Cookie, version and `free_threaded`.
const PREAMBLE: usize = 24;
const WORD: usize = 8;

/// Larger than any runtime or interpreter state ever was, by a factor of forty.
const MAX_STATE: u64 = 16 << 20;
/// Larger than any object's fixed part or thread state, by a factor of seven.
const MAX_OBJECT: u64 = 8 << 10;
/// What bounds offsets in structures whose size the table does not give.
const MAX_UNSIZED: u64 = 64;

/// The table's first words: they have the same form in every version that has a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) version: Version,
    pub(crate) hex: u64,
    pub(crate) free_threaded: u64,
}

impl Preamble {
    /// How many bytes it takes.
    pub(crate) const SIZE: usize = PREAMBLE;

    /// From the first bytes at `_PyRuntime`; `None` where they are no such table's.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&COOKIE)?;
        let hex = word(rest, 0)?;
        Some(Self {
            version: Version::from_hex(hex)?,
            hex,
            free_threaded: word(rest, WORD)?,
        })
    }
}

/// A table whose every value has been checked.
#[derive(Debug)]
pub(super) struct Table {
    minor: &'static Minor,
    words: Vec<u64>,
}

impl Table {
    /// The exact size of a minor version's table in bytes.
    pub(super) fn size(minor: &Minor) -> usize {
        PREAMBLE + minor.fields.len() * WORD
    }

    /// Checks a table of `minor`. `bytes` begins with the cookie.
    pub(super) fn parse(minor: &'static Minor, bytes: &[u8]) -> Result<Self> {
        let words: Option<Vec<u64>> = (0..minor.fields.len())
            .map(|index| word(bytes, PREAMBLE + index * WORD))
            .collect();
        let words = words.ok_or_else(|| invalid("it ends too early"))?;
        let table = Self { minor, words };
        let mut group = ("", MAX_UNSIZED);
        for ((name, rule), value) in minor.fields.iter().zip(&table.words) {
            let (structure, _) = name.split_once('.').unwrap_or((name, ""));
            if structure != group.0 {
                group = (structure, MAX_UNSIZED);
            }
            if let Rule::State | Rule::Object = rule {
                group.1 = *value;
            }
            if !table.obeys(*rule, *value, group.1) {
                return Err(invalid(format!("{name} is {value}")));
            }
        }
        Ok(table)
    }

    /// The value of a field; `None` where this minor version has no such field.
    pub(super) fn value(&self, name: &str) -> Option<u64> {
        let index = self
            .minor
            .fields
            .iter()
            .position(|(field, _)| *field == name)?;
        self.words.get(index).copied()
    }

    /// The value of a field that every version has.
    pub(super) fn offset(&self, name: &str) -> Result<u64> {
        self.value(name)
            .ok_or_else(|| Error::internal(format!("no field {name} in the layout's table")))
    }

    fn obeys(&self, rule: Rule, value: u64, group_size: u64) -> bool {
        match rule {
            Rule::State => (1..=MAX_STATE).contains(&value),
            Rule::Object | Rule::Bytes => (1..=MAX_OBJECT).contains(&value),
            Rule::At(width) => fits(value, width, group_size),
            Rule::AtOrAbsent(width) => value == 0 || fits(value, width, group_size),
            Rule::Inside(structure, width) => self
                .size_of(structure)
                .is_some_and(|size| fits(value, width, size)),
            Rule::InsideOrAbsent(structure, width) => {
                value == 0
                    || self
                        .size_of(structure)
                        .is_some_and(|size| fits(value, width, size))
            }
        }
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        let mut fields = self.minor.fields.iter().zip(&self.words);
        let is_size = |name: &str| name.strip_prefix(structure) == Some(".size");
        fields
            .find(|((name, _), _)| is_size(name))
            .map(|(_, value)| *value)
    }
}

fn fits(offset: u64, width: u64, size: u64) -> bool {
    let aligned = width == 0 || offset.is_multiple_of(width);
    aligned && offset.checked_add(width).is_some_and(|end| end <= size)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u64::from_le_bytes(*word))
}

pub(super) fn invalid(why: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the interpreter's table of offsets is not valid",
        why,
        "the process is damaged or pretends: look at it with a native debugger",
    )
}
