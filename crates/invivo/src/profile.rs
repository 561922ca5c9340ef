//! Sampling processes and commands, and what becomes of the samples.
//!
//! ```no_run
//! use std::fs::File;
//! use std::time::{Duration, Instant};
//! use invivo::profile::{self, Format, Options, Plan, Recorded, Recorder, Step};
//!
//! let plan = Plan { interval: 1_000_000, ..profile::plan(Options::default()) };
//! let file = File::create("web.invivo").unwrap();
//! let mut session = profile::attach(4711, None, false, plan, |about| Recorder::new(file, about))?;
//! let end = Instant::now() + Duration::from_secs(10);
//! while Instant::now() < end && session.step()? != Step::Ended {}
//! let (recorder, about) = session.end();
//! recorder.finish(&about)?;
//!
//! let recorded = Recorded::open(File::open("web.invivo").unwrap())?;
//! let mut page = File::create("web.html").unwrap();
//! profile::write(Format::FlameGraph, &recorded, &Default::default(), &mut page)?;
//! # Ok::<(), invivo::Error>(())
//! ```

mod part;
mod recorded;
mod recorder;
mod rooted;
mod timed;

use std::ffi::OsString;
use std::io::PipeReader;

use invivo_cpython::{Limits, Runtime};
use invivo_model::{ErrorKind, Result};
use invivo_process::Target;
use invivo_profile::{Follower, Subject};

pub use invivo_formats::{
    By, DiffFormat, Format, Options as WriteOptions, Source, looks, write, write_diff,
};
pub use invivo_model::{
    About, Budget, FunctionKind, Looks, Mode, ProcessorTime, Profile, ProfileFrame,
    ProfileFunction, ProfileProcess, ProfileThread, Sample, SampleStatus, StackNode, Tables,
};
pub use invivo_process::{Launched, is_processor_time_accounted};
pub use invivo_profile::live;
pub use invivo_profile::{
    Charge, Collect, Jitter, Options, Plan, SampleFrom, Seen, Session, Sink, Step, Turn,
};
pub use part::{Part, Wanted};
pub use recorded::Recorded;
pub use recorder::Recorder;
pub use rooted::Rooted;
pub use timed::Timed;

use crate::attach::{explained, find, not_ourselves};
use crate::runtimes::Runtimes;

/// A thousand ticks a second of what `options` say.
pub fn plan(options: Options) -> Plan {
    Plan {
        interval: 1_000_000,
        jitter: Jitter::default(),
        from: SampleFrom::default(),
        options,
        creator: concat!("Invivo ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// Begins to sample process `pid`, also when it becomes another program (`execve`); with `children`
/// also all processes that descend from it, those that start later among them. It need not be a
/// Python itself then. In each that has several CPythons the one with this `number` is sampled, as
/// [`attach_to_runtime`](crate::attach_to_runtime()) counts them, or the first; a child that has
/// several, and none with this number, is left out.
///
/// # Errors
/// As [`attach_to_runtime`](crate::attach_to_runtime()); what `sink` fails with.
pub fn attach<S: Sink>(
    pid: u32,
    number: Option<u32>,
    children: bool,
    plan: Plan,
    sink: impl FnOnce(&About) -> Result<S>,
) -> Result<Session<S>> {
    not_ourselves(pid)?;
    let subject = subject(pid, number);
    let mut session = match subject {
        Ok(subject) if !children => {
            let mut session = Session::new(plan, sink)?;
            session.add(subject)?;
            // It may become another program.
            session.follow(Follower::of_known(pid, number)?);
            return Ok(session);
        }
        Err(error) if error.kind == ErrorKind::Usage => return Err(error),
        Err(error) if !children || error.kind == ErrorKind::Refused => {
            return Err(explained(&Target::open(pid)?, error));
        }
        _ => Session::new(plan, sink)?,
    };
    session.follow(Follower::new(pid, true, number)?);
    Ok(session)
}

/// The CPython with this number in a process.
fn subject(pid: u32, number: Option<u32>) -> Result<Subject> {
    let target = Target::open(pid)?;
    let runtimes = Runtimes::choose(pid, find(&target)?, number)?;
    let runtime = Runtime::open(target.memory(), runtimes.taken()?, Limits::default())?;
    Ok(Subject {
        target,
        runtime,
        parent: None,
    })
}

/// Starts `command` with `arguments`, and samples it from its first line on; with `children` also
/// all processes that descend from it.
///
/// It has our standard input, output and error, and what a terminal sends to us (Ctrl-C), it gets
/// as well. The session ends with the last process that is sampled, which may be before or after
/// the end of the command.
///
/// # Errors
/// `Usage` where there is no such command; what `sink` fails with, before anything is started.
pub fn launch<S: Sink>(
    command: &OsString,
    arguments: &[OsString],
    children: bool,
    plan: Plan,
    sink: impl FnOnce(&About) -> Result<S>,
) -> Result<(Session<S>, Launched)> {
    let mut session = Session::new(plan, sink)?;
    let launched = Launched::start(command, arguments)?;
    session.follow(Follower::new(launched.pid(), children, None)?);
    Ok((session, launched))
}

/// The same for a command that is kept from our terminal: it has nothing to read, and what it
/// prints, to its error too, comes out of the reader. It waits where nobody reads that.
///
/// # Errors
/// As [`launch`].
pub fn launch_apart<S: Sink>(
    command: &OsString,
    arguments: &[OsString],
    children: bool,
    plan: Plan,
    sink: impl FnOnce(&About) -> Result<S>,
) -> Result<(Session<S>, Launched, PipeReader)> {
    let mut session = Session::new(plan, sink)?;
    let (launched, output) = Launched::start_apart(command, arguments)?;
    session.follow(Follower::new(launched.pid(), children, None)?);
    Ok((session, launched, output))
}
