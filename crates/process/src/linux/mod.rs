//! Linux, as the kernel shows it under `/proc` and by its system calls.

pub(crate) mod access;
mod channel;
mod children;
pub mod clock;
mod launch;
mod list;
mod lock;
mod maps;
mod memory;
mod own;
mod proc;
mod root;
mod staging;
mod still;
mod stop;
mod sys;
mod system_calls;
mod target;
mod threads;

pub use channel::{Connection, Listener, Transfer};
pub use children::descendants;
pub use launch::Launched;
pub use list::pids;
pub use lock::TargetLock;
pub use memory::ProcessMemory;
pub use own::{is_ignored, own_pid_namespace, random};
pub use proc::Status;
pub use root::TargetRoot;
pub use staging::{Owner, PrivateDirectory};
pub use still::Standstill;
pub use stop::Suspension;
pub use target::Target;
pub use threads::{Activity, SystemCall, Thread, ThreadWatch, native_ids};
