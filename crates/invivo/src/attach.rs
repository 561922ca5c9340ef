use invivo_cpython::{Limits, Location, Runtime, locate_all};
use invivo_model::{Error, ErrorKind, Result};
use invivo_process::{ProcessMemory, Target, access, descendants};

use crate::runtimes::Runtimes;
use crate::sources::Sources;

/// A process and the interpreter in it.
#[derive(Debug)]
pub struct Attached {
    /// The process.
    pub target: Target,
    /// Where its interpreter was found, and how.
    pub location: Location,
    /// The interpreter.
    pub runtime: Runtime<ProcessMemory>,
    /// All CPythons of the process, and which of them this is.
    pub runtimes: Runtimes,
}

impl Attached {
    /// The target's source files, read through its own root.
    pub fn sources(&self) -> Sources<'_> {
        Sources::new(&self.target)
    }
}

/// Opens process `pid` and finds the interpreter in it: where it has several CPythons, the first.
/// Reads only.
///
/// # Errors
/// `NoSuchProcess`, `NotPython`, `Refused` with the rule that decided, or `Unsupported` for a
/// CPython version whose layout is not known.
pub fn attach(pid: u32) -> Result<Attached> {
    attach_to_runtime(pid, None)
}

/// The same for the CPython with this number, from 1 in the order of their addresses, in a process
/// that has several; `None` is the first.
///
/// # Errors
/// As [`attach`]; `Usage` where there is none with this number.
pub fn attach_to_runtime(pid: u32, number: Option<u32>) -> Result<Attached> {
    not_ourselves(pid)?;
    attach_to(Target::open(pid)?, number)
}

/// The same in a process that is held already.
///
/// # Errors
/// As [`attach_to_runtime`].
pub fn attach_to(target: Target, number: Option<u32>) -> Result<Attached> {
    not_ourselves(target.pid())?;
    let explained = |error| explained(&target, error);
    let runtimes = Runtimes::choose(target.pid(), find(&target).map_err(explained)?, number)?;
    let location = runtimes.taken()?.clone();
    let runtime = Runtime::open(target.memory(), &location, Limits::default());
    Ok(Attached {
        runtime: runtime.map_err(explained)?,
        target,
        location,
        runtimes,
    })
}

pub(crate) fn not_ourselves(pid: u32) -> Result<()> {
    if pid != std::process::id() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Usage,
        "Invivo does not attach to itself",
        format!("process {pid} is this one"),
        "name another process: invivo ps",
    ))
}

/// All interpreters of a process.
pub(crate) fn find(target: &Target) -> Result<Vec<Location>> {
    let modules = target.modules()?;
    locate_all(&target.memory(), &modules, target, &Limits::default())
}

/// Whether one of its interpreters can be looked into.
fn has_python(target: &Target) -> bool {
    let limits = Limits::default();
    let opens = |location: &Location| Runtime::open(target.memory(), location, limits).is_ok();
    find(target).is_ok_and(|found| found.iter().any(opens))
}

/// A refusal of the operating system, with the rule that decided it; and "gone" where whatever
/// failed did so because the target ended.
pub(crate) fn explained(target: &Target, error: Error) -> Error {
    if let Err(gone) = target.ensure_alive() {
        return gone;
    }
    if let Some(mapping) = target.memory().silent_mapping() {
        return Error::new(
            ErrorKind::TimedOut,
            format!("process {}: {}", target.pid(), error.what),
            format!("its memory does not answer: {mapping}"),
            "look at who serves that file system, and end that process",
        );
    }
    let error = match error.kind {
        ErrorKind::Refused => return access::explain(target.pid()),
        _ => Error {
            what: format!("process {}: {}", target.pid(), error.what),
            ..error
        },
    };
    if !matches!(error.kind, ErrorKind::NotPython | ErrorKind::Unsupported) {
        return error;
    }
    let started = started_pythons(target.pid());
    if started.is_empty() {
        return error;
    }
    let pid = target.pid();
    let first = started.first().map_or(pid, |(pid, _)| *pid);
    let more = if started.len() > NAMED_MAX {
        ", …"
    } else {
        ""
    };
    let named = started.iter().take(NAMED_MAX);
    let named: Vec<String> = named
        .map(|(pid, command)| format!("process {pid} ({command})"))
        .collect();
    Error {
        remedy: format!(
            "look at what it has started, {}{more}: invivo dump {first}; record and top can follow \
             all of it: invivo record --subprocesses {pid}",
            named.join(", ")
        ),
        ..error
    }
}

/// How many processes an error names, and how many are looked at for it.
const NAMED_MAX: usize = 5;
const LOOKED_AT_MAX: usize = 256;
/// How much of a command an error shows, in characters.
const COMMAND_MAX: usize = 60;

/// The processes that descend from `pid` and have a Python that can be looked into, nearest first,
/// each with its command: one more than an error names at most.
fn started_pythons(pid: u32) -> Vec<(u32, String)> {
    let descendants = descendants(&[pid]).unwrap_or_default();
    let command = |target: &Target| {
        let words = target.command_line().unwrap_or_default();
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let command = words.join(" ");
        match command.char_indices().nth(COMMAND_MAX) {
            Some((end, _)) => format!("{}…", &command[..end]),
            None => command,
        }
    };
    let pythons = descendants.into_iter().take(LOOKED_AT_MAX);
    pythons
        .filter_map(|(pid, _)| {
            let target = Target::open(pid).ok()?;
            has_python(&target).then(|| (pid, command(&target)))
        })
        .take(NAMED_MAX + 1)
        .collect()
}
