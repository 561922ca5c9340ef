//! The version room: which field lies where in each CPython, as tables, and nothing else. Version
//! numbers stand here and nowhere else.
//!
//! Since 3.13 an interpreter carries a table of its own offsets (`_Py_DebugOffsets`, at the start
//! of `_PyRuntime`). Each minor version has its own order of fields, inserted in the middle: a
//! file here names each field and says which structure bounds it. What the table leaves unsaid
//! stands in the same file.

pub(crate) mod common;
mod minor;
mod table;
mod v3_13;
mod v3_14;
mod v3_15;

use invivo_model::{Error, ErrorKind, Result, Version};

pub(crate) use minor::{DictKeys, UnicodeState};
pub(crate) use table::Preamble;

use minor::Minor;
use table::{Table, invalid};

/// Every minor version whose layout is known, oldest first.
const KNOWN: [&Minor; 3] = [&v3_13::MINOR, &v3_14::MINOR, &v3_15::MINOR];

/// Where everything lies in one interpreter, as plain numbers: bytes from the start of the
/// structure they are named for. All have been checked against the structures' sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) runtime: RuntimeLayout,
    pub(crate) interpreter: InterpreterLayout,
    pub(crate) thread: ThreadLayout,
    /// The remote debugging protocol; `None` where the version has none.
    pub(crate) debugger: Option<DebuggerLayout>,
    pub(crate) frame: FrameLayout,
    pub(crate) code: CodeLayout,
    pub(crate) object: ObjectLayout,
    pub(crate) unicode: UnicodeLayout,
    pub(crate) dict: DictLayout,
}

/// `_PyRuntimeState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeLayout {
    pub(crate) finalizing: u64,
    pub(crate) interpreters_head: u64,
    pub(crate) main_thread: u64,
}

/// `PyInterpreterState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InterpreterLayout {
    pub(crate) id: u64,
    pub(crate) next: u64,
    pub(crate) threads_head: u64,
    pub(crate) threads_main: Option<u64>,
    pub(crate) sysdict: u64,
}

/// `PyThreadState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadLayout {
    pub(crate) next: u64,
    pub(crate) interpreter: u64,
    pub(crate) current_frame: u64,
    pub(crate) thread_id: u64,
    pub(crate) native_thread_id: u64,
}

/// The remote debugging protocol's places. All but `enabled` are in the thread state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DebuggerLayout {
    /// In the interpreter state.
    pub(crate) enabled: u64,
    pub(crate) eval_breaker: u64,
    pub(crate) pending_call: u64,
    pub(crate) script_path: u64,
    pub(crate) script_path_size: u64,
}

/// `_PyInterpreterFrame`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameLayout {
    pub(crate) previous: u64,
    pub(crate) executable: u64,
    pub(crate) owner: u64,
    pub(crate) first_sentinel_owner: u8,
}

/// `PyCodeObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeLayout {
    pub(crate) filename: u64,
    pub(crate) qualname: u64,
}

/// `PyObject` and `PyTypeObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectLayout {
    pub(crate) type_of: u64,
    pub(crate) type_flags: u64,
}

/// `PyUnicodeObject` and the structures it begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnicodeLayout {
    pub(crate) length: u64,
    pub(crate) state: u64,
    /// Where the characters of a compact ASCII string begin.
    pub(crate) ascii_data: u64,
    /// Where the characters of any other compact string begin, and where the pointer to those of
    /// a string that is not compact stands.
    pub(crate) compact_data: u64,
    pub(crate) bits: UnicodeState,
}

/// `PyDictObject` and its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DictLayout {
    pub(crate) keys: u64,
    pub(crate) values: u64,
    pub(crate) in_keys: DictKeys,
    pub(crate) in_values: u64,
}

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
        Self::from_table(&Table::parse(minor, bytes)?, minor, free_threaded)
    }

    fn from_table(table: &Table, minor: &Minor, free_threaded: bool) -> Result<Self> {
        let beyond = minor.beyond;
        let interpreters_head = table.offset("runtime_state.interpreters_head")?;
        let main_thread = interpreters_head + beyond.main_thread_behind_head;
        if main_thread + 8 > table.offset("runtime_state.size")? {
            return Err(invalid("runtime_state ends before main_thread"));
        }
        let ascii_data = table.offset("unicode_object.asciiobject_size")?;
        Ok(Self {
            runtime: RuntimeLayout {
                finalizing: table.offset("runtime_state.finalizing")?,
                interpreters_head,
                main_thread,
            },
            interpreter: InterpreterLayout {
                id: table.offset("interpreter_state.id")?,
                next: table.offset("interpreter_state.next")?,
                threads_head: table.offset("interpreter_state.threads_head")?,
                threads_main: table.value("interpreter_state.threads_main"),
                sysdict: table.offset("interpreter_state.sysdict")?,
            },
            thread: ThreadLayout {
                next: table.offset("thread_state.next")?,
                interpreter: table.offset("thread_state.interp")?,
                current_frame: table.offset("thread_state.current_frame")?,
                thread_id: table.offset("thread_state.thread_id")?,
                native_thread_id: table.offset("thread_state.native_thread_id")?,
            },
            debugger: debugger(table)?,
            frame: FrameLayout {
                previous: table.offset("interpreter_frame.previous")?,
                executable: table.offset("interpreter_frame.executable")?,
                owner: table.offset("interpreter_frame.owner")?,
                first_sentinel_owner: beyond.first_sentinel_owner,
            },
            code: CodeLayout {
                filename: table.offset("code_object.filename")?,
                qualname: table.offset("code_object.qualname")?,
            },
            object: ObjectLayout {
                type_of: table.offset("pyobject.ob_type")?,
                type_flags: table.offset("type_object.tp_flags")?,
            },
            unicode: UnicodeLayout {
                length: table.offset("unicode_object.length")?,
                state: table.offset("unicode_object.state")?,
                ascii_data,
                compact_data: table
                    .value("unicode_object.compactunicodeobject_size")
                    .unwrap_or(ascii_data + beyond.compact_behind_ascii),
                bits: if free_threaded {
                    beyond.unicode_state_free_threaded
                } else {
                    beyond.unicode_state
                },
            },
            dict: DictLayout {
                keys: table.offset("dict_object.ma_keys")?,
                values: table.offset("dict_object.ma_values")?,
                in_keys: beyond.dict_keys,
                in_values: beyond.dict_values,
            },
        })
    }
}

/// The protocol's places, where the version has it.
fn debugger(table: &Table) -> Result<Option<DebuggerLayout>> {
    let Some(support) = table.value("debugger_support.remote_debugger_support") else {
        return Ok(None);
    };
    let pending_call = support + table.offset("debugger_support.debugger_pending_call")?;
    let script_path = support + table.offset("debugger_support.debugger_script_path")?;
    let script_path_size = table.offset("debugger_support.debugger_script_path_size")?;
    let thread_size = table.offset("thread_state.size")?;
    let overlap = pending_call + 4 > script_path && script_path + script_path_size > pending_call;
    if overlap || script_path + script_path_size > thread_size || pending_call + 4 > thread_size {
        return Err(invalid("debugger_support reaches out of the thread state"));
    }
    Ok(Some(DebuggerLayout {
        enabled: table.offset("debugger_support.remote_debugging_enabled")?,
        eval_breaker: table.offset("debugger_support.eval_breaker")?,
        pending_call,
        script_path,
        script_path_size,
    }))
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
