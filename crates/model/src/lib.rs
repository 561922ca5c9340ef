//! The words every part of Invivo speaks: plain data with public fields.
//!
//! Nothing here does I/O, knows an operating system or a Python version's layout.

#![forbid(unsafe_code)]

mod address;
mod error;
mod interpreter;
mod version;

pub use address::Address;
pub use error::{Error, ErrorKind, Result};
pub use interpreter::{DebuggerSupport, Defect, Interpreter, ThreadState};
pub use version::{Build, ReleaseLevel, Version};
