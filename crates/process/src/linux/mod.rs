//! Linux, as the kernel shows it under `/proc` and by its system calls.

mod maps;
mod memory;
mod proc;
mod root;
mod stop;
mod sys;
mod system_calls;
mod target;
mod threads;

pub use memory::ProcessMemory;
pub use proc::Status;
pub use root::TargetRoot;
pub use stop::Suspension;
pub use target::Target;
pub use threads::{Activity, SystemCall, Thread};
