use invivo_cpython::{Limits, Location, Runtime, locate};
use invivo_model::{Error, ErrorKind, Result};
use invivo_process::{ProcessMemory, Target, access};

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
}

impl Attached {
    /// The target's source files, read through its own root.
    pub fn sources(&self) -> Sources<'_> {
        Sources::new(&self.target)
    }
}

/// Opens process `pid` and finds the interpreter in it. Reads only.
///
/// # Errors
/// `NoSuchProcess`, `NotPython`, `Refused` with the rule that decided, or `Unsupported` for a
/// CPython version whose layout is not known.
pub fn attach(pid: u32) -> Result<Attached> {
    not_ourselves(pid)?;
    attach_to(Target::open(pid)?)
}

/// Finds the interpreter in a process that is held already. Reads only.
///
/// # Errors
/// As [`attach`].
pub fn attach_to(target: Target) -> Result<Attached> {
    not_ourselves(target.pid())?;
    let (location, runtime) = open(&target).map_err(|error| explained(&target, error))?;
    Ok(Attached {
        target,
        location,
        runtime,
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

fn open(target: &Target) -> Result<(Location, Runtime<ProcessMemory>)> {
    let limits = Limits::default();
    let modules = target.modules()?;
    let location = locate(&target.memory(), &modules, target, &limits)?;
    let runtime = Runtime::open(target.memory(), &location, limits)?;
    Ok((location, runtime))
}

/// A refusal of the operating system, with the rule that decided it; and "gone" where whatever
/// failed did so because the target ended.
pub(crate) fn explained(target: &Target, error: Error) -> Error {
    if let Err(gone) = target.ensure_alive() {
        return gone;
    }
    match error.kind {
        ErrorKind::Refused => access::explain(target.pid()),
        _ => Error {
            what: format!("process {}: {}", target.pid(), error.what),
            ..error
        },
    }
}
