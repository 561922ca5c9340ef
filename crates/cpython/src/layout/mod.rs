//! The version room: which field lies where in each CPython, as tables, and nothing else. Version
//! numbers stand here and nowhere else.
//!
//! Up to 3.12, each minor version has a file with all the numbers. Since 3.13 an interpreter
//! carries a table of its own offsets (`_Py_DebugOffsets`, at the start of `_PyRuntime`). Each
//! minor version has its own order of fields, inserted in the middle: a file here names each field
//! and says which structure bounds it. What the table leaves unsaid stands in the same file.

pub(crate) mod asyncio;
pub(crate) mod common;
pub(crate) mod extensions;
mod from_table;
mod instructions;
mod minor;
mod objects;
mod pending;
mod structures;
mod table;
mod v3_10;
mod v3_11;
mod v3_12;
mod v3_13;
mod v3_14;
mod v3_15;
mod v3_8;
mod v3_9;

use invivo_model::{Error, ErrorKind, Result, Version};

pub(crate) use structures::*;
pub use structures::{Layout, LineTable};
pub(crate) use table::Preamble;

use minor::Minor;
use table::{Table, invalid};

/// The minor versions that have a table and whose layout is known, oldest first.
const WITH_TABLE: [&Minor; 3] = [&v3_13::MINOR, &v3_14::MINOR, &v3_15::MINOR];

/// The minor versions that have no table and whose layout is known, oldest first.
const WITHOUT_TABLE: [(u8, u8, &Layout); 5] = [
    (3, 8, &v3_8::LAYOUT),
    (3, 9, &v3_9::LAYOUT),
    (3, 10, &v3_10::LAYOUT),
    (3, 11, &v3_11::LAYOUT),
    (3, 12, &v3_12::LAYOUT),
];

impl Layout {
    /// Bytes of the largest table there is: reading as many at `_PyRuntime` is always enough.
    pub(crate) fn max_table_size() -> usize {
        WITH_TABLE
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

    /// The layout of a version that has no table.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the version is one whose layout is not known.
    pub(crate) fn without_table(version: Version) -> Result<Self> {
        if version.is_prerelease() {
            return Err(unknown_prerelease(version));
        }
        let mut known = WITHOUT_TABLE.into_iter();
        let found =
            known.find(|(major, minor, _)| (*major, *minor) == (version.major, version.minor));
        let (_, _, layout) = found.ok_or_else(|| unknown(version))?;
        Ok(layout.clone())
    }
}

fn known(version: Version) -> Option<&'static Minor> {
    WITH_TABLE
        .into_iter()
        .find(|minor| (minor.major, minor.minor) == (version.major, version.minor))
}

/// Whether an interpreter of this version carries a table of its offsets.
pub(crate) fn has_table(version: Version) -> bool {
    let first = WITH_TABLE.first().map(|minor| (minor.major, minor.minor));
    first.is_some_and(|first| (version.major, version.minor) >= first)
}

/// The minor versions that have no table.
pub(crate) fn versions_without_table() -> impl Iterator<Item = Version> {
    WITHOUT_TABLE
        .into_iter()
        .map(|(major, minor, _)| Version::from_minor(major, minor))
}

/// Whether a version is older than all that will ever be known.
pub(crate) fn is_too_old(version: Version) -> bool {
    let first = WITHOUT_TABLE.first();
    first.is_some_and(|(major, minor, _)| (version.major, version.minor) < (*major, *minor))
}

/// That something is Python, and none that will ever be looked into: an old one, or another
/// implementation.
pub(crate) fn never(name: &str, why: &str) -> Error {
    let known = known_versions();
    Error::new(
        ErrorKind::Unsupported,
        format!("cannot look into {name}"),
        format!("{why}; Invivo looks into CPython {known}"),
        format!("run the program with CPython {known}: no release of Invivo will know this one"),
    )
}

/// That a version is not one of those known.
fn unknown(version: Version) -> Error {
    if is_too_old(version) {
        return never(&format!("CPython {version}"), "it is too old");
    }
    Error::new(
        ErrorKind::Unsupported,
        format!("cannot look into CPython {version}"),
        format!("its layout is not known; known are {}", known_versions()),
        "use a release of Invivo that knows it",
    )
}

/// That an interpreter says nowhere which version it is.
pub(crate) fn untold() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "cannot look into a CPython whose version cannot be told",
        format!(
            "no name tells it, and sys.version can't be found with any known layout; known are {}",
            known_versions()
        ),
        "try again if the process has just begun",
    )
}

/// That an interpreter is called after a version, but does not look like it.
pub(crate) fn unconfirmed(version: Version) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("cannot look into CPython {version}"),
        "only a file's name tells the version, and sys.version can't be found where that version \
         has it: it is built in an unusual way",
        "try again if the process has just begun",
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

/// `3.8 to 3.15`.
fn known_versions() -> String {
    let first = WITHOUT_TABLE
        .first()
        .map(|(major, minor, _)| format!("{major}.{minor}"));
    let last = WITH_TABLE
        .last()
        .map(|minor| format!("{}.{}", minor.major, minor.minor));
    [first, last].map(Option::unwrap_or_default).join(" to ")
}
