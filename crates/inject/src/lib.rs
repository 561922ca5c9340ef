//! Making a CPython process run something, and bringing the result back.
//!
//! The only crate that writes to a target, and only through the remote debugging protocol
//! (PEP 768): a [`Plan`] says beforehand what will be written, [`execute`] does it, and a request
//! that has not begun is withdrawn. Nothing is left behind: see `bootstrap.py` for what runs
//! inside, and `stage` for where it lies.

#![forbid(unsafe_code)]

// Nothing asks yet: the ways of acting on threads that wait come next.
#[allow(dead_code)]
mod callers;
mod channel;
mod exception;
mod execute;
mod plan;
mod selection;
mod stage;

pub use channel::{Ending, Exit, Value};
pub use exception::{RemoteException, RemoteFrame, SyntaxDetails};
pub use execute::{Cancel, Code, Event, Namespace, Outcome, Request, execute};
pub use plan::{OPT_OUT_VARIABLE, Plan, PlannedWrite};
pub use selection::{InterpreterChoice, Named, Selection, ThreadChoice};
