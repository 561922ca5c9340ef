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

#![forbid(unsafe_code)]

mod attach;
mod diagnosis;
mod processes;
mod sources;

pub use attach::{Attached, attach};
pub use diagnosis::{
    Diagnosis, InterpreterDiagnosis, MISSPELT_OPTION, OPT_OUT_OPTION, Prospect, RemoteDebugging,
    Switch, diagnose,
};
pub use invivo_cpython::{Limits, Location, Runtime};
pub use invivo_model::{
    Address, Build, Error, ErrorKind, Interpreter, Result, ThreadState, Version,
};
pub use invivo_process::{ProcessMemory, Target, access};
pub use processes::{FoundInterpreter, PythonProcess, python_processes};
pub use sources::Sources;

/// Running something inside a target.
pub mod exec {
    pub use invivo_inject::{
        Cancel, Code, Ending, Event, Exit, Namespace, OPT_OUT_VARIABLE, Outcome, Plan,
        PlannedWrite, RemoteException, RemoteFrame, Request, Selection, SyntaxDetails,
        ThreadChoice, Value, execute,
    };
}
