//! The version room: which field lies where in each CPython, as tables, and nothing else. Version
//! numbers stand here and nowhere else.
//!
//! Since 3.13 an interpreter carries a table of its own offsets (`_Py_DebugOffsets`, at the start
//! of `_PyRuntime`). Each minor version has its own order of fields, inserted in the middle: a
//! file here names each field and says which structure bounds it. What the table leaves unsaid
//! stands in the same file.

#[allow(dead_code, reason = "some views that read it are still to come")]
pub(crate) mod common;
mod from_table;
mod minor;
mod objects;
#[allow(dead_code, reason = "some views that read it are still to come")]
mod structures;
mod table;
mod v3_13;
mod v3_14;
mod v3_15;

use invivo_model::{Error, ErrorKind, Result, Version};

pub use structures::Layout;
pub(crate) use structures::*;
pub(crate) use table::Preamble;

use minor::Minor;
use table::{Table, invalid};

/// Every minor version whose layout is known, oldest first.
const KNOWN: [&Minor; 3] = [&v3_13::MINOR, &v3_14::MINOR, &v3_15::MINOR];

impl Layout {
    /// Bytes of the largest table there is: reading as many at `_PyRuntime` is always enough.
    pub(crate) fn max_table_size() -> usize {
        KNOWN
            .iter()
            .map(|minor| Table::size(minor))
            .max()
            .unwrap_or(Preamble::SIZE)
    }

    /// The layout that a table says, which begins with its cookie.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the version is one whose layout is not known, `Corrupt` where a value
    /// in the table can't be.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let preamble =
            Preamble::parse(bytes).ok_or_else(|| invalid("it does not begin with its cookie"))?;
        let minor = known(preamble.version).ok_or_else(|| unknown(preamble.version))?;
        if preamble.version.is_prerelease() && !minor.prereleases.contains(&preamble.hex) {
            return Err(unknown_prerelease(preamble.version));
        }
        let free_threaded = match preamble.free_threaded {
            0 => false,
            1 => true,
            other => return Err(invalid(format!("free_threaded is {other}"))),
        };
        from_table::layout(&Table::parse(minor, bytes)?, minor, free_threaded)
    }
}

fn known(version: Version) -> Option<&'static Minor> {
    KNOWN
        .into_iter()
        .find(|minor| (minor.major, minor.minor) == (version.major, version.minor))
}

/// Whether an interpreter of this version carries a table of its offsets.
pub(crate) fn has_table(version: Version) -> bool {
    let first = KNOWN.first().map(|minor| (minor.major, minor.minor));
    first.is_some_and(|first| (version.major, version.minor) >= first)
}

/// That a version is not one of those known.
fn unknown(version: Version) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("cannot look into CPython {version}"),
        format!("its layout is not known; known are {}", list(&KNOWN)),
        "use a release of Invivo that knows it",
    )
}

/// That a pre-release is not one whose layout is known.
fn unknown_prerelease(version: Version) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("cannot look into CPython {version}"),
        "a pre-release has a layout of its own, and this one's is not known",
        "run the target with the final release",
    )
}

/// That an interpreter carries no table, so that its layout is not known.
pub(crate) fn without_table(version: Option<Version>) -> Error {
    let name = match version {
        Some(version) => format!("CPython {version}"),
        None => "a CPython whose version cannot be told".to_owned(),
    };
    let acting: Vec<_> = KNOWN
        .into_iter()
        .filter(|minor| has_protocol(minor))
        .collect();
    Error::new(
        ErrorKind::Unsupported,
        format!("cannot look into {name}"),
        "it carries no table of its offsets, and this release has none for it",
        format!(
            "this release acts on {}: run the target with one of these",
            list(&acting)
        ),
    )
}

/// Whether interpreters of this minor version take part in the remote debugging protocol.
fn has_protocol(minor: &Minor) -> bool {
    minor
        .fields
        .iter()
        .any(|(name, _)| name.starts_with("debugger_support."))
}

/// `3.13, 3.14 and 3.15`.
fn list(minors: &[&Minor]) -> String {
    let names: Vec<_> = minors
        .iter()
        .map(|minor| format!("{}.{}", minor.major, minor.minor))
        .collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
