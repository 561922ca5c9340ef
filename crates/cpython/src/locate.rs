//! Finding the runtime state of an interpreter in what a process has mapped.
//!
//! In order: the section that holds it, by the file; its dynamic symbol, by the file; the same
//! symbol from memory, where the file can't be had; and the cookie that the runtime state begins
//! with, in writable memory. Any file that is mapped as code may hold an interpreter, whatever
//! its name is.

mod names;
mod search;

use std::fmt;

use invivo_model::{Address, Build, Error, Result, Version};
use invivo_process::{Memory, Module, ModuleFiles, ReadRequest};

use crate::facts::{FileFacts, examine};
use crate::fields::{corrupt, fault};
use crate::layout::{Layout, Preamble};
use crate::limits::Limits;
use search::Search;

/// By what the runtime state was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The section that holds it, by the file.
    Section,
    /// Its dynamic symbol, by the file.
    Symbol,
    /// Its dynamic symbol, by the file's image in memory.
    MappedSymbol,
    /// The cookie it begins with, in writable memory.
    Scan,
    /// By whoever recorded the memory that it is in.
    Recorded,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Section => "section in the file",
            Self::Symbol => "dynamic symbol in the file",
            Self::MappedSymbol => "dynamic symbol in memory",
            Self::Scan => "scan of memory",
            Self::Recorded => "recording",
        })
    }
}

/// Where an interpreter is, and what is known of it before it is looked into.
#[derive(Clone, Debug)]
pub struct Location {
    /// Where its `_PyRuntime` lies.
    pub address: Address,
    /// The name of the mapped file that holds it, as [`Module::name`].
    pub module: Vec<u8>,
    /// By what it was found.
    pub method: Method,
    /// Its version; only the minor where a file name told it, `None` where nothing did.
    pub version: Option<Version>,
    /// How it was built.
    pub build: Build,
    /// What lies where in it, or why that is not known: a version without a table or one that
    /// this release does not know (`Unsupported`), memory that may not be read (`Refused`), a
    /// table that can't be right (`Corrupt`).
    pub layout: Result<Layout, Error>,
}

impl Location {
    /// An interpreter that was found before: what lies where is read again from `memory`, which
    /// may hold no more than what was read then.
    pub fn again(
        memory: &impl Memory,
        address: Address,
        module: Vec<u8>,
        version: Option<Version>,
        build: Build,
    ) -> Self {
        let mut table = vec![0; Layout::max_table_size()];
        let mut request = [ReadRequest::new(address, &mut table)];
        let read = memory.read_many(&mut request);
        let [request] = &request;
        let filled = request.filled;
        table.truncate(filled);
        let layout = match (read, Preamble::parse(&table), version) {
            (Err(met), ..) => Err(fault(WHAT, met)),
            (_, Some(_), _) => Layout::parse(&table),
            (_, None, Some(version)) => Layout::without_table(version),
            (_, None, None) => Err(corrupt(WHAT, "nothing says which version it is")),
        };
        Self {
            address,
            module,
            method: Method::Recorded,
            version: Preamble::parse(&table)
                .map(|preamble| preamble.version)
                .or(version),
            build,
            layout,
        }
    }
}

/// What the Python in a process is called that is none of those looked into: another implementation,
/// or one that is too old. By the names of its files.
pub fn other_python(modules: &[Module]) -> Option<String> {
    names::other_python(modules).map(|(name, _)| name)
}

const WHAT: &str = "cannot look into the interpreter";

/// Finds the interpreter of a process: the first of [`locate_all`].
///
/// # Errors
///
/// As [`locate_all`].
pub fn locate(
    memory: &impl Memory,
    modules: &[Module],
    files: &impl ModuleFiles,
    limits: &Limits,
) -> Result<Location> {
    locate_with(memory, modules, limits, |module| {
        examine(files.open_module(module)?)
    })
}

/// As [`locate`], with what is known of the files from elsewhere: whoever looks at many processes
/// examines each file once.
///
/// # Errors
///
/// As [`locate_all`].
pub fn locate_with(
    memory: &impl Memory,
    modules: &[Module],
    limits: &Limits,
    facts: impl FnMut(&Module) -> Result<FileFacts>,
) -> Result<Location> {
    let first = locate_all_with(memory, modules, limits, facts)?;
    let first = first.into_iter().next();
    first.ok_or_else(|| Error::internal("a search succeeded and found nothing"))
}

/// Finds the interpreters of a process, in the order of their addresses: never none, and more than
/// one where several CPythons are alive in it, each with a runtime state of its own. One that is
/// mapped and has not begun, or has ended, counts only where none is alive.
///
/// Once one is found, others are looked for in what is called `libpython` alone: any file that is
/// mapped as code may hold one, and a process may have a thousand.
///
/// # Errors
///
/// `NotPython` where there is none, `Unsupported` where it is another implementation of Python or
/// one that is too old ([`other_python`]), `Refused` where memory may not be read and no file tells
/// either, `Gone` where the process ended meanwhile.
pub fn locate_all(
    memory: &impl Memory,
    modules: &[Module],
    files: &impl ModuleFiles,
    limits: &Limits,
) -> Result<Vec<Location>> {
    locate_all_with(memory, modules, limits, |module| {
        examine(files.open_module(module)?)
    })
}

/// As [`locate_all`], with what is known of the files from elsewhere.
///
/// # Errors
///
/// As [`locate_all`].
pub fn locate_all_with(
    memory: &impl Memory,
    modules: &[Module],
    limits: &Limits,
    mut facts: impl FnMut(&Module) -> Result<FileFacts>,
) -> Result<Vec<Location>> {
    let mut search = Search::new(memory, modules, limits);
    for module in names::likely_first(modules)
        .into_iter()
        .take(limits.modules)
    {
        if !search.has_live() || names::is_libpython(module) {
            search.examine(module, facts(module))?;
        }
    }
    search.scan_undecided()?;
    search.finish()
}
