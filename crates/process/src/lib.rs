//! Another process as the operating system lets us see it: its identity, memory, mappings,
//! threads, privileges, and the way to stop it for a moment.
//!
//! The platform room: the only crate that names an operating system, and the only one with
//! `unsafe` (in one `sys.rs` a platform). It does not know that Python exists.

pub mod memory;
pub mod modules;

pub use invivo_model::Address;
pub use memory::{Fault, Memory, ReadRequest};
pub use modules::{Mapping, Module, ModuleFiles};
