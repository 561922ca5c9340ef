//! The words every part of Invivo speaks: plain data with public fields.
//!
//! Nothing here does I/O, knows an operating system or a Python version's layout.

#![forbid(unsafe_code)]

mod address;
mod budget;
mod error;
pub mod escape;
mod greenlet;
mod interpreter;
mod processor;
mod profile;
mod stack;
pub mod surrogate;
mod task;
mod text;
mod thread;
mod value;
mod version;

pub use address::Address;
pub use budget::Budget;
pub use error::{Error, ErrorKind, Result};
pub use greenlet::{Greenlet, Greenlets};
pub use interpreter::{DebuggerSupport, Defect, Interpreter, ThreadState};
pub use processor::ProcessorTime;
pub use profile::{
    About, FunctionKind, Looks, Mode, Profile, ProfileFrame, ProfileFunction, ProfileProcess,
    ProfileThread, Sample, SampleStatus, StackNode, Tables,
};
pub use stack::{Code, Frame, Gap, Position, Slots, Stack, Trust};
pub use task::{Links, Task, TaskState, Tasks, Waited};
pub use text::Text;
pub use thread::{Gil, InterpreterThreads, Thread};
pub use value::{Role, SequenceForm, Value, ValueKind, Variable};
pub use version::{Build, ReleaseLevel, Version};
