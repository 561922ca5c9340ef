//! Making a CPython process run something, and bringing the result back.
//!
//! The only crate that writes to a target: through the remote debugging protocol (PEP 768) where
//! its version has it, through the queue of pending calls where it has not, and through the
//! registers of a thread that waits. A [`Plan`] says beforehand what will be touched, [`execute`]
//! does it, and a request that has not begun is withdrawn. What is begun needs us no more to come
//! to its end. Nothing is left behind: see `bootstrap.py` for what runs inside, and `stage` for
//! where it lies.

#![forbid(unsafe_code)]

mod ask;
mod callers;
mod calls;
mod channel;
mod exception;
mod execute;
mod filters;
mod footprint;
mod needs;
mod pending;
mod plan;
mod protocol;
mod room;
mod selection;
mod stage;
mod waiting;
mod ways;

pub use ask::Asked;
pub use channel::{Ending, Exit, Value};
pub use exception::{RemoteException, RemoteFrame, SyntaxDetails};
pub use execute::{Cancel, Code, Event, Namespace, Outcome, Request, execute};
pub use footprint::{Footprint, Manner};
pub use plan::{Method, OPT_OUT_OPTION, OPT_OUT_VARIABLE, Permit, Plan, PlannedWrite, Wake};
pub use selection::{InterpreterChoice, Named, Selection, ThreadChoice};
pub use waiting::Woken;
pub use ways::{Way, ways};
