//! Another process as the operating system lets us see it: its identity, memory, mappings,
//! threads, privileges, and the way to stop it for a moment.
//!
//! The platform room: the only crate that names an operating system, and the only one with
//! `unsafe` (in one `sys.rs` a platform). It does not know that Python exists.

#![deny(unsafe_code)]

#[cfg(target_os = "linux")]
pub mod access;
mod bounded;
pub mod memory;
pub mod modules;
pub mod recorded;
pub mod stacks;

#[cfg(target_os = "linux")]
pub mod linux;

pub use bounded::Bounded;
pub use invivo_model::Address;
#[cfg(target_os = "linux")]
pub use linux::{
    Account, Activity, Affinity, AppendFile, Argument, Call, Connection, Descriptors, Halt,
    Identity, Launched, Listener, PrivateDirectory, ProcessMemory, ProgramWatch, SignalReturn,
    Standing, Standstill, Status, Stopper, Suspension, SystemCall, Target, TargetLock, TargetRoot,
    Thread, ThreadPlace, ThreadWatch, Transfer, USER_MAP_FILES, Waiting, clock, descendants,
    file_name, is_ignored, is_processor_time_accounted, login_uid, native_ids, own_pid_namespace,
    own_processor, own_uid, pids, random, standard_error, standard_output, with_signals_held,
    write_patiently,
};
#[cfg(target_os = "linux")]
pub use linux::{NewFile, Readers, Stream, is_stream};
pub use memory::{Fault, Memory, ReadRequest, WriteRequest};
pub use modules::{Mapping, Module, ModuleFiles};
pub use recorded::{Image, Recorder};
pub use stacks::{Stacks, ThreadStack};
