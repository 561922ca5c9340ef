//! Look into a live CPython process, and act on it, from outside.
//!
//! The few types that other programs are written against, from the crates that Invivo is made of.
//!
//! ```no_run
//! use invivo::exec::{Code, Ending, Outcome, Request};
//!
//! let attached = invivo::attach(4711)?;
//! println!("CPython {}", attached.runtime.version());
//!
//! let code = Code::Evaluate { source: "6 * 7".into(), name: "<answer>".into() };
//! let request = Request::new(code);
//! let outcome = invivo::exec::execute(&attached.target, &attached.runtime, &request, |_| {})?;
//! if let Outcome::Finished { ending: Ending::Returned(Some(value)), .. } = outcome {
//!     assert_eq!(value.repr, "42");
//! }
//! # Ok::<(), invivo::Error>(())
//! ```
//!
//! What every thread is doing:
//!
//! ```no_run
//! let dump = invivo::attach(4711)?.dump(&invivo::DumpOptions::default())?;
//! for thread in dump.interpreters.iter().flat_map(|interpreter| &interpreter.threads) {
//!     println!("thread {}: {}", thread.thread.state.native_id, thread.doing);
//!     for frame in &thread.thread.stack.frames {
//!         println!("  {} in {}", frame.code.label(), frame.code.filename);
//!     }
//! }
//! # Ok::<(), invivo::Error>(())
//! ```

#![forbid(unsafe_code)]

mod attach;
pub mod audit;
mod beside;
mod diagnosis;
mod doing;
mod dump;
mod forest;
mod os;
mod processes;
pub mod profile;
mod repeats;
mod runtimes;
mod saved;
mod sources;
mod tasks;
#[cfg(test)]
mod testing;

pub use attach::{Attached, attach, attach_to, attach_to_runtime};
pub use beside::ReadFrom;
pub use diagnosis::{
    Diagnosis, InterpreterDiagnosis, MISSPELT_OPTION, Prospect, RemoteDebugging, Switch, diagnose,
};
pub use doing::{Doing, DoingKind};
pub use dump::{Dump, DumpOptions, InterpreterDump, Subject, ThreadDump};
pub use forest::{Branch, Node, forest};
pub use invivo_cpython::{Limits, Location, Runner, Runtime, ValueLimits};
pub use invivo_model::{
    Address, Build, Code, Defect, Error, ErrorKind, Frame, Gap, Gil, Greenlet, Greenlets,
    Interpreter, Links, Position, Result, Role, SequenceForm, Stack, Task, TaskState, Tasks, Text,
    Thread, ThreadState, Trust, Value, ValueKind, Variable, Version, Waited, escape, surrogate,
};
pub use invivo_process::{
    Halt, Identity, ProcessMemory, Target, access, is_ignored, standard_error, standard_output,
    with_signals_held, write_patiently,
};
pub use os::{OsActivity, OsThread};
pub use processes::{FoundInterpreter, PythonProcess, python_processes};
pub use repeats::{Run, repeats, repeats_around};
pub use runtimes::{RuntimeName, Runtimes};
pub use saved::{Recording, Saved};
pub use sources::Sources;
pub use tasks::TaskDump;

/// Files that are made for the caller, in the place of nobody else's.
pub mod files {
    pub use invivo_process::{NewFile, Readers, Stream, is_stream};
}

/// Running something inside a target.
pub mod exec {
    pub use invivo_inject::{
        Asked, Cancel, Code, Ending, Event, Exit, Footprint, InterpreterChoice, Manner, Method,
        Named, Namespace, OPT_OUT_OPTION, OPT_OUT_VARIABLE, Outcome, Permit, Plan, PlannedWrite,
        RemoteException, RemoteFrame, Request, Selection, SyntaxDetails, ThreadChoice, Value, Wake,
        Way, Woken, execute, ways,
    };
}
