//! A CPython interpreter in another process, as plain data.
//!
//! [`locate`] finds the runtime state in what a process has mapped, [`Runtime::open`] reads
//! interpreters, threads, strings and dictionaries of it. What lies where is known in one place,
//! `layout`. Nothing here opens a file or a process, or writes to one; everything that a target
//! says is bounded by [`Limits`] and checked before it is used.

#![forbid(unsafe_code)]

mod asyncio;
mod audit;
mod builtins;
mod code;
mod collected;
mod exceptions;
mod exports;
mod facts;
mod fields;
mod frames;
mod gil;
mod greenlets;
mod interpreters;
mod layout;
mod limits;
mod locate;
mod objects;
mod patience;
mod pending;
mod pieces;
mod positions;
mod reader;
mod runtime;
mod tasks;
mod threads;
mod values;

pub use asyncio::locate_asyncio;
pub use builtins::BuiltinNames;
pub use exports::Export;
pub use facts::{FileFacts, examine};
pub use frames::{Function, StackOptions};
pub use interpreters::Interpreters;
pub use layout::asyncio::AsyncioDebug;
pub use layout::{Layout, LineTable};
pub use limits::Limits;
pub use locate::{
    Location, Method, locate, locate_all, locate_all_with, locate_with, other_python,
};
pub use objects::DictItems;
pub use pending::{Change, PendingCall, PendingCalls, Queue};
pub use positions::{position, ranges};
pub use reader::{Place, PlaceId, PlacedFrame, ReadInterpreter, ReadThread, Reader, ReaderOptions};
pub use runtime::{Phase, Runtime, XOption};
pub use tasks::{Kin, Lineage, TaskOptions};
pub use threads::{Runner, Standing, runners};
pub use values::ValueLimits;
